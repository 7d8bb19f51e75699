package fs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/direct"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// tempLife is after what time a temporary file is taken for a dead one. Were its
// writer alive after all, its Put fails, as the file has gone.
const tempLife = 24 * time.Hour

var tempPattern = regexp.MustCompile(`-tmp-[0-9a-f]{16}$`)

func isTemp(name string) bool { return tempPattern.MatchString(name) }

func tempName(base string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return base + "-tmp-" + hex.EncodeToString(b[:])
}

// Put implements [objstore.Bucket].
func (b *Bucket) Put(ctx context.Context, name string, data []byte) (err error) {
	if err := begin(ctx, name); err != nil {
		return err
	}
	dirName, base := path.Dir(name), path.Base(name)
	dir, first, err := b.openParent(dirName)
	if err != nil {
		return b.failPut(name, err, "make the directory of %s", name)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()

	// Looked at first so that what exists is not written in vain; that the name
	// is free is decided by publish.
	if _, err := dir.Lstat(base); err == nil {
		return b.taken(dir, name)
	}
	if err := b.room("write object "+name, int64(len(data))); err != nil {
		return err
	}
	temp := tempName(base)
	written, err := b.writeFile(dir, path.Join(dirName, temp), data)
	cause := context.Cause(ctx)
	if err == nil && cause == nil {
		err = b.do(Step{Op: Name, Path: path.Join(dirName, temp), To: name}, func() error { return publish(dir, temp, base) })
	}
	if err != nil || cause != nil {
		_ = b.removeTemp(dir, path.Join(dirName, temp)) // whatever became of it: the name marks it as nobody's
		if cause != nil {
			return cause
		}
		if errors.Is(err, fs.ErrExist) {
			return b.taken(dir, name)
		}
		return b.failPut(name, err, "write object %s", name)
	}
	if err := b.syncOpen(dir, dirName); err != nil {
		return b.failPut(name, err, "sync the directory of %s", name)
	}
	if first {
		b.sweep(dir, dirName, written)
	}
	return nil
}

// taken is the answer of Put when the name is taken. The name is made durable
// first: its writer may have died before it came to that, and who asks counts on
// the object from now on.
func (b *Bucket) taken(dir *os.Root, name string) error {
	if err := b.syncOpen(dir, path.Dir(name)); err != nil {
		return b.failPut(name, err, "sync the directory of %s", name)
	}
	return objstore.Exists(name)
}

// openParent opens a directory below the root, and makes it first when it is
// missing. first is true once per directory and bucket: then every directory on
// the way has just been synced, whoever made it.
func (b *Bucket) openParent(dir string) (_ *os.Root, first bool, _ error) {
	if b.isReady(dir) {
		d, err := b.root.OpenRoot(filepath.FromSlash(dir))
		if !errors.Is(err, fs.ErrNotExist) {
			return d, false, err
		}
	}
	var missing []string
	for p := dir; p != "."; p = path.Dir(p) {
		missing = append(missing, p)
	}
	for _, p := range slices.Backward(missing) {
		err := b.do(Step{Op: Mkdir, Path: p}, func() error { return b.root.Mkdir(filepath.FromSlash(p), dirMode) })
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, false, err
		}
		if fi, err := b.root.Stat(filepath.FromSlash(p)); err == nil && !fi.IsDir() {
			return nil, false, &fs.PathError{Op: "mkdir", Path: p, Err: syscall.ENOTDIR}
		}
		if err == nil || !b.isReady(p) {
			if err := b.sync(path.Dir(p)); err != nil {
				return nil, false, err
			}
		}
		b.setReady(p)
	}
	b.setReady(dir)
	d, err := b.root.OpenRoot(filepath.FromSlash(dir))
	return d, true, err
}

func (b *Bucket) isReady(dir string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.ready[dir]
	return ok
}

func (b *Bucket) setReady(dir string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ready[dir] = struct{}{}
}

// writeFile makes a file in an open directory, syncs its content, and returns its
// time of change. name is the file's below the bucket's directory.
func (b *Bucket) writeFile(dir *os.Root, name string, data []byte) (_ time.Time, err error) {
	var f *os.File
	defer func() {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	err = b.do(Step{Op: Write, Path: name, Data: data}, func() (err error) {
		if f, err = dir.OpenFile(path.Base(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode); err == nil {
			var n int
			if n, err = writeDirect(dir, path.Base(name), data); err == nil {
				_, err = f.WriteAt(data[n:], int64(n))
			}
		}
		return err
	})
	if err != nil {
		return time.Time{}, err
	}
	if err := b.do(Step{Op: SyncFile, Path: name}, f.Sync); err != nil {
		return time.Time{}, err
	}
	fi, err := f.Stat()
	if err != nil {
		return time.Time{}, err
	}
	return fi.ModTime(), nil
}

// writeDirect writes the beginning of a large file past the page cache, and returns how
// much of it: nobody reads it soon, and what the database server has there shall stay.
func writeDirect(dir *os.Root, name string, data []byte) (n int, err error) {
	if len(data) < direct.MinFile {
		return 0, nil
	}
	f, err := dir.OpenFile(name, os.O_WRONLY|direct.Flag, 0)
	if err != nil {
		return 0, nil // many file systems cannot
	}
	w := direct.New(f)
	defer func() { err = errors.Join(err, w.Close()) }()
	return w.WriteAt(data, 0)
}

func (b *Bucket) removeTemp(dir *os.Root, name string) error {
	return b.do(Step{Op: Remove, Path: name}, func() error { return dir.Remove(path.Base(name)) })
}

// publishByLink gives a temporary file its name by a hard link, which fails with
// fs.ErrExist when the name is taken.
func publishByLink(dir *os.Root, temp, base string) error {
	if err := dir.Link(temp, base); err != nil {
		return err
	}
	return dir.Remove(temp)
}

// syncOpen makes the names in an open directory durable.
func (b *Bucket) syncOpen(dir *os.Root, name string) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	return b.syncDir(d, name)
}

// sweep removes temporary files that dead writers left. It is housekeeping: what
// it cannot read or remove stays.
func (b *Bucket) sweep(dir *os.Root, dirName string, now time.Time) {
	d, err := dir.Open(".")
	if err != nil {
		return
	}
	defer d.Close() //nolint:errcheck // opened for reading only
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if !isTemp(name) {
			continue
		}
		if fi, err := dir.Lstat(name); err == nil && fi.Mode().IsRegular() && now.Sub(fi.ModTime()) > tempLife {
			_ = b.removeTemp(dir, path.Join(dirName, name))
		}
	}
}

// failPut classifies what kept an object from being written.
func (b *Bucket) failPut(name string, err error, format string, args ...any) error {
	if errors.Is(err, syscall.ENOTDIR) {
		return holdfast.Wrap(holdfast.CodeConflict, err, "a beginning of the name %s is taken by an object", name)
	}
	return fail(b.dir, err, format, args...)
}
