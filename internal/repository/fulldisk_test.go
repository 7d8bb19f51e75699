package repository

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast"
	objfs "github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// pruneRoom is what somebody must free by hand on a disk that is full to its last byte, for
// a prune to begin.
const pruneRoom = 128 << 10

// TestFullDisk backs up until there is no room, and somebody else's file takes nearly all
// that is left: every set restores, and after one was dropped, a prune makes room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(testkit.SmallFS(t, 48<<20), "repo")
	b, err := objfs.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	r := newRepository(t, b)
	sets := map[string]set{}
	var first string
	wasteful := attemptOn(r, set{"pgdata/a": file(noise(700_000, 201)), "pgdata/b": file(noise(300_000, 202))})
	if left := attemptOn(r, set{"pgdata/b": file(noise(300_000, 202))}); errors.Join(wasteful.err, left.err) == nil {
		sets[left.id] = set{"pgdata/b": file(noise(300_000, 202))}
	} else {
		t.Fatal(wasteful.err, left.err)
	}
	for seed := uint64(1); ; seed++ {
		s := set{"pgdata/f": file(noise(6<<20, seed)), "pgdata/small": file(noise(3000, seed))}
		got := attemptOn(r, s)
		if got.err == nil {
			sets[got.id] = s
			if first == "" {
				first = got.id
			}
			continue
		}
		if holdfast.ErrorCode(got.err) != holdfast.CodeExhausted || holdfast.ErrorHint(got.err) == "" || len(sets) < 4 {
			t.Fatalf("after %d sets: %v", len(sets), got.err)
		}
		break
	}
	f, err := os.Create(filepath.Join(filepath.Dir(dir), "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
	}
	fi, err := f.Stat()
	if err == nil {
		err = f.Truncate(fi.Size() - pruneRoom)
	}
	if err != nil {
		t.Fatal(err)
	}
	for id, s := range sets {
		compare(t, readSet(t, r, id), s)
	}
	for _, id := range []string{first, wasteful.id} {
		if err := r.RemoveSnapshot(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	delete(sets, first)
	// There is no room to store anew what is needed of a wasteful pack. What nobody needs
	// goes all the same, and then there is.
	got, err := r.Prune(t.Context(), PruneOptions{})
	if holdfast.ErrorCode(err) != holdfast.CodeExhausted || got.Deleted.Bytes < 6<<20 {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err = r.Prune(t.Context(), PruneOptions{}); err != nil || got.Repacked.Packs == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
	again := attemptOn(r, set{"pgdata/f": file(noise(2<<20, 99))})
	if again.err != nil {
		t.Error(again.err)
	}
	for id, s := range sets {
		compare(t, readSet(t, r, id), s)
	}
	if rep, err := r.Check(t.Context(), CheckOptions{ReadData: true}); err != nil || len(rep.Findings) != 0 {
		t.Errorf("check: %+v, %v", rep.Findings, err)
	}
}
