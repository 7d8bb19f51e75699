package service_test

import (
	"context"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// make brings an execution of a new job to a state and a wish.
func (r *rig) make(state holdfast.State, wanted holdfast.Wanted) holdfast.Execution {
	r.t.Helper()
	e := r.run(r.job(0, newName()))
	wish := map[holdfast.Wanted]holdfast.Move{
		holdfast.WantSuspend: holdfast.MoveSuspend, holdfast.WantStop: holdfast.MoveStop,
		holdfast.WantAbort: holdfast.MoveAbort, holdfast.WantKill: holdfast.MoveKill,
	}[wanted]
	switch state {
	case holdfast.StateQueued:
	case holdfast.StateRunning:
		e = r.move(e, holdfast.MoveStart)
		if wish != "" {
			e = r.move(e, wish)
		}
	case holdfast.StateSuspended:
		e = r.move(e, holdfast.MoveSuspend)
	case holdfast.StateEnded:
		e = r.move(r.move(e, holdfast.MoveStart), holdfast.MoveSucceed)
	case holdfast.StatePlanned:
		r.t.Fatal("planned runs are made by Execute")
	}
	r.out.forget()
	return e
}

func TestWishes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const (
		queued    = holdfast.StateQueued
		running   = holdfast.StateRunning
		suspended = holdfast.StateSuspended
		ended     = holdfast.StateEnded
	)
	type end struct {
		state   holdfast.State
		wanted  holdfast.Wanted
		outcome holdfast.Outcome
		tell    bool // the worker is told
		ring    bool // the pool is rung for
	}
	same := func(s holdfast.State, w holdfast.Wanted) *end { return &end{state: s, wanted: w} }
	for _, c := range []struct {
		state  holdfast.State
		wanted holdfast.Wanted
		wish   string
		want   *end // nil: CodeConflict
	}{
		{queued, holdfast.WantRun, "Suspend", &end{suspended, holdfast.WantSuspend, "", false, true}},
		{queued, holdfast.WantRun, "Resume", same(queued, holdfast.WantRun)},
		{queued, holdfast.WantRun, "Stop", &end{ended, holdfast.WantStop, holdfast.OutcomeCancelled, false, true}},
		{queued, holdfast.WantRun, "Kill", &end{ended, holdfast.WantKill, holdfast.OutcomeCancelled, false, true}},
		{running, holdfast.WantRun, "Suspend", &end{running, holdfast.WantSuspend, "", true, false}},
		{running, holdfast.WantRun, "Resume", same(running, holdfast.WantRun)},
		{running, holdfast.WantRun, "Stop", &end{running, holdfast.WantStop, "", true, false}},
		{running, holdfast.WantRun, "Kill", &end{running, holdfast.WantKill, "", true, false}},
		{running, holdfast.WantSuspend, "Suspend", same(running, holdfast.WantSuspend)},
		{running, holdfast.WantSuspend, "Resume", &end{running, holdfast.WantRun, "", true, false}},
		{running, holdfast.WantSuspend, "Stop", &end{running, holdfast.WantStop, "", true, false}},
		{running, holdfast.WantStop, "Suspend", nil},
		{running, holdfast.WantStop, "Resume", nil},
		{running, holdfast.WantStop, "Stop", same(running, holdfast.WantStop)},
		{running, holdfast.WantStop, "Kill", &end{running, holdfast.WantKill, "", true, false}},
		{running, holdfast.WantAbort, "Stop", same(running, holdfast.WantAbort)},
		{running, holdfast.WantAbort, "Kill", &end{running, holdfast.WantKill, "", true, false}},
		{running, holdfast.WantKill, "Suspend", nil},
		{running, holdfast.WantKill, "Resume", nil},
		{running, holdfast.WantKill, "Stop", same(running, holdfast.WantKill)},
		{running, holdfast.WantKill, "Kill", same(running, holdfast.WantKill)},
		{suspended, holdfast.WantSuspend, "Suspend", same(suspended, holdfast.WantSuspend)},
		{suspended, holdfast.WantSuspend, "Resume", &end{queued, holdfast.WantRun, "", false, true}},
		{suspended, holdfast.WantSuspend, "Stop", &end{ended, holdfast.WantStop, holdfast.OutcomeStopped, false, true}},
		{suspended, holdfast.WantSuspend, "Kill", &end{ended, holdfast.WantKill, holdfast.OutcomeKilled, false, true}},
		{ended, holdfast.WantRun, "Suspend", nil},
		{ended, holdfast.WantRun, "Resume", nil},
		{ended, holdfast.WantRun, "Stop", nil},
		{ended, holdfast.WantRun, "Kill", nil},
	} {
		name := string(c.state) + " wanted " + c.wanted.String() + ", " + c.wish
		e := r.make(c.state, c.wanted)
		before := r.lastEvent().ID
		got, err := map[string]func() (holdfast.Execution, error){
			"Suspend": func() (holdfast.Execution, error) { return r.svc.Suspend(t.Context(), r.admin, e.ID) },
			"Resume":  func() (holdfast.Execution, error) { return r.svc.Resume(t.Context(), r.admin, e.ID) },
			"Stop":    func() (holdfast.Execution, error) { return r.svc.Stop(t.Context(), r.admin, e.ID) },
			"Kill":    func() (holdfast.Execution, error) { return r.svc.Kill(t.Context(), r.admin, e.ID) },
		}[c.wish]()
		now := must(r.svc.Execution(t.Context(), r.admin, e.ID))(t)
		if c.want == nil {
			if holdfast.ErrorCode(err) != holdfast.CodeConflict || now.Status != e.Status {
				t.Errorf("%s: got %v and status %+v, want a conflict and no change", name, err, now.Status)
			}
			continue
		}
		if err != nil || now.State != c.want.state || now.Wanted != c.want.wanted || now.Outcome != c.want.outcome || got.Status != now.Status {
			t.Errorf("%s: got error %v and status %+v, want %+v", name, err, now.Status, *c.want)
			continue
		}
		if err := now.Check(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if (len(r.out.tells) == 1) != c.want.tell || (len(r.out.rings) == 1) != c.want.ring {
			t.Errorf("%s: got tells %v and rings %v, want %+v", name, r.out.tells, r.out.rings, *c.want)
		}
		if c.want.tell && r.out.tells[0] != (told{r.worker.ID, e.ID, now.Fence, now.Wanted}) {
			t.Errorf("%s: told %+v", name, r.out.tells[0])
		}
		if changed := now.Status != e.Status; changed != (len(r.events(before)) == 1) {
			t.Errorf("%s: got %d events, changed is %v", name, len(r.events(before)), changed)
		}
		if (now.State == holdfast.StateEnded) != !now.Ended.IsZero() || (now.State == holdfast.StateEnded && now.Detail == "") {
			t.Errorf("%s: ended at %s with detail %q", name, now.Ended, now.Detail)
		}
	}
}

func TestWishesForAnUnknownExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.svc.Kill(t.Context(), r.admin, unknown)
	wantCode(t, err, holdfast.CodeNotFound)
}

func TestKillAgainstFinish(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 20 {
		e := r.make(holdfast.StateRunning, holdfast.WantRun)
		var killErr, finishErr error
		var wg sync.WaitGroup
		wg.Go(func() { _, killErr = r.svc.Kill(t.Context(), r.admin, e.ID) })
		wg.Go(func() { _, finishErr = r.tryMove(e, holdfast.MoveSucceed) })
		wg.Wait()
		got := must(r.svc.Execution(t.Context(), r.admin, e.ID))(t)
		killed := got.State == holdfast.StateRunning && got.Wanted == holdfast.WantKill
		finished := got.State == holdfast.StateEnded && got.Outcome == holdfast.OutcomeSucceeded
		switch {
		case killed && killErr == nil && holdfast.ErrorCode(finishErr) == holdfast.CodeConflict:
		case finished && finishErr == nil && holdfast.ErrorCode(killErr) == holdfast.CodeConflict:
		default:
			t.Fatalf("got status %+v, kill %v, finish %v: want exactly one to win", got.Status, killErr, finishErr)
		}
	}
}

func TestWishesAtOnceOnlyRise(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	e := r.make(holdfast.StateRunning, holdfast.WantRun)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { _, _ = r.svc.Suspend(t.Context(), r.admin, e.ID) })
		wg.Go(func() { _, _ = r.svc.Stop(t.Context(), r.admin, e.ID) })
		wg.Go(func() {
			if _, err := r.svc.Kill(t.Context(), r.admin, e.ID); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := must(r.svc.Execution(t.Context(), r.admin, e.ID))(t); got.Wanted != holdfast.WantKill {
		t.Errorf("got wish %s, want kill", got.Wanted)
	}
}

// conflictOnce loses the first races of MoveExecution, as another control
// plane on the same database would make it.
type conflictOnce struct {
	store.Tx
	left *int
}

func (c conflictOnce) MoveExecution(ctx context.Context, prev, next holdfast.Execution) error {
	if *c.left > 0 {
		*c.left--
		return holdfast.Errorf(holdfast.CodeConflict, "the execution has moved")
	}
	return c.Tx.MoveExecution(ctx, prev, next)
}

func TestAWishThatLosesARaceBeginsAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		lost int
		want holdfast.Code
	}{{1, ""}, {4, ""}, {5, holdfast.CodeConflict}} {
		e := r.make(holdfast.StateRunning, holdfast.WantRun)
		left := c.lost
		r.store.wrap = func(tx store.Tx) store.Tx { return conflictOnce{tx, &left} }
		_, err := r.svc.Stop(t.Context(), r.admin, e.ID)
		r.store.wrap = nil
		wantCode(t, err, c.want)
	}
}
