package service

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// IfBusy says what a request to run a busy job means.
type IfBusy int

// The answers to a busy job.
const (
	Refuse IfBusy = iota // CodeConflict, with Error.Execution
	Join                 // the execution that keeps it busy is the answer
	Queue                // one more waits for its turn
)

// maxKey bounds an idempotency key, in bytes.
const maxKey = 255

// MaxWaiting bounds the executions of one job that wait for their turn: a caller
// in a loop fills no database.
const MaxWaiting = 100

// Run asks for one execution of a job.
type Run struct {
	Job            holdfast.JobID
	RunType        holdfast.RunType // empty: FULL; ignored for a restore
	IfBusy         IfBusy
	IdempotencyKey string    // the same key in the account gives the same execution; empty: none
	Due            time.Time // not before; zero, or up to a minute ago: now
	Suspended      bool      // begins SUSPENDED: it waits for a resume
}

// clean checks a request and fills its defaults.
func (in Run) clean(now time.Time) (Run, error) {
	switch in.RunType {
	case holdfast.RunFull, holdfast.RunDelta, holdfast.RunCumulative:
	case "":
		in.RunType = holdfast.RunFull
	default:
		_, err := holdfast.ParseRunType(string(in.RunType))
		if err == nil {
			err = holdfast.Errorf(holdfast.CodeInvalid, "run type %q is unknown", in.RunType).WithHint("use FULL, DELTA or CUMULATIVE")
		}
		return in, err
	}
	if in.IfBusy < Refuse || in.IfBusy > Queue {
		return in, holdfast.Errorf(holdfast.CodeInvalid, "the answer %d to a busy job is unknown", in.IfBusy)
	}
	if in.Suspended && in.Due.After(now) {
		return in, holdfast.Errorf(holdfast.CodeInvalid, "an execution that begins suspended has no time to begin at").
			WithHint("leave out the time, or do not suspend it")
	}
	return in, checkKey(in.IdempotencyKey)
}

// Bounds of the time at which an execution is asked to be due.
const (
	duePast  = time.Minute // clocks differ, and requests take their time
	dueYears = 10
)

// dueAt is the time that a request names, and now for one that has just passed.
func dueAt(at, now time.Time) (time.Time, error) {
	at = at.UTC()
	switch {
	case at.Before(now.Add(-duePast)):
		return at, holdfast.Errorf(holdfast.CodeInvalid, "the time %s is over", at.Format(time.RFC3339)).WithHint("name a time that is to come")
	case at.After(now.AddDate(dueYears, 0, 0)):
		return at, holdfast.Errorf(holdfast.CodeInvalid, "the time %s is more than %d years ahead", at.Format(time.RFC3339), dueYears).
			WithHint("name an earlier time")
	case at.Before(now):
		return now, nil
	}
	return at, nil
}

func checkKey(key string) error {
	if len(key) > maxKey || !utf8.ValidString(key) || strings.ContainsFunc(key, isControl) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the idempotency key is longer than %d bytes or is not plain text", maxKey).
			WithHint("use a random UUID")
	}
	return nil
}

// Execute asks for one execution of a job, in one transaction: QUEUED, or
// PLANNED when it is due later. A planned one neither finds a job busy nor makes
// it so. CodeNotFound for a job that does not exist or is deleted, CodeConflict
// for a busy job (see [Refuse]), for one whose executions wait in too long a
// queue, and for a restore whose backup set is gone, CodeInvalid when neither job
// nor site names a repository, and for a time that is over or more than ten years
// ahead. A key that another request was made with is
// CodeConflict; one whose answer was an execution that it joined is forgotten.
func (s *Service) Execute(ctx context.Context, actor holdfast.Actor, in Run) (holdfast.Execution, error) {
	now := s.now()
	in, err := in.clean(now)
	if err != nil {
		if _, seen := s.job(ctx, actor, opExecute, in.Job); seen != nil {
			err = seen
		}
		return holdfast.Execution{}, err
	}
	m, err := s.submit(ctx, actor, in.IdempotencyKey, func(ctx context.Context, tx store.Tx) (made, error) {
		j, err := findJob(ctx, tx, actor, opExecute, in.Job)
		if err != nil {
			return made{}, err
		}
		m, ok, err := submitted(ctx, tx, j.Account, in.IdempotencyKey)
		if err != nil || ok {
			if ok && !m.answers([]Run{in}) {
				err = errKeyUsed()
			}
			return m, err
		}
		e, joined, err := s.runExecution(ctx, tx, actor, j, in, now)
		if err != nil || joined {
			return made{executions: []holdfast.Execution{e}}, err
		}
		return insertSubmission(ctx, tx, actor, Submit{IdempotencyKey: in.IdempotencyKey}, []holdfast.Execution{e}, now)
	})
	if err != nil {
		return holdfast.Execution{}, err
	}
	return m.executions[0], nil
}

// MayRun tells whether the actor may run backups and restores of a site: nil,
// CodeForbidden, or CodeNotFound when it may not see the site. It is for dialects
// that answer this before other questions; what runs is asked anew.
func (s *Service) MayRun(ctx context.Context, actor holdfast.Actor, site holdfast.SiteID) error {
	_, err := s.site(ctx, actor, opMayRun, site)
	return err
}

// job is liveJob in a snapshot of its own.
func (s *Service) job(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.JobID) (holdfast.Job, error) {
	var j holdfast.Job
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		j, err = liveJob(ctx, r, actor, op, id)
		return err
	})
	return j, err
}

// runExecution returns the execution that a run makes of a job, or the one that
// it joins.
func (s *Service) runExecution(
	ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, in Run, now time.Time,
) (e holdfast.Execution, joined bool, err error) {
	if !j.Deleted.IsZero() {
		return e, false, notFound(jobWord(j.ID))
	}
	if in.Due.IsZero() {
		in.Due = now.UTC()
	}
	if in.Due, err = dueAt(in.Due, now); err != nil { // not before: a request that is sent again has its answer
		return e, false, err
	}
	switch {
	case in.Due.After(now):
	case in.IfBusy == Queue && j.Type == holdfast.JobETL:
		if e, joined, err = mayFollow(ctx, tx, j); joined || err != nil {
			return e, joined, err
		}
	case in.IfBusy == Queue:
		if err := mayWait(ctx, tx, j); err != nil {
			return e, false, err
		}
	default:
		busy, err := notBusy(ctx, tx, j.ID)
		if err != nil && in.IfBusy == Join && busy.ID != 0 {
			return busy, true, nil
		}
		if err != nil {
			return busy, false, err
		}
	}
	e, err = s.newExecution(ctx, tx, actor, opExecute, j, in, now)
	if err == nil && j.Type == holdfast.JobETL {
		j.ETL = cloneETL(j.ETL)
		err = (&turn{job: j}).setAborted(ctx, tx, false)
	}
	return e, false, err
}

// mayFollow returns the execution that keeps a service on, which needs no second one;
// ok is false when there is none. A batch is refused when too many wait already.
func mayFollow(ctx context.Context, r store.Reader, j holdfast.Job) (on holdfast.Execution, ok bool, err error) {
	t := &turn{job: j}
	if err := t.read(ctx, r); err != nil {
		return on, false, err
	}
	switch e := t.on(); {
	case j.ETL.Service && e != nil:
		return *e, true, nil
	case !j.ETL.Service && len(t.queued) >= holdfast.MaxFollowUps:
		return on, false, errManyWait(len(t.queued), j, t.queued[0].ID)
	}
	return on, false, nil
}

// mayWait refuses one more execution of a job when too many wait already.
func mayWait(ctx context.Context, r store.Reader, j holdfast.Job) error {
	waiting, n, err := r.Executions(ctx, j.Account, store.ExecutionFilter{
		Job: j.ID, States: []holdfast.State{holdfast.StateQueued, holdfast.StateSuspended}, Page: store.Page{Limit: 1},
	})
	if err != nil || n < MaxWaiting {
		return err
	}
	return errManyWait(n, j, waiting[0].ID)
}

func errManyWait(n int, j holdfast.Job, first holdfast.ExecutionID) error {
	conflict := holdfast.Errorf(holdfast.CodeConflict, "%d executions of job %d wait already", n, j.ID).
		WithHint("wait until some have ended, or stop them")
	conflict.Execution = first
	return conflict
}

// etlExecution is the execution of an ETL that the request makes, without properties
// of its own.
func etlExecution(site holdfast.Site, j holdfast.Job, in Run, now time.Time, actor string) (holdfast.Execution, error) {
	if in.Due.After(now) {
		return holdfast.Execution{}, holdfast.Errorf(holdfast.CodeInvalid, "an execution of ETL %d cannot be planned so", j.ID).
			WithHint("schedule the ETL")
	}
	if _, err := j.ETL.PropertiesOf(holdfast.ETLRun{}); err != nil {
		return holdfast.Execution{}, err
	}
	return in.begin(holdfast.NewETLExecution(j, site, j.ETL.RunOf(nil, nil, false), in.Due, now, actor)), nil
}

// newExecution is the execution that the request makes of the job.
func (s *Service) newExecution(
	ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, j holdfast.Job, in Run, now time.Time,
) (holdfast.Execution, error) {
	site, err := findSite(ctx, r, actor, op, j.Site)
	if err != nil {
		return holdfast.Execution{}, err
	}
	switch j.Type {
	case holdfast.JobETL:
		return etlExecution(site, j, in, now, actor.Principal.Name)
	case holdfast.JobRestore:
		e := holdfast.NewExecution(j, site, in.Due, now, actor.Principal.Name)
		return s.restoreExecution(ctx, r, actor, op, site, j, in.begin(e))
	case holdfast.JobBackup:
	}
	e, err := holdfast.NewBackupExecution(j, site, in.RunType, in.Due, now, actor.Principal.Name)
	return in.begin(e), err
}

// begin lets a new execution begin as the request says.
func (in Run) begin(e holdfast.Execution) holdfast.Execution {
	if in.Suspended {
		e.State, e.Wanted = holdfast.StateSuspended, holdfast.WantSuspend
	}
	return e
}
