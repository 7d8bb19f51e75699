package storetest

import (
	"context"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// testSetsOfJob makes sets of two jobs with copies in every state, and moves one
// out of the readers' sight and back.
func testSetsOfJob(t *testing.T, f *fixture) {
	other := f.addJob(t, f.site, "other")
	var want []store.SetCopies
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		want = nil
		for _, states := range [][]holdfast.CopyState{
			{holdfast.CopyComplete},
			{holdfast.CopyWriting},
			{holdfast.CopyOrphaned, holdfast.CopyVerified, holdfast.CopyDeleted},
			{holdfast.CopyExpired},
			{holdfast.CopyDeleted, holdfast.CopyExpired},
			{holdfast.CopyUnconfirmed},
			{},
			{holdfast.CopyDamaged, holdfast.CopyExpired},
		} {
			set, err := f.insertSet(ctx, tx, f.job.ID, states...)
			if err != nil {
				return err
			}
			if readable(set.Copies) {
				want = append(want, set)
			}
			if _, err := f.insertSet(ctx, tx, other.ID, states...); err != nil {
				return err
			}
		}
		return nil
	})
	check := func(what string, want []store.SetCopies) {
		t.Helper()
		f.view(t, func(ctx context.Context, r store.Reader) error {
			same(t, what, want)(r.SetsOfJob(ctx, f.account, f.job.ID))
			same(t, what+", in any account", want)(r.SetsOfJob(ctx, 0, f.job.ID))
			same(t, what+", of another account", []store.SetCopies(nil))(r.SetsOfJob(ctx, f.account+1, f.job.ID))
			_, n, err := r.Sets(ctx, f.account, store.SetFilter{Job: f.job.ID})
			wantEqual(t, what+", as listed", n, len(want))
			return err
		})
	}
	if len(want) != 4 {
		t.Fatalf("got %d sets that readers see, want 4", len(want))
	}
	check("sets of the job", want)

	complete := want[0].Copies[0]
	expired := complete
	expired.State = holdfast.CopyExpired
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveCopy(ctx, complete, expired) })
	check("after the first has expired", want[1:])
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		deleted := expired
		deleted.State = holdfast.CopyDeleted
		return firstError(
			func() error { return tx.MoveCopy(ctx, expired, deleted) },
			func() error { return tx.MoveCopy(ctx, deleted, complete) },
		)
	})
	check("after it is back", want)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "sets of no job", []store.SetCopies(nil))(r.SetsOfJob(ctx, f.account, other.ID+1))
		return nil
	})
}

func readable(copies []holdfast.Copy) bool {
	for _, c := range copies {
		if c.Readable() {
			return true
		}
	}
	return false
}

// insertSet makes a set of the job with a copy in each of the states.
func (f *fixture) insertSet(ctx context.Context, tx store.Tx, job holdfast.JobID, states ...holdfast.CopyState) (store.SetCopies, error) {
	s := store.SetCopies{Set: holdfast.BackupSet{Account: f.account, Site: f.site.ID, Job: job, Engine: holdfast.EnginePhysical, RunType: holdfast.RunFull}}
	if err := tx.InsertSet(ctx, &s.Set); err != nil {
		return s, err
	}
	for _, state := range states {
		c := holdfast.Copy{Account: f.account, Set: s.Set.ID, Repository: f.repository.ID, State: state}
		if err := tx.InsertCopy(ctx, &c); err != nil {
			return s, err
		}
		s.Copies = append(s.Copies, c)
	}
	return s, nil
}

// testLiveRestores has restores and backups in every state.
func testLiveRestores(t *testing.T, f *fixture) {
	job := holdfast.Job{Account: f.account, Site: f.site.ID, Type: holdfast.JobRestore, Name: "restore"}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertJob(ctx, &job) })
	f.move(t, f.add(t, job, nil), holdfast.MoveKill)
	f.add(t, f.job, nil)
	planned := f.add(t, job, func(e *holdfast.Execution) { e.State, e.Set = holdfast.StatePlanned, 1001 })
	queued := f.add(t, job, nil)
	running := f.move(t, f.add(t, job, nil), holdfast.MoveStart)
	suspended := f.move(t, f.add(t, job, nil), holdfast.MoveSuspend)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "live restores", []holdfast.Execution{planned, queued, running, suspended})(r.LiveRestores(ctx, f.account))
		same(t, "live restores of another account", []holdfast.Execution(nil))(r.LiveRestores(ctx, f.account+1))
		return nil
	})
	f.move(t, running, holdfast.MoveSucceed)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "live restores after an end", []holdfast.Execution{planned, queued, suspended})(r.LiveRestores(ctx, 0))
		return nil
	})
}
