package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Limits of one page of a log, in bytes.
const (
	defaultLogPage = 64 << 10
	maxLogPage     = 1 << 20
)

func submissionWord(id holdfast.SubmissionID) string { return fmt.Sprintf("submission %d", id) }

func executionWord(id holdfast.ExecutionID) string { return fmt.Sprintf("execution %d", id) }

// live lists the account's executions that have not ended.
func live(ctx context.Context, r store.Reader, actor holdfast.Actor) ([]holdfast.Execution, error) {
	list, err := r.LiveExecutions(ctx, holdfast.StatePlanned, holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended)
	return slices.DeleteFunc(list, func(e holdfast.Execution) bool { return e.Account != actor.Principal.Account }), err
}

// unneeded refuses to delete what an execution that has not ended needs.
func unneeded(ctx context.Context, r store.Reader, actor holdfast.Actor, what string, needs func(holdfast.Execution) bool) error {
	list, err := live(ctx, r, actor)
	if err != nil {
		return err
	}
	if i := slices.IndexFunc(list, needs); i >= 0 {
		return holdfast.Errorf(holdfast.CodeConflict, "%s is needed by execution %d, which is %s", what, list[i].ID, list[i].State).
			WithHint("wait until it has ended, or stop it")
	}
	return nil
}

// findExecution returns the execution when the actor may do op to it.
func findExecution(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.ExecutionID) (holdfast.Execution, error) {
	e, err := r.Execution(ctx, actor.Principal.Account, id)
	if err != nil {
		return holdfast.Execution{}, found(err, executionWord(id))
	}
	err = allow(actor, op, target{what: executionWord(id), sites: []holdfast.SiteID{e.Site}})
	if err != nil || e.Type != holdfast.JobETL || rules[op].role == holdfast.RoleReader {
		return e, err
	}
	j, err := r.Job(ctx, e.Account, e.Job)
	if err != nil {
		return e, err
	}
	return e, coversAll(actor, op, j)
}

// Executions lists the executions of the sites that the credential covers, the
// newest first, and says how many there are without the page.
func (s *Service) Executions(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter) ([]holdfast.Execution, int, error) {
	if err := allow(actor, opExecutions, account()); err != nil {
		return nil, 0, err
	}
	if err := checkPage(f.Page); err != nil {
		return nil, 0, err
	}
	var ok bool
	if f.Sites, ok = inScope(actor, f.Sites); !ok {
		return nil, 0, nil
	}
	var list []holdfast.Execution
	var total int
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		list, total, err = r.Executions(ctx, actor.Principal.Account, f)
		return err
	})
	return list, total, err
}

// Execution returns an execution.
func (s *Service) Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return s.execution(ctx, actor, opExecution, id)
}

func (s *Service) execution(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.ExecutionID) (holdfast.Execution, error) {
	var e holdfast.Execution
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		e, err = findExecution(ctx, r, actor, op, id)
		return err
	})
	if err != nil {
		return holdfast.Execution{}, err
	}
	return e, nil
}

// Log returns up to limit bytes of an execution's log from the offset, and the
// log's size so far. limit 0 means 64 KiB; at most 1 MiB comes at once.
func (s *Service) Log(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID, offset int64, limit int) ([]byte, int64, error) {
	if _, err := s.execution(ctx, actor, opLog, id); err != nil {
		return nil, 0, err
	}
	switch {
	case offset < 0 || limit < 0:
		return nil, 0, holdfast.Errorf(holdfast.CodeInvalid, "the log cannot be read from %d, at most %d bytes", offset, limit).
			WithHint("use numbers that are not negative")
	case limit == 0:
		limit = defaultLogPage
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.cfg.Logs.Read(ctx, id, offset, min(limit, maxLogPage))
}
