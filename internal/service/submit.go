package service

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Bounds of a submission.
const (
	maxRuns     = 1000     // executions
	maxRequest  = 64 << 10 // bytes of the request that is kept
	submitTries = 3        // a submit that lost a race begins anew
)

// Submit asks for several executions at once: all of them are made, or none.
type Submit struct {
	Runs           []Run           // at least one, of different jobs; not to be joined, and without keys of their own
	Request        json.RawMessage // kept with the submission: it must hold no secret; nil: none
	IdempotencyKey string          // the same key in the account gives the same executions; empty: none
}

// clean checks a request and fills its defaults.
func (in Submit) clean(now time.Time) (Submit, error) {
	if len(in.Runs) == 0 || len(in.Runs) > maxRuns {
		return in, holdfast.Errorf(holdfast.CodeInvalid, "a request for %d executions cannot be met", len(in.Runs)).
			WithHint("ask for 1 to %d at once", maxRuns)
	}
	if len(in.Request) > maxRequest {
		return in, holdfast.Errorf(holdfast.CodeInvalid, "the request of %d bytes is too long to be kept", len(in.Request)).
			WithHint("send at most %d", maxRequest)
	}
	seen := map[holdfast.JobID]bool{}
	runs := make([]Run, len(in.Runs))
	for i, run := range in.Runs {
		var err error
		if runs[i], err = run.clean(now); err != nil {
			return in, err
		}
		switch {
		case run.IfBusy == Join, run.IdempotencyKey != "":
			return in, holdfast.Errorf(holdfast.CodeInternal, "a run of several joins, or has a key of its own")
		case seen[run.Job]:
			return in, holdfast.Errorf(holdfast.CodeInvalid, "job %d is asked for twice", run.Job).WithHint("name each job once")
		}
		seen[run.Job] = true
	}
	in.Runs = runs
	return in, checkKey(in.IdempotencyKey)
}

// ExecuteAll asks for one execution of each of several jobs, in one transaction
// and as one submission. Errors are those of [Service.Execute], for the first job
// that has one, and then nothing is made.
func (s *Service) ExecuteAll(ctx context.Context, actor holdfast.Actor, in Submit) (holdfast.Submission, []holdfast.Execution, error) {
	now := s.now()
	in, err := in.clean(now)
	if err != nil {
		return holdfast.Submission{}, nil, err
	}
	m, err := s.submit(ctx, actor, in.IdempotencyKey, func(ctx context.Context, tx store.Tx) (made, error) {
		jobs := make([]holdfast.Job, len(in.Runs))
		for i, run := range in.Runs {
			var err error
			if jobs[i], err = findJob(ctx, tx, actor, opExecuteAll, run.Job); err != nil {
				return made{}, err
			}
		}
		m, ok, err := submitted(ctx, tx, actor.Principal.Account, in.IdempotencyKey)
		if err != nil || ok {
			if ok && !m.answers(in.Runs) {
				err = errKeyUsed()
			}
			return m, err
		}
		list := make([]holdfast.Execution, len(in.Runs))
		for i, run := range in.Runs {
			joined := false
			if list[i], joined, err = s.runExecution(ctx, tx, actor, jobs[i], run, now); err != nil {
				return made{}, err
			}
			if joined { // a service that is on: nothing of this submission would be made for it
				return made{}, errBusy(list[i])
			}
		}
		return insertSubmission(ctx, tx, actor, in, list, now)
	})
	return m.Submission, m.executions, err
}

// Submission returns a submission with the executions that it made. One of whose
// executions the credential covers none does not exist.
func (s *Service) Submission(ctx context.Context, actor holdfast.Actor, id holdfast.SubmissionID) (holdfast.Submission, []holdfast.Execution, error) {
	var sub holdfast.Submission
	var list []holdfast.Execution
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		if sub, err = r.Submission(ctx, actor.Principal.Account, id); err != nil {
			return found(err, submissionWord(id))
		}
		if list, err = r.ExecutionsOfSubmission(ctx, id); err != nil {
			return err
		}
		t := target{what: submissionWord(id)}
		for _, e := range list {
			t.sites = append(t.sites, e.Site)
		}
		list = slices.DeleteFunc(list, func(e holdfast.Execution) bool { return !actor.Credential.Covers(e.Site) })
		return allow(actor, opSubmission, t)
	})
	if err != nil {
		return holdfast.Submission{}, nil, err
	}
	return sub, list, nil
}

// made is what a request has made, now or when it came first.
type made struct {
	holdfast.Submission
	executions []holdfast.Execution
	now        bool
}

// answers reports whether the submission is what the runs ask for.
func (m made) answers(runs []Run) bool {
	if len(m.executions) != len(runs) {
		return false
	}
	for i, e := range m.executions { // both in the order of the request
		if e.Job != runs[i].Job || e.Type == holdfast.JobBackup && e.RunAsked != runs[i].RunType {
			return false
		}
	}
	return true
}

// submit runs fn in a transaction, anew when another request with the same key
// won a race, and rings for executions that are due.
func (s *Service) submit(
	ctx context.Context, actor holdfast.Actor, key string, fn func(context.Context, store.Tx) (made, error),
) (made, error) {
	var m made
	for try := 1; ; try++ {
		err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
			var err error
			m, err = fn(ctx, tx)
			return err
		})
		if err == nil {
			break
		}
		if try == submitTries || key == "" || holdfast.ErrorCode(err) != holdfast.CodeConflict || !s.keyTaken(ctx, actor, key) {
			return made{}, err
		}
	}
	if m.now {
		s.ringFor(ctx, actor.String(), m.executions)
	}
	return m, nil
}

// ringFor tells the pools of new executions.
func (s *Service) ringFor(ctx context.Context, by string, list []holdfast.Execution) {
	pools := map[string]bool{}
	for _, e := range list {
		s.cfg.Log.InfoContext(ctx, "execution submitted", "execution", e.ID, "job", e.Job, "site", e.Site, "state", e.State, "actor", by)
		if e.State == holdfast.StateQueued && !pools[e.Pool] {
			pools[e.Pool] = true
			s.cfg.Dispatcher.Ring(e.Pool)
		}
	}
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

// submitted returns what a request with the key has made.
func submitted(ctx context.Context, r store.Reader, a holdfast.AccountID, key string) (made, bool, error) {
	if key == "" {
		return made{}, false, nil
	}
	sub, err := r.SubmissionByKey(ctx, a, key)
	if err != nil {
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			err = nil
		}
		return made{}, false, err
	}
	list, err := r.ExecutionsOfSubmission(ctx, sub.ID)
	return made{Submission: sub, executions: list}, err == nil, err
}

func errKeyUsed() error {
	return holdfast.Errorf(holdfast.CodeConflict, "the idempotency key was used for another request").
		WithHint("use a new key for each request, and the same one only to repeat it")
}

// insertSubmission inserts executions with their submission and their events.
func insertSubmission(
	ctx context.Context, tx store.Tx, actor holdfast.Actor, in Submit, list []holdfast.Execution, now time.Time,
) (made, error) {
	m := made{now: true, Submission: holdfast.Submission{
		Account: actor.Principal.Account, Principal: actor.Principal.ID, Dialect: actor.Dialect,
		IdempotencyKey: in.IdempotencyKey, Request: in.Request, Time: now,
	}}
	if err := tx.InsertSubmission(ctx, &m.Submission); err != nil {
		return made{}, err
	}
	for _, e := range list {
		e.Submission = m.ID
		if err := tx.InsertExecution(ctx, &e); err != nil {
			return made{}, err
		}
		if err := recordExecution(ctx, tx, actor, e); err != nil {
			return made{}, err
		}
		m.executions = append(m.executions, e)
	}
	return m, nil
}

// recordExecution writes the event of a new execution.
func recordExecution(ctx context.Context, tx store.Tx, actor holdfast.Actor, e holdfast.Execution) error {
	kind := "execution.queued"
	data := facts{"job": e.Job, "site": e.Site, "type": e.Type, "run_type": e.RunType}
	switch e.State {
	case holdfast.StatePlanned:
		kind = "execution.planned"
		data["due"] = e.Due
	case holdfast.StateSuspended:
		kind = "execution.suspended"
	case holdfast.StateQueued, holdfast.StateRunning, holdfast.StateEnded:
	}
	if e.Schedule != 0 {
		data["schedule"] = e.Schedule
	}
	if e.Type == holdfast.JobRestore {
		data["backup_set"] = e.Set
		data["host"] = e.Host
		data["directory"] = e.Restore.Directory
		if e.Restore.Site != 0 {
			data["in_place"] = e.Restore.Site
		}
		if e.Restore.Delta {
			data["delta"] = true
		}
	}
	return record(ctx, tx, actor, e.Submitted, executionWord(e.ID), kind, data)
}
