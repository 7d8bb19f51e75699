package dispatch

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// settle makes one move of an execution in the transaction, with everything that
// belongs to it: times, the back-off, the event, and the copy that a closed
// fence leaves behind. change may fill in more.
func (d *Dispatcher) settle(ctx context.Context, tx store.Tx, actor string, m holdfast.Move, prev holdfast.Execution, change func(*holdfast.Execution)) (holdfast.Execution, error) {
	now := d.cfg.Now()
	status, err := prev.Next(m)
	if err != nil {
		return prev, err
	}
	next := prev
	next.Status = status
	if next.Wanted > prev.Wanted {
		next.WantedAt = now
	}
	switch next.State {
	case holdfast.StateEnded:
		next.Ended = now
	case holdfast.StateQueued:
		if m == holdfast.MoveRetry {
			next.Due = now.Add(backOff(d.cfg.RetryBase, d.cfg.RetryMax, next.Retries))
		}
	case holdfast.StatePlanned, holdfast.StateRunning, holdfast.StateSuspended:
	}
	if change != nil {
		change(&next)
	}
	if err := move(ctx, tx, now, actor, m, prev, next); err != nil {
		return prev, err
	}
	if prev.State != holdfast.StateRunning || next.State == holdfast.StateRunning {
		return next, nil
	}
	return next, d.orphan(ctx, tx, actor, prev)
}

// orphan marks what the closing fence intended, and did not finish.
func (d *Dispatcher) orphan(ctx context.Context, tx store.Tx, actor string, e holdfast.Execution) error {
	if e.Type != holdfast.JobBackup {
		return nil
	}
	c, err := tx.CopyByFence(ctx, e.ID, e.Fence)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if c.State != holdfast.CopyWriting {
		return nil
	}
	return d.moveCopy(ctx, tx, actor, c, holdfast.CopyOrphaned)
}

func (d *Dispatcher) moveCopy(ctx context.Context, tx store.Tx, actor string, c holdfast.Copy, to holdfast.CopyState) error {
	next := c
	next.State = to
	if err := tx.MoveCopy(ctx, c, next); err != nil {
		return err
	}
	return event(ctx, tx, d.cfg.Now(), actor, c.Account, copyEvents[to], subjectOfSet(c.Set), copyMoved{
		Copy: int64(c.ID), Repository: int64(c.Repository), Snapshot: c.Snapshot, State: to, Execution: int64(c.Execution), Fence: c.Fence,
	})
}

// backOff is how long the n-th transient failure makes an execution wait.
func backOff(base, most time.Duration, n int) time.Duration {
	wait := base
	for i := 1; i < n && wait < most; i++ {
		wait *= 2
	}
	return min(wait, most)
}
