package pgphysical

import (
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// uptime is the time since the machine was started, suspension included.
func uptime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0 // every kernel since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// bootID names this start of the machine; empty: it cannot be read.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// changeTime is when a file or its inode was changed last.
func changeTime(st *syscall.Stat_t) time.Time {
	return time.Unix(int64(st.Ctim.Sec), int64(st.Ctim.Nsec)) //nolint:unconvert // narrower on other platforms
}

// foreignClocks are file systems whose files get their times from another machine's
// clock, or may. Source of the numbers: include/uapi/linux/magic.h, and those of
// the file systems themselves.
var foreignClocks = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x65735546: "FUSE", 0x01021997: "9P",
	0x00c36400: "Ceph", 0x0bd00bd0: "Lustre", 0x5346414f: "AFS", 0x47504653: "GPFS", 0x01161970: "GFS2", 0x7461636f: "OCFS2",
}

// foreignClock names the kind of file system of a directory when its times are not
// this machine's; empty: they are, or it cannot be told.
func foreignClock(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return ""
	}
	return foreignClocks[uint32(st.Type)] //nolint:gosec // the numbers have 32 bits
}
