package pgphysical

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncAll makes everything durable that was written to the filesystem of the open
// file since it was opened, and reports what could not be written.
func syncAll(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
