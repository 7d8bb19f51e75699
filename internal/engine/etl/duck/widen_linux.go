package duck

import (
	"os"
	"syscall"
)

// Source: F_SETPIPE_SZ in fcntl(2).
const setPipeSize = 1031

// pipeSize is what a user without privileges may ask for: pipe-max-size in proc(5).
const pipeSize = 1 << 20

// widen makes a pipe hold more than its 64 KiB: the two processes then wait less for
// each other. A pipe that stays narrow is slower, and works.
func widen(f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { _, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, setPipeSize, pipeSize) })
}
