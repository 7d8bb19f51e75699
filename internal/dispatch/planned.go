package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// dueETL queues a planned execution of an ETL whose time has come, or leaves it
// out, and plans the next one. All of it is one transaction: of two control planes
// one does it.
func (d *Dispatcher) dueETL(ctx context.Context, tx store.Tx, e holdfast.Execution) (holdfast.Execution, error) {
	j, err := tx.Job(ctx, e.Account, e.Job)
	if err != nil {
		return e, fmt.Errorf("read job %d: %w", e.Job, err)
	}
	if j.ETL == nil || e.ETL == nil {
		return d.settle(ctx, tx, actorDispatch, holdfast.MoveDue, e, nil) // its start says what is wrong
	}
	live, err := tx.LiveOfJob(ctx, e.Job)
	if err != nil {
		return e, fmt.Errorf("read executions of job %d: %w", e.Job, err)
	}
	var busy holdfast.ExecutionID
	for _, other := range live {
		if other.ID != e.ID && other.Busy() {
			busy = other.ID
			break
		}
	}
	now := d.wall()
	skip, next := j.DueETL(now, e, busy != 0)
	if !j.Deleted.IsZero() {
		skip, next = holdfast.SkipRefused, time.Time{}
	}
	if skip == holdfast.SkipNone {
		if e, err = simulateAsOf(ctx, tx, *j.ETL, e); err == nil {
			e, err = d.settle(ctx, tx, actorDispatch, holdfast.MoveDue, e, nil)
		}
	} else {
		e, err = d.settle(ctx, tx, actorDispatch, holdfast.MoveSkip, e, func(e *holdfast.Execution) {
			e.Detail = skipText(skip, j, *e, busy, now)
		})
	}
	if err != nil || next.IsZero() {
		return e, err
	}
	return e, d.plan(ctx, tx, j, e.Actor, next, now)
}

// plan makes the planned execution of an ETL that is due next. It has the
// properties of the run configuration alone: those of a request are for one
// execution.
func (d *Dispatcher) plan(ctx context.Context, tx store.Tx, j holdfast.Job, actor string, due, now time.Time) error {
	site, err := tx.Site(ctx, j.Account, j.Site)
	if err != nil {
		return fmt.Errorf("read site %d: %w", j.Site, err)
	}
	e := holdfast.NewETLExecution(j, site, j.ETL.RunOf(nil, nil, false), due, now, actor)
	if err := tx.InsertExecution(ctx, &e); err != nil {
		return fmt.Errorf("plan the next execution of job %d: %w", j.ID, err)
	}
	return insertEvent(ctx, tx, holdfast.Event{
		Account: e.Account, Time: now, Actor: actorDispatch, Subject: subjectOf(e.ID), Site: e.Site, Kind: eventKinds[holdfast.StatePlanned],
	}, struct {
		Job  holdfast.JobID   `json:"job"`
		Site holdfast.SiteID  `json:"site"`
		Type holdfast.JobType `json:"type"`
		Due  time.Time        `json:"due"`
	}{e.Job, e.Site, e.Type, e.Due})
}

// skipText says to people why a planned execution was left out.
func skipText(why holdfast.SkipReason, j holdfast.Job, e holdfast.Execution, busy holdfast.ExecutionID, now time.Time) string {
	switch {
	case why == holdfast.SkipBusy:
		return fmt.Sprintf("left out: execution %d of this ETL had not ended when it was due", busy)
	case why == holdfast.SkipMissed:
		return fmt.Sprintf("left out: its time was seen to have come %s late, which is more than its period of %s",
			now.Sub(e.Due).Round(time.Second), j.ETL.Recurrence.Period)
	case !j.Deleted.IsZero():
		return "left out: the ETL has been deleted"
	case !j.Active:
		return "left out: the ETL is not active"
	}
	return "left out: the ETL has no active run configuration; activate one"
}

// farAhead is by how much a planned execution may lie further ahead than its
// recurrence has it, when it was planned in what is the future now.
const farAhead = 24 * time.Hour

// pullPlanned gives recurring executions another time that were planned while the
// clock was more than a day ahead: an ETL would rest for as long. Those that are
// nearer stay, so that a clock that is set back by hours repeats nothing.
func (d *Dispatcher) pullPlanned(ctx context.Context) error {
	return d.update(ctx, func(tx store.Tx) error {
		now := d.wall()
		planned, err := tx.LiveExecutions(ctx, holdfast.StatePlanned)
		if err != nil {
			return err
		}
		for _, prev := range planned {
			if prev.Type != holdfast.JobETL || !prev.Submitted.After(now) || prev.Due.Sub(now) <= farAhead {
				continue
			}
			j, err := tx.Job(ctx, prev.Account, prev.Job)
			if err != nil {
				return fmt.Errorf("read job %d: %w", prev.Job, err)
			}
			if j.ETL == nil || j.ETL.Recurrence == nil || !j.ETL.Recurrence.Armed || prev.ETL != nil && prev.ETL.Timed {
				continue
			}
			next := prev
			next.Due = j.ETL.Recurrence.Next(now)
			if prev.Due.Sub(next.Due) <= max(farAhead, j.ETL.Recurrence.Period) {
				continue
			}
			if err := tx.MoveExecution(ctx, prev, next); err != nil {
				return err
			}
			d.log.InfoContext(ctx, "planned execution found anew: the clock has been far ahead", "execution", int64(prev.ID),
				"was", prev.Due, "due", next.Due)
		}
		return nil
	})
}
