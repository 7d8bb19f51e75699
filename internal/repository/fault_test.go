package repository

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	objfs "github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

// faultSet needs two packs of data.
func faultSet(seed uint64) set {
	return set{
		"pgdata":      directory(),
		"pgdata/base": file(noise(packSize+3*blockSize, seed)),
		"pgdata/text": file(text(100_000, seed)),
	}
}

// attempt backs up and returns the first error.
func attempt(t testing.TB, r *Repository, s set) (string, error) {
	t.Helper()
	w, err := r.NewWriter(t.Context(), WriterOptions{Holder: "test", Workers: 2})
	if err != nil {
		return "", err
	}
	for p, n := range s {
		if err := w.Add(t.Context(), n.file(p)); err != nil {
			return "", errors.Join(err, w.Close())
		}
	}
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	return id, errors.Join(err, w.Close())
}

// TestEveryPutMayFail: a put that fails, or that fails and has worked all the
// same, leaves no snapshot unless it was the snapshot's own; what is left checks
// clean, and the next attempt works.
func TestEveryPutMayFail(t *testing.T) {
	t.Parallel()
	broken := holdfast.Errorf(holdfast.CodeExhausted, "the disk is full")
	want := faultSet(1)
	for _, torn := range []bool{false, true} {
		for n := 1; ; n++ {
			dir := t.TempDir()
			inner, err := objfs.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			r := newRepository(t, inner)
			first := backUp(t, r, set{"pgdata/old": file(text(1000, 9))})
			f := fault.On(fault.Put, n, broken)
			if torn {
				f = fault.Torn(fault.Put, n, broken)
			}
			b := fault.Wrap(inner, f)
			_, err = attempt(t, &Repository{bucket: b, key: r.key, config: r.config, clock: r.clock}, want)
			if err == nil {
				if n < 6 { // lock, two packs of data, one of trees, index, snapshot
					t.Errorf("the backup worked although put %d failed", n)
				}
				break
			}
			if !errors.Is(err, broken) {
				t.Errorf("put %d (torn %v): got %v", n, torn, err)
			}
			left := names(t, inner, "snapshots/")
			if len(left) > 1 && !torn || len(left) > 2 || len(left) < 1 {
				t.Errorf("put %d (torn %v) failed; snapshots: %v", n, torn, left)
			}
			restic(t, dir, "check", "--read-data", "--no-lock")
			wantWhole(t, r)
			id, err := attempt(t, r, want)
			if err != nil {
				t.Fatalf("the attempt after put %d (torn %v): %v", n, torn, err)
			}
			compare(t, readSet(t, r, id), want)
			readSet(t, r, first)
		}
	}
}

// TestCutOffAnywhere: a writer that is killed after any put leaves a repository
// without a new snapshot, that checks clean.
func TestCutOffAnywhere(t *testing.T) {
	t.Parallel()
	cut := errors.New("the machine is gone")
	for n := 2; n <= 6; n++ {
		dir := t.TempDir()
		inner, err := objfs.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := newRepository(t, inner)
		b := fault.Wrap(inner)
		b.Add(fault.Call(fault.Put, n, func(string) { // from here on nothing works
			for _, op := range []fault.Op{fault.Put, fault.Get, fault.Stat, fault.List, fault.Delete} {
				b.Add(fault.On(op, fault.Every, cut))
			}
		}))
		if _, err := attempt(t, &Repository{bucket: b, key: r.key, config: r.config, clock: r.clock}, faultSet(2)); !errors.Is(err, cut) {
			t.Errorf("cut at put %d: got %v", n, err)
		}
		wantWhole(t, r)
		restic(t, dir, "unlock", "--remove-all")
		restic(t, dir, "check", "--read-data")
		if left := names(t, inner, "snapshots/"); n < 6 && len(left) != 0 {
			t.Errorf("cut at put %d: snapshots %v", n, left)
		}
	}
}

// wantWhole checks that nothing is damaged. What interrupted writes leave is none.
func wantWhole(t testing.TB, r *Repository) {
	t.Helper()
	got := check(t, r, CheckOptions{ReadData: true})
	if got.Damaged() || len(got.Affected) > 0 {
		t.Errorf("check finds %+v", got.Findings)
	}
}

// fetchAll restores every file and returns the first error.
func fetchAll(t testing.TB, r *Repository, id string) (map[string]*memFile, error) {
	t.Helper()
	rd, err := r.NewReader(t.Context(), id)
	if err != nil {
		return nil, err
	}
	files := map[string]*memFile{}
	var targets []engine.Target
	err = rd.Walk(t.Context(), func(n engine.Node) error {
		if n.Mode.IsRegular() {
			f := &memFile{}
			files[n.Path] = f
			targets = append(targets, engine.Target{Path: n.Path, Open: func() (engine.TargetFile, error) { return f, nil }})
		}
		return nil
	})
	if err == nil {
		err = rd.Fetch(t.Context(), targets)
	}
	return files, errors.Join(err, rd.Close())
}

// TestDamageIsNamed: whatever byte of a pack is bad, restore says which pack and
// which file, and never gives wrong bytes.
func TestDamageIsNamed(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	want := set{"pgdata/base": file(noise(3*blockSize, 5)), "pgdata/text": file(text(300_000, 5))}
	id := backUp(t, r, want)
	for _, name := range names(t, b, "data/") {
		whole, err := objstore.ReadAll(t.Context(), b, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		pack := name[len("data/00/"):]
		restored := func(what string, data []byte) {
			if data == nil {
				if err := b.Delete(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			} else {
				replace(t, b, name, data)
			}
			files, err := fetchAll(t, r, id)
			if err != nil {
				wantError(t, err, holdfast.CodeInvalid, pack)
				for _, f := range files {
					if f.data != nil && !f.closed {
						t.Errorf("%s: a file is still open", what)
					}
				}
				return
			}
			for p, f := range files { // the header is not needed to read
				if !bytes.Equal(f.data, want[p].data) {
					t.Errorf("%s: %q came back wrong", what, p)
				}
			}
		}
		for i := 0; i < len(whole); i += len(whole)/7 + 1 {
			bad := bytes.Clone(whole)
			bad[i] ^= 0x10
			restored(fmt.Sprintf("flipped byte %d", i), bad)
			restored(fmt.Sprintf("cut at %d", i), whole[:i])
		}
		restored("missing", nil)
		if err := b.Put(t.Context(), name, whole); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fetchAll(t, r, id); err != nil {
		t.Errorf("whole again, and %v", err)
	}
}

// TestAnotherCopyHelps: a blob that two packs hold is read from the one that is
// whole.
func TestAnotherCopyHelps(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	want := set{"a": file(noise(2*blockSize, 1))}
	backUp(t, r, want)
	before := names(t, b, "data/")
	index := names(t, b, "index/")
	saved, err := objstore.ReadAll(t.Context(), b, index[0], 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Delete(t.Context(), index[0]); err != nil { // the second writer does not know the first one's blobs
		t.Fatal(err)
	}
	id := backUp(t, r, want)
	if err := b.Put(t.Context(), index[0], saved); err != nil {
		t.Fatal(err)
	}
	for _, name := range before {
		whole, err := objstore.ReadAll(t.Context(), b, name, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		whole[20] ^= 1
		replace(t, b, name, whole)
	}
	compare(t, readSet(t, r, id), want)
}

// TestAMissingPackIsStoredAgain: a writer must not count on what the index names
// and the bucket has lost.
func TestAMissingPackIsStoredAgain(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(b *mem.Bucket, pack string){
		"missing": func(b *mem.Bucket, pack string) {
			if err := b.Delete(t.Context(), pack); err != nil {
				t.Fatal(err)
			}
		},
		"cut short": func(b *mem.Bucket, pack string) { replace(t, b, pack, make([]byte, 100)) },
	} {
		t.Run(name, func(t *testing.T) {
			b := mem.New()
			r := newRepository(t, b)
			want := set{"a": file(noise(2*blockSize, 1)), "b": file(text(1000, 1))}
			lost := backUp(t, r, want)
			for _, pack := range names(t, b, "data/") {
				lose(b, pack)
			}
			_, err := fetchAll(t, r, lost)
			wantError(t, err, holdfast.CodeInvalid, "pack")
			compare(t, readSet(t, r, backUp(t, r, want)), want)
		})
	}
}

// TestDamagedIndexIsNamed: what it named is not found, and the rest restores. A
// writer stops: it would store again what it cannot see.
func TestDamagedIndexIsNamed(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	id := backUp(t, r, set{"a": file([]byte("a"))})
	name := names(t, b, "index/")[0]
	want := set{"b": file([]byte("b"))}
	other := backUp(t, r, want)
	replace(t, b, name, []byte("damaged"))
	compare(t, readSet(t, r, other), want)
	_, err := fetchAll(t, r, id)
	_, writes := r.NewWriter(t.Context(), WriterOptions{})
	for _, err := range []error{err, writes} {
		wantError(t, err, holdfast.CodeInvalid, name[len("index/"):])
		if !strings.Contains(holdfast.ErrorHint(err), "index") {
			t.Errorf("got hint %q", holdfast.ErrorHint(err))
		}
	}
}
