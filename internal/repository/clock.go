package repository

import "time"

// clock tells the time; tests have one of their own.
type clock struct {
	now func() time.Time
	// boot is the time since some fixed point, and goes on while the machine is
	// suspended, which time.Since does not.
	boot func() time.Duration
}

func systemClock() clock { return clock{now: time.Now, boot: sinceBoot} }
