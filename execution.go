package holdfast

import (
	"encoding/json"
	"time"
)

// ExecutionID numbers executions.
type ExecutionID int64

// Fence outdates older orders: each start of an execution has a higher one, and
// whatever comes with a lower one is refused. Zero: never started.
type Fence uint64

// State is where an execution is.
type State string

// The states.
const (
	StatePlanned   State = "PLANNED"   // due later
	StateQueued    State = "QUEUED"    // due now, or after a back-off; waits for a slot
	StateRunning   State = "RUNNING"   // a worker holds an order for it
	StateSuspended State = "SUSPENDED" // holds its job, but no slot
	StateEnded     State = "ENDED"     // never changes again
)

// States lists every state.
func States() []State {
	return []State{StatePlanned, StateQueued, StateRunning, StateSuspended, StateEnded}
}

// Wanted is what people want of an execution. It only rises, except that a
// resume takes suspend back to run.
type Wanted int

// The wishes, from the weakest to the strongest.
const (
	WantRun     Wanted = iota
	WantSuspend        // come to rest, and go on later
	WantStop           // come to rest at the next good point, and end
	WantAbort          // a time limit has passed: end at once
	WantKill           // end at once
)

// Wishes lists every wish.
func Wishes() []Wanted { return []Wanted{WantRun, WantSuspend, WantStop, WantAbort, WantKill} }

var wantedWords = [...]string{"run", "suspend", "stop", "abort", "kill"}

// String returns the wish's word.
func (w Wanted) String() string {
	if w < 0 || int(w) >= len(wantedWords) {
		return "unknown"
	}
	return wantedWords[w]
}

// MarshalText returns the wish's word.
func (w Wanted) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads the wish's word.
func (w *Wanted) UnmarshalText(b []byte) error {
	for i, word := range wantedWords {
		if word == string(b) {
			*w = Wanted(i)
			return nil
		}
	}
	return Errorf(CodeInvalid, "wish %q is unknown", b)
}

// Outcome is how an execution ended; empty until it has.
type Outcome string

// The outcomes.
const (
	OutcomeNone      Outcome = ""
	OutcomeSucceeded Outcome = "SUCCEEDED"
	OutcomeWarning   Outcome = "WARNING"   // usable; something was left out or is damaged, and the detail says what
	OutcomeFailed    Outcome = "FAILED"    // nothing usable is left
	OutcomeStopped   Outcome = "STOPPED"   // by a wish to stop
	OutcomeAborted   Outcome = "ABORTED"   // by its time limit
	OutcomeKilled    Outcome = "KILLED"    // by a wish to kill
	OutcomeCancelled Outcome = "CANCELLED" // never started
)

// Outcomes lists every outcome but none.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeSucceeded, OutcomeWarning, OutcomeFailed, OutcomeStopped,
		OutcomeAborted, OutcomeKilled, OutcomeCancelled,
	}
}

// Reason is why an execution ended as it did, or why it is queued again: a fixed
// word, with Execution.Detail for people.
type Reason string

// The reasons.
const (
	ReasonNone       Reason = ""
	ReasonLost       Reason = "lost"        // its workers fell silent too often
	ReasonHandedBack Reason = "handed_back" // its worker is draining, or its workers did so too often
	ReasonTransient  Reason = "transient"   // failed in a way that may pass
	ReasonError      Reason = "error"       // failed for good
	ReasonDamaged    Reason = "damaged"     // the source, or the set, is damaged
	ReasonWish       Reason = "wish"        // somebody wanted it
	ReasonTimeLimit  Reason = "time_limit"  // auto-abort
	ReasonSkipped    Reason = "skipped"     // the scheduler left it out
	ReasonExpired    Reason = "expired"     // its caller's credentials are no longer held
)

// Progress is how far an execution has come. Where it says files, it counts the
// rows of an ETL; its TotalBytes are the sizes of the files that it reads, or, when
// it counts by a column, follow from the position of the last row in what is new,
// and are corrected after each unit.
type Progress struct {
	Phase      string `json:"phase"`
	DoneBytes  int64  `json:"done_bytes"`
	TotalBytes int64  `json:"total_bytes"` // 0: not known yet
	DoneFiles  int64  `json:"done_files"`
	TotalFiles int64  `json:"total_files"`
	AddedBytes int64  `json:"added_bytes"` // stored anew in the repository
}

// Execution is one run of a job.
type Execution struct {
	ID         ExecutionID
	Account    AccountID
	Site       SiteID
	Job        JobID
	JobName    string // as it was when the run was asked for
	Submission SubmissionID
	Schedule   ScheduleID  // that made it; zero: none
	Cause      ExecutionID // whose good end made it, by a trigger; zero: none
	Actor      string      // who asked for it
	Type       JobType
	Engine     Engine
	Name       string

	Status

	Detail string // for people: why, what was left out, what to do

	RunAsked      RunType // what was asked for; empty for a restore
	RunType       RunType // what runs; differs from RunAsked when there was no base
	RunTypeReason string  // why it differs

	Priority   Priority
	Pool       string
	Host       HostID // whose worker must run it
	Repository RepositoryID
	Restore    *RestoreSpec
	ETL        *ETLRun
	Due        time.Time // not before; UTC
	AbortAfter time.Duration

	Worker   WorkerID // that holds, or last held, its order
	Request  string   // id of the ask that got the order: a repeated ask gets it again
	Beat     uint64   // number of the newest beat of this fence
	Progress Progress
	Set      SetID           // reserved for a backup, the source of a restore
	Parent   ExecutionID     // a restore's backup, a delta's base
	Result   json.RawMessage // what the engine reported at its end; never secrets

	Submitted  time.Time
	Started    time.Time // first start; zero: never
	Restarted  time.Time // newest start
	WantedAt   time.Time // when Wanted last rose
	Ended      time.Time
	StoredSize int64 // bytes of its set when it has one
}

// NewExecution returns an execution of a job that is not stored yet, without what
// only one type of job has: PLANNED when it is due after now, else QUEUED. site is
// the job's.
func NewExecution(j Job, site Site, due, now time.Time, actor string) Execution {
	e := Execution{
		Account: j.Account, Site: j.Site, Job: j.ID, JobName: j.Name, Type: j.Type, Engine: j.Engine,
		Status: Status{State: StateQueued}, Priority: j.Priority, Pool: site.Pool, Host: site.Host,
		Due: due.UTC(), Submitted: now.UTC(), Actor: actor,
	}
	if due.After(now) {
		e.State = StatePlanned
	}
	if j.AutoAbort.Active {
		e.AbortAfter = j.AutoAbort.After
	}
	return e
}

// NewBackupExecution is [NewExecution] for a backup. CodeInvalid when neither job
// nor site names a repository.
func NewBackupExecution(j Job, site Site, run RunType, due, now time.Time, actor string) (Execution, error) {
	e := NewExecution(j, site, due, now, actor)
	e.RunAsked, e.RunType = run, run // the start decides anew what runs
	e.Repository = j.Repository
	if e.Repository == 0 {
		e.Repository = site.Repository
	}
	if e.Repository == 0 {
		return Execution{}, Errorf(CodeInvalid, "neither job %d nor site %q names a repository", j.ID, site.Slug).
			WithHint("give one of them a repository")
	}
	return e, nil
}
