package repository

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
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

// TestReadersOfSentencedPacks: a prune died when it had sentenced packs that are
// needed after all. The next one copies them; a restore that had read the index
// before goes on reading the old ones, and keeps them.
func TestReadersOfSentencedPacks(t *testing.T) {
	t.Parallel()
	g := newGarden(t, false)
	kept := g.plant(gardenSet(1, 2))
	packs := slices.Concat(packIDs(t, g)...)
	m := mark{Version: recordVersion, Time: g.r.now(), Packs: packs, Seen: &seen{Time: g.r.now()}}
	if _, err := putRecord(t.Context(), g.r, kindMark(), m); err != nil {
		t.Fatal(err)
	}
	g.clock.pass(25 * time.Hour)
	if _, err := putRecord(t.Context(), g.r, kindSentence(), sentence{Version: recordVersion, Time: g.r.now(), Packs: packs}); err != nil {
		t.Fatal(err)
	}
	rd, err := g.r.NewReader(t.Context(), kept)
	if err != nil {
		t.Fatal(err)
	}
	if got := g.prune(); counts(got.Repacked, got.Deleted) != "2 0" {
		t.Errorf("got %+v", got)
	}
	for range 2 {
		g.clock.pass(25 * time.Hour)
		if err := rd.lock.refreshOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := g.prune(); counts(got.Deleted) != "0" {
			t.Errorf("got %+v", got)
		}
	}
	if _, err := readAll(rd); err != nil {
		t.Error(err)
	}
	if err := rd.Close(); err != nil {
		t.Fatal(err)
	}
	if got := g.prune(); counts(got.Deleted) != "2" {
		t.Errorf("the reader has gone: %+v", got)
	}
	compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
	g.whole("deleted")
}

// rename puts index objects in the place of those that are there: one for each pack and
// each change, with a pack beside that is gone, and so each is written anew by a prune.
func (g *garden) rename(changes ...func([]pack.Blob)) {
	g.t.Helper()
	ctx := context.Background()
	x, err := g.r.loadIndex(ctx, refuseDamaged)
	if err != nil {
		g.t.Fatal(err)
	}
	for _, name := range names(g.t, g.b, "index/") {
		if err := g.b.Delete(ctx, name); err != nil {
			g.t.Fatal(err)
		}
	}
	err = x.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		for _, change := range changes {
			said := slices.Clone(blobs)
			change(said)
			gone := []pack.Blob{{ID: hash.Sum([]byte("gone")), Length: 40}}
			plain, err := index.Encode([]index.Pack{{ID: id, Blobs: said}, {ID: hash.Sum([]byte("pack")), Blobs: gone}})
			if err == nil {
				_, err = g.r.save(ctx, kindIndex(), plain)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

// TestIndexesThatDisagree: two index objects have the blobs of a pack in different
// places. Whichever prune reads first, it loses nothing of what the other one says.
func TestIndexesThatDisagree(t *testing.T) {
	t.Parallel()
	for n := range uint64(6) {
		g := newGarden(t, false)
		g.maxUnused = 0
		gone := g.plant(gardenSet(10*n, 10*n+1, 10*n+2))
		kept := g.plant(gardenSet(10*n, 10*n+1))
		g.forget(gone)
		g.rename(func([]pack.Blob) {}, func(blobs []pack.Blob) {
			for i := range blobs {
				blobs[i].Offset, blobs[i].Length, blobs[i].Raw = blobs[0].Offset+16, blobs[0].Length, blobs[0].Raw
			}
		})
		compare(t, readSet(t, g.r, kept), gardenSet(10*n, 10*n+1))
		g.prunings()
		compare(t, readSet(t, g.r, kept), gardenSet(10*n, 10*n+1))
		if _, err := g.r.RepairIndex(t.Context(), RepairIndexOptions{}); err != nil {
			t.Fatal(err)
		}
		g.prunings()
		compare(t, readSet(t, g.r, kept), gardenSet(10*n, 10*n+1))
		g.whole("repaired")
	}
}

// TestASentenceWithoutAMark: the mark of sentenced packs is damaged. Backups do without
// these packs, as with a mark, until a prune has put it right.
func TestASentenceWithoutAMark(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	kept := g.plant(gardenSet(1, 2))
	packs := slices.Concat(packIDs(t, g)...)
	if _, err := putRecord(t.Context(), g.r, kindSentence(), sentence{Version: recordVersion, Time: g.r.now(), Packs: packs}); err != nil {
		t.Fatal(err)
	}
	again := g.plant(gardenSet(1, 2, 3))
	g.prunings()
	if left := names(t, g.b, "holdfast/"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
	compare(t, readSet(t, g.r, again), gardenSet(1, 2, 3))
	g.whole("pruned")
}

// TestATakenNameIsLookedAt: a put that finds its name taken is done only when what is
// there is the object: a store may have kept a part of it, and said that it failed.
func TestATakenNameIsLookedAt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix string
		junk   bool
	}{{"data/", true}, {"index/", true}, {"snapshots/", true}, {"locks/", true}, {"data/", false}, {"snapshots/", false}} {
		inner := mem.New()
		r := newRepository(t, inner)
		torn := &tornPut{Bucket: inner, prefix: c.prefix, junk: c.junk}
		got := attemptOn(r.on(torn), gardenSet(1))
		if c.junk != (got.err != nil) {
			t.Errorf("%+v: error %v", c, got.err)
		}
		if got.err == nil {
			compare(t, readSet(t, r, got.id), gardenSet(1))
		}
	}
}

// tornPut is told a second time what it has, or a part of it, already.
type tornPut struct {
	objstore.Bucket
	prefix string
	junk   bool
}

func (b *tornPut) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, b.prefix) {
		part := data
		if b.junk {
			part = data[:len(data)/2]
		}
		if err := b.Bucket.Put(ctx, name, part); err != nil {
			return err
		}
	}
	return b.Bucket.Put(ctx, name, data)
}

// TestATreeIsReadWhereItIs: an index object says of a directory that it lies where
// another one lies.
func TestATreeIsReadWhereItIs(t *testing.T) {
	t.Parallel()
	for range 8 { // which of two places is tried first is as good as chance
		g := newGarden(t, false)
		s := set{"a": directory(), "b": directory(), "a/x": file([]byte("x")), "b/y": file([]byte("y"))}
		id := g.plant(s)
		g.rename(func([]pack.Blob) {}, func(blobs []pack.Blob) { // each where the next one is
			first := blobs[0]
			for i := range blobs {
				next := first
				if i+1 < len(blobs) {
					next = blobs[i+1]
				}
				blobs[i].Offset, blobs[i].Length, blobs[i].Raw = next.Offset, next.Length, next.Raw
			}
		})
		compare(t, readSet(t, g.r, id), s)
		g.prunings()
		compare(t, readSet(t, g.r, id), s)
	}
}

// TestTheDeadOfTheFuture: a prune noted a dead holder's lock by a clock that was years
// ahead. With the clock put right, its packs do not wait for years.
func TestTheDeadOfTheFuture(t *testing.T) {
	t.Parallel()
	g := newGarden(t, false)
	gone := g.plant(gardenSet(1, 2))
	w := g.writer() // never heard of again
	t.Cleanup(func() { _ = w.Close() })
	g.forget(gone)
	g.prune()
	refreshLock(t, w)
	ahead := &timeMachine{}
	ahead.pass(1000 * 24 * time.Hour)
	if _, err := g.on(g.b, ahead).Prune(t.Context(), g.options()); err != nil { // notes that the lock is a new one
		t.Fatal(err)
	}
	g.clock.pass(25 * time.Hour)
	g.prune()
	g.clock.pass(time.Hour)
	if got := g.prune(); len(got.Locks) != 1 || counts(got.Deleted) != "2" {
		t.Errorf("got %+v", got)
	}
}
