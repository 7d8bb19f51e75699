package holdfast

import (
	"crypto/rand"
	"strings"
	"time"
)

// MaxPeriod bounds the period of a recurrence, and how far ahead an execution of
// an ETL is planned.
const MaxPeriod = 10 * 366 * 24 * time.Hour

// busyLate is how late a busy machine may be without having missed anything.
const busyLate = time.Minute

// Recurrence is when planned executions of an ETL follow each other.
type Recurrence struct {
	Start  time.Time     `json:"start"`           // a time at which one is due; the others are whole periods after it
	Period time.Duration `json:"period"`          // whole seconds, at least one
	Armed  bool          `json:"armed,omitempty"` // the next execution is planned
}

// Validate checks the timing.
func (r Recurrence) Validate() error {
	switch {
	case r.Start.IsZero():
		return Errorf(CodeInvalid, "the start of the recurrence is missing")
	case r.Start.UTC().Year() < 1 || r.Start.UTC().Year() > 9999: // RFC 3339 has no others
		return Errorf(CodeInvalid, "the start of the recurrence is out of range").WithHint("use a time in the years 1 to 9999 in UTC")
	case r.Period < time.Second || r.Period > MaxPeriod || r.Period%time.Second != 0:
		return Errorf(CodeInvalid, "a period of %s is out of range", r.Period).
			WithHint("use whole seconds, from 1 to %d", int64(MaxPeriod/time.Second))
	}
	return nil
}

// Next returns the first time of a valid recurrence that is later than after.
func (r Recurrence) Next(after time.Time) time.Time {
	next := r.Start
	for !next.After(after) {
		// A duration holds 292 years: of a longer time one step leads part of the way.
		next = next.Add(after.Sub(next) / r.Period * r.Period).Add(r.Period)
	}
	return next.UTC()
}

// DueETL says what becomes of a planned execution of an ETL job whose time has come
// by now, and when the next one is due; zero: none is to be planned. busy is true
// when another execution of the job has not ended and is not planned.
//
// What recurs is skipped while another works, and when it comes later than a
// period, and than a busy machine may be: then the next one is near. What was planned
// once, or for a time that somebody has named, waits for its turn, however late it
// is; only a service that is on already needs no second start.
func (j Job) DueETL(now time.Time, e Execution, busy bool) (skip SkipReason, next time.Time) {
	recurs := false
	if r := j.ETL.Recurrence; r != nil && r.Armed && !j.ETL.Service {
		recurs, next = !e.ETL.Timed, r.Next(latest(now, e.Due))
	}
	switch {
	case !j.Active, j.ETL.Active() == nil:
		return SkipRefused, next
	case recurs && now.Sub(e.Due) > max(j.ETL.Recurrence.Period, busyLate):
		return SkipMissed, next
	case busy && (recurs || j.ETL.Service):
		return SkipBusy, next
	}
	return SkipNone, next
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// identityLength is how many characters of five bits an execution's identity has.
const identityLength = 16

// NewETLExecution is [NewExecution] for an ETL, with an identity of its own. A service
// has no time limit.
func NewETLExecution(j Job, site Site, run ETLRun, due, now time.Time, actor string) Execution {
	e := NewExecution(j, site, due, now, actor)
	run.Identity = strings.ToLower(rand.Text()[:identityLength])
	e.ETL = &run
	if run.Service {
		e.AbortAfter = 0
	}
	return e
}
