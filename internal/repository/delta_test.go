package repository

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// deltaSet has names that sort otherwise than their paths, and files of every cut.
func deltaSet() set {
	return set{
		"pgdata":             directory(),
		"pgdata/a":           directory(),
		"pgdata/a/1":         file(noise(3*blockSize+77, 1)),
		"pgdata/a/2":         file(noise(100, 2)),
		"pgdata/a/b":         directory(),
		"pgdata/a/b/deep":    file(noise(wholeFile, 3)),
		"pgdata/a-b":         file(noise(wholeFile+1, 4)),
		"pgdata/a0":          file(nil),
		"pgdata/c":           directory(),
		"pgdata/c/alone":     file(noise(2*blockSize, 5)),
		"pgdata/odd \"ü\xff": file(noise(10, 6)),
		"tablespaces/7/x":    file(noise(blockSize, 7)),
	}
}

// inOrder returns the paths of a set as a walk through directories meets them.
func inOrder(s set) []string {
	return slices.SortedFunc(maps.Keys(s), func(a, b string) int {
		return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
	})
}

func TestComparePaths(t *testing.T) {
	t.Parallel()
	paths := []string{"", "a", "a/", "a/b", "a/b/c", "a-b", "a-b/c", "a0", "a\x01", "b", "b/a", "\xff", "ü/x"}
	for _, a := range paths {
		for _, b := range paths {
			want := slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
			if a == "" || b == "" { // no path, and before all
				want = strings.Compare(a, b)
			}
			if got := comparePaths(a, b); got != want {
				t.Errorf("%q and %q: got %d, want %d", a, b, got, want)
			}
		}
	}
}

// delta is a backup that builds on a snapshot.
type delta struct {
	same   func(p string, base engine.Node) bool // nil: all are
	paths  []string                              // nil: in order
	broken bool                                  // the base cannot be read to its end
}

// run stores the set and returns the snapshot, and what was read of it.
func (d delta) run(t *testing.T, r *Repository, base string, s set) (snapshot string, read []string, stats Stats) {
	t.Helper()
	w := newWriter(t, r)
	b, err := w.BuildOn(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	if d.paths == nil {
		d.paths = inOrder(s)
	}
	done := map[string]engine.FileResult{}
	for _, p := range d.paths {
		f := s[p].file(p)
		f.Inode, f.ChangeTime = 7, testTime.Add(time.Nanosecond)
		if open := f.Open; open != nil {
			f.Open = func() (engine.Content, error) {
				read = append(read, p)
				return open()
			}
			f.Same = func(n engine.Node) bool {
				if n.Path != p {
					t.Errorf("%q was compared with %q", p, n.Path)
				}
				return d.same == nil || d.same(p, n)
			}
			f.Done = func(res engine.FileResult) { done[p] = res }
		}
		if err := b.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if err := b.Flush(t.Context()); err != nil { // so that read and done have one writer
			t.Fatal(err)
		}
	}
	if (b.Err() != nil) != d.broken {
		t.Errorf("the base ended with %v", b.Err())
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	stats = w.Stats()
	if snapshot, err = w.Commit(t.Context(), testCommit(), intendNothing); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for p, n := range s {
		if want := (engine.FileResult{Size: int64(len(n.data)), Unread: !slices.Contains(read, p)}); n.isRegular() && done[p] != want {
			t.Errorf("%q ended with %+v, want %+v", p, done[p], want)
		}
	}
	compare(t, readSet(t, r, snapshot), s)
	return snapshot, read, stats
}

func TestDeltaReadsOnlyWhatHasChanged(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	s := deltaSet()
	base := backUp(t, r, s)
	second, read, stats := delta{}.run(t, r, base, s)
	if len(read) != 0 || stats.ReadBytes != 0 || stats.NewBlobs != 0 || stats.Files != 8 {
		t.Errorf("nothing has changed: read %q, stats %+v", read, stats)
	}
	s["pgdata/a/2"] = file(noise(101, 8))
	s["pgdata/a-b"] = file(noise(wholeFile+1, 9))
	s["pgdata/b"] = file(noise(5, 10)) // new
	delete(s, "pgdata/c/alone")
	third, read, _ := delta{same: func(p string, n engine.Node) bool {
		if n.Inode != 7 || !n.ChangeTime.Equal(testTime.Add(1)) {
			t.Errorf("%q: got inode %d, ctime %s", p, n.Inode, n.ChangeTime)
		}
		return p != "pgdata/a-b"
	}}.run(t, r, second, s)
	if want := []string{"pgdata/a/2", "pgdata/a-b", "pgdata/b"}; !slices.Equal(read, want) {
		t.Errorf("read %q, want %q", read, want)
	}
	restic(t, dir, "check", "--read-data")
	out := t.TempDir()
	restic(t, dir, "restore", third, "--target", out)
	got, err := os.ReadFile(filepath.Join(out, "pgdata/a/1"))
	if err != nil || !bytes.Equal(got, s["pgdata/a/1"].data) {
		t.Errorf("restic restored %d bytes, error %v", len(got), err)
	}
}

func TestDeltaReadsWhatComesOutOfOrder(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	s := deltaSet()
	paths := inOrder(s)
	slices.Reverse(paths)
	_, read, _ := delta{paths: paths}.run(t, r, backUp(t, r, s), s)
	if len(read) != 7 || slices.Contains(read, "tablespaces/7/x") {
		t.Errorf("read %q", read)
	}
}

// TestDeltaReadsWhatTheRepositoryHasLost: a file whose blob is gone is stored
// again, whatever its times say.
func TestDeltaReadsWhatTheRepositoryHasLost(t *testing.T) {
	t.Parallel()
	bucket := mem.New()
	r := newRepository(t, bucket)
	s := deltaSet()
	base := backUp(t, r, set{"pgdata/a/1": s["pgdata/a/1"]})
	for _, name := range packsOf(t, r, base, "pgdata/a/1") { // of the first writer: all content of a/1
		if err := bucket.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	base = backUp(t, r, set{"pgdata/a/2": s["pgdata/a/2"], "pgdata/a/1": s["pgdata/a/1"]})
	for _, name := range packsOf(t, r, base, "pgdata/a/1") {
		if err := bucket.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	_, read, _ := delta{}.run(t, r, base, set{"pgdata/a/1": s["pgdata/a/1"]})
	if !slices.Equal(read, []string{"pgdata/a/1"}) {
		t.Errorf("read %q", read)
	}
}

// packsOf returns the names of the packs that hold a file's blobs.
func packsOf(t *testing.T, r *Repository, snapshot, file string) []string {
	t.Helper()
	rd := newReader(t, r, snapshot)
	n, err := rd.find(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, id := range n.content {
		for _, l := range rd.index.Lookup(nil, id, pack.Data) {
			if _, err := r.bucket.Stat(t.Context(), packName(l.Pack)); err == nil {
				names[packName(l.Pack)] = true
			}
		}
	}
	return slices.Collect(maps.Keys(names))
}

// TestDeltaReadsABaseOfAnotherCut: equal pages give equal blobs only when they are
// cut in the same places, so the cut of another program is not handed on.
func TestDeltaReadsABaseOfAnotherCut(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	data := noise(5*blockSize, 1)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	restic(t, dir, "backup", name)
	list, err := r.Snapshots(t.Context())
	if err != nil || len(list) != 1 {
		t.Fatalf("got %d snapshots, error %v", len(list), err)
	}
	p := strings.TrimPrefix(name, "/")
	asked := false
	_, read, _ := delta{same: func(_ string, n engine.Node) bool {
		asked = n.Inode != 0 && !n.ChangeTime.IsZero() // restic's own facts
		return true
	}}.run(t, r, list[0].ID, set{p: file(data)})
	if !asked || !slices.Equal(read, []string{p}) {
		t.Errorf("asked %v, read %q", asked, read)
	}
}

// TestDeltaOnADamagedBase: what cannot be read of the base is read from the files.
func TestDeltaOnADamagedBase(t *testing.T) {
	t.Parallel()
	bucket := mem.New()
	r := newRepository(t, bucket)
	s := deltaSet()
	base := backUp(t, r, s)
	rd := newReader(t, r, base)
	var broken node
	err := rd.walk(t.Context(), rd.snapshot.Tree, "", 0, func(p string, n node) (bool, error) {
		if p == "pgdata/c" {
			broken = n
		}
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	l := rd.index.Lookup(nil, broken.subtree, pack.Tree)[0]
	spoil(t, bucket, packName(l.Pack), int64(l.Offset)+20)
	_, read, _ := delta{broken: true}.run(t, r, base, s)
	if want := []string{"pgdata/c/alone", "pgdata/odd \"ü\xff", "tablespaces/7/x"}; !slices.Equal(read, want) {
		t.Errorf("read %q, want %q", read, want)
	}
}

// spoil changes one byte of an object.
func spoil(t *testing.T, b objstore.Bucket, name string, offset int64) {
	t.Helper()
	data := readObject(t, b, name)
	data[offset] ^= 1
	if err := b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := b.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}
