package fs

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// fail classifies an error of the operating system in the bucket at dir; format
// says what was tried.
func fail(dir string, err error, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	switch {
	case anyOf(err, syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG):
		return holdfast.Wrap(holdfast.CodeExhausted, err, "%s: no room is left", what).
			WithHint("make room on the file system that holds %s, or raise its quota", dir)
	case anyOf(err, syscall.EROFS):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s: the file system is read-only", what).
			WithHint("mount the file system that holds %s for writing", dir)
	case anyOf(err, syscall.EACCES, syscall.EPERM):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s: permission denied", what).
			WithHint("let the user that runs this program own %s and everything below it", dir)
	case anyOf(err, syscall.ENOTDIR):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s: it, or something above it, is no directory", what)
	case anyOf(err, syscall.ENAMETOOLONG):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s: the name is too long for the file system", what)
	case anyOf(err, syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EAGAIN, syscall.EBUSY,
		syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s", what).
			WithHint("look at the disk, or the mount, that holds %s", dir)
	}
	return holdfast.Wrap(holdfast.CodeInternal, err, "%s", what)
}

func anyOf(err error, of ...syscall.Errno) bool {
	for _, e := range of {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// failRead classifies what kept an object from being read.
func (b *Bucket) failRead(name string, err error, format string, args ...any) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return objstore.NotFound(name)
	}
	return fail(b.dir, err, format, args...)
}
