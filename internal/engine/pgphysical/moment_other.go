//go:build !linux

package pgphysical

import (
	"syscall"
	"time"
)

// uptime and bootID are not known: a clock that was set back shows only when it is
// behind.
func uptime() time.Duration { return 0 }

func bootID() string { return "" }

// changeTime is not known: every file is read.
func changeTime(*syscall.Stat_t) time.Time { return time.Time{} }

func foreignClock(string) string { return "" }
