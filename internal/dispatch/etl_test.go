package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// TestETL runs an ETL once: the engine gets the definition, the merged properties
// and every site with its password, and what it did is kept.
func TestETL(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	asked := make(chan engine.ETL, 1)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(ctx context.Context, req engine.ETL) (engine.Result, error) {
		req.Report.Phase("load")
		req.Report.Done(120, 4096)
		req.Log.InfoContext(ctx, "a line of the log", "password", req.Sites["dwh"].Password)
		asked <- req
		return engine.Result{Flows: []engine.FlowResult{{
			Flow: "orders", Target: "site dwh, table mart.orders", Read: 120, Loaded: 118, Rejected: 2, Units: 1,
			Counters: []engine.Counter{{Extract: "orders", Before: "5", After: strings.Repeat("9", 5000)}},
		}}}, nil
	}}))
	j := s.newETL(t, "orders", "the definition", nil)
	now := time.Now()
	id := s.submitETL(t, j, holdfast.ETLRun{
		Properties: map[string]string{"level": "10"}, Removed: []string{"limit"}, Simulate: true,
	}, now, now)
	s.dispatcher.Ring(holdfast.DefaultPool)

	e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded)
	req := <-asked
	if req.Definition != "the definition" || req.Job != j.ID || req.JobName != "orders" || req.Execution != id || req.Identity == "" || req.Identity != e.ETL.Identity || req.Fence != 1 || !req.Simulate || req.Installation == "" {
		t.Errorf("request: got %+v", req)
	}
	if want := map[string]string{"region": "north", "level": "10"}; !maps.Equal(req.Properties, want) {
		t.Errorf("properties: got %v, want %v", req.Properties, want)
	}
	if len(req.Roots) != 1 || req.Roots[0] != "/srv/etl" {
		t.Errorf("roots: got %v", req.Roots)
	}
	if len(req.Sites) != 2 || req.Sites["berlin"].Password.Reveal() != sitePassword || req.Sites["dwh"].Password.Reveal() != dwhPassword || req.Sites["dwh"].Server.Port != 5433 {
		t.Errorf("sites: got %v, want both with their passwords", req.Sites)
	}
	if e.Progress.DoneFiles != 120 || e.Progress.DoneBytes != 4096 || e.Progress.Phase != "load" {
		t.Errorf("progress: got %+v, want the rows and bytes", e.Progress)
	}
	var res engine.Result
	require(t, json.Unmarshal(e.Result, &res))
	if len(res.Flows) != 1 || res.Flows[0].Loaded != 118 || res.Flows[0].Rejected != 2 || len(res.Flows[0].Counters[0].After) > 1024 {
		t.Errorf("result: got %+v, want the flow, and a counter that is cut", res.Flows)
	}
	data, _, err := s.logFiles.Read(t.Context(), id, 0, 1<<20)
	require(t, err)
	if !strings.Contains(string(data), "a line of the log") || strings.Contains(string(data), dwhPassword) {
		t.Errorf("log: got %q", data)
	}
	s.checkEvents(t, id, "execution.started", "execution.ended")
	if n := s.visibleSets(t); n != 0 {
		t.Errorf("visible sets: got %d, want none of an ETL", n)
	}
}

// TestETLOutcomes ends executions in each way that an engine can.
func TestETLOutcomes(t *testing.T) {
	t.Parallel()
	unavailable := holdfast.Errorf(holdfast.CodeUnavailable, "the target is starting up")
	broken := holdfast.Errorf(holdfast.CodeInvalid, "column total is missing").WithHint("add it")
	for name, c := range map[string]struct {
		service bool
		res     engine.Result
		err     error
		outcome holdfast.Outcome
		retries int
		detail  string
		loaded  int64
	}{
		"good":                 {res: units(1), outcome: holdfast.OutcomeSucceeded, loaded: 10},
		"with warnings":        {res: engine.Result{Warnings: []string{"3 rows were rejected", "and more"}}, outcome: holdfast.OutcomeWarning, detail: "3 rows were rejected; and 1 more warnings"},
		"fails":                {res: units(2), err: broken, outcome: holdfast.OutcomeFailed, detail: "column total is missing: add it", loaded: 20},
		"fails inside":         {err: fmt.Errorf("a secret: %w", context.DeadlineExceeded), outcome: holdfast.OutcomeFailed, detail: "internal error: the execution's log says more"},
		"never available":      {res: units(1), err: unavailable, outcome: holdfast.OutcomeFailed, retries: holdfast.DefaultRetries, detail: "starting up", loaded: 10},
		"service gives up":     {service: true, err: unavailable, outcome: holdfast.OutcomeFailed, detail: "starting up"},
		"the target disagrees": {err: fmt.Errorf("claim: %w", engine.ErrStale), outcome: holdfast.OutcomeFailed, detail: "a newer execution than this one"},
		"a wish of nobody":     {err: engine.ErrWish, outcome: holdfast.OutcomeFailed, detail: "internal error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) {
				c.RetryBase, c.RetryMax = 20*time.Millisecond, 20*time.Millisecond
			})
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(context.Context, engine.ETL) (engine.Result, error) {
				return c.res, c.err
			}}))
			j := s.newETL(t, "orders", "x", func(j *holdfast.Job) { j.ETL.Service = c.service })
			e := s.waitEnded(t, s.runETL(t, j), 10*time.Second, c.outcome)
			if !strings.Contains(e.Detail, c.detail) || e.Retries != c.retries || e.Attempts != 0 {
				t.Errorf("got detail %q after %d retries and %d attempts, want %q after %d and 0", e.Detail, e.Retries, e.Attempts, c.detail, c.retries)
			}
			var res engine.Result
			require(t, json.Unmarshal(e.Result, &res))
			var loaded int64
			for _, f := range res.Flows {
				loaded += f.Loaded
			}
			if loaded != c.loaded {
				t.Errorf("result: got %d rows, want %d", loaded, c.loaded)
			}
		})
	}
}

// TestETLCannotStart ends executions whose order cannot be made, and says why.
func TestETLCannotStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*holdfast.Job)
		detail string
	}{
		"no active configuration": {func(j *holdfast.Job) { j.ETL.Configurations[0].Active = false }, "no active run configuration"},
		"more than a message": {func(j *holdfast.Job) {
			j.ETL.Definition = strings.Repeat("\"", holdfast.MaxDefinition)
			for i := range 30 {
				j.ETL.Configurations[0].Properties[fmt.Sprint("p", i)] = strings.Repeat("\x01", holdfast.MaxPropertyValue)
			}
		}, "more than an order to a worker holds: shorten"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
			id := s.runETL(t, s.newETL(t, "orders", "x", c.change))
			if e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeFailed); !strings.Contains(e.Detail, c.detail) {
				t.Errorf("detail: got %q, want %q in it", e.Detail, c.detail)
			}
		})
	}
	t.Run("no engine", func(t *testing.T) {
		t.Parallel()
		s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) {
			c.RetryBase, c.RetryMax = 20*time.Millisecond, 20*time.Millisecond
		})
		s.startWorker(t, "local", script{}, newShelf(), fastPoll)
		id := s.runETL(t, s.newETL(t, "orders", "x", nil))
		if e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeFailed); !strings.Contains(e.Detail, "has no engine") {
			t.Errorf("detail: got %q", e.Detail)
		}
	})
}

// TestETLWishes tells a running batch and a running service each wish. A wish to
// rest leaves the context alone: the unit is committed, and the result says so.
func TestETLWishes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		move    holdfast.Move
		service bool
		state   holdfast.State
		outcome holdfast.Outcome
		result  bool
	}{
		{holdfast.MoveSuspend, false, holdfast.StateSuspended, holdfast.OutcomeNone, true},
		{holdfast.MoveStop, false, holdfast.StateEnded, holdfast.OutcomeStopped, true},
		{holdfast.MoveAbort, false, holdfast.StateEnded, holdfast.OutcomeAborted, false},
		{holdfast.MoveKill, false, holdfast.StateEnded, holdfast.OutcomeKilled, false},
		{holdfast.MoveSuspend, true, holdfast.StateSuspended, holdfast.OutcomeNone, true},
		{holdfast.MoveStop, true, holdfast.StateEnded, holdfast.OutcomeStopped, true},
		{holdfast.MoveKill, true, holdfast.StateEnded, holdfast.OutcomeKilled, false},
	} {
		t.Run(fmt.Sprintf("%s %t", c.move, c.service), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			started := make(chan engine.ETL, 2)
			p := working(started)
			if c.service {
				p = serving(started, 20*time.Millisecond)
			}
			var heard atomic.Int64
			inner := p.run
			p.run = func(ctx context.Context, req engine.ETL) (engine.Result, error) {
				res, err := inner(ctx, req)
				heard.Store(time.Now().UnixNano())
				return res, err
			}
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(p))
			id := s.runETL(t, s.newETL(t, "orders", "x", func(j *holdfast.Job) { j.ETL.Service = c.service }))
			s.dispatcher.Ring(holdfast.DefaultPool)
			<-started
			time.Sleep(200 * time.Millisecond)
			next := s.move(t, id, c.move)
			told := time.Now()
			s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
			e := s.waitFor(t, id, 2*time.Second, string(c.state), func(e holdfast.Execution) bool { return e.State == c.state && e.Outcome == c.outcome })
			if d := time.Duration(heard.Load() - told.UnixNano()); d > 100*time.Millisecond {
				t.Errorf("the engine heard of it after %s, want at most 100ms", d)
			}
			var res engine.Result
			require(t, json.Unmarshal(e.Result, &res))
			if got := len(res.Flows) > 0 || res.Rounds > 0; got != c.result {
				t.Errorf("result: got %s, want what was committed: %t", e.Result, c.result)
			}
			if c.state != holdfast.StateSuspended {
				return
			}
			s.move(t, id, holdfast.MoveResume)
			s.dispatcher.Ring(holdfast.DefaultPool)
			if got := <-started; got.Fence != 2 {
				t.Errorf("fence after resume: got %d, want 2", got.Fence)
			}
		})
	}
}

// TestETLStoppedButComplete tells an execution to stop that is in its last unit: it
// has succeeded.
func TestETLStoppedButComplete(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.ETL, 1)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
		started <- req
		<-req.Stop
		return units(1), nil
	}}))
	id := s.runETL(t, s.newETL(t, "orders", "x", nil))
	<-started
	next := s.move(t, id, holdfast.MoveStop)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	s.waitEnded(t, id, 2*time.Second, holdfast.OutcomeSucceeded)
}

// TestETLFailsWhileStopping lets the unit fail that was to be finished: that is
// what the execution says, and not that it was stopped.
func TestETLFailsWhileStopping(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.ETL, 1)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
		started <- req
		<-req.Stop
		return units(1), holdfast.Errorf(holdfast.CodeInvalid, "a key is there twice")
	}}))
	id := s.runETL(t, s.newETL(t, "orders", "x", nil))
	<-started
	next := s.move(t, id, holdfast.MoveStop)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	if e := s.waitEnded(t, id, 2*time.Second, holdfast.OutcomeFailed); !strings.Contains(e.Detail, "a key is there twice") {
		t.Errorf("detail: got %q", e.Detail)
	}
}

// startStuck starts a worker whose executions of ETLs never end, and returns what it is
// asked to run and to release.
func (s *stand) startStuck(t *testing.T) (started, released chan engine.ETL) {
	t.Helper()
	started, released = make(chan engine.ETL, 1), make(chan engine.ETL, 1)
	never := make(chan struct{})
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{
		run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
			started <- req
			<-never
			return engine.Result{}, nil
		},
		release: func(req engine.ETL) { released <- req },
	}))
	t.Cleanup(func() { close(never) }) // before the worker waits for it
	return started, released
}

// TestETLKillOfStuck kills an execution whose engine does not end. With the limits
// of production it has ended within 15 seconds, and what it left on each of its
// sites is released.
func TestETLKillOfStuck(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started, released := s.startStuck(t)
	id := s.runETL(t, s.newETL(t, "orders", "x", nil))
	<-started
	next := s.move(t, id, holdfast.MoveKill)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	if e := s.waitEnded(t, id, 15*time.Second, holdfast.OutcomeKilled); e.Fence != 2 {
		t.Errorf("fence: got %d, want 2: the decision closes the worker's", e.Fence)
	}
	select {
	case req := <-released:
		if req.Execution != id || req.Fence != 1 || req.Installation == "" || req.Definition != "x" ||
			req.Sites["berlin"].Password.Reveal() != sitePassword || req.Sites["dwh"].Password.Reveal() != dwhPassword {
			t.Errorf("release: got %+v, want fence 1 on both sites", req)
		}
	case <-time.After(5 * time.Second):
		t.Error("nothing was released")
	}
}

// TestETLTimeLimit ends a batch whose time limit passes; a service has none, also
// when its job has one.
func TestETLTimeLimit(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.ETL, 2)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(working(started)))
	submit := func(name string, service bool) holdfast.ExecutionID {
		j := s.newETL(t, name, "x", func(j *holdfast.Job) { j.ETL.Service = service })
		site := holdfast.Site{Pool: holdfast.DefaultPool, Host: s.host}
		e := holdfast.NewETLExecution(j, site, holdfast.ETLRun{Service: service}, time.Now(), time.Now(), "anna")
		e.AbortAfter = time.Second
		return s.submit(t, e)
	}
	batch, service := submit("batch", false), submit("service", true)
	<-started
	<-started
	if got := s.waitEnded(t, batch, 5*time.Second, holdfast.OutcomeAborted); got.Reason != holdfast.ReasonTimeLimit {
		t.Errorf("reason: got %s, want %s", got.Reason, holdfast.ReasonTimeLimit)
	}
	if e := s.execution(t, service); e.State != holdfast.StateRunning || e.Wanted != holdfast.WantRun {
		t.Errorf("service: got %+v, want RUNNING", e.Status)
	}
}

// TestETLDrain ends a worker under each kind of execution: a batch ends at its
// unit, and goes on elsewhere behind it; a service goes on elsewhere; neither has
// lost an attempt.
func TestETLDrain(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		service bool
		pipe    func(chan<- engine.ETL) pipe
		outcome holdfast.Outcome // of the drain; none: it is handed back
	}{
		"batch of units": {pipe: working},
		"batch that is soon complete": {pipe: func(started chan<- engine.ETL) pipe {
			return pipe{run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
				started <- req
				<-req.Stop
				time.Sleep(100 * time.Millisecond)
				return units(1), nil
			}}
		}, outcome: holdfast.OutcomeSucceeded},
		"batch that takes too long": {pipe: func(started chan<- engine.ETL) pipe {
			return pipe{run: func(ctx context.Context, req engine.ETL) (engine.Result, error) {
				started <- req
				<-ctx.Done()
				return engine.Result{}, context.Canceled // it does not say why
			}}
		}},
		"service": {service: true, pipe: func(started chan<- engine.ETL) pipe { return serving(started, time.Millisecond) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			started := make(chan engine.ETL, 2)
			drain := func(cfg *worker.Config) {
				etlWorker(c.pipe(started))(cfg)
				cfg.Drain = time.Second
			}
			first := s.startWorker(t, "first", script{}, newShelf(), drain)
			id := s.runETL(t, s.newETL(t, "orders", "x", func(j *holdfast.Job) { j.ETL.Service = c.service }))
			<-started
			first.stop()
			if c.outcome != holdfast.OutcomeNone {
				s.waitEnded(t, id, time.Second, c.outcome)
				return
			}
			e := s.execution(t, id)
			if e.State != holdfast.StateQueued || e.Reason != holdfast.ReasonHandedBack || e.HandBacks != 1 || e.Attempts != 0 {
				t.Fatalf("after the drain: got %+v, want QUEUED, handed back", e.Status)
			}
			s.startWorker(t, "second", script{}, newShelf(), drain)
			if got := <-started; got.Fence != 2 {
				t.Errorf("fence: got %d, want 2", got.Fence)
			}
		})
	}
}

// TestServiceForgiven starts a service whose attempts are nearly used up: they are
// counted anew after a good round, and not before.
func TestServiceForgiven(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	rounds := make(chan struct{})
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(ctx context.Context, req engine.ETL) (engine.Result, error) {
		for {
			select {
			case <-ctx.Done():
				return engine.Result{}, context.Cause(ctx)
			case <-rounds:
				req.Round()
			}
		}
	}}))
	j := s.newETL(t, "changes", "x", aService)
	e := holdfast.NewETLExecution(j, holdfast.Site{Pool: holdfast.DefaultPool, Host: s.host}, holdfast.ETLRun{Service: true}, time.Now(), time.Now(), "anna")
	e.Fence, e.Attempts, e.Retries, e.HandBacks = 7, holdfast.DefaultAttempts-1, 2, 19
	id := s.submit(t, e)
	s.waitFor(t, id, 5*time.Second, "a beat", func(e holdfast.Execution) bool { return e.Beat > 3 })
	if got := s.execution(t, id); got.Attempts != holdfast.DefaultAttempts-1 || got.HandBacks != 19 {
		t.Errorf("before a good round: got %+v, want the counters as they were", got.Status)
	}
	rounds <- struct{}{}
	s.waitFor(t, id, 5*time.Second, "counters of 0", func(e holdfast.Execution) bool { return e.Attempts+e.Retries+e.HandBacks == 0 })
	if got := s.execution(t, id); got.State != holdfast.StateRunning || got.Fence != 8 {
		t.Errorf("got %+v, want RUNNING with fence 8", got.Status)
	}
}

// TestServiceProperties gives a running service other properties, twice: the engine
// gets the newest.
func TestServiceProperties(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.ETL, 1)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(working(started)))
	j := s.newETL(t, "changes", "x", aService)
	now := time.Now()
	id := s.submitETL(t, j, holdfast.ETLRun{Properties: map[string]string{"level": "1"}, Version: 2}, now, now)
	req := <-started
	change := func(run holdfast.ETLRun) {
		s.update(t, func(tx store.Tx) error {
			e, err := tx.Execution(context.WithoutCancel(t.Context()), 0, id)
			if err != nil {
				return err
			}
			run.Service, run.Identity = true, e.ETL.Identity
			return tx.MoveETLRun(context.WithoutCancel(t.Context()), e, run)
		})
	}
	want := func(want map[string]string) {
		t.Helper()
		for {
			select {
			case got := <-req.Changed:
				if maps.Equal(got, want) {
					return
				}
				t.Logf("got %v", got) // an older version may come first
			case <-time.After(10 * time.Second):
				t.Fatalf("no properties came, want %v", want)
			}
		}
	}
	select {
	case got := <-req.Changed:
		t.Errorf("properties that did not change: got %v", got)
	case <-time.After(500 * time.Millisecond):
	}
	change(holdfast.ETLRun{Properties: map[string]string{"level": "2"}, Removed: []string{"region"}, Version: 3})
	want(map[string]string{"level": "2", "limit": "10"})
	change(holdfast.ETLRun{Properties: map[string]string{"level": "3"}, Version: 4})
	change(holdfast.ETLRun{Removed: []string{"level", "limit", "region"}, Version: 5})
	want(map[string]string{})
	if e := s.execution(t, id); e.Fence != 1 || e.State != holdfast.StateRunning {
		t.Errorf("got %+v, want RUNNING with fence 1", e.Status)
	}
}

// TestSlotsApart fills a worker's slots of one kind: the other kind still runs.
func TestSlotsApart(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"batches", "services"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			started := make(chan engine.ETL, 10)
			s.startWorker(t, "local", script{}, newShelf(), func(c *worker.Config) {
				etlWorker(working(started))(c)
				c.Slots, c.ServiceSlots = 2, 1
			})
			submit := func(services bool) {
				for i := range 3 {
					s.runETL(t, s.newETL(t, fmt.Sprint("job ", services, i), "x", func(j *holdfast.Job) { j.ETL.Service = services }))
				}
			}
			count := func(services bool) (running, queued int) {
				for _, e := range s.live(t) {
					switch {
					case e.ETL.Service != services:
					case e.State == holdfast.StateRunning:
						running++
					case e.State == holdfast.StateQueued:
						queued++
					}
				}
				return running, queued
			}
			submit(first == "services")
			time.Sleep(500 * time.Millisecond)
			submit(first != "services")
			s.dispatcher.Ring(holdfast.DefaultPool)
			eventually(t, 10*time.Second, func() string {
				batches, b := count(false)
				services, v := count(true)
				if batches != 2 || b != 1 || services != 1 || v != 2 {
					return fmt.Sprintf("running: got %d batches and %d services, want 2 and 1", batches, services)
				}
				return ""
			})
			time.Sleep(1500 * time.Millisecond)
			if batches, _ := count(false); batches != 2 {
				t.Errorf("running batches: got %d, want 2", batches)
			}
			if services, _ := count(true); services != 1 {
				t.Errorf("running services: got %d, want 1", services)
			}
		})
	}
}

// live returns the executions that have not ended.
func (w *world) live(t testing.TB) []holdfast.Execution {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var list []holdfast.Execution
	require(t, w.store.View(ctx, func(r store.Reader) (err error) {
		list, err = r.LiveExecutions(ctx, holdfast.StatePlanned, holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended)
		return err
	}))
	return list
}

// TestETLResultStays runs an execution in two orders of which the second says
// nothing of what it did.
func TestETLResultStays(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.ETL, 2)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(working(started)))
	id := s.runETL(t, s.newETL(t, "orders", "x", nil))
	<-started
	next := s.move(t, id, holdfast.MoveSuspend)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	before := s.waitFor(t, id, 2*time.Second, "SUSPENDED", func(e holdfast.Execution) bool { return e.State == holdfast.StateSuspended })
	s.move(t, id, holdfast.MoveKill)
	after := s.waitEnded(t, id, time.Second, holdfast.OutcomeKilled)
	if len(before.Result) == 0 || !reflect.DeepEqual(before.Result, after.Result) {
		t.Errorf("result: got %s, want %s", after.Result, before.Result)
	}
}

// TestETLQueuedSaysWhy lets an engine be missing on the only worker: while the
// execution waits to be tried again, its detail says why and what to do.
func TestETLQueuedSaysWhy(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.RetryBase, c.RetryMax = time.Minute, time.Minute })
	missing := holdfast.Errorf(holdfast.CodeUnavailable, "this flow needs the program holdfast-etl").WithHint("put it there")
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
		req.Report.Phase("extract")
		return engine.Result{}, missing
	}}))
	id := s.runETL(t, s.newETL(t, "orders", "x", nil))
	e := s.waitFor(t, id, 5*time.Second, "a retry", func(e holdfast.Execution) bool { return e.State == holdfast.StateQueued && e.Retries == 1 })
	if !strings.Contains(e.Detail, "needs the program holdfast-etl: put it there") || e.Reason != holdfast.ReasonTransient || e.Due.Before(time.Now()) {
		t.Errorf("got %+v, detail %q, due %s", e.Status, e.Detail, e.Due)
	}
}
