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

// submitTries bounds how often a submit that lost a race begins anew.
const submitTries = 3

// Run asks for one execution of a job.
type Run struct {
	Job            holdfast.JobID
	RunType        holdfast.RunType // empty: FULL; ignored for a restore
	IfBusy         IfBusy
	IdempotencyKey string    // the same key in the account gives the same execution; empty: none
	Due            time.Time // not before; zero or past: now
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
	if in.Due.Before(now) {
		in.Due = now
	}
	in.Due = in.Due.UTC()
	return in, checkKey(in.IdempotencyKey)
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
// for a busy job (see [Refuse]) and for a restore whose backup set is gone,
// CodeInvalid when neither job nor site names a repository. A key that another
// request was made with is CodeConflict; one whose answer was an execution that
// it joined is forgotten.
func (s *Service) Execute(ctx context.Context, actor holdfast.Actor, in Run) (holdfast.Execution, error) {
	now := s.now()
	in, err := in.clean(now)
	if err != nil {
		if _, seen := s.job(ctx, actor, opExecute, in.Job); seen != nil {
			err = seen
		}
		return holdfast.Execution{}, err
	}
	return s.submit(ctx, actor, in.IdempotencyKey, func(ctx context.Context, tx store.Tx) (holdfast.Execution, bool, error) {
		j, err := findJob(ctx, tx, actor, opExecute, in.Job)
		if err != nil {
			return holdfast.Execution{}, false, err
		}
		e, ok, err := submitted(ctx, tx, j.Account, in.IdempotencyKey)
		if err != nil || ok {
			if ok && (e.Job != j.ID || e.Type == holdfast.JobBackup && e.RunAsked != in.RunType) {
				err = errKeyUsed()
			}
			return e, false, err
		}
		if !j.Deleted.IsZero() {
			return holdfast.Execution{}, false, notFound(jobWord(j.ID))
		}
		if !in.Due.After(now) && in.IfBusy != Queue {
			busy, err := notBusy(ctx, tx, j.ID)
			if err != nil {
				if in.IfBusy == Join && busy.ID != 0 {
					err = nil
				}
				return busy, false, err
			}
		}
		e, err = s.newExecution(ctx, tx, actor, opExecute, j, in, now)
		if err != nil {
			return holdfast.Execution{}, false, err
		}
		e, err = insertExecution(ctx, tx, actor, e, in.IdempotencyKey)
		return e, true, err
	})
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

// submit runs fn in a transaction, anew when another request with the same key
// won a race, and rings when an execution was made that is due.
func (s *Service) submit(
	ctx context.Context, actor holdfast.Actor, key string,
	fn func(context.Context, store.Tx) (e holdfast.Execution, made bool, err error),
) (holdfast.Execution, error) {
	var e holdfast.Execution
	var made bool
	for try := 1; ; try++ {
		err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
			var err error
			e, made, err = fn(ctx, tx)
			return err
		})
		if err == nil {
			break
		}
		if try == submitTries || key == "" || holdfast.ErrorCode(err) != holdfast.CodeConflict || !s.keyTaken(ctx, actor, key) {
			return holdfast.Execution{}, err
		}
	}
	if made {
		s.cfg.Log.InfoContext(ctx, "execution submitted", "execution", e.ID, "job", e.Job, "site", e.Site, "state", e.State, "actor", actor.String())
		if e.State == holdfast.StateQueued {
			s.cfg.Dispatcher.Ring(e.Pool)
		}
	}
	return e, nil
}

// keyTaken reports whether a submission has the key. It was not there when the
// conflicting transaction looked, or the answer was about the key itself: then
// beginning anew gives the same answer.
func (s *Service) keyTaken(ctx context.Context, actor holdfast.Actor, key string) bool {
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		_, err := r.SubmissionByKey(ctx, actor.Principal.Account, key)
		return err
	})
	return err == nil
}

// submitted returns the execution that a request with the key has made.
func submitted(ctx context.Context, r store.Reader, a holdfast.AccountID, key string) (holdfast.Execution, bool, error) {
	if key == "" {
		return holdfast.Execution{}, false, nil
	}
	sub, err := r.SubmissionByKey(ctx, a, key)
	if err != nil {
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			err = nil
		}
		return holdfast.Execution{}, false, err
	}
	list, err := r.ExecutionsOfSubmission(ctx, sub.ID)
	if err != nil {
		return holdfast.Execution{}, false, err
	}
	if len(list) != 1 {
		return holdfast.Execution{}, false, errKeyUsed()
	}
	return list[0], true, nil
}

func errKeyUsed() error {
	return holdfast.Errorf(holdfast.CodeConflict, "the idempotency key was used for another request").
		WithHint("use a new key for each request, and the same one only to repeat it")
}

// newExecution is the execution that the request makes of the job.
func (s *Service) newExecution(
	ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, j holdfast.Job, in Run, now time.Time,
) (holdfast.Execution, error) {
	site, err := findSite(ctx, r, actor, op, j.Site)
	if err != nil {
		return holdfast.Execution{}, err
	}
	e := holdfast.Execution{
		Account: j.Account, Site: j.Site, Job: j.ID, JobName: j.Name, Type: j.Type, Engine: j.Engine,
		Status:   holdfast.Status{State: holdfast.StateQueued},
		Priority: j.Priority, Pool: site.Pool, Host: site.Host, Due: in.Due, Submitted: now,
	}
	if in.Due.After(now) {
		e.State = holdfast.StatePlanned
	}
	if j.AutoAbort.Active {
		e.AbortAfter = j.AutoAbort.After
	}
	if j.Type == holdfast.JobRestore {
		return s.restoreExecution(ctx, r, actor, op, site, j, e)
	}
	e.RunAsked, e.RunType = in.RunType, in.RunType // the start decides anew what runs
	e.Repository = j.Repository
	if e.Repository == 0 {
		e.Repository = site.Repository
	}
	if e.Repository == 0 {
		return holdfast.Execution{}, holdfast.Errorf(holdfast.CodeInvalid, "neither job %d nor site %q names a repository", j.ID, site.Slug).
			WithHint("give one of them a repository")
	}
	return e, nil
}

// insertExecution inserts an execution with its submission and its event.
func insertExecution(ctx context.Context, tx store.Tx, actor holdfast.Actor, e holdfast.Execution, key string) (holdfast.Execution, error) {
	sub := holdfast.Submission{
		Account: e.Account, Principal: actor.Principal.ID, Dialect: actor.Dialect, IdempotencyKey: key, Time: e.Submitted,
	}
	if err := tx.InsertSubmission(ctx, &sub); err != nil {
		return holdfast.Execution{}, err
	}
	e.Submission = sub.ID
	if err := tx.InsertExecution(ctx, &e); err != nil {
		return holdfast.Execution{}, err
	}
	kind := "execution.queued"
	data := facts{"job": e.Job, "site": e.Site, "type": e.Type, "run_type": e.RunType}
	if e.State == holdfast.StatePlanned {
		kind = "execution.planned"
		data["due"] = e.Due
	}
	if e.Type == holdfast.JobRestore {
		data["backup_set"] = e.Set
		data["host"] = e.Host
		data["directory"] = e.Restore.Directory
	}
	return e, record(ctx, tx, actor, e.Submitted, executionWord(e.ID), kind, data)
}
