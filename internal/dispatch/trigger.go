package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// actorTrigger is who makes the executions of triggers.
const actorTrigger = "trigger"

// triggered is what an event says of a trigger that has fired.
type triggered struct {
	Job       holdfast.JobID       `json:"job"` // that it runs
	After     holdfast.JobID       `json:"after"`
	Cause     holdfast.ExecutionID `json:"cause"` // whose end it has waited for
	RunType   holdfast.RunType     `json:"run_type,omitempty"`
	Execution holdfast.ExecutionID `json:"execution,omitempty"` // that it has made

	Reason       holdfast.SkipReason  `json:"reason,omitempty"`
	ForExecution holdfast.ExecutionID `json:"for_execution,omitempty"`
	Error        string               `json:"error,omitempty"`
	Hint         string               `json:"hint,omitempty"`
}

// trigger runs the jobs that wait for the good end of the execution, in the
// transaction that ends it: each of them runs once, or an event says why not. Only
// an error of the store is one of the end.
func (d *Dispatcher) trigger(ctx context.Context, tx store.Tx, after holdfast.Execution) ([]holdfast.Execution, error) {
	if after.Outcome != holdfast.OutcomeSucceeded && after.Outcome != holdfast.OutcomeWarning {
		return nil, nil
	}
	list, err := tx.Triggers(ctx, after.Account, after.Job)
	if err != nil {
		return nil, fmt.Errorf("read triggers of job %d: %w", after.Job, err)
	}
	var made []holdfast.Execution
	for _, t := range list {
		if !t.Fires(after) {
			continue
		}
		e, ok, err := d.fire(ctx, tx, t, after)
		if err != nil {
			return nil, fmt.Errorf("trigger %d: %w", t.ID, err)
		}
		if ok {
			made = append(made, e)
		}
	}
	return made, nil
}

// fire makes the execution of a trigger, or says why there is none.
func (d *Dispatcher) fire(ctx context.Context, tx store.Tx, t holdfast.Trigger, after holdfast.Execution) (e holdfast.Execution, ok bool, err error) {
	now := d.cfg.Now()
	e, live, err := prepare(ctx, tx, t, after, now)
	told := triggered{Job: t.Run, After: t.Job, Cause: after.ID, RunType: t.RunType}
	switch code := holdfast.ErrorCode(err); {
	case code == holdfast.CodeUnavailable, code == holdfast.CodeExhausted, err != nil && ctx.Err() != nil:
		return e, false, err // of the store: the worker sends its end again
	case err != nil:
		// What cannot be run, or not even be read, must not keep the end from being
		// taken.
		level := slog.LevelInfo
		if code == holdfast.CodeInternal {
			level = slog.LevelError
		}
		d.log.Log(ctx, level, "trigger not fired", "trigger", int64(t.ID), "job", int64(t.Run), "cause", int64(after.ID), "error", err)
		told.Reason, told.Error, told.Hint = holdfast.SkipRefused, holdfast.ErrorMessage(err), holdfast.ErrorHint(err)
	default:
		f := t.Decide(e, live)
		told.Reason, told.ForExecution = f.Skip, f.Execution
	}
	kind := "trigger.skipped"
	if told.Reason == holdfast.SkipNone {
		if err := insertTriggered(ctx, tx, &e); err != nil {
			return e, false, err
		}
		kind, ok, told.Execution = "trigger.fired", true, e.ID
	}
	return e, ok, insertEvent(ctx, tx, holdfast.Event{
		Account: t.Account, Time: now, Actor: actorTrigger, Subject: fmt.Sprintf("trigger %d", t.ID), Site: e.Site, Kind: kind,
	}, told)
}

// prepare returns the execution that a trigger would make, and those of its job
// that have not ended. With an error the execution has a site only: the one whose
// history tells of it.
func prepare(
	ctx context.Context, r store.Reader, t holdfast.Trigger, after holdfast.Execution, now time.Time,
) (holdfast.Execution, []holdfast.Execution, error) {
	none := holdfast.Execution{Site: after.Site}
	run, err := r.Job(ctx, t.Account, t.Run)
	if err != nil {
		return none, nil, err
	}
	site, err := r.Site(ctx, t.Account, run.Site)
	if err != nil {
		return none, nil, err
	}
	none.Site = run.Site
	e, err := t.Execution(run, site, after, now, actorTrigger)
	if err != nil {
		return none, nil, err
	}
	live, err := r.LiveOfJob(ctx, t.Run)
	if err != nil {
		return none, nil, err
	}
	return e, live, nil
}

// insertTriggered stores an execution with its submission and its event.
func insertTriggered(ctx context.Context, tx store.Tx, e *holdfast.Execution) error {
	sub := holdfast.Submission{Account: e.Account, Time: e.Submitted}
	if err := tx.InsertSubmission(ctx, &sub); err != nil {
		return fmt.Errorf("insert submission: %w", err)
	}
	e.Submission = sub.ID
	if err := tx.InsertExecution(ctx, e); err != nil {
		return fmt.Errorf("insert execution of job %d: %w", e.Job, err)
	}
	return insertEvent(ctx, tx, holdfast.Event{
		Account: e.Account, Time: e.Submitted, Actor: actorTrigger, Subject: subjectOf(e.ID), Site: e.Site, Kind: eventKinds[e.State],
	}, struct {
		Job     holdfast.JobID       `json:"job"`
		Site    holdfast.SiteID      `json:"site"`
		Type    holdfast.JobType     `json:"type"`
		RunType holdfast.RunType     `json:"run_type"`
		Cause   holdfast.ExecutionID `json:"cause"`
	}{e.Job, e.Site, e.Type, e.RunType, e.Cause})
}

// ringFor tells the pools of executions that triggers have made.
func (d *Dispatcher) ringFor(ctx context.Context, made []holdfast.Execution) {
	for _, e := range made {
		d.log.InfoContext(ctx, "execution submitted", "execution", int64(e.ID), "job", int64(e.Job), "cause", int64(e.Cause), "actor", actorTrigger)
		d.Ring(e.Pool)
	}
}
