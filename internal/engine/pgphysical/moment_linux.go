package pgphysical

import (
	"fmt"
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

// ownClocks are file systems whose files get their times from this machine's clock, at
// each change. What is none of them may get them from another machine, as NFS, SMB and
// FUSE do, or have no ctime of its own, as FAT has. Source of the numbers:
// include/uapi/linux/magic.h, and those of the file systems themselves.
var ownClocks = map[uint32]bool{
	0xef53: true, 0x58465342: true, 0x9123683e: true, 0x2fc12fc1: true, 0xf2f52010: true, 0xca451a4e: true, // ext4, XFS, Btrfs, ZFS, F2FS, bcachefs
	0x01021994: true, 0x794c7630: true, 0x3153464a: true, 0x52654973: true, // tmpfs, overlayfs, JFS, ReiserFS
}

// foreignClock says on what kind of file system a directory lies when its times may not
// be this machine's; empty: they are.
func foreignClock(dir string) string {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return "a file system that does not tell its kind"
	}
	kind := uint32(st.Type) //nolint:gosec // the numbers have 32 bits
	if ownClocks[kind] {
		return ""
	}
	if name := foreignClocks[kind]; name != "" {
		return "a file system of the kind " + name
	}
	return fmt.Sprintf("a file system of a kind that is not known here (0x%x)", kind)
}

// foreignClocks are the names of those that are met most.
var foreignClocks = map[uint32]string{
	0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB", 0x65735546: "FUSE", 0x01021997: "9P",
	0x00c36400: "Ceph", 0x0bd00bd0: "Lustre", 0x5346414f: "AFS", 0x47504653: "GPFS", 0x01161970: "GFS2", 0x7461636f: "OCFS2", 0x4d44: "FAT",
}
