package repository

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
)

// TestPruneLeavesTheIndexOfARunningBackup: a backup writes an index object while a
// prune, which has listed the packs already, walks the snapshots. The packs that it
// names are no ghosts.
func TestPruneLeavesTheIndexOfARunningBackup(t *testing.T) {
	t.Parallel()
	for _, when := range []string{"snapshots/", "locks/"} {
		g := newGarden(t, true)
		kept := g.plant(gardenSet(1, 2))
		old := g.plant(gardenSet(3))
		g.forget(old)
		g.prune()
		g.clock.pass(25 * time.Hour)
		w := g.writer()
		t.Cleanup(func() { _ = w.Close() })
		var once sync.Once
		b := fault.Wrap(g.b, fault.Call(fault.Get, fault.Every, func(string) {
			once.Do(func() {
				for p, n := range gardenSet(4, 5) {
					if err := w.Add(context.Background(), n.file(p)); err != nil {
						t.Error(err)
					}
				}
				if err := w.Flush(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}).Named(when))
		got, err := g.on(b, g.clock).Prune(t.Context(), g.options())
		if err != nil {
			t.Fatal(err)
		}
		if got.Plan.Lost != 0 {
			t.Errorf("%s: the plan says that something is lost: %+v", when, got.Plan)
		}
		id, err := w.Commit(t.Context(), testCommit(), intendNothing)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		g.whole("a backup wrote its index beside a prune that read " + when)
		compare(t, readSet(t, g.r, id), gardenSet(4, 5))
		compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
	}
}

// TestPruneKeepsTheWholeOneOfTwoPacks: a pack was cut short, and a backup has stored
// again what was in it. Of the two, the one that is whole stays.
func TestPruneKeepsTheWholeOneOfTwoPacks(t *testing.T) {
	t.Parallel()
	for n := range uint64(8) { // which of two equal packs is kept is as good as chance
		g := newGarden(t, n == 0)
		g.plant(gardenSet(10*n, 10*n+1))
		var cut []string
		for _, name := range names(t, g.b, "data/") {
			data := readObject(t, g.b, name)
			if err := g.b.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			if err := g.b.Put(t.Context(), name, data[:len(data)/2]); err != nil {
				t.Fatal(err)
			}
			cut = append(cut, name)
		}
		again := g.plant(gardenSet(10*n, 10*n+1))
		g.prunings()
		compare(t, readSet(t, g.r, again), gardenSet(10*n, 10*n+1))
		if left := names(t, g.b, "data/"); slices.ContainsFunc(left, func(s string) bool { return slices.Contains(cut, s) }) {
			t.Errorf("of the packs %v those that were cut short, %v, are left", left, cut)
		}
		g.whole("pruned")
	}
}

// TestPruneMeetsAThawedWriter: a writer was frozen before it could name its packs in
// the index. They were condemned, its lock is gone, and the prune that shall delete
// them has seen that no index object names them, when the writer wakes up and commits.
func TestPruneMeetsAThawedWriter(t *testing.T) {
	t.Parallel()
	for _, at := range []fault.Op{fault.List, fault.Get} {
		g := newGarden(t, true)
		kept := g.plant(gardenSet(1, 2))
		frozen, thaw := make(chan struct{}), make(chan struct{})
		slow := fault.Wrap(g.b, fault.Call(fault.Put, 1, func(string) {
			close(frozen)
			<-thaw
		}).Named("index/"))
		done := make(chan outcome, 1)
		go func() { done <- attemptOn(g.on(slow, g.clock), gardenSet(3, 4)) }()
		<-frozen
		blindly := func(b objstore.Bucket) PruneResult {
			got, err := g.on(blind{b}, g.clock).Prune(t.Context(), g.options())
			if err != nil {
				t.Fatal(err)
			}
			return got
		}
		if got := blindly(g.b); counts(got.Condemned) != "2" {
			t.Fatalf("got %+v", got)
		}
		g.clock.pass(25 * time.Hour)
		var wrote outcome
		got := blindly(fault.Wrap(g.b, fault.Call(at, 1, func(string) {
			close(thaw)
			wrote = <-done
		}).Named("snapshots/")))
		where := fmt.Sprintf("thawed at a %s of snapshots, %v, deleted %d", at, wrote.err, got.Deleted.Packs)
		if wrote.err == nil {
			compare(t, readSet(t, g.r, wrote.id), gardenSet(3, 4))
		} else {
			g.forget(wrote.id)
		}
		compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
		g.soundAfter(where)
	}
}
