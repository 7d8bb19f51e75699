//go:build unix

package repository

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// pidSpace names where a process id means what it means to us: the boot of a kernel, and
// on it the namespaces of process ids and of the clock that their start is told by. Two
// containers may have one host name, and each has a process 1. Empty: it cannot be told,
// as on a system that is not Linux.
func pidSpace() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	// A /proc that is another namespace's numbers the processes otherwise.
	if self, err := os.Readlink("/proc/self"); err != nil || self != strconv.Itoa(os.Getpid()) {
		return ""
	}
	pids, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	clock, _ := os.Readlink("/proc/self/ns/time") // kernels before 5.6 have none
	return strings.TrimSpace(strings.TrimSpace(string(boot)) + " " + pids + " " + clock)
}

// processStart returns when a process of our [pidSpace] began, in the kernel's ticks since
// boot; zero: that cannot be told. Source: field 22 of /proc/[pid]/stat in proc(5); the
// field before the third is a name in parentheses, which may hold any.
func processStart(pid int) int64 {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 20 {
		return 0
	}
	start, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return 0
	}
	return start
}

// processLives reports whether the process of our [pidSpace] that began then may live. Its
// id may be another one's by now; zero: when it began is not known.
func processLives(pid int, start int64) bool {
	if pid <= 0 {
		return false
	}
	if err := unix.Kill(pid, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return false
	}
	now := processStart(pid)
	return start == 0 || now == 0 || now == start
}
