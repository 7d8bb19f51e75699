package cron

import "time"

// onceLayout is the time of at(…); source: EventBridge Scheduler user guide,
// "One-time schedules".
const onceLayout = "2006-01-02T15:04:05"

// once runs at one time.
type once struct{ at time.Time }

// parseOnce reads the inside of at(2026-12-01T02:00:00).
func parseOnce(text, inner string, zone *time.Location) (times, error) {
	wall, err := time.Parse(onceLayout, inner)
	if err != nil || len(inner) != len(onceLayout) || wall.Year() < years.min || wall.Year() > years.max {
		return nil, unreadable(text, "is not a date and a time")
	}
	return once{at: instant(wall, zone)}, nil
}

func (o once) next(t time.Time) time.Time {
	if o.at.After(t) {
		return o.at
	}
	return time.Time{}
}
