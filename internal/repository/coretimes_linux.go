package repository

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// statTick is the unit of /proc/stat. Source: proc_stat(5); USER_HZ is 100 on all that Go
// runs on.
const statTick = time.Second / 100

// readCoreTimes reads what the kernel counts.
func readCoreTimes() coreTimes {
	var t coreTimes
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err == nil {
		t.used = time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	t.idle, t.known = parseIdle(stat)
	return t
}

// parseIdle returns what the first line of /proc/stat says of all processors: "cpu",
// user, nice, system, idle, and waiting for I/O, which is idle as well.
func parseIdle(stat []byte) (time.Duration, bool) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 6 || string(fields[0]) != "cpu" {
		return 0, false
	}
	idle, err1 := strconv.ParseInt(string(fields[4]), 10, 64)
	wait, err2 := strconv.ParseInt(string(fields[5]), 10, 64)
	if err1 != nil || err2 != nil || idle < 0 || wait < 0 || idle > maxTicks || wait > maxTicks {
		return 0, false
	}
	return time.Duration(idle+wait) * statTick, true
}

// maxTicks is more than any machine has idled, and fits twice into a duration.
const maxTicks = int64(1) << 38
