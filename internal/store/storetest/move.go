package storetest

import (
	"context"
	"encoding/json"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func testMove(t *testing.T, f *fixture) {
	e := f.add(t, f.job, nil)
	next := e
	var err error
	if next.Status, err = e.Next(holdfast.MoveStart); err != nil {
		t.Fatal(err)
	}
	next.Worker, next.Request, next.Started, next.Restarted = 1001, "ask-1", at(1), at(1)
	next.RunType, next.RunTypeReason, next.Set, next.Parent = holdfast.RunFull, "no base", 1001, 1002
	next.Due, next.Detail, next.Progress.Phase, next.Result = at(2), "words", "files", json.RawMessage(`{"a":1}`)
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, next) })
	wantEqual(t, "execution after its move", f.read(t, e.ID), next)

	for _, c := range []struct {
		name  string
		stale func(*holdfast.Execution)
	}{
		{"state", func(p *holdfast.Execution) { p.State = holdfast.StateQueued }},
		{"wish", func(p *holdfast.Execution) { p.Wanted = holdfast.WantStop }},
		{"fence", func(p *holdfast.Execution) { p.Fence++ }},
	} {
		prev := next
		c.stale(&prev)
		lost := next
		lost.Detail = "must not be written"
		f.refused(t, "move from another "+c.name, holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
			return tx.MoveExecution(ctx, prev, lost)
		})
	}
	f.refused(t, "move of one execution to another", holdfast.CodeInternal, func(ctx context.Context, tx store.Tx) error {
		other := next
		other.Site++
		return tx.MoveExecution(ctx, next, other)
	})
	wantEqual(t, "execution after lost moves", f.read(t, e.ID), next)
}

func testImpossible(t *testing.T, f *fixture) {
	e := f.add(t, f.job, nil)
	bad := e
	bad.Outcome = holdfast.OutcomeSucceeded // without having ended
	f.refused(t, "move", holdfast.CodeInternal, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, bad) })
	f.refused(t, "insert", holdfast.CodeInternal, func(ctx context.Context, tx store.Tx) error {
		n := bad
		n.ID = 0
		return tx.InsertExecution(ctx, &n)
	})
	wantEqual(t, "execution", f.read(t, e.ID), e)
}

func testEnded(t *testing.T, f *fixture) {
	e := f.move(t, f.add(t, f.job, nil), holdfast.MoveStart, holdfast.MoveSucceed)
	changed := e
	changed.Detail = "rewritten"
	f.refused(t, "change", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, changed) })
	revived := e
	revived.Status = holdfast.Status{State: holdfast.StateQueued, Fence: e.Fence}
	f.refused(t, "revival", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, e, revived) })
	f.refused(t, "beat", holdfast.CodeConflict, func(ctx context.Context, tx store.Tx) error {
		return tx.BeatExecution(ctx, e.ID, e.Fence, 9, holdfast.Progress{})
	})
	wantEqual(t, "execution", f.read(t, e.ID), e)
}

func testRace(t *testing.T, f *fixture) {
	const movers, rounds = 24, 5
	e := f.add(t, f.job, nil)
	for range rounds {
		var wg sync.WaitGroup
		won := make(chan holdfast.Execution, movers)
		for m := range movers {
			wg.Go(func() {
				move := holdfast.MoveStart
				if m%3 == 0 {
					move = holdfast.MoveSuspend
				}
				next := e
				var err error
				if next.Status, err = e.Next(move); err != nil {
					t.Error(err)
					return
				}
				next.Worker = holdfast.WorkerID(2000 + m)
				err = f.Update(t.Context(), func(tx store.Tx) error { return tx.MoveExecution(t.Context(), e, next) })
				switch {
				case err == nil:
					won <- next
				case holdfast.ErrorCode(err) != holdfast.CodeConflict:
					t.Errorf("mover %d: %v", m, err)
				}
			})
		}
		wg.Wait()
		close(won)
		if len(won) != 1 {
			t.Fatalf("got %d winners of %d, want 1", len(won), movers)
		}
		winner := <-won
		wantEqual(t, "execution", f.read(t, e.ID), winner)
		if winner.State == holdfast.StateRunning {
			e = f.move(t, winner, holdfast.MoveHandBack)
		} else {
			e = f.move(t, winner, holdfast.MoveResume)
		}
	}
}

func testBeat(t *testing.T, f *fixture) {
	e := f.add(t, f.job, nil)
	beat := func(fence holdfast.Fence, n uint64) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error {
			return tx.BeatExecution(ctx, e.ID, fence, n, holdfast.Progress{Phase: "files", DoneBytes: int64(n)})
		}
	}
	f.refused(t, "beat of a queued execution", holdfast.CodeConflict, beat(0, 1))
	e = f.move(t, e, holdfast.MoveStart)
	f.update(t, beat(e.Fence, 41))
	e.Beat, e.Progress = 41, holdfast.Progress{Phase: "files", DoneBytes: 41}
	wantEqual(t, "execution after a beat", f.read(t, e.ID), e)
	e = f.move(t, e, holdfast.MoveSilence, holdfast.MoveStart)
	f.refused(t, "beat of an old fence", holdfast.CodeConflict, beat(e.Fence-1, 42))
	f.update(t, beat(e.Fence, 1))
	if got := f.read(t, e.ID); got.Beat != 1 {
		t.Errorf("got beat %d, want 1", got.Beat)
	}
}

func testLive(t *testing.T, f *fixture) {
	second := f.addJob(t, f.site, "second")
	planned := func(minutes int) func(*holdfast.Execution) {
		return func(e *holdfast.Execution) { e.State, e.Due = holdfast.StatePlanned, at(minutes) }
	}
	late := f.add(t, f.job, planned(20))
	early := f.add(t, f.job, planned(10))
	tomorrow := f.add(t, f.job, planned(24*60))
	ended := f.move(t, f.add(t, f.job, nil), holdfast.MoveStart, holdfast.MoveFail)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		code[holdfast.Execution](t, "job with planned and ended executions only", holdfast.CodeNotFound)(r.BusyExecution(ctx, f.job.ID))
		return nil
	})
	suspended := f.move(t, f.add(t, f.job, nil), holdfast.MoveSuspend)
	queued := f.add(t, f.job, nil)
	running := f.add(t, second, nil)
	prev := running
	running.Status, _ = running.Next(holdfast.MoveStart)
	running.Worker, running.Request = 1001, "ask-7"
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, prev, running) })

	type list = []holdfast.Execution
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "oldest of a busy job", suspended)(r.BusyExecution(ctx, f.job.ID))
		same(t, "running one of a busy job", running)(r.BusyExecution(ctx, second.ID))
		same(t, "planned that are due", list{early, late})(r.DuePlanned(ctx, at(20), 10))
		same(t, "first planned that is due", list{early})(r.DuePlanned(ctx, at(20), 1))
		same(t, "nothing due", list(nil))(r.DuePlanned(ctx, at(9), 10))
		same(t, "all planned", list{early, late, tomorrow})(r.DuePlanned(ctx, at(48*60), 0))
		same(t, "live", list{suspended, queued, running})(r.LiveExecutions(ctx, holdfast.StateRunning, holdfast.StateQueued, holdfast.StateSuspended))
		same(t, "planned", list{late, early, tomorrow})(r.LiveExecutions(ctx, holdfast.StatePlanned))
		same(t, "ended", list{ended})(r.LiveExecutions(ctx, holdfast.StateEnded))
		same(t, "of no state", list(nil))(r.LiveExecutions(ctx))
		same(t, "by request", running)(r.ExecutionByRequest(ctx, 1001, "ask-7"))
		code[holdfast.Execution](t, "by another worker's request", holdfast.CodeNotFound)(r.ExecutionByRequest(ctx, 1002, "ask-7"))
		last, err := r.LastExecutions(ctx, f.account, []holdfast.JobID{f.job.ID, second.ID, 5})
		wantEqual(t, "last executions", last, map[holdfast.JobID]*holdfast.Execution{f.job.ID: &queued, second.ID: &running})
		all, _ := r.LastExecutions(ctx, 0, []holdfast.JobID{f.job.ID})
		wantEqual(t, "last executions of any account", all, map[holdfast.JobID]*holdfast.Execution{f.job.ID: &queued})
		return err
	})
	f.move(t, running, holdfast.MoveSucceed)
	f.view(t, func(ctx context.Context, r store.Reader) error {
		code[holdfast.Execution](t, "by the request of one that has ended", holdfast.CodeNotFound)(r.ExecutionByRequest(ctx, 1001, "ask-7"))
		return nil
	})
}

// testRestores follows restores whose parent becomes known, and changes, late.
func testRestores(t *testing.T, f *fixture) {
	second := f.addJob(t, f.site, "second")
	restoreJob := holdfast.Job{Account: f.account, Site: f.site.ID, Type: holdfast.JobRestore, Name: "restore"}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertJob(ctx, &restoreJob) })
	a, b := f.add(t, f.job, nil), f.add(t, second, nil)
	restore := f.add(t, restoreJob, nil)
	delta := f.add(t, f.job, func(e *holdfast.Execution) { e.Parent = b.ID }) // a parent, but no restore
	newer := f.add(t, restoreJob, nil)
	type byJob = map[holdfast.JobID]*holdfast.Execution
	for _, c := range []struct {
		parent          holdfast.ExecutionID // of both restores
		ofJob, ofSecond []holdfast.ExecutionID
		last            []holdfast.JobID // that have a restore
	}{
		{0, []holdfast.ExecutionID{delta.ID, a.ID}, []holdfast.ExecutionID{b.ID}, nil},
		{a.ID, []holdfast.ExecutionID{newer.ID, delta.ID, restore.ID, a.ID}, []holdfast.ExecutionID{b.ID}, []holdfast.JobID{f.job.ID}},
		{b.ID, []holdfast.ExecutionID{delta.ID, a.ID}, []holdfast.ExecutionID{newer.ID, restore.ID, b.ID}, []holdfast.JobID{second.ID}},
		{0, []holdfast.ExecutionID{delta.ID, a.ID}, []holdfast.ExecutionID{b.ID}, nil},
	} {
		next, newest := restore, newer
		next.Parent, newest.Parent = c.parent, c.parent
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			return firstError(
				func() error { return tx.MoveExecution(ctx, restore, next) },
				func() error { return tx.MoveExecution(ctx, newer, newest) },
			)
		})
		last := byJob{}
		for _, id := range c.last {
			last[id] = &newest
		}
		f.view(t, func(ctx context.Context, r store.Reader) error {
			for job, want := range map[holdfast.JobID][]holdfast.ExecutionID{f.job.ID: c.ofJob, second.ID: c.ofSecond} {
				got, n, err := r.Executions(ctx, f.account, store.ExecutionFilter{Job: job, Restores: true})
				if err != nil {
					return err
				}
				wantEqual(t, "executions with restores", executionIDs(got), want)
				wantEqual(t, "how many", n, len(want))
				_, n, err = r.Executions(ctx, f.account, store.ExecutionFilter{Job: job, Restores: true, Types: []holdfast.JobType{holdfast.JobBackup}})
				if err != nil {
					return err
				}
				backups := len(want)
				if _, ok := last[job]; ok {
					backups -= 2
				}
				wantEqual(t, "how many backups", n, backups)
			}
			jobs := []holdfast.JobID{second.ID, restoreJob.ID, f.job.ID, 5}
			same(t, "last restores", last)(r.LastRestores(ctx, f.account, jobs))
			same(t, "last restores in any account", last)(r.LastRestores(ctx, 0, jobs))
			same(t, "last restores of another account", byJob{})(r.LastRestores(ctx, f.account+1, jobs))
			same(t, "last restores of nothing", byJob{})(r.LastRestores(ctx, f.account, nil))
			return nil
		})
	}
}
