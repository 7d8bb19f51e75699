package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// ETLStatus is how things stand with an ETL; nil for what there is none of.
type ETLStatus struct {
	Job     holdfast.Job
	Current *holdfast.Execution // works, or when none does waits for its turn first
	Planned *holdfast.Execution // due next
	Waiting int                 // executions that wait for their turn; Current may be one of them

	Last        *holdfast.Execution // newest that has ended, also one that never started
	LastStarted *holdfast.Execution // newest that ever started; it may be Current
	Finished    *holdfast.Execution // newest that ever started and has ended
}

// ServiceState is how a service ETL stands.
type ServiceState string //nolint:revive // of an ETL that is a service, not of this package

// The states of a service.
const (
	ServiceNone    ServiceState = ""        // it was never on
	ServiceOn      ServiceState = "ON"      // also while it comes to rest
	ServiceOff     ServiceState = "OFF"     // it was stopped
	ServiceAborted ServiceState = "ABORTED" // it was killed, or has given up
)

// State returns how a service stands.
func (st ETLStatus) State() ServiceState {
	switch {
	case st.Current != nil:
		return ServiceOn
	case st.Job.ETL.Aborted:
		return ServiceAborted
	case st.stoppedBefore():
		return ServiceOff
	case st.Finished == nil:
		return ServiceNone
	}
	switch st.Finished.Outcome {
	case holdfast.OutcomeKilled, holdfast.OutcomeAborted, holdfast.OutcomeFailed:
		return ServiceAborted
	case holdfast.OutcomeNone, holdfast.OutcomeSucceeded, holdfast.OutcomeWarning, holdfast.OutcomeStopped, holdfast.OutcomeCancelled:
	}
	return ServiceOff
}

// stoppedBefore reports whether a service was stopped last before a worker had it.
// What was only planned was not on: it was not due when it was cancelled. The store
// says what came last; clocks may be set back.
func (st ETLStatus) stoppedBefore() bool {
	l := st.Last
	return l != nil && l.Outcome == holdfast.OutcomeCancelled && l.Reason == holdfast.ReasonWish && !l.Due.After(l.Ended) &&
		(st.Finished == nil || st.Finished.ID != l.ID)
}

// ETLStatus returns how things stand with an ETL.
func (s *Service) ETLStatus(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (ETLStatus, error) {
	var st ETLStatus
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := findETL(ctx, r, actor, opETLStatus, id)
		if err != nil {
			return err
		}
		t := &turn{job: j}
		if err := t.read(ctx, r); err != nil {
			return err
		}
		h, err := r.ETLHistory(ctx, id)
		if err != nil {
			return err
		}
		st = ETLStatus{Job: j, Current: t.current, Waiting: len(t.queued), Last: h.Ended, LastStarted: h.Started, Finished: h.Finished}
		if st.Current == nil && len(t.queued) > 0 {
			st.Current = &t.queued[0]
		}
		if len(t.planned) > 0 {
			st.Planned = &t.planned[0]
		}
		return nil
	})
	return st, err
}
