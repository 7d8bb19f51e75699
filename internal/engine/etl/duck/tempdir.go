package duck

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// tempPrefix begins the names of children's directories.
const tempPrefix = "holdfast-etl-"

// unlocked is how long a directory that is being made may be without its lock.
const unlocked = time.Minute

// tempDir is a child's directory for what it spills. Its lock is held by the parent:
// a directory whose lock is free belongs to nobody that lives.
type tempDir struct {
	path string
	lock *os.File
}

// newTempDir makes a directory below root, and removes those that dead parents have
// left there.
func newTempDir(ctx context.Context, root string, log *slog.Logger) (*tempDir, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fail(err, "the directory for the engine's temporary files, %s, cannot be made", root)
	}
	sweep(ctx, root, log)
	path, err := os.MkdirTemp(root, tempPrefix)
	if err != nil {
		return nil, fail(err, "the directory for the engine's temporary files, %s, cannot be written", root)
	}
	lock, err := lockDir(path)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(path))
	}
	return &tempDir{path: path, lock: lock}, nil
}

// remove removes the directory with all that is in it. It may be called again.
func (d *tempDir) remove() error {
	_ = d.lock.Close() // before, so that what cannot be removed is swept out later; again, after the first call
	if err := os.RemoveAll(d.path); err != nil {
		return fail(err, "the engine's temporary files in %s cannot be removed", d.path)
	}
	return nil
}

// lockDir locks a directory without waiting.
func lockDir(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(err, "the engine's directory %s cannot be locked", path)
	}
	raw, err := f.SyscallConn()
	if err == nil {
		var locked error
		err = raw.Control(func(fd uintptr) { locked = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) })
		err = errors.Join(err, locked)
	}
	if err != nil {
		return nil, errors.Join(fail(err, "the engine's directory %s cannot be locked", path), f.Close())
	}
	return f, nil
}

// sweep removes directories that belong to nobody. What cannot be removed is told to
// the log: it is no reason not to start.
func sweep(ctx context.Context, root string, log *slog.Logger) {
	old, err := filepath.Glob(filepath.Join(root, tempPrefix+"*"))
	if err != nil {
		return // the pattern is ours; a root with special characters has no sweep
	}
	for _, path := range old {
		if info, err := os.Stat(path); err != nil || time.Since(info.ModTime()) < unlocked {
			continue
		}
		f, err := lockDir(path)
		if err != nil {
			continue // somebody's
		}
		if err := os.RemoveAll(path); err != nil {
			log.WarnContext(ctx, "temporary files of an engine that has died cannot be removed", "path", path, "error", err)
		} else {
			log.InfoContext(ctx, "removed temporary files of an engine that has died", "path", path)
		}
		_ = f.Close()
	}
}
