package holdfast

import (
	"strings"
	"time"
)

// TriggerID numbers triggers.
type TriggerID int64

// TriggerOn is which good ends of a job a trigger waits for.
type TriggerOn string

// The ends that a trigger waits for.
const (
	OnSucceeded TriggerOn = "SUCCEEDED" // nothing was left out
	OnDone      TriggerOn = "DONE"      // also with warnings
)

// ParseTriggerOn reads what a trigger waits for, in any case.
func ParseTriggerOn(s string) (TriggerOn, error) {
	switch on := TriggerOn(strings.ToUpper(strings.TrimSpace(s))); on {
	case OnSucceeded, OnDone:
		return on, nil
	}
	return "", Errorf(CodeInvalid, "a trigger cannot wait for %q", s).WithHint("use SUCCEEDED or DONE")
}

// MaxTriggers bounds the triggers that wait for one job.
const MaxTriggers = 16

// Trigger runs a job each time that an execution of another one has ended well.
// Triggers make chains, and no loops.
type Trigger struct {
	ID      TriggerID
	Account AccountID
	Job     JobID // whose executions it waits for
	Run     JobID // that it runs
	On      TriggerOn
	RunType RunType // of the run; empty for an ETL
	Active  bool
	Created time.Time
}

// Validate checks a trigger between its jobs; whether it closes a loop takes the
// store.
func (t Trigger) Validate(job, run Job) error {
	if _, err := ParseTriggerOn(string(t.On)); err != nil {
		return err
	}
	switch {
	case t.Job == t.Run:
		return Errorf(CodeInvalid, "job %d cannot run after itself", t.Job).WithHint("give it a schedule")
	case job.Account != t.Account || run.Account != t.Account:
		return Errorf(CodeInvalid, "the jobs of a trigger are of different accounts")
	case job.ETL != nil && job.ETL.Service:
		return Errorf(CodeInvalid, "job %d is a service: it never ends well", job.ID).WithHint("wait for a batch ETL, a backup or a restore")
	}
	if err := run.runsByItself(); err != nil {
		return err
	}
	if run.Type == JobETL {
		if t.RunType != "" {
			return Errorf(CodeInvalid, "job %d is an ETL, which has no run type", run.ID).WithHint("leave the run type out")
		}
		return nil
	}
	_, err := ParseRunType(string(t.RunType))
	return err
}

// runsByItself refuses a job that only people run: a restore, and a service, which
// is switched on once.
func (j Job) runsByItself() error {
	switch {
	case j.Type == JobBackup, j.Type == JobETL && j.ETL != nil && !j.ETL.Service:
		return nil
	case j.Type == JobETL:
		return Errorf(CodeInvalid, "job %d is a service, which is switched on by hand", j.ID).WithHint("name a batch ETL or a backup")
	}
	return Errorf(CodeInvalid, "job %d is a %s job, which is run by hand", j.ID, j.Type).WithHint("name a batch ETL or a backup")
}

// Fires reports whether an execution has ended as the trigger waits for it. One
// that was simulated has done nothing.
func (t Trigger) Fires(e Execution) bool {
	if !t.Active || e.Account != t.Account || e.Job != t.Job || e.State != StateEnded || e.ETL != nil && e.ETL.Simulate {
		return false
	}
	return e.Outcome == OutcomeSucceeded || e.Outcome == OutcomeWarning && t.On == OnDone
}

// Execution returns the execution that the trigger makes of its job when the
// execution after has ended; it is not stored yet. CodeInvalid when the job cannot
// run as it is, CodeNotFound when it has been deleted. site is the job's.
func (t Trigger) Execution(run Job, site Site, after Execution, now time.Time, actor string) (Execution, error) {
	switch {
	case !run.Deleted.IsZero():
		return Execution{}, Errorf(CodeNotFound, "job %d has been deleted", run.ID)
	case !run.Active:
		return Execution{}, Errorf(CodeInvalid, "job %d is not active", run.ID).WithHint("activate it, or delete the trigger")
	}
	if err := run.runsByItself(); err != nil {
		return Execution{}, err
	}
	var e Execution
	if run.Type == JobETL {
		if _, err := run.ETL.PropertiesOf(ETLRun{}); err != nil {
			return Execution{}, err
		}
		e = NewETLExecution(run, site, run.ETL.RunOf(nil, nil, false), now, now, actor)
	} else {
		var err error
		if e, err = NewBackupExecution(run, site, t.RunType, now, now, actor); err != nil {
			return Execution{}, err
		}
	}
	e.Cause = after.ID
	return e, nil
}

// Decide says what becomes of the execution that a trigger would make, when live
// are those of its job that have not ended. A backup runs once at a time; an ETL
// waits for its turn, as one does that somebody asks for.
func (t Trigger) Decide(next Execution, live []Execution) Firing {
	var busy ExecutionID
	waiting, works := 0, false
	for _, e := range live {
		switch {
		case !e.Busy():
			continue
		case e.State == StateQueued && e.Fence == 0 && next.sameWork(e):
			return Firing{Skip: SkipQueued, Execution: e.ID}
		case busy == 0:
			busy = e.ID
		}
		waiting++
		works = works || e.State != StateQueued || e.Fence > 0
	}
	if works {
		waiting--
	}
	switch {
	case busy == 0:
		return Firing{}
	case next.Type != JobETL:
		return Firing{Skip: SkipBusy, Execution: busy}
	case waiting >= MaxFollowUps:
		return Firing{Skip: SkipFull, Execution: busy}
	}
	return Firing{}
}

// sameWork reports whether two executions of a job that have not begun would do the
// same.
func (e Execution) sameWork(other Execution) bool {
	if e.ETL != nil && other.ETL != nil {
		return e.ETL.Same(*other.ETL)
	}
	return e.ETL == nil && other.ETL == nil && e.RunAsked == other.RunAsked
}
