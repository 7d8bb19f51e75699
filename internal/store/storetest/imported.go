package storetest

import (
	"context"
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// testCopiesIn lists the copies of one of two repositories, by page and by snapshot.
func testCopiesIn(t *testing.T, f *fixture) {
	other := holdfast.Repository{Account: f.account, Name: "other", Location: "file:///other"}
	var want []holdfast.Copy
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		want = nil
		if err := tx.InsertRepository(ctx, &other); err != nil {
			return err
		}
		for i, state := range []holdfast.CopyState{holdfast.CopyWriting, holdfast.CopyDeleted, holdfast.CopyUnconfirmed} {
			set := holdfast.BackupSet{Account: f.account, Site: f.site.ID, Engine: holdfast.EnginePhysical, RunType: holdfast.RunFull}
			if err := tx.InsertSet(ctx, &set); err != nil {
				return err
			}
			for _, at := range []holdfast.RepositoryID{other.ID, f.repository.ID} {
				c := holdfast.Copy{Account: f.account, Set: set.ID, Repository: at, Snapshot: fmt.Sprint("snapshot ", i), State: state}
				if err := tx.InsertCopy(ctx, &c); err != nil {
					return err
				}
				if at == f.repository.ID {
					want = append(want, c)
				}
			}
		}
		return nil
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "all", want)(r.CopiesIn(ctx, f.repository.ID, 0, 10))
		same(t, "a page", want[:2])(r.CopiesIn(ctx, f.repository.ID, 0, 2))
		same(t, "the next page", want[2:])(r.CopiesIn(ctx, f.repository.ID, want[1].ID, 2))
		same(t, "of no repository", []holdfast.Copy(nil))(r.CopiesIn(ctx, other.ID+1, 0, 10))
		same(t, "of a snapshot", want[1:2])(r.CopiesOfSnapshot(ctx, f.repository.ID, "snapshot 1"))
		same(t, "of no snapshot", []holdfast.Copy(nil))(r.CopiesOfSnapshot(ctx, f.repository.ID, "snapshot"))
		return nil
	})
}

// testCopiesOfOneFence has copies of one set in two repositories: the execution has
// intended the first.
func testCopiesOfOneFence(t *testing.T, f *fixture) {
	other := holdfast.Repository{Account: f.account, Name: "other", Location: "file:///other"}
	set := holdfast.BackupSet{Account: f.account, Site: f.site.ID, Engine: holdfast.EnginePhysical, RunType: holdfast.RunFull}
	first := holdfast.Copy{Account: f.account, Repository: f.repository.ID, Snapshot: "a", State: holdfast.CopyComplete, Execution: 1001, Fence: 1}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		other.ID, set.ID, first.ID = 0, 0, 0
		return firstError(
			func() error { return tx.InsertRepository(ctx, &other) },
			func() error { return tx.InsertSet(ctx, &set) },
			func() error { first.Set = set.ID; return tx.InsertCopy(ctx, &first) },
		)
	})
	second := first
	second.Repository, second.Snapshot, second.State = other.ID, "b", holdfast.CopyUnconfirmed
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		second.ID = 0
		return tx.InsertCopy(ctx, &second)
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "copies of the set", []holdfast.Copy{first, second})(r.Copies(ctx, f.account, set.ID))
		same(t, "copy by fence", first)(r.CopyByFence(ctx, 1001, 1))
		return nil
	})
	f.refused(t, "a second copy in one repository", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		third := second
		third.ID, third.Snapshot = 0, "c"
		return tx.InsertCopy(ctx, &third)
	})
}

// testRaiseSequences raises sequences, and lowers none.
func testRaiseSequences(t *testing.T, f *fixture) {
	high := store.Sequences{Site: 2000, Job: 3000, Execution: 4000, Set: 5000}
	for _, s := range []store.Sequences{high, {}, {Site: 1500, Set: 1}} {
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.RaiseSequences(ctx, s) })
	}
	site, job := f.site, f.job
	site.ID, site.Slug = 0, "raised"
	job.ID, job.Name = 0, "raised"
	var set holdfast.SetID
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		site.ID, job.ID = 0, 0
		if set, err = tx.ReserveSetID(ctx); err != nil {
			return err
		}
		return firstError(
			func() error { return tx.InsertSite(ctx, &site) },
			func() error { return tx.InsertJob(ctx, &job) },
		)
	})
	e := f.add(t, job, nil)
	got := store.Sequences{Site: site.ID, Job: job.ID, Execution: e.ID, Set: set}
	want := store.Sequences{Site: high.Site + 1, Job: high.Job + 1, Execution: high.Execution + 1, Set: high.Set + 1}
	wantEqual(t, "ids after the raise", got, want)
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.RaiseSequences(ctx, high) })
	if e := f.add(t, job, nil); e.ID != high.Execution+2 {
		t.Errorf("got execution %d, want %d: a raise took ids back", e.ID, high.Execution+2)
	}
}
