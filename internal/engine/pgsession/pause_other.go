//go:build !linux

package pgsession

import "time"

// pause waits.
func pause(d time.Duration) { time.Sleep(d) }
