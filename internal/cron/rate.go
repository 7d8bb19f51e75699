package cron

import (
	"strings"
	"time"
)

// maxRate is the longest time between two runs of a rate.
const maxRate = 366 * 24 * time.Hour

var rateUnits = map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}

// rate runs each time that so much time has passed since the anchor.
type rate struct {
	anchor time.Time
	every  time.Duration
}

// parseRate reads the inside of rate(6 hours).
func parseRate(text, inner string, anchor time.Time) (times, error) {
	count, unit, _ := strings.Cut(inner, " ")
	n, ok := number(count)
	d, known := rateUnits[strings.TrimSuffix(strings.ToLower(unit), "s")]
	switch {
	case !ok || n == 0 || !known:
		return nil, unreadable(text, "is not a number of minutes, hours or days")
	case time.Duration(n)*d > maxRate:
		return nil, unreadable(text, "is more than %d days", maxRate/(24*time.Hour))
	}
	return rate{anchor: anchor.Truncate(time.Second), every: time.Duration(n) * d}, nil
}

func (r rate) next(t time.Time) time.Time {
	if t.Before(r.anchor) {
		return r.anchor.Add(r.every)
	}
	return r.anchor.Add((t.Sub(r.anchor)/r.every + 1) * r.every)
}
