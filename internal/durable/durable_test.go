package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/durable"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func TestCreateNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := durable.Create(path, []byte("one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Create(path, []byte("two"), 0o600); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that it exists", err)
	}
	holds(t, path, "one", 0o600)
}

func TestReplace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for _, content := range []string{"one", "two"} {
		if err := durable.Replace(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		holds(t, path, content, 0o644)
	}
}

func TestModeIsNotTheUmasks(t *testing.T) {
	old := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(old) })
	path := filepath.Join(t.TempDir(), "certificate")
	if err := durable.Replace(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	holds(t, path, "", 0o644)
}

func TestFailureLeavesTheOldFileAndNoOther(t *testing.T) {
	dir := testkit.SmallFS(t, 1<<20)
	path := filepath.Join(dir, "state")
	if err := durable.Replace(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.Replace(path, make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want that there is no room", err)
	}
	if err := durable.Create(filepath.Join(dir, "new"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v, want that there is no room", err)
	}
	holds(t, path, "old", 0o600)
}

func TestMkdirAll(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b", "c")
	for range 2 {
		if err := durable.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := durable.Create(filepath.Join(root, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := durable.MkdirAll(filepath.Join(root, "file", "d"), 0o700); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want that a file is in the way", err)
	}
}

// holds checks a file, and that it is alone in its directory.
func holds(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != content || info.Mode().Perm() != mode {
		t.Errorf("got %q with mode %o, want %q with mode %o", got, info.Mode().Perm(), content, mode)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("got %d files in the directory, want 1", len(entries))
	}
}
