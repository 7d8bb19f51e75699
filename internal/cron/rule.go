// Package cron reads the expressions of schedules and says when they run.
//
// An expression is five cron fields, a macro such as @daily, or one of three
// forms with a name:
//
//	30 2 * * MON-FRI               minute, hour, day of month, month, day of week
//	cron(30 2 ? * MON-FRI 2026)    the same and a year; weekdays count from 1, Sunday
//	rate(6 hours)                  every 6 hours since an anchor
//	at(2026-12-01T02:00:00)        once
//
// Fields and at(…) name times on the clock of a time zone, which a zone with
// summer time does not always show once:
//
//   - A time that is left out when the clock goes forward runs once, right after
//     the change, unless the expression names every hour anyway.
//   - A time that the clock shows twice runs at the first of the two, unless minute
//     or hour hold a star, as in * or */5: these run at both.
//   - rate(…) counts time that passes, whatever a clock shows: a day is 24 hours.
package cron

import (
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Bounds of what is read.
const (
	MaxExpression = 256 // bytes
	maxZone       = 64  // bytes; the longest name in use has 32
	// horizonYears is how far ahead a next run is looked for: the most that lies
	// between two days of 29 February, around 2100.
	horizonYears = 8
)

// Rule is an expression in its time zone. It does not change.
type Rule struct {
	text  string
	zone  *time.Location
	times times
}

// times is one kind of expression.
type times interface {
	// next returns the earliest run after t; zero: none.
	next(t time.Time) time.Time
}

// macros are names for five fields, as crontab(5) has them.
var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
	"@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

// Parse reads an expression for the clock of a time zone, which has an IANA name
// such as Europe/Berlin. anchor is when a rate(…) begins to count, to the second.
// CodeInvalid for what cannot be read, for a zone that is not known, and for a
// date that no year has.
func Parse(expression, zone string, anchor time.Time) (Rule, error) {
	if len(expression) > MaxExpression {
		return Rule{}, holdfast.Errorf(holdfast.CodeInvalid, "the schedule's expression has %d bytes", len(expression)).
			WithHint("use at most %d, and a second schedule for the rest", MaxExpression)
	}
	loc, err := location(zone)
	if err != nil {
		return Rule{}, err
	}
	words := strings.Fields(expression)
	r := Rule{text: strings.Join(words, " "), zone: loc}
	if r.times, err = parse(r.text, loc, anchor); err != nil {
		return Rule{}, err
	}
	return r, nil
}

func parse(text string, zone *time.Location, anchor time.Time) (times, error) {
	if text == "" {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the schedule's expression is missing").WithHint(hint)
	}
	if name, inner, ok := form(text); ok {
		switch name {
		case "cron":
			return parseCrontab(text, strings.Fields(inner), zone, true)
		case "rate":
			return parseRate(text, inner, anchor)
		case "at":
			return parseOnce(text, inner, zone)
		}
	}
	if fields, ok := macros[strings.ToLower(text)]; ok {
		return parseCrontab(text, strings.Fields(fields), zone, false)
	}
	if strings.ContainsAny(text, "@()") {
		return nil, unreadable(text, "is of no form that is known")
	}
	return parseCrontab(text, strings.Fields(text), zone, false)
}

// form splits name(inner).
func form(text string) (name, inner string, ok bool) {
	name, inner, ok = strings.Cut(text, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	return strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(inner), ok && closed
}

// hint is what every refusal ends with.
const hint = "use five cron fields (minute hour day month weekday) such as 30 2 * * MON-FRI, a macro such as @daily, " +
	"cron(minute hour day month weekday year), rate(6 hours), or at(2026-12-01T02:00:00)"

// unreadable is the error for an expression; why goes on after it.
func unreadable(text, why string, args ...any) error {
	e := holdfast.Errorf(holdfast.CodeInvalid, why, args...)
	e.Msg = "the schedule's expression \"" + printable(text) + "\" " + e.Msg
	return e.WithHint(hint)
}

// printable keeps what is quoted back on one line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// location returns a zone by its IANA name. "Local" would be another zone on
// another machine, and the zones below posix and right are the same ones with
// another way to count.
func location(zone string) (*time.Location, error) {
	unknown := holdfast.Errorf(holdfast.CodeInvalid, "the time zone %q is not known", printable(zone)).
		WithHint("use an IANA name such as UTC or Europe/Berlin")
	if zone == "" || len(zone) > maxZone || zone == "Local" || strings.HasPrefix(zone, "posix/") || strings.HasPrefix(zone, "right/") {
		return nil, unknown
	}
	loc, err := time.LoadLocation(zone)
	if err != nil {
		return nil, unknown
	}
	return loc, nil
}

// Next returns the earliest run after t, in UTC, to the second; zero when there
// is none within 8 years.
func (r Rule) Next(t time.Time) time.Time {
	next := r.times.next(t)
	if next.IsZero() {
		return time.Time{}
	}
	return next.UTC()
}

// String returns the expression as it was given, with single spaces.
func (r Rule) String() string { return r.text }

// Zone returns the name of the time zone.
func (r Rule) Zone() string { return r.zone.String() }
