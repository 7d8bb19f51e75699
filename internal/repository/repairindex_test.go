package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

func repairIndex(t testing.TB, r *Repository, o RepairIndexOptions) RepairIndexResult {
	t.Helper()
	got, err := r.RepairIndex(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (r *Repository) on(b objstore.Bucket) *Repository {
	return &Repository{bucket: b, key: r.key, config: r.config, clock: r.clock, slot: r.slot}
}

func deleteObject(t testing.TB, b objstore.Bucket, name string) {
	t.Helper()
	if err := b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
}

func TestRepairLeavesAGoodIndexAlone(t *testing.T) {
	t.Parallel()
	d := newDamageRig(t)
	b := d.bucket(t, "", nil)
	r, err := Open(t.Context(), b, testSecret())
	if err != nil {
		t.Fatal(err)
	}
	before := names(t, b, "")
	for _, o := range []RepairIndexOptions{{}, {ReadHeaders: true}, {ReadData: true}, {DryRun: true}} {
		got := repairIndex(t, r, o)
		if got.Changed() || got.Kept != 3 || got.Packs != 6 || len(got.Bad) != 0 || len(got.Added) != 0 {
			t.Errorf("%+v: got %+v", o, got)
		}
	}
	if after := names(t, b, ""); !slices.Equal(before, after) {
		t.Errorf("before\n%v\nafter\n%v", before, after)
	}
}

// TestRepairMakesALostIndex takes away index objects in every way that they can go.
func TestRepairMakesALostIndex(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		objects int    // that are damaged
		with    []byte // what is there instead; nil: nothing
		removed int
	}{
		{"all are gone", 2, nil, 0},
		{"one is gone", 1, nil, 0},
		{"one is damaged", 1, []byte("x"), 1},
		{"one is empty", 1, []byte{}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, dir := newDirRepository(t)
			first, second := copySet(), set{"pgdata/more": file(text(700_000, 7))}
			one, two := backUp(t, r, first), backUp(t, r, second)
			for _, name := range names(t, r.bucket, "index/")[:c.objects] {
				deleteObject(t, r.bucket, name)
				if c.with != nil {
					overwrite(t, filepath.Join(dir, name), c.with)
				}
			}
			before := names(t, r.bucket, "")
			dry := repairIndex(t, r, RepairIndexOptions{DryRun: true})
			if after := names(t, r.bucket, ""); !slices.Equal(before, after) {
				t.Errorf("the dry run changed\n%v\nto\n%v", before, after)
			}
			got := repairIndex(t, r, RepairIndexOptions{})
			if fmt.Sprint(got) != fmt.Sprint(dry) {
				t.Errorf("got %+v, and in the dry run %+v", got, dry)
			}
			packs := len(names(t, r.bucket, "data/"))
			if len(got.Added) < 2*c.objects || len(got.Removed) != c.removed || got.Kept != 2-c.objects || got.Written != 1 || got.Packs != packs || got.Lost() != 0 || len(got.Bad) != 0 {
				t.Errorf("got %+v", got)
			}
			wantClean(t, check(t, r, CheckOptions{ReadData: true}))
			restic(t, dir, "check", "--read-data")
			compare(t, readSet(t, r, one), first)
			compare(t, readSet(t, r, two), second)
			if again := repairIndex(t, r, RepairIndexOptions{}); again.Changed() {
				t.Errorf("again: got %+v", again)
			}
		})
	}
}

func overwrite(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(name), os.WriteFile(name, data, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestRepairCorrectsWhatTheIndexSays makes index objects that are whole and wrong.
func TestRepairCorrectsWhatTheIndexSays(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	want := set{"pgdata/one": file(noise(300_000, 1)), "pgdata/two": file(text(200_000, 2))}
	id := backUp(t, r, want)
	var packs []index.Pack
	x, err := r.loadIndex(t.Context(), refuseDamaged)
	if err != nil {
		t.Fatal(err)
	}
	_ = x.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		packs = append(packs, index.Pack{ID: id, Blobs: slices.Clone(blobs)})
		return nil
	})
	put := func(packs ...index.Pack) {
		t.Helper()
		plain, err := index.Encode(packs)
		if err == nil {
			_, err = r.save(t.Context(), kindIndex(), plain)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names(t, r.bucket, "index/") {
		deleteObject(t, r.bucket, name)
	}
	short := index.Pack{ID: packs[0].ID, Blobs: packs[0].Blobs[:1]}
	put(packs[1], index.Pack{ID: hash.Sum([]byte("never there")), Blobs: packs[0].Blobs})
	put(short)
	put(packs[1])
	if len(packs[0].Blobs) < 2 {
		t.Fatal("the pack has one piece")
	}
	got := repairIndex(t, r, RepairIndexOptions{})
	if len(got.Removed) != 3 || got.Kept != 0 || got.Packs != 2 || len(got.Bad) != 1 || !got.Bad[0].Missing || got.Lost() != 0 {
		t.Errorf("got %+v", got)
	}
	wantClean(t, check(t, r, CheckOptions{ReadData: true}))
	compare(t, readSet(t, r, id), want)

	// Two objects that name a part of one pack each: neither can stand for the other.
	for _, name := range names(t, r.bucket, "index/") {
		deleteObject(t, r.bucket, name)
	}
	put(short, packs[1])
	put(index.Pack{ID: packs[0].ID, Blobs: packs[0].Blobs[1:]})
	repairIndex(t, r, RepairIndexOptions{})
	wantClean(t, check(t, r, CheckOptions{ReadData: true}))
	compare(t, readSet(t, r, id), want)
}

// TestRepairNeverNamesLess kills a repair at each of its operations: what could be
// restored before can be restored after, and the next repair ends well.
func TestRepairNeverNamesLess(t *testing.T) {
	t.Parallel()
	cut := errors.New("the machine is gone")
	d := newDamageRig(t)
	objects := func(prefix string) []string {
		var out []string
		for name := range d.objects {
			if strings.HasPrefix(name, prefix) {
				out = append(out, name)
			}
		}
		slices.Sort(out)
		return out
	}
	indexes := objects("index/")
	bad := bytes.Clone(d.objects[objects("data/")[0]])
	bad[len(bad)-1] ^= 1 // the length of its header
	for _, op := range []fault.Op{fault.Put, fault.Delete, fault.List} {
		for n := 1; ; n++ {
			b := d.bucket(t, objects("data/")[0], bad)
			r, err := Open(t.Context(), b, testSecret())
			if err != nil {
				t.Fatal(err)
			}
			deleteObject(t, b, indexes[0]) // one object for half of the packs is gone, and two say the same
			twin := objectContent(t, r, indexes[1])
			if _, err := r.save(t.Context(), kindIndex(), twin); err != nil {
				t.Fatal(err)
			}
			whole := restorable(t, d, b)
			f := fault.Wrap(b)
			f.Add(fault.Call(op, n, func(string) {
				for _, op := range []fault.Op{fault.Put, fault.Get, fault.Stat, fault.List, fault.Delete} {
					f.Add(fault.On(op, fault.Every, cut))
				}
			}))
			_, err = r.on(f).RepairIndex(t.Context(), RepairIndexOptions{ReadHeaders: true, Workers: 1})
			if got := restorable(t, d, b); got < whole {
				t.Errorf("cut at %s %d: %d files restore, and %d did before", op, n, got, whole)
			}
			if _, err := r.Unlock(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			repairIndex(t, r, RepairIndexOptions{ReadHeaders: true})
			if got := restorable(t, d, b); got < whole {
				t.Errorf("after a repair that was cut at %s %d: %d files restore, and %d did before", op, n, got, whole)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, cut) {
				t.Errorf("cut at %s %d: got %v", op, n, err)
			}
		}
	}
}

func objectContent(t testing.TB, r *Repository, name string) []byte {
	t.Helper()
	id, err := hash.Parse(name[strings.IndexByte(name, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := r.load(t.Context(), kindIndex(), id)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// restorable counts the files that can be restored.
func restorable(t testing.TB, d damageRig, b objstore.Bucket) int {
	t.Helper()
	n := 0
	for _, id := range d.order {
		failed, err := d.restoreEach(t, b, testSecret(), id)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.sets[id] {
			if f.mode.IsRegular() {
				n++
			}
		}
		n -= len(failed)
	}
	return n
}

func TestRepairBesideAWriter(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	old := set{"pgdata/old": file(text(300_000, 1))}
	one := backUp(t, r, old)
	w := newWriter(t, r)
	want := set{"pgdata/old": file(text(300_000, 1)), "pgdata/new": file(noise(packSize+3*blockSize, 2))}
	for p, n := range want {
		if err := w.Add(t.Context(), n.file(p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.queued.wait(t.Context(), w.failed, w.cause); err != nil {
		t.Fatal(err)
	}
	for _, name := range names(t, r.bucket, "index/") { // what the writer has read
		deleteObject(t, r.bucket, name)
	}
	repairIndex(t, r, RepairIndexOptions{ReadHeaders: true})
	two, err := w.Commit(t.Context(), testCommit(), func(context.Context, string) error {
		repairIndex(t, r, RepairIndexOptions{ReadData: true})
		return nil
	})
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	compare(t, readSet(t, r, one), old)
	compare(t, readSet(t, r, two), want)
	repairIndex(t, r, RepairIndexOptions{}) // a pack that was on its way may be named twice
	wantClean(t, check(t, r, CheckOptions{ReadData: true}))
	restic(t, dir, "check", "--read-data")
}

func TestRepairsKeepEachOtherOut(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	backUp(t, r, set{"pgdata/one": file(text(1000, 1))})
	l, err := r.lockToRepair(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.RepairIndex(t.Context(), RepairIndexOptions{}); holdfast.ErrorCode(err) != holdfast.CodeConflict || holdfast.ErrorHint(err) == "" {
		t.Errorf("got %v", err)
	}
	repairIndex(t, r, RepairIndexOptions{DryRun: true})
	if err := l.release(t.Context()); err != nil {
		t.Fatal(err)
	}
	repairIndex(t, r, RepairIndexOptions{})
	if left := names(t, r.bucket, "locks/"); len(left) != 0 {
		t.Errorf("locks are left: %v", left)
	}
}

func TestRepairRefusesARepositoryWithoutPacks(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	backUp(t, r, set{"pgdata/one": file(text(1000, 1))})
	for _, name := range names(t, b, "data/") {
		deleteObject(t, b, name)
	}
	if _, err := r.RepairIndex(t.Context(), RepairIndexOptions{}); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), "mounted") {
		t.Errorf("got %v", err)
	}
}

// TestWhatIsBadStaysOut damages one piece of a pack whose header is good: it leaves
// the index, so that the next backup stores it again, and no later repair brings it
// back; unless somebody brings the whole pack.
func TestWhatIsBadStaysOut(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	want := set{"pgdata/one": file(noise(50_000, 1)), "pgdata/two": file(noise(60_000, 2))}
	backUp(t, r, want)
	name := ""
	for _, n := range names(t, r.bucket, "data/") {
		if data := readObject(t, r.bucket, n); len(data) > 100_000 {
			name = n
		}
	}
	whole := readObject(t, r.bucket, name)
	bad := bytes.Clone(whole)
	bad[100] ^= 1
	overwrite(t, filepath.Join(dir, name), bad)
	got := repairIndex(t, r, RepairIndexOptions{ReadData: true})
	if len(got.Bad) != 1 || got.Bad[0].Lost != 1 || got.Bad[0].Blobs != 2 || got.Saved != 1 || got.Lost() != 1 {
		t.Fatalf("got %+v", got)
	}
	for range 2 {
		again := repairIndex(t, r, RepairIndexOptions{})
		if again.Changed() || len(again.Bad) != 1 || again.Lost() != 1 {
			t.Errorf("got %+v", again)
		}
	}
	id := backUp(t, r, want)
	compare(t, readSet(t, r, id), want)
	if again := repairIndex(t, r, RepairIndexOptions{}); again.Changed() || again.Lost() != 0 {
		t.Errorf("got %+v", again)
	}
	wantWhole(t, r)
	restic(t, dir, "check")
	overwrite(t, filepath.Join(dir, name), whole)
	if again := repairIndex(t, r, RepairIndexOptions{}); len(again.Added) != 1 || len(again.Bad) != 0 {
		t.Errorf("got %+v", again)
	}
	if left := names(t, r.bucket, "holdfast/"); len(left) != 0 {
		t.Errorf("notes are left: %v", left)
	}
	wantClean(t, check(t, r, CheckOptions{ReadData: true}))
	restic(t, dir, "check", "--read-data")
}
