// Package durable writes small files so that a crash leaves the old state or the
// new one: a name appears only when its content is on disk, and the call returns
// only when the name is, too.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Create makes a file that is not there yet: an error that is [fs.ErrExist] when
// there is one, whatever it holds.
func Create(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, func(tmp string) error {
		// Unlike a rename, a link never takes the place of a file that is there.
		return errors.Join(os.Link(tmp, path), os.Remove(tmp))
	})
}

// Replace makes a file, in the place of one that is there.
func Replace(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, mode, func(tmp string) error { return os.Rename(tmp, path) })
}

// write writes data beside path, and lets publish give it the name.
func write(path string, data []byte, mode fs.FileMode, publish func(tmp string) error) (err error) {
	dir := filepath.Dir(path)
	tmp := filepath.Join(dir, fmt.Sprintf(".%s.%s", filepath.Base(path), rand.Text()))
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = errors.Join(f.Chmod(mode), f.Sync()) // the mode without the umask
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = publish(tmp)
	}
	if err != nil {
		_ = os.Remove(tmp) // the first error says more
		return fmt.Errorf("write file: %w", err)
	}
	return SyncDir(dir)
}

// MkdirAll makes a directory and those above it; every name is durable.
func MkdirAll(dir string, mode fs.FileMode) error {
	if info, err := os.Stat(dir); err == nil {
		if !info.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: fs.ErrExist}
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if parent != dir {
		if err := MkdirAll(parent, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return SyncDir(parent)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
