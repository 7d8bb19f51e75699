package holdfast

import "time"

// SkipReason is why a schedule that is due, or a trigger that fires, makes no
// execution: a fixed word.
type SkipReason string

// The reasons to skip.
const (
	SkipNone     SkipReason = ""
	SkipMissed   SkipReason = "missed"         // its time passed too long ago
	SkipBusy     SkipReason = "busy"           // an execution of the job has not ended
	SkipRefused  SkipReason = "refused"        // the job cannot run as it is
	SkipSame     SkipReason = "same_job"       // another schedule of the job was due as well, and takes more
	SkipPriority SkipReason = "lower_priority" // a job of the site with a higher priority runs, or was due as well
	SkipQueued   SkipReason = "queued"         // an execution that will do the same waits already
	SkipFull     SkipReason = "queue_full"     // too many executions of the ETL wait
)

// DefaultGrace is how late a scheduled run may begin when nothing else is set.
const DefaultGrace = time.Hour

// SchedulePolicy says how scheduled runs give way. Runs that people ask for never
// do.
type SchedulePolicy struct {
	// Grace is how late a run may begin: what was missed for longer is skipped.
	// Zero: DefaultGrace.
	Grace time.Duration
	// DeferLower lets a run wait in the queue where it would be skipped for a job
	// of a higher priority.
	DeferLower bool
}

// Patience is how late a run may begin.
func (p SchedulePolicy) Patience() time.Duration {
	if p.Grace == 0 {
		return DefaultGrace
	}
	return p.Grace
}

// DueRun is a schedule whose time has come.
type DueRun struct {
	Schedule ScheduleID
	Job      JobID
	Priority Priority // of the job
	RunType  RunType
	At       time.Time // when it is due: the newest of its times that is not in the future
	Refused  bool      // the job cannot run as it is
}

// Firing is what becomes of a DueRun.
type Firing struct {
	Skip SkipReason
	// What stands in the way: one of them, or neither.
	Execution ExecutionID
	Schedule  ScheduleID
}

// Decide says what becomes of schedules of one site that are looked at together,
// in their order. live are the executions of the site that have not ended.
//
// What is too late, busy or refused is skipped first; then all but one run of
// each job; and what is left gives way to a job of a higher priority that runs or
// waits for a slot, or that is due at the same time. A suspended execution only
// holds its own job: it may rest for long. Restores hold nothing, and services,
// which never end.
func (p SchedulePolicy) Decide(now time.Time, due []DueRun, live []Execution) []Firing {
	out := make([]Firing, len(due))
	for i, d := range due {
		out[i] = p.alone(now, d, live)
	}
	for i, d := range due {
		for k, other := range due {
			if out[i].Skip == SkipNone && out[k].Skip == SkipNone && other.Job == d.Job && other.strongerThan(d) {
				out[i] = Firing{Skip: SkipSame, Schedule: other.Schedule}
			}
		}
	}
	if p.DeferLower {
		return out
	}
	left := make([]Firing, len(out)) // who gives way is still due for others
	copy(left, out)
	for i, d := range due {
		if out[i].Skip == SkipNone {
			left[i] = giveWay(d, due, out, live)
		}
	}
	return left
}

// alone looks at a run without the others.
func (p SchedulePolicy) alone(now time.Time, d DueRun, live []Execution) Firing {
	if now.Sub(d.At) > p.Patience() {
		return Firing{Skip: SkipMissed}
	}
	for _, e := range live {
		if e.Job == d.Job && e.Busy() {
			return Firing{Skip: SkipBusy, Execution: e.ID}
		}
	}
	if d.Refused {
		return Firing{Skip: SkipRefused}
	}
	return Firing{}
}

// giveWay looks for a job of a higher priority.
func giveWay(d DueRun, due []DueRun, firings []Firing, live []Execution) Firing {
	for _, e := range live {
		if e.ETL != nil && e.ETL.Service {
			continue
		}
		if e.Job != d.Job && e.Type != JobRestore && e.Priority < d.Priority && (e.State == StateRunning || e.State == StateQueued) {
			return Firing{Skip: SkipPriority, Execution: e.ID}
		}
	}
	for k, other := range due {
		if firings[k].Skip == SkipNone && other.Priority < d.Priority && other.At.Equal(d.At) {
			return Firing{Skip: SkipPriority, Schedule: other.Schedule}
		}
	}
	return Firing{}
}

// strongerThan orders the runs of a job: FULL, CUMULATIVE, DELTA; then the later
// one, and then the older schedule.
func (d DueRun) strongerThan(other DueRun) bool {
	if a, b := d.RunType.strength(), other.RunType.strength(); a != b {
		return a > b
	}
	if !d.At.Equal(other.At) {
		return d.At.After(other.At)
	}
	return d.Schedule < other.Schedule
}

func (t RunType) strength() int {
	switch t {
	case RunFull:
		return 3
	case RunCumulative:
		return 2
	case RunDelta:
		return 1
	}
	return 0
}
