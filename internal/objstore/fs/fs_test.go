package fs_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func open(t *testing.T, dir string) *fs.Bucket {
	t.Helper()
	b, err := fs.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func put(t *testing.T, b *fs.Bucket, name, data string) {
	t.Helper()
	if err := b.Put(t.Context(), name, []byte(data)); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func names(t *testing.T, b *fs.Bucket) []string {
	t.Helper()
	var all []string
	err := b.List(t.Context(), "", func(i objstore.Info) error {
		all = append(all, i.Name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantCode(t *testing.T, what string, err error, want holdfast.Code) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != want {
		t.Errorf("%s: got code %q (%v), want %q", what, got, err, want)
	}
}

func TestBucket(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
		t.Helper()
		return open(t, t.TempDir())
	})
}

func TestOpenNeedsADirectory(t *testing.T) {
	dir := t.TempDir()
	_, err := fs.Open(filepath.Join(dir, "missing"))
	wantCode(t, "open what is missing", err, holdfast.CodeNotFound)
	if holdfast.ErrorHint(err) == "" {
		t.Error("the error does not say what to do")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = fs.Open(file)
	wantCode(t, "open a file", err, holdfast.CodeInvalid)
	_, err = fs.Create(filepath.Join(file, "below"))
	wantCode(t, "create below a file", err, holdfast.CodeInvalid)
}

func TestEverythingIsItsOwnersAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	put(t, open(t, dir), "data/ab/abc", "x")
	for path, want := range map[string]os.FileMode{
		"..": 0o700, ".": 0o700, "data": 0o700, "data/ab": 0o700, "data/ab/abc": 0o600,
	} {
		fi, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %o, want %o", path, got, want)
		}
	}
}

func TestLinksDoNotLeadOut(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := open(t, dir)
	put(t, b, "data/ab/abc", "x")
	for link, target := range map[string]string{"out": outside, "data/up": "../..", "data/ab/file": secret, "data/ab/in": "abc"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"out/secret", "data/ab/file", "data/ab/in"} {
		if r, err := b.Get(t.Context(), name, 0, -1); err == nil {
			t.Errorf("get %s reads", name)
			_ = r.Close()
		}
		if _, err := b.Stat(t.Context(), name); err == nil {
			t.Errorf("stat %s finds an object", name)
		}
	}
	for _, name := range []string{"out/new", "data/up/new"} {
		if err := b.Put(t.Context(), name, nil); err == nil {
			t.Errorf("put %s writes", name)
		}
	}
	if err := b.Delete(t.Context(), "out/secret"); err == nil {
		t.Error("delete out/secret: got no error")
	}
	if got := names(t, b); !slices.Equal(got, []string{"data/ab/abc"}) {
		t.Errorf("got %q, want the object alone", got)
	}
	if got, err := os.ReadDir(outside); err != nil || len(got) != 1 {
		t.Errorf("outside: got %v, %v, want what was there", got, err)
	}
}

func TestWhatIsNoObjectIsNotFound(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	put(t, b, "data/ab/abc", "x")
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil { // opening it would wait for a writer
		t.Fatal(err)
	}
	for _, name := range []string{"pipe", "data", "data/ab"} {
		_, err := b.Get(t.Context(), name, 0, -1)
		wantCode(t, "get "+name, err, holdfast.CodeNotFound)
		if err := b.Delete(t.Context(), name); err != nil {
			t.Errorf("delete %s: %v", name, err)
		}
	}
	for _, path := range []string{"pipe", "data/ab"} {
		if _, err := os.Lstat(filepath.Join(dir, path)); err != nil {
			t.Errorf("delete took away what is no object: %v", err)
		}
	}
	wantCode(t, "put data", b.Put(t.Context(), "data", nil), holdfast.CodeConflict)
	wantCode(t, "put data/ab/abc/d", b.Put(t.Context(), "data/ab/abc/d", nil), holdfast.CodeConflict)
	wantCode(t, "put a long part", b.Put(t.Context(), strings.Repeat("n", 300), nil), holdfast.CodeInvalid)
}

func TestTwoBucketsInOneDirectory(t *testing.T) {
	dir := t.TempDir()
	const racers = 8
	var won atomic.Int64
	var wg sync.WaitGroup
	for i := range racers {
		b := open(t, dir)
		wg.Go(func() {
			switch err := b.Put(t.Context(), "locks/one", []byte{byte(i)}); holdfast.ErrorCode(err) {
			case "":
				won.Add(1)
			case holdfast.CodeConflict:
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d buckets have put one name, want 1", won.Load())
	}
	if got := findTemps(t, dir); len(got) != 0 {
		t.Errorf("the losers left %q", got)
	}
}

func TestADirectoryThatGoesIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	put(t, b, "locks/1", "x")
	if err := os.RemoveAll(filepath.Join(dir, "locks")); err != nil {
		t.Fatal(err)
	}
	put(t, b, "locks/2", "x")
	if got := names(t, b); !slices.Equal(got, []string{"locks/2"}) {
		t.Errorf("got %q, want the new object", got)
	}
}

func TestAFullDiskIsExhausted(t *testing.T) {
	dir := testkit.SmallFS(t, 1<<20)
	b := open(t, dir)
	data := make([]byte, 300<<10)
	var err error
	n := 0
	for ; err == nil; n++ {
		err = b.Put(t.Context(), fmt.Sprintf("data/%02x/pack", n), data)
	}
	wantCode(t, "put to a full disk", err, holdfast.CodeExhausted)
	if hint := holdfast.ErrorHint(err); !strings.Contains(hint, dir) {
		t.Errorf("the hint %q does not say where", hint)
	}
	if got := names(t, b); len(got) != n-1 {
		t.Errorf("got %d objects, want the %d that were put", len(got), n-1)
	}
	if got := findTemps(t, dir); len(got) != 0 {
		t.Errorf("the failed put left %q", got)
	}
	// Room for what is urgent is there again once something is deleted.
	if err := b.Delete(t.Context(), "data/00/pack"); err != nil {
		t.Errorf("delete on a full disk: %v", err)
	}
	put(t, b, "data/00/pack", "small")
}

func TestAShrunkObjectIsAnErrorOfRead(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	put(t, b, "data/ab/abc", strings.Repeat("x", 10000))
	r, err := b.Get(t.Context(), "data/ab/abc", 5000, 4000)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := os.Truncate(filepath.Join(dir, "data/ab/abc"), 6000); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 1000 {
		t.Errorf("got %d bytes and %v, want 1000 and an unexpected end", len(got), err)
	}
}

// TestNoRightsAreForbidden gives up the rights of this one thread: root may do
// everything otherwise.
func TestNoRightsAreForbidden(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	put(t, b, "data/ab/abc", "x")
	for _, path := range []string{"data/ab/abc", "data/ab"} {
		if err := os.Chmod(filepath.Join(dir, path), 0); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := os.Chmod(filepath.Join(dir, "data/ab"), 0o700); err != nil {
			t.Error(err)
		}
	})
	type result struct {
		what string
		err  error
	}
	results := make(chan result)
	go func() {
		defer close(results)
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if os.Geteuid() == 0 {
			if err := unix.Setfsuid(65534); err != nil {
				results <- result{"give up root's rights", err}
				return
			}
		}
		_, err := b.Get(t.Context(), "data/ab/abc", 0, -1)
		results <- result{"get", err}
		_, err = b.Stat(t.Context(), "data/ab/abc")
		results <- result{"stat", err}
		results <- result{"put", b.Put(t.Context(), "data/ab/abd", nil)}
		results <- result{"delete", b.Delete(t.Context(), "data/ab/abc")}
		results <- result{"list", b.List(t.Context(), "", func(objstore.Info) error { return nil })}
	}()
	n := 0
	for r := range results {
		n++
		wantCode(t, r.what, r.err, holdfast.CodeForbidden)
		if hint := holdfast.ErrorHint(r.err); !strings.Contains(hint, dir) {
			t.Errorf("%s: the hint %q does not say where", r.what, hint)
		}
	}
	if n != 5 {
		t.Errorf("got %d results, want 5", n)
	}
}

func TestNoFileStaysOpen(t *testing.T) {
	count := func() int {
		t.Helper()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	b := open(t, t.TempDir())
	put(t, b, "data/ab/first", "x")
	before := count()
	for i := range 50 {
		name := fmt.Sprintf("data/%02x/%d", i, i)
		put(t, b, name, "x")
		wantCode(t, "put again", b.Put(t.Context(), name, nil), holdfast.CodeConflict)
		_, err := b.Get(t.Context(), name, 5, 5)
		wantCode(t, "get a bad range", err, holdfast.CodeInvalid)
		if _, err := objstore.ReadAll(t.Context(), b, name, 10); err != nil {
			t.Error(err)
		}
		if err := b.Delete(t.Context(), name); err != nil {
			t.Error(err)
		}
		if err := b.Delete(t.Context(), "never/was"); err != nil {
			t.Error(err)
		}
		names(t, b)
	}
	if after := count(); after > before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}
