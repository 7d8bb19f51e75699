package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

func TestKnownContentIsNotStoredAgain(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	s := set{"a": file(noise(3*blockSize+100, 1)), "b": file(noise(3*blockSize+100, 1)), "c": file(noise(1000, 2))}
	stats := func(s set) Stats {
		w := newWriter(t, r)
		for p, n := range s {
			if err := w.Add(t.Context(), n.file(p)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Commit(t.Context(), testCommit(), intendNothing); err != nil {
			t.Fatal(err)
		}
		got := w.Stats()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := stats(s)
	if got.Files != 3 || got.Blobs != 9 || got.NewBlobs != 5 || got.ReadBytes != 2*(3*blockSize+100)+1000 {
		t.Errorf("first run: %+v", got)
	}
	again := stats(s)
	if again.NewBlobs != 0 || again.Packs != 0 || again.AddedBytes != 0 || again.ReadBytes != got.ReadBytes {
		t.Errorf("second run: %+v", again)
	}
}

func TestLaterAddReplaces(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	w := newWriter(t, r)
	for _, f := range []engine.File{
		file([]byte("old")).file("a"), file([]byte("new")).file("a"),
		file([]byte("x")).file("b"), symlink("a").file("b"),
		directory().file("d"),
		{Node: engine.Node{Path: "d", Mode: fs.ModeDir | 0o711, ModTime: testTime}},
	} {
		if err := w.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, readSet(t, r, id), set{"a": file([]byte("new")), "b": symlink("a"), "d": {mode: fs.ModeDir | 0o711}})
}

// TestFilesThatChange: what vanishes is left out, what shrinks is stored as far
// as it goes, what grows is cut at its size.
func TestFilesThatChange(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	w := newWriter(t, r)
	var mu sync.Mutex
	results := map[string]engine.FileResult{}
	add := func(p string, size int, open func() (engine.Content, error)) {
		f := file(make([]byte, size)).file(p)
		f.Open = open
		f.Done = func(res engine.FileResult) {
			mu.Lock()
			defer mu.Unlock()
			if _, ok := results[p]; ok {
				t.Errorf("%s: Done was called twice", p)
			}
			results[p] = res
		}
		if err := w.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	of := func(data []byte) func() (engine.Content, error) {
		return func() (engine.Content, error) { return content{bytes.NewReader(data)}, nil }
	}
	data := noise(10*blockSize, 3)
	vanished := func() (engine.Content, error) { return nil, fmt.Errorf("open: %w", engine.ErrVanished) }
	add("vanished", 100, vanished)
	add("vanished large", 20*blockSize, vanished)
	add("vanished empty", 0, vanished)
	add("shrunk", 20*blockSize, of(data[:5*blockSize+77]))
	add("shrunk at a border", 20*blockSize, of(data[:5*blockSize]))
	add("shrunk to nothing", 20*blockSize, of(nil))
	add("shrunk small", 1000, of(data[:10]))
	add("grown", 1000, of(data))
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, readSet(t, r, id), set{
		"shrunk": file(data[:5*blockSize+77]), "shrunk at a border": file(data[:5*blockSize]),
		"shrunk to nothing": file(nil), "shrunk small": file(data[:10]), "grown": file(data[:1000]),
	})
	if len(results) != 8 || !results["vanished large"].Vanished || results["shrunk"].Size != 5*blockSize+77 || results["grown"].Size != 1000 {
		t.Errorf("got %v", results)
	}
}

func TestInspectSeesEachByteOnceAndCorrects(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	w := newWriter(t, r)
	size := 9*blockSize + 8192 + 100
	data := bytes.Repeat([]byte{1}, size)
	seen := make([]atomic.Int32, (size+8191)/8192)
	f := file(data).file("a")
	f.Inspect = func(offset int64, block []byte) error {
		if offset%8192 != 0 || (len(block)%8192 != 0 && offset+int64(len(block)) != int64(size)) {
			return fmt.Errorf("a block of %d bytes at %d", len(block), offset)
		}
		for i := range (len(block) + 8191) / 8192 {
			seen[int(offset/8192)+i].Add(1)
		}
		for i := range block {
			block[i] = 2
		}
		return nil
	}
	if err := w.Add(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	for i := range seen {
		if seen[i].Load() != 1 {
			t.Fatalf("page %d was seen %d times", i, seen[i].Load())
		}
	}
	compare(t, readSet(t, r, id), set{"a": file(bytes.Repeat([]byte{2}, size))})
}

// closeCounter counts files that are open.
type closeCounter struct {
	engine.Content
	open *atomic.Int32
}

func (c closeCounter) Close() error {
	c.open.Add(-1)
	return c.Content.Close()
}

type failingContent struct{ err error }

func (f failingContent) ReadAt([]byte, int64) (int, error) { return 0, f.err }
func (f failingContent) Close() error                      { return nil }

func TestFirstErrorStays(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for name, spoil := range map[string]func(*engine.File){
		"open":    func(f *engine.File) { f.Open = func() (engine.Content, error) { return nil, broken } },
		"read":    func(f *engine.File) { f.Open = func() (engine.Content, error) { return failingContent{broken}, nil } },
		"inspect": func(f *engine.File) { f.Inspect = func(int64, []byte) error { return broken } },
	} {
		t.Run(name, func(t *testing.T) {
			b := mem.New()
			r := newRepository(t, b)
			w := newWriter(t, r)
			var open atomic.Int32
			for i := range 50 {
				f := file(noise(3*blockSize, uint64(i))).file(fmt.Sprint(i))
				inner := f.Open
				f.Open = func() (engine.Content, error) {
					c, err := inner()
					open.Add(1)
					return closeCounter{c, &open}, err
				}
				if i == 25 {
					spoil(&f)
				}
				if err := w.Add(t.Context(), f); err != nil && !errors.Is(err, broken) {
					t.Fatal(err)
				}
			}
			if err := w.Flush(t.Context()); !errors.Is(err, broken) {
				t.Errorf("Flush says %v", err)
			}
			if err := w.Add(t.Context(), file(nil).file("late")); !errors.Is(err, broken) {
				t.Errorf("Add says %v", err)
			}
			if _, err := w.Commit(t.Context(), testCommit(), intendNothing); !errors.Is(err, broken) {
				t.Errorf("Commit says %v", err)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
			if open.Load() != 0 {
				t.Errorf("%d files are still open", open.Load())
			}
			if left := append(names(t, b, "snapshots/"), names(t, b, "locks/")...); len(left) != 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestBadPathsAreRefused(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	for _, p := range []string{"", "/a", "../a", "a/../b", "a/", ".", "..", "a//b", "a\x00b", string(bytes.Repeat([]byte("d/"), 300)) + "f"} {
		w := newWriter(t, r)
		wantError(t, w.Add(t.Context(), file(nil).file(p)), holdfast.CodeInvalid, "")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w := newWriter(t, r)
	for _, p := range []string{"a", "a/b"} {
		if err := w.Add(t.Context(), file(nil).file(p)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Commit(t.Context(), testCommit(), intendNothing)
	wantError(t, err, holdfast.CodeInvalid, `"a"`)
}

func TestIntendDecides(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	s := set{"a": file(noise(blockSize, 1))}
	refused := errors.New("the fence is old")
	w := newWriter(t, r)
	for p, n := range s {
		if err := w.Add(t.Context(), n.file(p)); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Commit(t.Context(), testCommit(), func(context.Context, string) error {
		if len(names(t, b, "index/")) != 1 || len(names(t, b, "data/")) != 2 || len(names(t, b, "snapshots/")) != 0 {
			t.Error("intend is called before packs and index are durable, or after the snapshot")
		}
		return refused
	})
	if !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if _, err := w.Commit(t.Context(), testCommit(), intendNothing); err == nil {
		t.Error("a second commit worked")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left := names(t, b, "snapshots/"); len(left) != 0 {
		t.Errorf("a snapshot was written: %v", left)
	}

	w = newWriter(t, r)
	var intended string
	id, err := w.Commit(t.Context(), testCommit(), func(_ context.Context, id string) error { intended = id; return nil })
	if err != nil || id != intended {
		t.Errorf("intended %q, got %q, error %v", intended, id, err)
	}
	if err := w.Add(t.Context(), file(nil).file("late")); err == nil {
		t.Error("a file was added after the commit")
	}
}

// TestAnInterruptedRunIsFoundByTheNext: what was put is in the index soon, so
// that a run that is killed does not begin from nothing.
func TestAnInterruptedRunIsFoundByTheNext(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	ctx, cancel := context.WithCancel(t.Context())
	w, err := r.NewWriter(ctx, WriterOptions{Holder: "test", Workers: 2, IndexEvery: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * packSize / blockSize { // three packs and a little
		if err := w.Add(t.Context(), file(noise(blockSize, uint64(i))).file(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	listed := 0
	for deadline := time.Now().Add(30 * time.Second); listed < 2 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		x, err := r.loadIndex(t.Context(), refuseDamaged)
		if err != nil {
			t.Fatal(err)
		}
		listed = x.Packs()
	}
	if listed < 2 {
		t.Errorf("the index lists %d packs while the writer works", listed)
	}
	cancel()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := w.Add(t.Context(), file(nil).file("late")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCancelledAddFailsTheWriter(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	w := newWriter(t, r)
	blocked := make(chan struct{})
	f := file(nil).file("blocks")
	f.Open = func() (engine.Content, error) { <-blocked; return nil, engine.ErrVanished }
	for i := range 2 { // both workers
		f.Path = fmt.Sprint("blocks ", i)
		if err := w.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	big := file(make([]byte, (queueLen+10)*taskBlocks*blockSize)).file("big")
	if err := w.Add(ctx, big); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	close(blocked)
	if _, err := w.Commit(t.Context(), testCommit(), intendNothing); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Commit says %v", err)
	}
}

// TestLargeTree: a directory whose listing is larger than a pack's buffer.
func TestLargeTree(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	w := newWriter(t, r)
	const files = 60_000
	for i := range files {
		f := file(noise(8, uint64(i))).file(fmt.Sprintf("d/%x", noise(120, uint64(i))))
		if err := w.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	id := finish(t, w)
	restic(t, dir, "check", "--read-data")
	rd, err := r.NewReader(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rd.Close() }()
	n := 0
	if err := rd.Walk(t.Context(), func(engine.Node) error { n++; return nil }); err != nil || n != files+1 {
		t.Errorf("got %d nodes, error %v", n, err)
	}
}
