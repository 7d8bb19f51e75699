package pgphysical

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// syncAll makes everything durable that was written to the filesystem of the open
// directory since it was opened, and reports what could not be written.
func syncAll(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }

func allocated(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}
