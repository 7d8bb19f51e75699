package cron

import (
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// crontab is a set of fields on the clock of a zone.
type crontab struct {
	zone                     *time.Location
	minute, hour, day, month field
	weekday                  field
	year                     field // no values: every year
	lastDay                  bool  // L: the last day of the month
	both                     bool  // it runs at both of the times that a clock shows twice
	hourly                   bool  // it names every hour: what a clock leaves out need not be made up for
}

// parseCrontab reads five fields, or the six of cron(…).
func parseCrontab(text string, words []string, zone *time.Location, aws bool) (times, error) {
	c := crontab{zone: zone}
	sunday, want := 0, 5
	if aws {
		sunday, want = 1, 6
	}
	if len(words) != want {
		return nil, unreadable(text, "has %d fields, not %d", len(words), want)
	}
	if words[2] == "L" || words[2] == "l" {
		c.lastDay = true
		words[2] = "?"
	} else if strings.ContainsAny(words[2], "lL") {
		return nil, otherDays(text)
	}
	type part struct {
		into *field
		b    bounds
	}
	parts := []part{{&c.minute, minutes}, {&c.hour, hours}, {&c.day, days}, {&c.month, months}, {&c.weekday, weekdays}}
	if aws && words[5] != "*" {
		parts = append(parts, part{&c.year, years})
	}
	for i, p := range parts {
		var err error
		if *p.into, err = p.b.parse(words[i], sunday); err != nil {
			return nil, unreadable(text, "%s", err)
		}
	}
	switch {
	case c.lastDay && !c.weekday.star:
		return nil, otherDays(text)
	case aws && !c.day.star && !c.weekday.star:
		return nil, unreadable(text, "names days of the month and of the week: one of the two must be ?")
	}
	c.both = c.minute.star || c.hour.star
	c.hourly = len(c.hour.values) == hours.max+1
	return c, c.possible(text)
}

// otherDays is Teradata's rule; source: teradata-baas.md §4.2.
func otherDays(text string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "the schedule's expression %q combines L, the last day of the month, with other days", printable(text)).
		WithHint("make a second schedule for the other days")
}

// possible refuses a date that no year has.
func (c crontab) possible(text string) error {
	c.year = field{}
	if c.nextWall(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return unreadable(text, "names a day that none of its months has")
	}
	return nil
}

// onDay reports whether the fields allow a day of a month that they allow. Days
// of the month and of the week add up, unless one of them holds a star; source:
// crontab(5).
func (c crontab) onDay(d time.Time) bool {
	if c.year.values != nil && !c.year.values[d.Year()] {
		return false
	}
	if c.lastDay {
		return d.AddDate(0, 0, 1).Day() == 1
	}
	day, weekday := c.day.values[d.Day()], c.weekday.values[int(d.Weekday())]
	if c.day.star || c.weekday.star {
		return day && weekday
	}
	return day || weekday
}

// nextWall returns the earliest time after t that the fields allow, on a clock
// that never changes: t and the result are what the clock shows, as UTC. Zero:
// none for 8 years.
func (c crontab) nextWall(t time.Time) time.Time {
	t = t.Truncate(time.Minute).Add(time.Minute)
	last := t.AddDate(horizonYears, 0, 0)
	for d := t.Truncate(24 * time.Hour); !d.After(last); d = d.AddDate(0, 0, 1) {
		if !c.month.values[int(d.Month())] {
			d = d.AddDate(0, 1, -d.Day()) // to the end of the month
			continue
		}
		if !c.onDay(d) {
			continue
		}
		from := max(0, int(t.Sub(d)/time.Minute)) // minute of this day
		for m := from; m < 24*60; m++ {
			if !c.hour.values[m/60] {
				m += 59 - m%60 // to the end of the hour
			} else if c.minute.values[m%60] {
				return d.Add(time.Duration(m) * time.Minute)
			}
		}
	}
	return time.Time{}
}

// next goes from one change of the zone's clock to the next: between two of them
// clock and time differ by a constant.
func (c crontab) next(t time.Time) time.Time {
	from := t.Truncate(time.Second).Add(time.Second)
	for limit := t.AddDate(horizonYears, 0, 1); from.Before(limit); {
		s := stretchAt(from, c.zone)
		if from.Equal(s.begin) && s.gap() > 0 && !c.hourly && c.allows(s.begin.Add(s.before), s.gap()) {
			return s.begin
		}
		wall := from.Add(s.offset)
		if seen := s.begin.Add(s.before); s.gap() < 0 && !c.both && wall.Before(seen) {
			wall = seen
		}
		wall = c.nextWall(wall.Add(-time.Nanosecond))
		if wall.IsZero() {
			return time.Time{}
		}
		if at := wall.Add(-s.offset); s.end.IsZero() || at.Before(s.end) {
			return at
		}
		from = s.end // where the clock may show again what it has shown
	}
	return time.Time{}
}

// allows reports whether the fields allow a time on the clock from begin on, for
// a duration.
func (c crontab) allows(begin time.Time, d time.Duration) bool {
	w := c.nextWall(begin.Add(-time.Nanosecond))
	return !w.IsZero() && w.Before(begin.Add(d))
}
