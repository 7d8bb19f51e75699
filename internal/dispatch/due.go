package dispatch

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const dueAtOnce = 200

// dueLoop queues planned executions whose time has come.
func (d *Dispatcher) dueLoop(ctx context.Context) error {
	t := time.NewTicker(dueEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			if err := d.queueDue(ctx); err != nil && ctx.Err() == nil {
				d.log.InfoContext(ctx, "planned executions not queued; it is tried again", "error", err)
			}
		}
	}
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
	for _, e := range planned {
		err := d.update(ctx, func(tx store.Tx) (err error) {
			// Read again: its site may have been moved to another host meanwhile.
			if e, err = tx.Execution(ctx, 0, e.ID); err != nil {
				return err
			}
			_, err = d.settle(ctx, tx, actorDispatch, holdfast.MoveDue, e, nil)
			return err
		})
		if holdfast.ErrorCode(err) == holdfast.CodeConflict {
			continue // somebody else moved it
		}
		if err != nil {
			return err
		}
		d.Ring(e.Pool)
	}
	return nil
}
