package dispatch

import (
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// expire drops what the job's retention does not keep any more, in the
// transaction that ends a good backup: nothing goes unless something good has
// come. The reaper removes the snapshots.
func (d *Dispatcher) expire(ctx context.Context, tx store.Tx, e holdfast.Execution) (expire.Plan, error) {
	if e.Type != holdfast.JobBackup || e.Outcome != holdfast.OutcomeSucceeded {
		return expire.Plan{}, nil
	}
	j, err := tx.Job(ctx, e.Account, e.Job)
	if err != nil {
		return expire.Plan{}, fmt.Errorf("read job %d: %w", e.Job, err)
	}
	in, err := expire.Read(ctx, tx, j)
	if err != nil {
		return expire.Plan{}, err
	}
	p := expire.Decide(in)
	err = p.Execute(ctx, tx, expire.Cause{Kind: expire.KindExpired, Time: d.cfg.Now(), Actor: actorDispatch, Execution: e.ID})
	if holdfast.ErrorCode(err) == holdfast.CodeConflict {
		// The finish itself is as it should be: the worker is to send it again.
		err = holdfast.Wrap(holdfast.CodeUnavailable, err, "the backup sets of job %d changed meanwhile", e.Job)
	}
	return p, err
}

// logExpired says what has expired.
func (d *Dispatcher) logExpired(ctx context.Context, p expire.Plan) {
	for _, v := range p.Drops() {
		d.log.InfoContext(ctx, "backup set expired", "backup_set", int64(v.Set.ID), "job", int64(p.Job), "reason", v.Reason)
	}
}
