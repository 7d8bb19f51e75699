package duck

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/holdfast-backup/holdfast"
)

// fail puts an error of the operating system in words; format says what was tried.
func fail(err error, format string, args ...any) *holdfast.Error {
	what := fmt.Sprintf(format, args...)
	switch {
	case anyOf(err, syscall.ENOSPC, syscall.EDQUOT):
		return holdfast.Wrap(holdfast.CodeExhausted, err, "%s: no room is left", what).
			WithHint("make room on the file system that holds the worker's temporary files, or raise its quota")
	case anyOf(err, syscall.EROFS):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s: the file system is read-only", what).
			WithHint("give the worker a directory for temporary files that it may write")
	case anyOf(err, syscall.EACCES, syscall.EPERM):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s: permission denied", what).
			WithHint("let the user that runs the worker own the directory")
	case anyOf(err, syscall.EMFILE):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s: the worker has too many open files", what).
			WithHint("raise its limit of open files (ulimit -n, or LimitNOFILE of its unit), or give the worker fewer slots")
	case anyOf(err, syscall.ENFILE):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s: the machine has too many open files", what).
			WithHint("raise fs.file-max, or give the worker fewer slots")
	case anyOf(err, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.ETOOMANYREFS):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s: the machine is short of memory, or of processes", what).
			WithHint("give the worker more, or fewer slots")
	case anyOf(err, syscall.EIO, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EBUSY):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s: %s", what, cause(err)).WithHint("look at the disk, or the mount, that it is on")
	case anyOf(err, syscall.ENOTDIR, syscall.ENAMETOOLONG, syscall.ENOENT, syscall.EISDIR, syscall.ELOOP):
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s: %s", what, cause(err)).WithHint("look at the path")
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

// cause is the system's own word for an error, without the names around it.
func cause(err error) string {
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e.Error()
	}
	return err.Error()
}

// newPipe is [os.Pipe].
func newPipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err != nil {
		return nil, nil, fail(err, "a pipe to the engine cannot be made")
	}
	return r, w, nil
}
