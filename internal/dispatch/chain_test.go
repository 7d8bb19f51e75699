package dispatch_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// runs runs the job once with the run type, to its end.
func (s *stand) runs(t *testing.T, job holdfast.JobID, asked holdfast.RunType, want holdfast.Outcome) (holdfast.Execution, holdfast.BackupSet) {
	t.Helper()
	e := s.queued(job)
	e.RunAsked, e.RunType = asked, asked
	id := s.submit(t, e)
	s.dispatcher.Ring(holdfast.DefaultPool)
	e = s.waitEnded(t, id, 5*time.Second, want)
	var set holdfast.BackupSet
	if want == holdfast.OutcomeSucceeded || want == holdfast.OutcomeWarning {
		s.update(t, func(tx store.Tx) (err error) {
			set, err = tx.Set(t.Context(), s.account, e.Set)
			return err
		})
	}
	return e, set
}

// TestChain runs a job by all its run types, and spoils what they could build on.
func TestChain(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	var cluster atomic.Uint64
	var fails, damages atomic.Bool
	cluster.Store(77)
	orders := make(chan engine.Backup, 100)
	s.startWorker(t, "local", script{backup: func(_ context.Context, req engine.Backup, _ engine.Sink) (engine.Result, error) {
		orders <- req
		if fails.Load() {
			return engine.Result{}, holdfast.Errorf(holdfast.CodeInvalid, "the script fails")
		}
		r := engine.Result{Bytes: 1, Files: 1, Physical: &holdfast.PhysicalFacts{SystemIdentifier: cluster.Load()}}
		if damages.Load() {
			r.Damaged = "a page"
		}
		return r, nil
	}}, newShelf(), nil)
	const full, delta, cumulative = holdfast.RunFull, holdfast.RunDelta, holdfast.RunCumulative

	// on checks what a run has become.
	on := func(e holdfast.Execution, set holdfast.BackupSet, ran holdfast.RunType, base holdfast.Execution, baseSet holdfast.BackupSet, why string) {
		t.Helper()
		if e.RunType != ran || set.RunType != ran || e.Parent != base.ID || set.Parent != baseSet.ID ||
			(why == "") != (e.RunTypeReason == "") || !strings.Contains(e.RunTypeReason, why) {
			t.Errorf("execution %d: ran as %s (%q) on %d, its set %d is %s on %d; want %s (%q) on %d and %d",
				e.ID, e.RunType, e.RunTypeReason, e.Parent, set.ID, set.RunType, set.Parent, ran, why, base.ID, baseSet.ID)
		}
	}
	none, noSet := holdfast.Execution{}, holdfast.BackupSet{}

	e1, s1 := s.runs(t, s.job, delta, holdfast.OutcomeSucceeded)
	on(e1, s1, full, none, noSet, "first backup")
	e2, s2 := s.runs(t, s.job, delta, holdfast.OutcomeSucceeded)
	on(e2, s2, delta, e1, s1, "")
	e3, s3 := s.runs(t, s.job, cumulative, holdfast.OutcomeSucceeded)
	on(e3, s3, cumulative, e1, s1, "")
	if got := len(orders); got != 3 {
		t.Errorf("got %d orders, want 3", got)
	}

	fails.Store(true)
	failed, _ := s.runs(t, s.job, delta, holdfast.OutcomeFailed)
	if failed.RunType != delta || failed.Parent != e3.ID {
		t.Errorf("the failed one: got %s on %d", failed.RunType, failed.Parent)
	}
	fails.Store(false)
	e4, s4 := s.runs(t, s.job, delta, holdfast.OutcomeSucceeded) // not on the failed one
	on(e4, s4, delta, e3, s3, "")

	damages.Store(true)
	s.runs(t, s.job, full, holdfast.OutcomeWarning)
	damages.Store(false)
	e5, s5 := s.runs(t, s.job, cumulative, holdfast.OutcomeSucceeded) // not on the damaged FULL
	on(e5, s5, cumulative, e1, s1, "")

	// Another job of the same site has a chain of its own.
	other := s.newJob(t, "weekly")
	e6, s6 := s.runs(t, other, delta, holdfast.OutcomeSucceeded)
	on(e6, s6, full, none, noSet, "first backup")

	// The site is another cluster now: the worker cannot know.
	cluster.Store(78)
	e7, s7 := s.runs(t, s.job, delta, holdfast.OutcomeSucceeded)
	on(e7, s7, full, none, noSet, fmt.Sprintf("another cluster than that of set %d", s5.ID))
	e8, s8 := s.runs(t, s.job, delta, holdfast.OutcomeSucceeded)
	on(e8, s8, delta, e7, s7, "")

	// Everything is deleted.
	s.update(t, func(tx store.Tx) error {
		sets, _, err := tx.Sets(t.Context(), s.account, store.SetFilter{Job: s.job})
		if err != nil {
			return err
		}
		for _, set := range sets {
			copies, err := tx.Copies(t.Context(), s.account, set.ID)
			if err != nil {
				return err
			}
			next := copies[0]
			next.State = holdfast.CopyDeleted
			if err := tx.MoveCopy(t.Context(), copies[0], next); err != nil {
				return err
			}
		}
		return nil
	})
	e9, s9 := s.runs(t, s.job, cumulative, holdfast.OutcomeSucceeded)
	on(e9, s9, full, none, noSet, fmt.Sprintf("the last FULL (set %d) was deleted", s7.ID))
}

// TestRetryChoosesAnew lets the base of an execution vanish between two of its
// starts.
func TestRetryChoosesAnew(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	var spoil atomic.Bool
	s.startWorker(t, "local", script{backup: func(_ context.Context, req engine.Backup, _ engine.Sink) (engine.Result, error) {
		if !spoil.CompareAndSwap(true, false) {
			return engine.Result{Bytes: 1}, nil
		}
		e := s.execution(t, req.Execution)
		if e.RunType != holdfast.RunDelta || e.Parent == 0 {
			t.Errorf("first start: got %s on %d", e.RunType, e.Parent)
		}
		c := s.copies(t, e.Parent)[0]
		next := c
		next.State = holdfast.CopyDamaged
		s.update(t, func(tx store.Tx) error { return tx.MoveCopy(t.Context(), c, next) })
		return engine.Result{}, holdfast.Errorf(holdfast.CodeUnavailable, "this may pass")
	}}, newShelf(), fastPoll)
	s.runs(t, s.job, holdfast.RunFull, holdfast.OutcomeSucceeded)
	spoil.Store(true)
	e := s.queued(s.job)
	e.RunAsked, e.RunType = holdfast.RunDelta, holdfast.RunDelta
	id := s.submit(t, e)
	s.dispatcher.Ring(holdfast.DefaultPool)
	e = s.waitEnded(t, id, 30*time.Second, holdfast.OutcomeSucceeded)
	if e.Fence != 2 || e.RunType != holdfast.RunFull || e.Parent != 0 || !strings.Contains(e.RunTypeReason, "is damaged") {
		t.Errorf("got fence %d, %s on %d (%s), want a FULL by the second start", e.Fence, e.RunType, e.Parent, e.RunTypeReason)
	}
}
