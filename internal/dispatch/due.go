package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const dueAtOnce = 200

// jumpFrom is the least by which the wall clock is seen to have been set back.
const jumpFrom = time.Second

// dueLoop queues planned executions whose time has come, and sees to it that
// queued ones do not wait for a time that the wall clock has moved away.
func (d *Dispatcher) dueLoop(ctx context.Context) error {
	t := time.NewTicker(dueEvery)
	defer t.Stop()
	// Nothing waits in the queue for longer than a back-off: what seems to was
	// submitted while the clock was wrong.
	first := func(due, now time.Time) time.Time {
		if due.Sub(now) > d.cfg.RetryMax {
			return now
		}
		return due
	}
	wall, mono := d.wall(), d.clock()
	pull := first
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		newWall, newMono := d.wall(), d.clock()
		if back := newMono - mono - newWall.Sub(wall); back >= jumpFrom {
			d.log.InfoContext(ctx, "the wall clock was set back", "elapsed", back)
			pull = func(due, now time.Time) time.Time { return first(due.Add(-back), now) }
		}
		if pull != nil {
			if err := errors.Join(d.pullQueued(ctx, pull), d.pullPlanned(ctx)); err != nil {
				d.log.InfoContext(ctx, "executions that wait not looked at; it is tried again", "error", err)
				continue // the jump is measured anew, from the same moment
			}
			pull = nil
		}
		wall, mono = newWall, newMono
		if err := d.queueDue(ctx); err != nil && ctx.Err() == nil {
			d.log.InfoContext(ctx, "planned executions not queued; it is tried again", "error", err)
		}
	}
}

// wall is the wall clock alone: two of its times differ by what it was set by,
// too.
func (d *Dispatcher) wall() time.Time { return d.cfg.Now().Round(0) }

// pullQueued gives the queued executions that are not due yet another time, when
// pull says an earlier one.
func (d *Dispatcher) pullQueued(ctx context.Context, pull func(due, now time.Time) time.Time) error {
	pools := map[string]bool{}
	err := d.update(ctx, func(tx store.Tx) error {
		now := d.wall()
		queued, err := tx.LiveExecutions(ctx, holdfast.StateQueued)
		if err != nil {
			return err
		}
		for _, prev := range queued {
			next := prev
			next.Due = pull(prev.Due, now)
			if !prev.Due.After(now) || !next.Due.Before(prev.Due) {
				continue
			}
			if err := tx.MoveExecution(ctx, prev, next); err != nil {
				return err
			}
			pools[next.Pool] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	for p := range pools {
		d.Ring(p)
	}
	return nil
}

func (d *Dispatcher) queueDue(ctx context.Context) error {
	var planned []holdfast.Execution
	err := d.view(ctx, func(r store.Reader) (err error) {
		planned, err = r.DuePlanned(ctx, d.cfg.Now(), dueAtOnce)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range planned {
		err := d.update(ctx, func(tx store.Tx) (err error) {
			// Read again: its site may have been moved to another host meanwhile.
			if e, err = tx.Execution(ctx, 0, e.ID); err != nil {
				return err
			}
			if e.Type == holdfast.JobETL {
				_, err = d.dueETL(ctx, tx, e)
				return err
			}
			_, err = d.settle(ctx, tx, actorDispatch, holdfast.MoveDue, e, nil)
			return err
		})
		switch holdfast.ErrorCode(err) {
		case "":
			d.Ring(e.Pool)
		case holdfast.CodeConflict: // somebody else moved it
		case holdfast.CodeUnavailable, holdfast.CodeExhausted:
			return err // of the store: it is everybody's
		case holdfast.CodeInternal, holdfast.CodeInvalid, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound:
			errs = append(errs, fmt.Errorf("execution %d: %w", e.ID, err)) // the others are due all the same
		}
	}
	return errors.Join(errs...)
}
