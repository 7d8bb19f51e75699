package holdfast_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestRecurrenceNext(t *testing.T) {
	daily := holdfast.Recurrence{Start: noon, Period: 24 * time.Hour}
	berlin := time.FixedZone("Berlin", 3600)
	for _, c := range []struct {
		name  string
		r     holdfast.Recurrence
		after time.Time
		want  time.Time
	}{
		{"long before", daily, noon.AddDate(-3, 0, 0), noon},
		{"just before", daily, noon.Add(-1), noon},
		{"at the start", daily, noon, noon.AddDate(0, 0, 1)},
		{"just after", daily, noon.Add(1), noon.AddDate(0, 0, 1)},
		{"at another", daily, noon.AddDate(0, 0, 7), noon.AddDate(0, 0, 8)},
		{"years after", daily, noon.AddDate(5, 0, 0).Add(time.Minute), noon.AddDate(5, 0, 1)},
		{"every second", holdfast.Recurrence{Start: noon, Period: time.Second}, noon.Add(90*time.Minute + 1), noon.Add(90*time.Minute + time.Second)},
		{"in another zone", holdfast.Recurrence{Start: noon.In(berlin), Period: time.Hour}, noon.In(berlin), noon.Add(time.Hour)},
		{"the longest period", holdfast.Recurrence{Start: noon, Period: holdfast.MaxPeriod}, noon.AddDate(100, 0, 0), noon.Add(10 * holdfast.MaxPeriod)},
		{
			"more than a duration after",
			holdfast.Recurrence{Start: time.Date(1601, 1, 1, 12, 0, 0, 0, time.UTC), Period: 24 * time.Hour},
			noon, noon.AddDate(0, 0, 1),
		},
		{
			"two thousand years after",
			holdfast.Recurrence{Start: time.Date(2, 1, 1, 12, 0, 0, 0, time.UTC), Period: time.Second},
			noon, noon.Add(time.Second),
		},
	} {
		if got := c.r.Next(c.after); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestRecurrenceOfYearsThatNoTextHas(t *testing.T) {
	for _, start := range []time.Time{
		time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("far west", -3600)), time.Date(1, 1, 1, 0, 0, 0, 0, time.FixedZone("east", 3600)),
	} {
		if err := (holdfast.Recurrence{Start: start, Period: time.Hour}).Validate(); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("got %v for a start at %s, want it refused", err, start.UTC())
		}
	}
}

func TestRecurrenceNextIsTheFirst(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := holdfast.Recurrence{Start: noon, Period: time.Duration(rapid.Int64Range(1, 1e6).Draw(rt, "period")) * time.Second}
		after := noon.Add(time.Duration(rapid.Int64Range(-1e15, 1e18).Draw(rt, "after")))
		got := r.Next(after)
		whole := got.Sub(noon)%r.Period == 0
		first := got.Equal(noon) || !got.Add(-r.Period).After(after)
		if !got.After(after) || got.Before(noon) || !whole || !first {
			rt.Fatalf("got %s after %s, every %s from %s", got, after, r.Period, noon)
		}
	})
}

func TestDueETL(t *testing.T) {
	hourly := &holdfast.Recurrence{Start: noon, Period: time.Hour, Armed: true}
	disarmed := &holdfast.Recurrence{Start: noon, Period: time.Hour}
	next := noon.Add(time.Hour)
	for _, c := range []struct {
		name     string
		edit     func(*holdfast.Job)
		late     time.Duration
		busy     bool
		timed    bool
		wantSkip holdfast.SkipReason
		wantNext time.Time
	}{
		{"once", func(*holdfast.Job) {}, time.Second, false, false, holdfast.SkipNone, time.Time{}},
		{"once, while another runs", func(*holdfast.Job) {}, 0, true, false, holdfast.SkipNone, time.Time{}},
		{"once, a month late", func(*holdfast.Job) {}, 720 * time.Hour, false, false, holdfast.SkipNone, time.Time{}},
		{"once, beside a disarmed recurrence", func(j *holdfast.Job) { j.ETL.Recurrence = disarmed }, 0, true, false, holdfast.SkipNone, time.Time{}},
		{"recurring", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, time.Second, false, false, holdfast.SkipNone, next},
		{"recurring, while another runs", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, 0, true, false, holdfast.SkipBusy, next},
		{"recurring, a period late", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, time.Hour, false, false, holdfast.SkipNone, next.Add(time.Hour)},
		{"recurring, later", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, time.Hour + 1, false, false, holdfast.SkipMissed, next.Add(time.Hour)},
		{"recurring, moved ahead by hand", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, -time.Minute, false, false, holdfast.SkipNone, next},
		{"at a named time, while another runs", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, 0, true, true, holdfast.SkipNone, next},
		{"at a named time, a day late", func(j *holdfast.Job) { j.ETL.Recurrence = hourly }, 24 * time.Hour, false, true, holdfast.SkipNone, next.Add(24 * time.Hour)},
		{"recurring, not active", func(j *holdfast.Job) { j.ETL.Recurrence, j.Active = hourly, false }, 0, false, false, holdfast.SkipRefused, next},
		{"without an active run configuration", func(j *holdfast.Job) { j.ETL.Configurations[0].Active = false }, 0, false, false, holdfast.SkipRefused, time.Time{}},
		{"a service", func(j *holdfast.Job) { j.ETL.Service, j.ETL.Recurrence = true, disarmed }, 0, false, false, holdfast.SkipNone, time.Time{}},
		{"a service that is on", func(j *holdfast.Job) { j.ETL.Service, j.ETL.Recurrence = true, disarmed }, 0, true, false, holdfast.SkipBusy, time.Time{}},
	} {
		j := holdfast.Job{Active: true, ETL: etlSpec()}
		c.edit(&j)
		skip, following := j.DueETL(noon.Add(c.late), holdfast.Execution{Due: noon, ETL: &holdfast.ETLRun{Timed: c.timed}}, c.busy)
		if skip != c.wantSkip || !following.Equal(c.wantNext) {
			t.Errorf("%s: got skip %q and next %s, want %q and %s", c.name, skip, following, c.wantSkip, c.wantNext)
		}
	}
}

func TestNewETLExecution(t *testing.T) {
	site := holdfast.Site{ID: 1001, Host: 1003, Pool: "fast"}
	j := holdfast.Job{
		ID: 1004, Account: 1002, Site: 1001, Type: holdfast.JobETL, Engine: holdfast.EngineETL, Name: "orders", Priority: 2,
		AutoAbort: holdfast.AutoAbort{Active: true, After: time.Hour}, ETL: etlSpec(),
	}
	now := noon
	e := holdfast.NewETLExecution(j, site, holdfast.ETLRun{Simulate: true}, noon, now, "ada")
	if e.State != holdfast.StateQueued || e.AbortAfter != time.Hour || e.Host != 1003 || e.Pool != "fast" || e.Priority != 2 || !e.ETL.Simulate || e.Actor != "ada" {
		t.Errorf("got %+v, want a queued execution of the job at the site's host", e)
	}
	if err := e.Check(); err != nil {
		t.Error(err)
	}
	first := e.ETL.Identity
	e = holdfast.NewETLExecution(j, site, holdfast.ETLRun{Service: true}, noon.Add(1), now, "ada")
	if e.State != holdfast.StatePlanned || e.AbortAfter != 0 || !e.ETL.Service {
		t.Errorf("got %+v, want a planned execution without a time limit", e)
	}
	if len(first) != 16 || len(e.ETL.Identity) != 16 || first == e.ETL.Identity {
		t.Errorf("got the identities %q and %q, want two of 16 characters", first, e.ETL.Identity)
	}
}
