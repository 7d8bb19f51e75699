package repository

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// sentencePacks is a prune that was interrupted before it deleted the packs.
func sentencePacks(t testing.TB, r *Repository, packs ...hash.ID) {
	t.Helper()
	if _, err := putRecord(t.Context(), r, kindSentence(), sentence{Version: recordVersion, Time: r.now(), Packs: packs}); err != nil {
		t.Fatal(err)
	}
}

func packID(t testing.TB, name string) hash.ID {
	t.Helper()
	id, err := hash.Parse(name[strings.LastIndexByte(name, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestRepairLeavesToPruneWhatIsItsOwn repairs beside prunes that live, and after some
// that died.
func TestRepairLeavesToPruneWhatIsItsOwn(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	id := backUp(t, r, set{"pgdata/one": file(noise(80_000, 1))})
	pack := packID(t, largest(t, r))

	l, err := r.lockToPrune(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err1 := r.RepairIndex(t.Context(), RepairIndexOptions{})
	_, err2 := r.RepairSnapshots(t.Context(), RepairSnapshotsOptions{})
	if holdfast.ErrorCode(err1) != holdfast.CodeConflict || holdfast.ErrorCode(err2) != holdfast.CodeConflict {
		t.Errorf("beside a prune: got %v and %v", err1, err2)
	}
	repairSnapshots(t, r, RepairSnapshotsOptions{DryRun: true})
	if err := l.release(t.Context()); err != nil {
		t.Fatal(err)
	}

	sentencePacks(t, r, pack)
	if got := repairIndex(t, r, RepairIndexOptions{ReadHeaders: true}); got.Changed() || got.Packs != 2 {
		t.Errorf("a sentenced pack that the index names: got %+v", got)
	}
	if _, err := r.RepairSnapshots(t.Context(), RepairSnapshotsOptions{Forget: true}); holdfast.ErrorCode(err) != holdfast.CodeConflict || !strings.Contains(holdfast.ErrorHint(err), "prune") {
		t.Errorf("got %v", err)
	}
	for _, name := range names(t, b, "index/") {
		deleteObject(t, b, name)
	}
	if got := repairIndex(t, r, RepairIndexOptions{}); len(got.Added) != 1 || got.Packs != 1 || len(got.Bad) != 0 {
		t.Errorf("a sentenced pack that nobody names: got %+v", got)
	}
	for _, name := range names(t, b, "holdfast/sentenced/") {
		deleteObject(t, b, name)
	}
	repairIndex(t, r, RepairIndexOptions{})
	readSet(t, r, id)
}

// TestCopyCountsOnNothingThatMayGo copies into a repository whose packs are condemned,
// or deleted meanwhile.
func TestCopyCountsOnNothingThatMayGo(t *testing.T) {
	t.Parallel()
	from := newRepository(t, mem.New())
	want := set{"pgdata/one": file(noise(80_000, 1)), "pgdata/two": file(noise(90_000, 2))}
	id := backUp(t, from, want)

	b := mem.New()
	to := newRepository(t, b)
	old := backUp(t, to, set{"pgdata/one": want["pgdata/one"]})
	pack := packID(t, largest(t, to))
	if err := to.RemoveSnapshot(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if _, err := putRecord(t.Context(), to, kindMark(), mark{Version: recordVersion, Time: to.now(), Packs: []hash.ID{pack}}); err != nil {
		t.Fatal(err)
	}
	got := copyTo(t, from, to, id)
	deleteObject(t, b, packName(pack))
	compare(t, readSet(t, to, got.Snapshots[0].To), want)

	// A prune takes the copy for dead, and sentences what it has stored.
	b = mem.New()
	to = newRepository(t, b)
	f := fault.Wrap(b, fault.Call(fault.Put, 1, func(string) { sentencePacks(t, to, packID(t, largest(t, to))) }).Named("snapshots/"))
	if _, err := from.Copy(t.Context(), to.on(f), CopyOptions{Snapshots: []string{id}}); !errors.Is(err, errGone) {
		t.Errorf("got %v", err)
	}
	if left := names(t, b, "snapshots/"); len(left) != 0 {
		t.Errorf("there is %v", left)
	}
}

// TestPruneTakesDamagedPacks repairs an index, and prunes: the damaged pack goes, and
// the note on it with the next repair.
func TestPruneTakesDamagedPacks(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	now := testTime
	r.clock.now = func() time.Time { return now }
	want := set{"pgdata/one": file(noise(80_000, 1)), "pgdata/two": file(noise(90_000, 2))}
	backUp(t, r, want)
	name := largest(t, r)
	bad := readObject(t, b, name)
	bad[100] ^= 1
	deleteObject(t, b, name)
	if err := b.Put(t.Context(), name, bad); err != nil {
		t.Fatal(err)
	}
	repairIndex(t, r, RepairIndexOptions{ReadData: true})
	repairSnapshots(t, r, RepairSnapshotsOptions{Forget: true})
	id := backUp(t, r, want)
	for range 3 {
		if _, err := r.Prune(t.Context(), PruneOptions{Wait: time.Hour}); err != nil {
			t.Fatal(err)
		}
		now = now.Add(2 * time.Hour)
	}
	if left := names(t, b, name); len(left) != 0 {
		t.Errorf("there is %v", left)
	}
	repairIndex(t, r, RepairIndexOptions{})
	if left := names(t, b, "holdfast/"); len(left) != 0 {
		t.Errorf("there is %v", left)
	}
	compare(t, readSet(t, r, id), want)
	wantClean(t, check(t, r, CheckOptions{ReadData: true}))
}
