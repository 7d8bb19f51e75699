package pgphysical

import (
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Two clocks cannot be read at once. A step of the clock that is smaller than the
// time in between is not seen, so a long one is read again.
const (
	momentGap   = 5 * time.Millisecond
	momentTries = 20
)

// moment reads the clock of this machine.
func moment() engine.Moment {
	for try := 1; ; try++ {
		before := uptime()
		m := engine.Moment{Time: time.Now().UTC().Round(0), Boot: bootID()}
		m.Uptime = uptime()
		if m.Uptime-before < momentGap || try == momentTries {
			return m
		}
	}
}

// wentBack reports whether the clock was set back between two moments, as far as
// they tell. Both the clock and the time since the start of the machine are steered
// by what keeps the time right; only setting the clock moves one against the other.
// What was set back while the machine was off shows only when it is still behind. A
// virtual machine that was put back to an earlier state has been up for less than before.
func wentBack(from, to engine.Moment) bool {
	passed := to.Time.Sub(from.Time)
	switch {
	case passed < 0:
		return true
	case from.Boot != "" && from.Boot == to.Boot && to.Uptime < from.Uptime: // the whole machine did
		return true
	case from.Boot == "" || from.Boot != to.Boot:
		return false
	}
	return passed < to.Uptime-from.Uptime-2*momentGap
}
