package cron

import "time"

// stretch is a time between two changes of a zone's clock. What the clock shows
// is the time in UTC plus the offset.
type stretch struct {
	begin, end time.Time // zero: no change before, or after
	offset     time.Duration
	before     time.Duration // the offset of the stretch before
}

// gap is what the clock leaves out at the begin; negative: what it shows again.
func (s stretch) gap() time.Duration { return s.offset - s.before }

func stretchAt(t time.Time, zone *time.Location) stretch {
	begin, end := t.In(zone).ZoneBounds()
	if !end.IsZero() && !end.After(t) {
		// On the last day of a leap year that the zone's table does not reach, Go
		// 1.26 says that the stretch has ended: it counts 365 days.
		end = t.Add(24 * time.Hour)
	}
	s := stretch{begin: begin.UTC(), end: end.UTC(), offset: offsetAt(t, zone)}
	s.before = s.offset
	if !begin.IsZero() {
		s.before = offsetAt(begin.Add(-time.Nanosecond), zone)
	}
	return s
}

func offsetAt(t time.Time, zone *time.Location) time.Duration {
	_, seconds := t.In(zone).Zone()
	return time.Duration(seconds) * time.Second
}

// maxOffset is more than any zone differs from UTC.
const maxOffset = 26 * time.Hour

// instant returns when the zone's clock first shows wall, which is written as
// UTC; when it never does, the change at which it is left out.
func instant(wall time.Time, zone *time.Location) time.Time {
	for t := wall.Add(-maxOffset); ; {
		s := stretchAt(t, zone)
		if at := wall.Add(-s.offset); s.end.IsZero() || at.Before(s.end) {
			if at.Before(s.begin) {
				return s.begin
			}
			return at
		}
		t = s.end
	}
}
