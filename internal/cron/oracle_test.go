package cron_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/internal/cron"
)

// zones are those with something of their own: a change by an hour, by half an
// hour, twice around Ramadan, at midnight, on another day, and none.
var zones = []string{
	"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "America/Asuncion", "Asia/Beirut",
	"Africa/Cairo", "Pacific/Apia", "Antarctica/Troll", "Asia/Kathmandu", "UTC",
}

// oracle is a schedule as sets of numbers. It knows nothing of expressions.
type oracle struct {
	text                              string
	minute, hour, day, month, week    []int
	minuteStar, hourStar              bool
	dayStar, weekStar, lastDayOfMonth bool
}

func (o oracle) matches(w time.Time) bool {
	if !slices.Contains(o.minute, w.Minute()) || !slices.Contains(o.hour, w.Hour()) || !slices.Contains(o.month, int(w.Month())) {
		return false
	}
	day, week := slices.Contains(o.day, w.Day()), slices.Contains(o.week, int(w.Weekday()))
	if o.lastDayOfMonth {
		day = w.AddDate(0, 0, 1).Month() != w.Month()
	}
	if o.dayStar || o.weekStar {
		return day && week
	}
	return day || week
}

// runs walks from minute to minute, looks at the clock, and remembers what it has
// shown: slow, and simple enough to be right.
func (o oracle) runs(zone *time.Location, from, to time.Time) []time.Time {
	wall := func(t time.Time) time.Time {
		l := t.In(zone)
		return time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), 0, 0, time.UTC)
	}
	everyHour := len(o.hour) == 24
	both := o.minuteStar || o.hourStar
	shown := map[int64]bool{}
	var out []time.Time
	early := from.Add(-4 * time.Hour) // what the clock showed before matters, too
	prev := wall(early.Add(-time.Minute))
	for t := early; t.Before(to); t = t.Add(time.Minute) {
		w := wall(t)
		run := o.matches(w) && (both || !shown[w.Unix()])
		if !everyHour {
			for left := prev.Add(time.Minute); left.Before(w); left = left.Add(time.Minute) {
				run = run || o.matches(left)
			}
		}
		shown[w.Unix()] = true
		prev = w
		if run && !t.Before(from) {
			out = append(out, t.UTC())
		}
	}
	return out
}

func seq(from, to, by int) []int {
	var out []int
	for v := from; v <= to; v += by {
		out = append(out, v)
	}
	return out
}

// genField draws a field and the numbers that it means.
func genField(name string, low, high int, names []string) *rapid.Generator[field] {
	word := func(t *rapid.T, v int) string {
		if names != nil && rapid.Bool().Draw(t, name+" by name") {
			return names[v-low]
		}
		return strconv.Itoa(v)
	}
	return rapid.Custom(func(t *rapid.T) field {
		switch rapid.IntRange(0, 5).Draw(t, name+" kind") {
		case 0:
			return field{"*", seq(low, high, 1), true}
		case 1:
			by := rapid.IntRange(2, (high-low)/2).Draw(t, name+" step")
			return field{"*/" + strconv.Itoa(by), seq(low, high, by), true}
		case 2:
			a := rapid.IntRange(low, high).Draw(t, name+" from")
			b := rapid.IntRange(a, high).Draw(t, name+" to")
			return field{word(t, a) + "-" + word(t, b), seq(a, b, 1), false}
		case 3:
			a := rapid.IntRange(low, high-2).Draw(t, name+" from")
			by := rapid.IntRange(1, high-a).Draw(t, name+" step")
			return field{word(t, a) + "/" + strconv.Itoa(by), seq(a, high, by), false}
		default:
			vs := rapid.SliceOfNDistinct(rapid.IntRange(low, high), 1, 4, rapid.ID[int]).Draw(t, name)
			texts := make([]string, len(vs))
			for i, v := range vs {
				texts[i] = word(t, v)
			}
			return field{strings.Join(texts, ","), vs, false}
		}
	})
}

type field struct {
	text   string
	values []int
	star   bool
}

var (
	monthNames = []string{"jan", "FEB", "Mar", "APR", "may", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	weekNames  = []string{"SUN", "mon", "TUE", "WED", "THU", "FRI", "Sat"}
)

// genOracle draws a schedule, half of the time for an hour at which the clock
// changes.
func genOracle(t *rapid.T, change time.Time) oracle {
	minute := genField("minute", 0, 59, nil).Draw(t, "minutes")
	hour := genField("hour", 0, 23, nil).Draw(t, "hours")
	if rapid.Bool().Draw(t, "at the change") {
		h := (change.Hour() + rapid.IntRange(22, 25).Draw(t, "hour")) % 24
		hour = field{strconv.Itoa(h), []int{h}, false}
	}
	day := field{"*", seq(1, 31, 1), true}
	month := field{"*", seq(1, 12, 1), true}
	week := field{"*", seq(0, 6, 1), true}
	last := false
	switch rapid.IntRange(0, 6).Draw(t, "days") {
	case 0:
		day = genField("day", 1, 31, nil).Draw(t, "days of the month")
	case 1:
		week = genField("weekday", 0, 6, weekNames).Draw(t, "days of the week")
	case 2:
		day = genField("day", 1, 31, nil).Draw(t, "days of the month")
		week = genField("weekday", 0, 6, weekNames).Draw(t, "days of the week")
	case 3:
		month = genField("month", 1, 12, monthNames).Draw(t, "months")
	case 4:
		day, last = field{"L", nil, true}, true
	}
	return oracle{
		text:   strings.Join([]string{minute.text, hour.text, day.text, month.text, week.text}, " "),
		minute: minute.values, hour: hour.values, day: day.values, month: month.values, week: week.values,
		minuteStar: minute.star, hourStar: hour.star, dayStar: day.star, weekStar: week.star, lastDayOfMonth: last,
	}
}

// changes lists when the zone's clock changes from 2010 to 2040.
func changes(zone *time.Location) []time.Time {
	var out []time.Time
	for t := time.Date(2010, 1, 1, 0, 0, 0, 0, time.UTC); t.Year() < 2040; {
		_, end := t.In(zone).ZoneBounds()
		if end.IsZero() {
			break
		}
		_, before := end.Add(-time.Second).In(zone).Zone()
		if _, after := end.In(zone).Zone(); before != after {
			out = append(out, end.UTC())
		}
		t = end
	}
	if out == nil {
		out = append(out, time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC))
	}
	return out
}

func runsOf(r cron.Rule, from, to time.Time) []time.Time {
	var out []time.Time
	for t := r.Next(from.Add(-time.Nanosecond)); !t.IsZero() && t.Before(to); t = r.Next(t) {
		out = append(out, t)
	}
	return out
}

func diff(zone *time.Location, got, want []time.Time) string {
	show := func(list []time.Time) string {
		var b strings.Builder
		for i, t := range list {
			if i == 20 {
				fmt.Fprintf(&b, " … %d", len(list))
				break
			}
			b.WriteString(" " + t.In(zone).Format("02T15:04Z07:00"))
		}
		return b.String()
	}
	return fmt.Sprintf("got%s\nwant%s", show(got), show(want))
}

// Around the changes of real zones, the runs are those that a walk from minute
// to minute finds.
func TestRunsAreThoseOfAWalk(t *testing.T) {
	t.Parallel()
	for _, name := range zones {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		all := changes(zone)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) {
				at := rapid.SampledFrom(all).Draw(rt, "change")
				o := genOracle(rt, at.In(zone))
				from := at.Add(-time.Duration(rapid.IntRange(0, 20*60).Draw(rt, "minutes before")) * time.Minute)
				to := at.Add(27 * time.Hour)
				r, err := cron.Parse(o.text, name, from)
				if err != nil {
					if len(o.runs(zone, from, from.AddDate(0, 0, 1))) > 0 {
						rt.Fatalf("%q: got %v, but it runs", o.text, err)
					}
					return // it names a day that none of its months has
				}
				got, want := runsOf(r, from, to), o.runs(zone, from, to)
				if !slices.Equal(got, want) {
					rt.Fatalf("%q at %s\n%s", o.text, at.In(zone), diff(zone, got, want))
				}
			})
		})
	}
}
