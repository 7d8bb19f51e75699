package repository

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	objfs "github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

const testPassword = "correct horse"

var testTime = time.Date(2026, 3, 1, 12, 30, 15, 123456789, time.UTC)

func testSecret() holdfast.Secret { return holdfast.NewSecret(testPassword) }

// newRepository makes a repository with a key that costs nothing to derive.
func newRepository(t testing.TB, b objstore.Bucket) *Repository {
	t.Helper()
	r, err := create(t.Context(), b, systemClock(), crypt.Params{N: 16, R: 8, P: 1}, []holdfast.Secret{testSecret()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newDirRepository makes a repository in a directory, for the stock restic.
func newDirRepository(t testing.TB) (*Repository, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	b, err := objfs.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return newRepository(t, b), dir
}

func openDir(t testing.TB, dir string) *Repository {
	t.Helper()
	b, err := objfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), b, testSecret())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// restic runs the stock restic on the repository and returns what it prints.
func restic(t testing.TB, repo string, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("restic")
	if err != nil {
		t.Fatal("install restic: make deps")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, append([]string{"-r", repo, "--no-cache"}, args...)...)
	cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+testPassword)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("restic %v: %v\n%s%s", args, err, out.Bytes(), errs.Bytes())
	}
	return out.String()
}

// content is a file in memory.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

// set is the files of a backup set, by path; directories have no data.
type set map[string]testNode

type testNode struct {
	mode fs.FileMode
	data []byte
	link string
}

func file(data []byte) testNode    { return testNode{mode: 0o640, data: data} }
func directory() testNode          { return testNode{mode: fs.ModeDir | 0o750} }
func symlink(to string) testNode   { return testNode{mode: fs.ModeSymlink | 0o777, link: to} }
func (n testNode) isRegular() bool { return n.mode.IsRegular() }

func (n testNode) file(p string) engine.File {
	f := engine.File{Node: engine.Node{
		Path: p, Mode: n.mode, ModTime: testTime, UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		Size: int64(len(n.data)), Link: n.link,
	}}
	if n.isRegular() {
		f.Open = func() (engine.Content, error) { return content{bytes.NewReader(n.data)}, nil }
	}
	return f
}

func newWriter(t testing.TB, r *Repository) *Writer {
	t.Helper()
	w, err := r.NewWriter(t.Context(), WriterOptions{Holder: "test/writer", Hostname: "testhost", Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func intendNothing(context.Context, string) error { return nil }

// backUp stores the set and returns the snapshot's id.
func backUp(t testing.TB, r *Repository, s set) string {
	t.Helper()
	w := newWriter(t, r)
	for p, n := range s {
		if err := w.Add(t.Context(), n.file(p)); err != nil {
			t.Fatal(err)
		}
	}
	return finish(t, w)
}

// finish commits what was added, and returns the snapshot's id.
func finish(t testing.TB, w *Writer) string {
	t.Helper()
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return id
}

func testCommit() Commit {
	return Commit{Time: testTime, Hostname: "testhost", Username: "tester", Tags: []string{"set=1001"}, Paths: []string{"/pgdata"}}
}

// memFile is a restored file in memory.
type memFile struct {
	mu     sync.Mutex
	data   []byte
	writes int
	closed bool
	synced bool
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if off+int64(len(p)) > int64(len(f.data)) {
		return 0, errors.New("write beyond the size")
	}
	f.writes++
	return copy(f.data[off:], p), nil
}

func (f *memFile) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	data := make([]byte, size)
	copy(data, f.data)
	f.data = data
	return nil
}

func (f *memFile) Sync() error { f.synced = true; return nil }

func (f *memFile) Close() error {
	if f.closed {
		return errors.New("closed twice")
	}
	f.closed = true
	return nil
}

// readSet reads a whole snapshot back.
func readSet(t testing.TB, r *Repository, snapshot string) set {
	t.Helper()
	rd, err := r.NewReader(t.Context(), snapshot)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := rd.Close(); err != nil {
			t.Error(err)
		}
	}()
	got := set{}
	files := map[string]*memFile{}
	var targets []engine.Target
	err = rd.Walk(t.Context(), func(n engine.Node) error {
		if _, ok := got[path.Dir(n.Path)]; !ok && path.Dir(n.Path) != "." {
			t.Errorf("%q comes before its parent", n.Path)
		}
		got[n.Path] = testNode{mode: n.Mode, link: n.Link}
		if n.Mode.IsRegular() {
			f := &memFile{}
			files[n.Path] = f
			targets = append(targets, engine.Target{Path: n.Path, Open: func() (engine.TargetFile, error) { return f, nil }})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := rd.Fetch(t.Context(), targets); err != nil {
		t.Fatal(err)
	}
	for p, f := range files {
		if !f.closed || !f.synced {
			t.Errorf("%q: closed %v, synced %v", p, f.closed, f.synced)
		}
		n := got[p]
		n.data = f.data
		got[p] = n
	}
	return got
}

// compare checks that got holds what want holds; parents that want does not
// name may come with it.
func compare(t testing.TB, got, want set) {
	t.Helper()
	for p, w := range want {
		g, ok := got[p]
		switch {
		case !ok:
			t.Errorf("%q is missing", p)
		case g.mode != w.mode:
			t.Errorf("%q: got mode %v, want %v", p, g.mode, w.mode)
		case g.link != w.link:
			t.Errorf("%q: got link %q, want %q", p, g.link, w.link)
		case !bytes.Equal(g.data, w.data):
			t.Errorf("%q: the content of %d bytes differs from the %d stored", p, len(g.data), len(w.data))
		}
	}
	for p, g := range got {
		if _, ok := want[p]; !ok && g.mode != missingDirMode {
			t.Errorf("%q (%v) was not stored", p, g.mode)
		}
	}
}
