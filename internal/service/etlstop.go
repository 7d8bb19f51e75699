package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// StopETL wants the execution of an ETL to come to rest at the end of its unit of
// work; what waits is cancelled, and what is planned stays.
func (s *Service) StopETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (ETLAnswer, error) {
	return s.askETL(ctx, actor, opStopETL, id, "", nil, func(ctx context.Context, tx store.Tx, t *turn) (ETLAnswer, error) {
		if t.idle() {
			return t.nothing(ctx, tx)
		}
		return t.end(ctx, tx, actor, holdfast.MoveStop, "etl.stopped")
	})
}

// KillETL ends the execution of an ETL at once, and cancels what waits; its stored
// timing stays armed. When nothing works or waits, what is planned is cancelled, and
// the timing disarmed; a service that is off is marked as aborted.
func (s *Service) KillETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (ETLAnswer, error) {
	return s.askETL(ctx, actor, opKillETL, id, "", nil, func(ctx context.Context, tx store.Tx, t *turn) (ETLAnswer, error) {
		switch {
		case !t.idle():
			if t.job.ETL.Service && t.current == nil {
				// What is cancelled before it starts does not tell of the kill.
				if err := t.setAborted(ctx, tx, true); err != nil {
					return ETLAnswer{}, err
				}
			}
			return t.end(ctx, tx, actor, holdfast.MoveKill, "etl.killed")
		case t.job.ETL.Service:
			return t.killOff(ctx, tx, actor)
		case len(t.planned) > 0:
			return t.disarm(ctx, tx, actor)
		}
		return t.nothing(ctx, tx)
	})
}

// nothing is the answer when there is nothing to end.
func (t *turn) nothing(ctx context.Context, r store.Reader) (ETLAnswer, error) {
	h, err := r.ETLHistory(ctx, t.job.ID)
	answer := ETLAnswer{Effect: EffectNone}
	if h.Ended != nil {
		answer.Execution = h.Ended.ID
	}
	return answer, err
}

// end makes the move of what works, and of all that waits.
func (t *turn) end(ctx context.Context, tx store.Tx, actor holdfast.Actor, m holdfast.Move, kind string) (ETLAnswer, error) {
	var answer ETLAnswer
	if t.current != nil {
		answer.Execution = t.current.ID
		if err := t.wish(ctx, tx, *t.current, m); err != nil {
			return ETLAnswer{}, err
		}
	} else {
		answer.Execution = t.queued[0].ID
	}
	if err := t.cancel(ctx, tx, t.queued, m); err != nil {
		return ETLAnswer{}, err
	}
	if len(t.changes) == 0 {
		if t.job.ETL.Service {
			answer.Effect = EffectNone
		}
		return answer, nil // it was wanted already
	}
	return answer, t.record(ctx, tx, actor, kind, facts{"execution": answer.Execution, "ended": t.cancelled()})
}

// disarm cancels what is planned, and stops it from recurring.
func (t *turn) disarm(ctx context.Context, tx store.Tx, actor holdfast.Actor) (ETLAnswer, error) {
	answer := ETLAnswer{Execution: t.planned[0].ID}
	if err := t.cancel(ctx, tx, t.planned, holdfast.MoveKill); err != nil {
		return ETLAnswer{}, err
	}
	data := facts{"execution": answer.Execution, "ended": t.cancelled()}
	if r := t.job.ETL.Recurrence; r != nil && r.Armed {
		r.Armed = false
		if err := tx.UpdateJob(ctx, t.job); err != nil {
			return ETLAnswer{}, err
		}
		data["period"] = r.Period.String()
	}
	return answer, t.record(ctx, tx, actor, "etl.disarmed", data)
}

// killOff marks a service that is off as aborted, and cancels its planned start.
func (t *turn) killOff(ctx context.Context, tx store.Tx, actor holdfast.Actor) (ETLAnswer, error) {
	h, err := tx.ETLHistory(ctx, t.job.ID)
	if err != nil {
		return ETLAnswer{}, err
	}
	off := ETLStatus{Job: t.job, Last: h.Ended, Finished: h.Finished}.State() == ServiceOff
	if !off && len(t.planned) == 0 {
		return t.nothing(ctx, tx)
	}
	answer := ETLAnswer{}
	if h.Ended != nil {
		answer.Execution = h.Ended.ID
	}
	if err := t.cancel(ctx, tx, t.planned, holdfast.MoveKill); err != nil {
		return ETLAnswer{}, err
	}
	if off {
		if err := t.setAborted(ctx, tx, true); err != nil {
			return ETLAnswer{}, err
		}
	}
	return answer, t.record(ctx, tx, actor, "etl.killed", facts{"execution": answer.Execution, "ended": t.cancelled()})
}

// planAfter plans the next execution of an ETL whose planned one somebody has
// ended, so that it goes on recurring.
func planAfter(ctx context.Context, tx store.Tx, actor holdfast.Actor, ended holdfast.Execution, t *turn) error {
	var err error
	if t.job, err = tx.Job(ctx, ended.Account, ended.Job); err != nil {
		return err
	}
	r := t.job.ETL.Recurrence
	if r == nil || !r.Armed || !t.job.Deleted.IsZero() {
		return nil
	}
	if err := t.read(ctx, tx); err != nil || len(t.planned) > 0 {
		return err
	}
	after := t.now
	if ended.Due.After(after) {
		after = ended.Due
	}
	e, err := t.plan(ctx, tx, t.job.ETL.RunOf(nil, nil, false), r.Next(after), actor.Principal.Name)
	if err != nil {
		return err
	}
	return recordExecution(ctx, tx, actor, e)
}
