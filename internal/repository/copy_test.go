package repository

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

func copyTo(t testing.TB, from, to *Repository, snapshots ...string) CopyResult {
	t.Helper()
	got, err := from.Copy(t.Context(), to, CopyOptions{Snapshots: snapshots})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// copySet has all kinds of nodes and pieces.
func copySet() set {
	return set{
		"pgdata": directory(), "pgdata/empty": directory(), "pgdata/nothing": file(nil), "pgdata/link": symlink("a/b"),
		"pgdata/zeros": file(make([]byte, 3*blockSize+12345)), "pgdata/text": file(text(700_000, 1)), "pgdata/noise": file(noise(blockSize+1, 2)),
		"pgdata/a/small": file([]byte("x")), "pgdata/invalid \xff\xfe utf-8": file([]byte("bytes")),
	}
}

func TestCopy(t *testing.T) {
	t.Parallel()
	from, fromDir := newDirRepository(t)
	to, toDir := newDirRepository(t)
	first := copySet()
	second := set{"pgdata/zeros": first["pgdata/zeros"], "pgdata/more": file(noise(2*blockSize+5, 77))}
	one, two := backUp(t, from, first), backUp(t, from, second)
	backUp(t, to, set{"pgdata/zeros": first["pgdata/zeros"]})

	got := copyTo(t, from, to, one)
	if len(got.Snapshots) != 1 || got.Snapshots[0].From != one || got.Snapshots[0].There || got.Blobs == 0 || got.Packs == 0 || got.AddedBytes == 0 {
		t.Errorf("got %+v", got)
	}
	id := got.Snapshots[0].To
	compare(t, readSet(t, to, id), first)
	before, err := from.Snapshot(t.Context(), one)
	if err != nil {
		t.Fatal(err)
	}
	after, err := to.Snapshot(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	tags := append(slices.Clone(before.Tags), "copied-from="+from.ID()+"/"+one)
	if after.Tree != before.Tree || !after.Time.Equal(before.Time) || after.Hostname != before.Hostname || !slices.Equal(after.Tags, tags) || after.Original != one {
		t.Errorf("the copy is %+v, of %+v", after, before)
	}

	objects := names(t, to.bucket, "")
	if got := copyTo(t, from, to, one); got.Blobs != 0 || got.AddedBytes != 0 || len(got.Snapshots) != 1 || !got.Snapshots[0].There || got.Snapshots[0].To != id {
		t.Errorf("the second time: got %+v", got)
	}
	if after := names(t, to.bucket, ""); !slices.Equal(objects, after) {
		t.Errorf("before\n%v\nafter\n%v", objects, after)
	}

	more := copyTo(t, from, to, one, two)
	if len(more.Snapshots) != 2 || !more.Snapshots[0].There || more.Snapshots[1].There || more.Blobs > 6 {
		t.Errorf("got %+v", more)
	}
	compare(t, readSet(t, to, more.Snapshots[1].To), second)
	if back := copyTo(t, to, from, id); !back.Snapshots[0].There || back.Snapshots[0].To != one || back.Blobs != 0 {
		t.Errorf("the copy of a copy back: got %+v", back)
	}
	wantClean(t, check(t, to, CheckOptions{ReadData: true}))
	restic(t, toDir, "check", "--read-data")
	if left := append(names(t, from.bucket, "locks/"), names(t, to.bucket, "locks/")...); len(left) != 0 {
		t.Errorf("locks are left: %v", left)
	}

	// restic's own copy finds everything there but the snapshots, whose tags differ.
	bin, err := exec.LookPath("restic")
	if err != nil {
		t.Fatal("install restic: make deps")
	}
	cmd := exec.CommandContext(t.Context(), bin, "-r", toDir, "--no-cache", "copy", "--from-repo", fromDir)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+testPassword, "RESTIC_FROM_PASSWORD="+testPassword)
	packs := names(t, to.bucket, "data/")
	if out, err := cmd.CombinedOutput(); err != nil || !slices.Equal(packs, names(t, to.bucket, "data/")) {
		t.Errorf("restic copy: error %v\n%s", err, out)
	}
}

func TestCopyBetweenVersions(t *testing.T) {
	t.Parallel()
	src := filepath.Join(t.TempDir(), "src")
	want := set{"text": file(text(3_000_000, 3)), "sub": directory(), "sub/noise": file(noise(100_000, 4)), "sub/link": symlink("x")}
	writeDisk(t, src, want)
	old := filepath.Join(t.TempDir(), "version 1")
	restic(t, old, "init", "--repository-version", "1")
	restic(t, old, "backup", src)
	v1 := openDir(t, old)
	v2, dir := newDirRepository(t)
	for _, c := range []struct {
		from, to *Repository
		dir      string
	}{{v1, v2, dir}, {v2, v1, old}} {
		if c.from == v2 {
			id := backUp(t, v2, copySet())
			got := copyTo(t, v2, v1, id)
			compare(t, readSet(t, v1, got.Snapshots[0].To), copySet())
		} else {
			all, err := v1.Snapshots(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := copyTo(t, v1, v2, all[0].ID)
			to := t.TempDir()
			restic(t, dir, "restore", got.Snapshots[0].To, "--target", to)
			compare(t, readDisk(t, filepath.Join(to, src)), want)
		}
		wantClean(t, check(t, c.to, CheckOptions{ReadData: true}))
		restic(t, c.dir, "check", "--read-data")
	}
}

// TestCopyGoesOn fails a copy at each put: there is no copy then, but what was stored
// is not stored again.
func TestCopyGoesOn(t *testing.T) {
	t.Parallel()
	from := newRepository(t, mem.New())
	want := set{"pgdata/noise": file(noise(2*blockSize, 3)), "pgdata/text": file(text(100_000, 3)), "pgdata/sub/x": file([]byte("x"))}
	id := backUp(t, from, want)
	broken := holdfast.Errorf(holdfast.CodeExhausted, "the disk is full")
	for n := 1; ; n++ {
		inner := mem.New()
		to := newRepository(t, inner)
		_, err := from.Copy(t.Context(), to.on(fault.Wrap(inner, fault.On(fault.Put, n, broken))), CopyOptions{Snapshots: []string{id}})
		if err == nil {
			if n < 5 { // lock, a pack of data, one of trees, index, snapshot
				t.Errorf("it worked although put %d failed", n)
			}
			break
		}
		if !errors.Is(err, broken) {
			t.Errorf("put %d: got %v", n, err)
		}
		if left := names(t, inner, "snapshots/"); len(left) != 0 {
			t.Errorf("put %d failed, and there is %v", n, left)
		}
		packs := len(names(t, inner, "data/"))
		got := copyTo(t, from, to, id)
		if all := len(names(t, inner, "data/")); all > 2 || int(got.Packs) != all-packs {
			t.Errorf("after put %d: %d packs, then %d more, and %d in all", n, packs, got.Packs, all)
		}
		compare(t, readSet(t, to, got.Snapshots[0].To), want)
		wantClean(t, check(t, to, CheckOptions{ReadData: true}))
	}
}

func TestCopyIsWholeOrNotThere(t *testing.T) {
	t.Parallel()
	b := mem.New()
	from := newRepository(t, b)
	want := set{"pgdata/one": file(noise(300_000, 1)), "pgdata/two": file(noise(300_000, 2))}
	id := backUp(t, from, want)
	name := largest(t, from)
	whole := readObject(t, b, name)
	bad := bytes.Clone(whole)
	bad[1000] ^= 1
	replace := func(data []byte) {
		t.Helper()
		deleteObject(t, b, name)
		if data == nil {
			return
		}
		if err := b.Put(t.Context(), name, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range [][]byte{bad, whole[:1000], nil} {
		replace(data)
		to := newRepository(t, mem.New())
		got, err := from.Copy(t.Context(), to, CopyOptions{Snapshots: []string{id}})
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid && data != nil && len(data) == len(whole) || err == nil || len(got.Snapshots) != 0 {
			t.Errorf("%d bytes: got %+v, error %v", len(data), got, err)
		}
		if left := names(t, to.bucket, "snapshots/"); len(left) != 0 {
			t.Errorf("%d bytes: there is %v", len(data), left)
		}
	}
	replace(whole)
	to := newRepository(t, mem.New())
	got := copyTo(t, from, to, id)

	// What the other repository loses, another copy brings back, into the same snapshot.
	deleteObject(t, to.bucket, largest(t, to))
	if r := repairIndex(t, to, RepairIndexOptions{}); r.Lost() == 0 {
		t.Fatalf("got %+v", r)
	}
	again := copyTo(t, from, to, id)
	if again.Blobs == 0 || !again.Snapshots[0].There {
		t.Errorf("got %+v", again)
	}
	compare(t, readSet(t, to, got.Snapshots[0].To), want)
	wantClean(t, check(t, to, CheckOptions{ReadData: true}))

	if _, err := from.Copy(t.Context(), from, CopyOptions{Snapshots: []string{id}}); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("into itself: got %v", err)
	}
	if _, err := from.Copy(t.Context(), to, CopyOptions{Snapshots: []string{strings.Repeat("0", 64)}}); !errors.Is(err, ErrNoSnapshot) {
		t.Errorf("of no snapshot: got %v", err)
	}
}

// largest is the pack with the most bytes.
func largest(t testing.TB, r *Repository) string {
	t.Helper()
	sizes, err := r.packSizes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var name string
	var most int64
	for id, size := range sizes {
		if size > most {
			name, most = packName(id), size
		}
	}
	return name
}

// TestCopyTakesTheGoodPlace copies a piece that lies in two packs, of which one is bad.
func TestCopyTakesTheGoodPlace(t *testing.T) {
	t.Parallel()
	b := mem.New()
	from := newRepository(t, b)
	want := set{"pgdata/one": file(noise(blockSize+70_000, 1))}
	id := backUp(t, from, want)
	name := largest(t, from)
	data := readObject(t, b, name)
	blobs, err := pack.Parse(from.key, bytes.Clone(data))
	if err != nil {
		t.Fatal(err)
	}
	pid := hash.Sum([]byte("a second place"))
	x, err := from.loadIndex(t.Context(), refuseDamaged)
	if err != nil {
		t.Fatal(err)
	}
	x.Add(pid, blobs)
	bad := bytes.Clone(data)
	for _, blob := range blobs {
		bad[blob.Offset+20] ^= 1
	}
	deleteObject(t, b, name)
	if err := errors.Join(b.Put(t.Context(), name, bad), b.Put(t.Context(), packName(pid), data)); err != nil {
		t.Fatal(err)
	}
	w := newWriter(t, newRepository(t, mem.New()))
	c := &copier{Reader: &Reader{repo: from, index: x}, to: w, options: CopyOptions{Workers: 2}, seen: map[hash.ID]bool{}}
	s, err := from.Snapshot(t.Context(), id)
	if err == nil {
		err = c.copySnapshot(t.Context(), s)
	}
	if err != nil {
		t.Fatal(err)
	}
	compare(t, readSet(t, w.repo, c.result.Snapshots[0].To), want)
}
