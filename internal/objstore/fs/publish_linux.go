package fs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// publish gives a temporary file its name; fs.ErrExist when that is taken. A
// rename needs one step where a link needs two, and works on file systems
// without hard links; but some, such as NFS, do not know the flag.
func publish(dir *os.Root, temp, base string) error {
	err := renameNoReplace(dir, temp, base)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return publishByLink(dir, temp, base)
	}
	return err
}

func renameNoReplace(dir *os.Root, from, to string) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	for {
		err = unix.Renameat2(int(d.Fd()), from, int(d.Fd()), to, unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		err = &os.LinkError{Op: "renameat2", Old: from, New: to, Err: err}
	}
	return errors.Join(err, d.Close())
}
