package dispatch

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// handleIntend answers whether a worker may write its snapshot.
func (d *Dispatcher) handleIntend(ctx context.Context, m *nats.Msg) {
	w, id, err := wire.ParseExecution(wire.KindIntend, m.Subject)
	if err != nil {
		d.log.InfoContext(ctx, "intend dropped", "error", err)
		return
	}
	var wanted holdfast.Wanted
	in, err := wire.Decode[wire.Intend](m.Data)
	if err == nil {
		d.saw(w, "")
		wanted, err = d.intend(ctx, w, id, in)
	}
	r := wire.Reply{Wanted: wanted}
	if err != nil {
		r.Failure = d.fail(ctx, wire.KindIntend, err, "worker_id", int64(w), "execution", int64(id), "fence", uint64(in.Fence))
	}
	d.reply(ctx, m, wire.InboxPrefix(w), &r)
}

// intend says yes only while the fence is current and nobody wants the execution
// to end at once, and makes the rows of set and copy in the same transaction.
func (d *Dispatcher) intend(ctx context.Context, from holdfast.WorkerID, id holdfast.ExecutionID, in wire.Intend) (holdfast.Wanted, error) {
	d.cfg.Step("intend.received")
	var wanted holdfast.Wanted
	err := d.update(ctx, func(tx store.Tx) error {
		e, err := current(ctx, tx, from, id, in.Fence)
		wanted = wantedOf(e, from)
		if err != nil {
			return err
		}
		if e.Wanted > holdfast.WantStop {
			return holdfast.Errorf(holdfast.CodeConflict, "the execution is wanted to %s", e.Wanted)
		}
		if e.Type != holdfast.JobBackup {
			return holdfast.Errorf(holdfast.CodeInvalid, "a %s writes no snapshot", e.Type)
		}
		c, err := tx.CopyByFence(ctx, id, in.Fence)
		switch {
		case err == nil && c.Snapshot == in.Snapshot && c.State == holdfast.CopyWriting:
			return nil // the answer was lost
		case err == nil:
			return holdfast.Errorf(holdfast.CodeConflict, "this fence has intended another snapshot before")
		case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
			return err
		}
		return d.insertCopy(ctx, tx, from, e, in)
	})
	if err == nil {
		d.cfg.Step("intend.committed")
	}
	return wanted, err
}

// insertCopy makes the copy as writing, and its set when no earlier fence has.
func (d *Dispatcher) insertCopy(ctx context.Context, tx store.Tx, from holdfast.WorkerID, e holdfast.Execution, in wire.Intend) error {
	now := d.cfg.Now()
	w, err := tx.Worker(ctx, from)
	if err != nil {
		return err
	}
	base, _, err := baseOf(ctx, tx, e)
	if err != nil {
		return err
	}
	_, err = tx.Set(ctx, e.Account, e.Set)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		err = tx.InsertSet(ctx, &holdfast.BackupSet{
			ID: e.Set, Account: e.Account, Site: e.Site, Job: e.Job, Execution: e.ID, Parent: base.ID,
			Engine: e.Engine, RunType: e.RunType, Created: now,
		})
	}
	if err != nil {
		return fmt.Errorf("make backup set %d: %w", e.Set, err)
	}
	c := holdfast.Copy{
		Account: e.Account, Set: e.Set, Repository: e.Repository, Snapshot: in.Snapshot, State: holdfast.CopyWriting,
		Execution: e.ID, Fence: in.Fence, Intended: now,
	}
	if err := tx.InsertCopy(ctx, &c); err != nil {
		return fmt.Errorf("make copy of backup set %d: %w", e.Set, err)
	}
	return event(ctx, tx, now, actorWorker(w.Name), e.Account, copyEvents[holdfast.CopyWriting], subjectOfSet(e.Set), copyMoved{
		Copy: int64(c.ID), Repository: int64(c.Repository), Snapshot: c.Snapshot, State: c.State, Execution: int64(e.ID), Fence: c.Fence,
	})
}

// wantedOf is what the worker may know of what is wanted.
func wantedOf(e holdfast.Execution, from holdfast.WorkerID) holdfast.Wanted {
	if e.Worker != from {
		return holdfast.WantRun
	}
	return e.Wanted
}

// current returns the execution when the worker holds its newest order;
// CodeConflict when the order is outdated.
func current(ctx context.Context, r store.Reader, from holdfast.WorkerID, id holdfast.ExecutionID, f holdfast.Fence) (holdfast.Execution, error) {
	e, err := r.Execution(ctx, 0, id)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return e, holdfast.Errorf(holdfast.CodeConflict, "there is no execution %d", id)
	}
	if err != nil {
		return e, err
	}
	if e.Worker != from { // what another one does is not for this one
		return e, holdfast.Errorf(holdfast.CodeConflict, "the order with fence %d is outdated", f)
	}
	if e.State != holdfast.StateRunning || e.Fence != f {
		return e, holdfast.Errorf(holdfast.CodeConflict, "the order with fence %d is outdated: execution %d is %s with fence %d", f, id, e.State, e.Fence)
	}
	return e, nil
}
