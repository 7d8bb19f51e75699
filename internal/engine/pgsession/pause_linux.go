package pgsession

import (
	"syscall"
	"time"
)

// pause waits for less than a millisecond, which [time.Sleep] rounds up to one.
func pause(d time.Duration) {
	t := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&t, nil) // a signal ends it early, which is no harm
}
