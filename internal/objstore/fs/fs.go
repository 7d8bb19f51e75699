// Package fs keeps objects as files below one directory. A name is a path below
// it, so a repository in restic's layout is a directory that restic opens.
//
// # Durability
//
// Put writes a temporary file beside the object's place, syncs it, gives it the
// object's name in one step that fails when the name is taken, and syncs the
// directory. A crash leaves at most a temporary file, whose name ends in -tmp-
// and sixteen hexadecimal digits: List passes over it, restic ignores it, and a
// later Put into the same directory removes it when it is a day older than what
// is written then, both by the file system's own clock.
//
// List syncs the directories that it reads before it shows what is in them. Else
// one writer could count on an object of another that was killed before its sync,
// and a power cut would take the object from under what was acknowledged.
//
// # Names
//
// A name that is also the beginning of another name, up to a slash, can not
// exist beside it: one is a file and the other a directory. Paths never lead out
// of the directory, whatever links lie in it.
package fs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Modes of what a bucket makes: everything in it is its owner's alone.
const (
	fileMode = 0o600
	dirMode  = 0o700
)

// Bucket is an [objstore.Bucket] in a directory.
type Bucket struct {
	dir    string
	root   *os.Root
	around func(Step, func() error) error // nil: steps are made as they are

	mu    sync.Mutex          // guards the fields below
	ready map[string]struct{} // directories that are known to survive a power cut
}

// Open opens a bucket in an existing directory.
func Open(dir string, options ...Option) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the directory %q has no absolute path", dir)
	}
	if fi, err := os.Stat(dir); err == nil && !fi.IsDir() {
		return nil, fail(dir, &fs.PathError{Op: "open", Path: dir, Err: syscall.ENOTDIR}, "open directory %s", dir)
	}
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, holdfast.Wrap(holdfast.CodeNotFound, err, "there is no directory %s", dir).
			WithHint("mount the file system that holds it, or say where the directory is now")
	}
	if err != nil {
		return nil, fail(dir, err, "open directory %s", dir)
	}
	b := newBucket(dir, options)
	b.root = root
	return b, nil
}

func newBucket(dir string, options []Option) *Bucket {
	b := &Bucket{dir: dir, ready: map[string]struct{}{}}
	for _, o := range options {
		o(b)
	}
	return b
}

// Create makes the directory with its parents when it is missing, durably, and
// opens the bucket in it.
func Create(dir string, options ...Option) (*Bucket, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the directory %q has no absolute path", dir)
	}
	b := newBucket(dir, options)
	if err := b.do(Step{Op: Mkdir, Path: dir}, func() error { return os.MkdirAll(dir, dirMode) }); err != nil {
		return nil, fail(dir, err, "make directory %s", dir)
	}
	for p := dir; p != filepath.Dir(p); p = filepath.Dir(p) {
		d, err := os.Open(filepath.Dir(p))
		if errors.Is(err, fs.ErrPermission) {
			continue // not ours: we have made nothing in it
		}
		if err == nil {
			err = b.syncDir(d, filepath.Dir(p))
		}
		if err != nil {
			return nil, fail(dir, err, "sync directory %s", filepath.Dir(p))
		}
	}
	return Open(dir, options...)
}

// Dir returns the directory.
func (b *Bucket) Dir() string { return b.dir }

// Close gives up the directory; the bucket can not be used after it.
func (b *Bucket) Close() error { return b.root.Close() }

// Get implements [objstore.Bucket].
func (b *Bucket) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, name); err != nil {
		return nil, err
	}
	if _, err := b.lstat(name); err != nil {
		return nil, err
	}
	// O_NONBLOCK: were the file swapped for a pipe meanwhile, open would wait.
	f, err := b.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, b.failRead(name, err, "open object %s", name)
	}
	fi, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fail(b.dir, err, "look at object %s", name), f.Close())
	}
	n, err := objstore.Range(name, fi.Size(), offset, length)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &reader{ctx: ctx, b: b, f: f, name: name, offset: offset, left: n}, nil
}

// Stat implements [objstore.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, err
	}
	return b.lstat(name)
}

func (b *Bucket) lstat(name string) (objstore.Info, error) {
	fi, err := b.root.Lstat(filepath.FromSlash(name))
	if err != nil {
		return objstore.Info{}, b.failRead(name, err, "look at object %s", name)
	}
	if !fi.Mode().IsRegular() {
		return objstore.Info{}, objstore.NotFound(name)
	}
	return objstore.Info{Name: name, Size: fi.Size()}, nil
}

// List implements [objstore.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	dir := ""
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i]
		if err := objstore.CheckName(dir); err != nil {
			return nil //nolint:nilerr // no object has a name that begins like this
		}
	}
	return b.list(ctx, dir, prefix, fn)
}

// list walks one directory. An entry that is a directory sorts as if its name
// ended in a slash: that is the order of the full names below it.
func (b *Bucket) list(ctx context.Context, dir, prefix string, fn func(objstore.Info) error) error {
	entries, err := b.readDir(dir)
	if err != nil {
		return err
	}
	for _, name := range entries {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(name, "/"):
			if strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name) {
				if err := b.list(ctx, strings.TrimSuffix(name, "/"), prefix, fn); err != nil {
					return err
				}
			}
		case strings.HasPrefix(name, prefix) && !isTemp(name):
			info, err := b.lstat(name)
			if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
				continue // deleted meanwhile
			}
			if err != nil {
				return err
			}
			if err := fn(info); err != nil {
				return err
			}
		}
	}
	return context.Cause(ctx)
}

// readDir returns the sorted names of the regular files and directories in dir,
// as names of objects; a directory's ends in a slash. They are made durable first:
// who put or deleted one may be about to, or may have died before it, and who asks
// counts on what it sees.
func (b *Bucket) readDir(dir string) ([]string, error) {
	f, err := b.root.OpenFile(filepath.FromSlash(path.Clean(dir)), os.O_RDONLY|syscall.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fail(b.dir, err, "list directory %q", dir)
	}
	entries, err := f.ReadDir(-1)
	if err = errors.Join(err, b.settle(f, path.Clean(dir))); err != nil {
		return nil, fail(b.dir, err, "list directory %q", dir)
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		switch name := path.Join(dir, e.Name()); {
		case e.IsDir():
			names = append(names, name+"/")
		case e.Type().IsRegular():
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// settleAfter is how long after its last change a directory needs no sync: kernels
// write such changes back within a minute.
const settleAfter = time.Hour

// settle makes what was read from an open directory durable, and closes it.
func (b *Bucket) settle(d *os.File, name string) error {
	fi, err := d.Stat() // after it was read, so that no change is missed
	if err != nil || time.Since(fi.ModTime()) > settleAfter {
		return errors.Join(err, d.Close())
	}
	err = b.syncDir(d, name)
	if anyOf(err, syscall.EROFS, syscall.EACCES, syscall.EPERM) {
		return nil // we can change nothing here, so nothing of ours counts on it
	}
	return err
}

// Delete implements [objstore.Bucket]. The directory is synced even when there
// is no such file: whoever removed it may not have come to that.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	if _, err := b.lstat(name); err == nil {
		err := b.do(Step{Op: Remove, Path: name}, func() error { return b.root.Remove(filepath.FromSlash(name)) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fail(b.dir, err, "delete object %s", name)
		}
	} else if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	err := b.sync(path.Dir(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
		return fail(b.dir, err, "sync the directory of %s", name)
	}
	return nil
}

func (b *Bucket) sync(dir string) error {
	d, err := b.root.Open(filepath.FromSlash(dir))
	if err != nil {
		return err
	}
	return b.syncDir(d, dir)
}

// syncDir makes the names in an open directory durable, and closes it. Some
// network file systems refuse to sync a directory, as they have nothing to do.
func (b *Bucket) syncDir(d *os.File, name string) error {
	err := b.do(Step{Op: SyncDir, Path: name}, d.Sync)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}

func begin(ctx context.Context, name string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err := objstore.CheckName(name); err != nil {
		return err
	}
	if isTemp(name) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%q is the name of a temporary file", name)
	}
	return nil
}
