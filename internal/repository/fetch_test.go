package repository

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

func newReader(t testing.TB, r *Repository, id string) *Reader {
	t.Helper()
	rd, err := r.NewReader(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rd.Close() })
	return rd
}

func TestReadFile(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	want := oddSet()
	rd := newReader(t, r, backUp(t, r, want))
	for p, n := range want {
		if !n.isRegular() {
			_, err := rd.ReadFile(t.Context(), p, 1<<20)
			wantError(t, err, holdfast.CodeNotFound, "")
			continue
		}
		got, err := rd.ReadFile(t.Context(), p, int64(len(n.data)))
		if err != nil || !bytes.Equal(got, n.data) {
			t.Errorf("%q: got %d bytes, error %v", p, len(got), err)
		}
		if len(n.data) > 0 {
			_, err = rd.ReadFile(t.Context(), p, int64(len(n.data))-1)
			wantError(t, err, holdfast.CodeInvalid, "more than")
		}
	}
	for _, p := range []string{"", "nothing", "pgdata/nothing", "pgdata/a/b/c", "pgdata/link/x", "/pgdata/a/b", "pgdata/../pgdata/a/b"} {
		_, err := rd.ReadFile(t.Context(), p, 1<<20)
		wantError(t, err, holdfast.CodeNotFound, "no file")
	}
}

func TestWalkStopsAtAnError(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	rd := newReader(t, r, backUp(t, r, oddSet()))
	enough := errors.New("enough")
	n := 0
	err := rd.Walk(t.Context(), func(engine.Node) error {
		if n++; n == 5 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 5 {
		t.Errorf("got %d nodes, error %v", n, err)
	}
}

// TestFetchGoesOn: what an interrupted restore has written already is kept, and
// what is wrong, short or too long is put right.
func TestFetchGoesOn(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	data := noise(5*blockSize+1234, 1)
	copy(data[blockSize:2*blockSize], make([]byte, blockSize))
	rd := newReader(t, r, backUp(t, r, set{"a": file(data)}))
	wrong := bytes.Clone(data)
	wrong[3*blockSize+5] ^= 1
	wrong[blockSize+5] = 1 // where zeros belong
	for name, c := range map[string]struct {
		before []byte
		writes int
	}{
		"new":      {nil, 5}, // the block of zeros is a hole
		"whole":    {data, 0},
		"wrong":    {wrong, 2},
		"short":    {data[:2*blockSize+10], 4},
		"too long": {append(bytes.Clone(data), 1, 2, 3), 0},
	} {
		f := &memFile{data: bytes.Clone(c.before)}
		var progress atomic.Int64
		err := rd.Fetch(t.Context(), []engine.Target{{
			Path: "a", Open: func() (engine.TargetFile, error) { return f, nil },
			Progress: func(n int64) { progress.Add(n) },
		}})
		if err != nil || !bytes.Equal(f.data, data) || !f.closed || !f.synced {
			t.Errorf("%s: %d bytes, closed %v, error %v", name, len(f.data), f.closed, err)
		}
		if f.writes != c.writes || progress.Load() != int64(len(data)) {
			t.Errorf("%s: %d writes, progress %d", name, f.writes, progress.Load())
		}
	}
}

// TestFetchVerifiesEachBlob gives one blob after the other the bytes of its neighbour,
// of the same size and sealed as well: only its name says that they are wrong. The place
// that the index knows has the right ones.
func TestFetchVerifiesEachBlob(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	data := noise(10*blockSize+100, 1)
	for at := 0; at < 5*blockSize; at += 8 { // half of the blobs are compressed
		copy(data[at:], make([]byte, 4))
	}
	rd := newReader(t, r, backUp(t, r, set{"a": file(data)}))
	for lying := range 9 {
		f := &memFile{}
		b := newBatch(rd)
		err := rd.walk(t.Context(), rd.snapshot.Tree, "", 0, func(_ string, n node) (bool, error) {
			return false, b.add(n, &engine.Target{Path: "a", Open: func() (engine.TargetFile, error) { return f, nil }})
		})
		if err != nil || len(b.blobs) != 11 {
			t.Fatalf("%d blobs, error %v", len(b.blobs), err)
		}
		x, y := &b.blobs[lying], b.blobs[lying+1]
		x.Pack, x.Offset, x.Length, x.Raw = y.Pack, y.Offset, y.Length, y.Raw
		if err := b.run(t.Context()); err != nil || !bytes.Equal(f.data, data) {
			t.Errorf("blob %d: %d bytes, error %v", lying, len(f.data), err)
		}
	}
}

// TestFetchReadsWhatIsSharedOnce: a block that many files hold comes once.
func TestFetchReadsWhatIsSharedOnce(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New())
	r := newRepository(t, b)
	s := set{}
	for i := range 40 {
		s[fmt.Sprintf("d/%d", i)] = file(noise(2*blockSize, 1))
	}
	rd := newReader(t, r, backUp(t, r, s))
	var targets []engine.Target
	for p := range s {
		targets = append(targets, engine.Target{Path: p, Open: func() (engine.TargetFile, error) { return &memFile{}, nil }})
	}
	before := b.Calls(fault.Get)
	if err := rd.Fetch(t.Context(), targets); err != nil {
		t.Fatal(err)
	}
	if got := b.Calls(fault.Get) - before; got > 3 { // two trees and one range
		t.Errorf("%d reads", got)
	}
}

// TestFetchBoundsOpenFiles: however many files there are, few are open at once.
func TestFetchBoundsOpenFiles(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	s := set{}
	for i := range 3 * batchOpen {
		s[fmt.Sprintf("large %d", i)] = file(text(wholeFile+1, uint64(i)%50))
		s[fmt.Sprintf("larger %d", i)] = file(append(text(blockSize, uint64(i)%7), text(i, uint64(i))...))
		s[fmt.Sprintf("small %d", i)] = file(text(100, uint64(i)))
	}
	rd := newReader(t, r, backUp(t, r, s))
	var mu sync.Mutex
	open, most := 0, 0
	files := map[string]*countedFile{}
	var targets []engine.Target
	for p := range s {
		targets = append(targets, engine.Target{Path: p, Open: func() (engine.TargetFile, error) {
			mu.Lock()
			defer mu.Unlock()
			open++
			most = max(most, open)
			f := &countedFile{onClose: func() {
				mu.Lock()
				defer mu.Unlock()
				open--
			}}
			files[p] = f
			return f, nil
		}})
	}
	if err := rd.Fetch(t.Context(), targets); err != nil {
		t.Fatal(err)
	}
	for p, f := range files {
		if !bytes.Equal(f.data, s[p].data) {
			t.Errorf("%q differs", p)
		}
	}
	if open != 0 || len(files) != len(s) || most > batchOpen+16 {
		t.Errorf("%d of %d files were opened, %d at once, %d are still open", len(files), len(s), most, open)
	}
}

type countedFile struct {
	memFile
	onClose func()
}

func (f *countedFile) Close() error {
	f.onClose()
	return f.memFile.Close()
}

// brokenFile fails in one call.
type brokenFile struct {
	memFile
	truncate, write, sync, close error
}

func (f *brokenFile) Truncate(n int64) error { return errors.Join(f.memFile.Truncate(n), f.truncate) }
func (f *brokenFile) Sync() error            { return errors.Join(f.memFile.Sync(), f.sync) }
func (f *brokenFile) Close() error           { return errors.Join(f.memFile.Close(), f.close) }

func (f *brokenFile) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		return 0, f.write
	}
	return f.memFile.WriteAt(p, off)
}

func TestFetchReportsTheTargetsErrors(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	rd := newReader(t, r, backUp(t, r, set{"a": file(noise(3*blockSize, 1)), "b": file(noise(3*blockSize, 2)), "empty": file(nil)}))
	full := errors.New("the disk is full")
	for name, f := range map[string]*brokenFile{
		"truncate": {truncate: full}, "write": {write: full}, "sync": {sync: full}, "close": {close: full},
	} {
		other := &memFile{}
		err := rd.Fetch(t.Context(), []engine.Target{
			{Path: "a", Open: func() (engine.TargetFile, error) { return f, nil }},
			{Path: "b", Open: func() (engine.TargetFile, error) { return other, nil }},
		})
		if !errors.Is(err, full) || !f.closed || (other.data != nil && !other.closed) {
			t.Errorf("%s: closed %v, error %v", name, f.closed, err)
		}
	}
	for _, p := range []string{"a", "empty"} {
		err := rd.Fetch(t.Context(), []engine.Target{{Path: p, Open: func() (engine.TargetFile, error) { return nil, full }}})
		if !errors.Is(err, full) {
			t.Errorf("%s: got %v", p, err)
		}
	}
	never := func() (engine.TargetFile, error) { t.Error("opened"); return nil, full }
	wantError(t, rd.Fetch(t.Context(), []engine.Target{{Path: "none", Open: never}}), holdfast.CodeNotFound, "none")
	wantError(t, rd.Fetch(t.Context(), []engine.Target{{Path: "a", Open: never}, {Path: "a", Open: never}}), holdfast.CodeInvalid, "twice")
	if err := rd.Fetch(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// TestFetchOverWhatCannotBeRead: a disk that does not give back what lies there is no
// reason to take it for zeros.
func TestFetchOverWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	for name, data := range map[string][]byte{
		"one block": make([]byte, 3000),
		"several":   append(make([]byte, 2*blockSize), noise(blockSize, 1)...),
	} {
		rd := newReader(t, r, backUp(t, r, set{"a": file(data)}))
		f := &unreadableFile{memFile{data: noise(len(data), 2)}}
		if err := rd.Fetch(t.Context(), []engine.Target{{Path: "a", Open: func() (engine.TargetFile, error) { return f, nil }}}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.data, data) {
			t.Errorf("%s: what lay there before is still there", name)
		}
	}
}

// unreadableFile has content that nobody can read.
type unreadableFile struct{ memFile }

func (*unreadableFile) ReadAt([]byte, int64) (int, error) { return 0, syscall.EIO }

// TestHostileTrees: names that would leave the directory, sizes that do not fit,
// trees without an end.
func TestHostileTrees(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ tree, words string }{
		"parent":        {`{"nodes":[{"name":"..","type":"dir","mtime":"2026-01-01T00:00:00Z","atime":"2026-01-01T00:00:00Z","uid":0,"gid":0,"content":null}]}`, "not the name"},
		"slash":         {`{"nodes":[{"name":"a/b","type":"file"}]}`, "not the name"},
		"escaped slash": {`{"nodes":[{"name":"a\\x2fb","type":"file"}]}`, "not the name"},
		"zero byte":     {`{"nodes":[{"name":"a\\x00","type":"file"}]}`, "not the name"},
		"empty":         {`{"nodes":[{"name":"","type":"file"}]}`, "not the name"},
		"bad quotes":    {`{"nodes":[{"name":"a\\q","type":"file"}]}`, "quoted"},
		"twice":         {`{"nodes":[{"name":"a","type":"file"},{"name":"a","type":"symlink"}]}`, "after"},
		"no subtree":    {`{"nodes":[{"name":"a","type":"dir"}]}`, "no tree"},
		"huge":          {`{"nodes":[{"name":"a","type":"file","size":18446744073709551615}]}`, "size"},
		"no type":       {`{"nodes":[{"name":"a"}]}`, "no type"},
		"link":          {`{"nodes":[{"name":"a","type":"symlink","linktarget":"a\u0000b"}]}`, "zero byte"},
		"no end":        {`{"nodes":[{"name":"a","type":"file"}`, "JSON"},
		"no tree":       {`[]`, "JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			err := parseTree(bytes.NewReader([]byte(c.tree)), func(node) error { return nil })
			wantError(t, err, holdfast.CodeInvalid, c.words)
		})
	}
}
