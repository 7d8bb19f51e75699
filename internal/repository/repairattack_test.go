package repository

import (
	"context"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// TestFrozenRepair: two index objects name the same packs. A repair was paused before
// it removed what it takes for superfluous; meanwhile a pack is lost, and another repair
// has removed the one that the first relied on.
func TestFrozenRepair(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	kept := g.plant(gardenSet(1, 2))
	extra := packIDs(t, g)
	lost := g.plant(gardenSet(3))
	g.forget(lost)
	x, err := g.r.loadIndex(t.Context(), refuseDamaged)
	if err != nil {
		t.Fatal(err)
	}
	var all []index.Pack
	err = x.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		all = append(all, index.Pack{ID: id, Blobs: slices.Clone(blobs)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := index.Encode(all); err != nil {
		t.Fatal(err)
	} else if _, err := g.r.save(t.Context(), kindIndex(), plain); err != nil { // larger than the others: it stays
		t.Fatal(err)
	}
	frozen, thaw := make(chan struct{}), make(chan struct{})
	b := fault.Wrap(g.b, fault.Call(fault.Delete, 1, func(string) {
		close(frozen)
		<-thaw
	}).Named("index/"))
	done := make(chan error, 1)
	go func() {
		_, err := g.on(b, g.clock).RepairIndex(context.Background(), RepairIndexOptions{})
		done <- err
	}()
	<-frozen
	for _, p := range all {
		if !slices.Contains(slices.Concat(extra...), p.ID) {
			deleteObject(t, g.b, packName(p.ID))
		}
	}
	if _, err := g.r.Unlock(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, err := g.r.RepairIndex(t.Context(), RepairIndexOptions{}); err != nil {
		t.Fatal(err)
	}
	close(thaw)
	if err := <-done; err != nil && holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Error(err)
	}
	compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
	g.soundAfter("thawed")
}

// TestCopyOfWhatHasGone: the copy was there when the other repository's snapshots were
// listed, and somebody has removed it while others were copied.
func TestCopyOfWhatHasGone(t *testing.T) {
	t.Parallel()
	from, to := newRepository(t, mem.New()), newRepository(t, mem.New())
	one, two := backUp(t, from, gardenSet(1, 2)), backUp(t, from, gardenSet(3))
	there := copyTo(t, from, to, one).Snapshots[0].To
	b := fault.Wrap(from.bucket, fault.Call(fault.Get, 1, func(string) {
		if err := to.RemoveSnapshot(context.Background(), there); err != nil {
			t.Error(err)
		}
	}).Named("data/"))
	got := copyTo(t, from.on(b), to, two, one)
	for i, want := range []set{gardenSet(3), gardenSet(1, 2)} {
		compare(t, readSet(t, to, got.Snapshots[i].To), want)
	}
}

// TestResticBringsADamagedPackBack: restic's rebuild-index names every pack that is
// there, also one that a repair has found damaged. No backup counts on it.
func TestResticBringsADamagedPackBack(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	g.plant(gardenSet(1, 2))
	for _, name := range names(t, g.b, "data/") {
		data := readObject(t, g.b, name)
		for i := range data[:len(data)/2] {
			data[i] ^= 1
		}
		deleteObject(t, g.b, name)
		if err := g.b.Put(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
	}
	if got := repairIndex(t, g.r, RepairIndexOptions{ReadData: true}); len(got.Bad) != 2 {
		t.Errorf("got %+v", got)
	}
	restic(t, g.dir, "rebuild-index", "--read-all-packs")
	compare(t, readSet(t, g.r, g.plant(gardenSet(1, 2))), gardenSet(1, 2))
}
