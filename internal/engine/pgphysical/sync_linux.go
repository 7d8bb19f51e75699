package pgphysical

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// syncAll makes everything durable that was written to the filesystem of the open
// file since it was opened, and reports what could not be written.
func syncAll(f *os.File) error { return unix.Syncfs(int(f.Fd())) }

// syncAllTells reports whether syncAll tells of what could not be written: the
// kernel does since 5.8. With an older one each file must be asked.
var syncAllTells = sync.OnceValue(func() bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	return kernelAtLeast(unix.ByteSliceToString(u.Release[:]), 5, 8)
})

// kernelAtLeast compares a kernel's release, such as 6.1.0-18-amd64, with a version.
func kernelAtLeast(release string, major, minor int) bool {
	var x, y int
	if n, err := fmt.Sscanf(release, "%d.%d", &x, &y); err != nil || n != 2 {
		return false
	}
	return x > major || x == major && y >= minor
}

// startWriting makes the kernel begin to write the file, so that the disk is not
// idle until syncAll. It does not wait, and what goes wrong shows there.
func startWriting(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}
