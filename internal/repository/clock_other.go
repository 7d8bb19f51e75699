//go:build !linux

package repository

import "time"

// sinceBoot takes the wall clock, which counts suspension too.
func sinceBoot() time.Duration { return time.Duration(time.Now().UnixNano()) }
