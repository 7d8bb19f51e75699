package storetest

import (
	"context"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// testTriggers makes chains of three jobs, and lists them from both ends.
func testTriggers(t *testing.T, f *fixture) {
	second, third := f.addJob(t, f.site, "second"), f.addJob(t, f.site, "third")
	add := func(job, run holdfast.Job) holdfast.Trigger {
		tr := holdfast.Trigger{
			Account: f.account, Job: job.ID, Run: run.ID, On: holdfast.OnSucceeded, RunType: holdfast.RunDelta, Active: true, Created: start(),
		}
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertTrigger(ctx, &tr) })
		return tr
	}
	toThird, toSecond, between := add(f.job, third), add(f.job, second), add(second, third)
	type list = []holdfast.Trigger
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "that wait for the first", list{toThird, toSecond})(r.Triggers(ctx, f.account, f.job.ID))
		same(t, "that wait for the last", list(nil))(r.Triggers(ctx, f.account, third.ID))
		same(t, "that run the last", list{toThird, between})(r.TriggersThatRun(ctx, f.account, third.ID))
		same(t, "that run the last, of any account", list{toThird, between})(r.TriggersThatRun(ctx, 0, third.ID))
		same(t, "that run the first", list(nil))(r.TriggersThatRun(ctx, f.account, f.job.ID))
		return nil
	})
	moved := between
	moved.Job, moved.Run, moved.Created = f.job.ID, second.ID, at(5)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.UpdateTrigger(ctx, moved) },
			func() error { return tx.DeleteTrigger(ctx, f.account, toThird.ID) },
		)
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "that run the last then", list{between})(r.TriggersThatRun(ctx, f.account, third.ID))
		same(t, "that wait for the first then", list{toSecond})(r.Triggers(ctx, f.account, f.job.ID))
		return nil
	})
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteTrigger(ctx, f.account, between.ID) })
	if again := add(second, third); again.ID <= between.ID {
		t.Errorf("got trigger id %d after %d, want one that was never given out", again.ID, between.ID)
	}
}
