// Package ducktest builds holdfast-etl for tests that need the real engine.
package ducktest

import (
	"context"
	"fmt"
	"hash/fnv"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Binary returns the path of a holdfast-etl that is built from this tree, once for
// all tests of a user: the first build takes a minute.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build holdfast-etl: %v", err)
	}
	return path
}

// buildTimeout bounds a cold build on a busy machine.
const buildTimeout = 15 * time.Minute

var build = sync.OnceValues(func() (string, error) {
	_, self, _, ok := runtime.Caller(0)
	if !ok {
		return "", fmt.Errorf("the place of the sources is not known")
	}
	root := filepath.Join(filepath.Dir(self), "../../../../..")
	tree := fnv.New32a() // trees of other versions are tested beside this one
	_, _ = tree.Write([]byte(root))
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("holdfast-ducktest-%d-%x%s", os.Getuid(), tree.Sum32(), raceSuffix))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := touch(filepath.Join(root, "cmd/holdfast-etl")); err != nil {
		return "", err
	}
	lock, err := os.Open(dir)
	if err != nil {
		return "", err
	}
	defer func() { _ = lock.Close() }()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	path := filepath.Join(dir, "holdfast-etl")
	args := append([]string{"build"}, raceFlags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", path, ".")...)
	cmd.Dir = filepath.Join(root, "cmd/holdfast-etl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=-buildvcs=false")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w (it needs gcc and libc6-dev: make deps)\n%s", err, out)
	}
	return path, nil
})

// touch looks at the child's sources: go test then knows that a test's result depends
// on them.
func touch(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			_, err = os.Stat(path)
		}
		return err
	})
}
