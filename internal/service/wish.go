package service

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// wishTries bounds how often a wish that lost a race against the execution's own
// moves begins anew.
const wishTries = 5

// Suspend wants an execution to come to rest, and to go on later. CodeConflict
// when it has ended, is planned, or is wanted to end.
func (s *Service) Suspend(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return s.wish(ctx, actor, opSuspend, id, holdfast.MoveSuspend)
}

// Resume wants an execution to go on. CodeConflict when it has ended, is planned,
// or is wanted to end.
func (s *Service) Resume(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return s.wish(ctx, actor, opResume, id, holdfast.MoveResume)
}

// Stop wants an execution to end at the next good point. CodeConflict when it has
// ended.
func (s *Service) Stop(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return s.wish(ctx, actor, opStop, id, holdfast.MoveStop)
}

// Kill wants an execution to end at once. CodeConflict when it has ended.
func (s *Service) Kill(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return s.wish(ctx, actor, opKill, id, holdfast.MoveKill)
}

// wish raises what is wanted of an execution, and tells its worker. A wish that
// holds already is no error and changes nothing.
func (s *Service) wish(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.ExecutionID, m holdfast.Move) (holdfast.Execution, error) {
	var prev, next holdfast.Execution
	for try := 1; ; try++ {
		now := s.now()
		refused := false // by the table: trying again gives the same answer
		err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
			refused = false
			e, err := findExecution(ctx, tx, actor, op, id)
			if err != nil {
				return err
			}
			prev, next = e, e
			if holds(e.Status, m) {
				return nil
			}
			if _, err := e.Next(m); err != nil {
				refused = true
				return err
			}
			if next, err = moveByWish(ctx, tx, actor, e, m, now); err != nil {
				return err
			}
			if e.Type == holdfast.JobETL && e.State == holdfast.StatePlanned {
				return planAfter(ctx, tx, actor, e, &turn{now: now, by: actor.String()})
			}
			return nil
		})
		if err == nil {
			break
		}
		if refused || holdfast.ErrorCode(err) != holdfast.CodeConflict || try == wishTries {
			return holdfast.Execution{}, err
		}
	}
	if prev.Status == next.Status {
		return next, nil
	}
	s.cfg.Log.InfoContext(ctx, "execution wish changed", "execution", id, "wanted", next.Wanted.String(), "state", next.State, "actor", actor.String())
	if next.Wanted != prev.Wanted && next.Worker != 0 {
		s.cfg.Dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	}
	if next.State != prev.State {
		s.cfg.Dispatcher.Ring(next.Pool) // it may start, or it has made room
	}
	return next, nil
}

// holds reports whether what the move asks for is so already, or is on its way,
// or is less than what is.
func holds(st holdfast.Status, m holdfast.Move) bool {
	is := map[holdfast.Move]bool{
		holdfast.MoveSuspend: st.Wanted == holdfast.WantSuspend,
		holdfast.MoveResume:  st.Wanted == holdfast.WantRun && st.State != holdfast.StatePlanned,
		holdfast.MoveStop:    st.Wanted >= holdfast.WantStop,
		holdfast.MoveKill:    st.Wanted == holdfast.WantKill,
	}
	return is[m] && st.State != holdfast.StateEnded
}

// moveByWish makes a move that somebody wants, with its event.
func moveByWish(ctx context.Context, tx store.Tx, actor holdfast.Actor, prev holdfast.Execution, m holdfast.Move, now time.Time) (holdfast.Execution, error) {
	next, err := wished(prev, m, actor.String(), now)
	if err != nil {
		return holdfast.Execution{}, err
	}
	kind := "execution.wanted"
	data := facts{"job": prev.Job, "site": prev.Site, "wanted": next.Wanted, "state": next.State}
	switch next.State {
	case holdfast.StateEnded:
		kind = "execution.ended"
		data["outcome"] = next.Outcome
	case holdfast.StateQueued:
		kind = "execution.queued"
	case holdfast.StateSuspended:
		kind = "execution.suspended"
	case holdfast.StatePlanned, holdfast.StateRunning:
	}
	if err := tx.MoveExecution(ctx, prev, next); err != nil {
		return holdfast.Execution{}, err
	}
	return next, record(ctx, tx, actor, now, executionWord(prev.ID), kind, data)
}

// wished is an execution after a move that somebody wants.
func wished(prev holdfast.Execution, m holdfast.Move, by string, now time.Time) (holdfast.Execution, error) {
	status, err := prev.Next(m)
	if err != nil {
		return holdfast.Execution{}, err
	}
	next := prev
	next.Status = status
	if next.Wanted > prev.Wanted {
		next.WantedAt = now
	}
	switch next.State {
	case holdfast.StateEnded:
		next.Ended = now
		next.Detail = "asked for by " + by
		if prev.Restore != nil && prev.Restore.Site != 0 && prev.Detail != "" {
			next.Detail += "; " + prev.Detail // it says where the old content is kept
		}
	case holdfast.StateQueued:
		next.Due = now
	case holdfast.StateSuspended, holdfast.StatePlanned, holdfast.StateRunning:
	}
	return next, nil
}
