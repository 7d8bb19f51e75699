package dispatch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// wallClock is a clock that goes as time does, from a moment that a test chooses,
// and that can be set.
type wallClock struct{ offset atomic.Int64 }

func (c *wallClock) now() time.Time { return time.Now().Add(time.Duration(c.offset.Load())) }

func (c *wallClock) set(at time.Time) { c.offset.Store(int64(time.Until(at))) }

// eight is eight o'clock of a day.
var eight = time.Date(2031, 5, 6, 8, 0, 0, 0, time.UTC)

// TestPlannedETL lets the time of a planned execution come, in each situation, and
// looks at what becomes of it and at what is planned next.
func TestPlannedETL(t *testing.T) {
	t.Parallel()
	hourly := recurring(eight.Add(-5*time.Hour), time.Hour)
	both := func(a, b func(*holdfast.Job)) func(*holdfast.Job) { return func(j *holdfast.Job) { a(j); b(j) } }
	for name, c := range map[string]struct {
		change  func(*holdfast.Job)
		at      time.Time      // the control plane starts; the execution is due at eight
		busy    holdfast.State // of another execution of the ETL; empty: there is none
		outcome holdfast.Outcome
		detail  string
		next    time.Time // zero: nothing is planned
	}{
		"in time":             {change: hourly, at: eight.Add(-time.Second), outcome: holdfast.OutcomeSucceeded, next: eight.Add(time.Hour)},
		"late":                {change: hourly, at: eight.Add(59 * time.Minute), outcome: holdfast.OutcomeSucceeded, next: eight.Add(time.Hour)},
		"too late":            {change: hourly, at: eight.Add(3*time.Hour + time.Minute), outcome: holdfast.OutcomeCancelled, detail: "late, which is more than its period of 1h0m0s", next: eight.Add(4 * time.Hour)},
		"a year too late":     {change: hourly, at: eight.AddDate(1, 0, 0).Add(time.Minute), outcome: holdfast.OutcomeCancelled, next: eight.AddDate(1, 0, 0).Add(time.Hour)},
		"while one runs":      {change: hourly, at: eight, busy: holdfast.StateRunning, outcome: holdfast.OutcomeCancelled, detail: "had not ended", next: eight.Add(time.Hour)},
		"while one waits":     {change: hourly, at: eight, busy: holdfast.StateSuspended, outcome: holdfast.OutcomeCancelled, detail: "had not ended", next: eight.Add(time.Hour)},
		"not active":          {change: both(hourly, func(j *holdfast.Job) { j.Active = false }), at: eight, outcome: holdfast.OutcomeCancelled, detail: "is not active", next: eight.Add(time.Hour)},
		"deleted":             {change: both(hourly, func(j *holdfast.Job) { j.Deleted = eight }), at: eight, outcome: holdfast.OutcomeCancelled, detail: "deleted"},
		"no configuration":    {change: both(hourly, func(j *holdfast.Job) { j.ETL.Configurations[0].Active = false }), at: eight, outcome: holdfast.OutcomeCancelled, detail: "no active run configuration", next: eight.Add(time.Hour)},
		"disarmed":            {change: both(hourly, func(j *holdfast.Job) { j.ETL.Recurrence.Armed = false }), at: eight, outcome: holdfast.OutcomeSucceeded},
		"planned once":        {at: eight.Add(-time.Second), outcome: holdfast.OutcomeSucceeded},
		"planned once, late":  {at: eight.AddDate(0, 1, 0), outcome: holdfast.OutcomeSucceeded},
		"by the second":       {change: recurring(eight, time.Second), at: eight.Add(50 * time.Second), outcome: holdfast.OutcomeSucceeded},
		"a period of a month": {change: recurring(eight, 30*24*time.Hour), at: eight.AddDate(0, 0, 29), outcome: holdfast.OutcomeSucceeded, next: eight.Add(30 * 24 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clock wallClock
			clock.set(c.at)
			s := &stand{world: newWorld(t, false)}
			j := s.newETL(t, "orders", "x", c.change)
			asked := holdfast.ETLRun{Properties: map[string]string{"level": "7"}}
			id := s.submitETL(t, j, asked, eight, eight.Add(-time.Hour))
			if c.busy != "" {
				other := holdfast.NewETLExecution(j, holdfast.Site{Pool: "elsewhere", Host: s.host}, holdfast.ETLRun{}, eight.Add(-2*time.Hour), eight.Add(-2*time.Hour), "anna")
				other.State, other.Fence = c.busy, 1
				if c.busy == holdfast.StateSuspended {
					other.Wanted = holdfast.WantSuspend
				}
				s.submit(t, other)
			}
			s.start(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.Now, c.SilenceLimit = clock.now, time.Hour })
			started := make(chan engine.ETL, 100)
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
				started <- req
				return engine.Result{}, nil
			}}))
			e := s.waitEnded(t, id, 10*time.Second, c.outcome)
			if !strings.Contains(e.Detail, c.detail) {
				t.Errorf("detail: got %q, want %q in it", e.Detail, c.detail)
			}
			if c.outcome == holdfast.OutcomeCancelled {
				if e.Reason != holdfast.ReasonSkipped {
					t.Errorf("reason: got %s, want %s", e.Reason, holdfast.ReasonSkipped)
				}
				s.checkEvents(t, id, "execution.ended")
			} else if req := <-started; req.Properties["level"] != "7" {
				t.Errorf("properties: got %v, want those of the request", req.Properties)
			}
			if name == "by the second" {
				return // the next ones come while this one looks
			}
			var planned []holdfast.Execution
			for _, e := range s.executionsOf(t, j.ID) {
				if e.State == holdfast.StatePlanned {
					planned = append(planned, e)
				}
			}
			switch {
			case c.next.IsZero() && len(planned) != 0:
				t.Errorf("planned next: got %v, want nothing", planned[0].Due)
			case !c.next.IsZero() && (len(planned) != 1 || !planned[0].Due.Equal(c.next)):
				t.Errorf("planned next: got %+v, want one at %s", planned, c.next)
			case !c.next.IsZero():
				if p := planned[0]; p.ETL == nil || len(p.ETL.Properties) != 0 || p.Actor != "anna" || p.Pool != holdfast.DefaultPool || p.Priority != j.Priority {
					t.Errorf("planned next: got %+v, want it without the properties of a request", p)
				}
				s.checkEvents(t, planned[0].ID, "execution.planned")
			}
		})
	}
}

// TestSimulationIsAsOfTheStart changes the run configuration between the request for
// an execution and its start.
func TestSimulationIsAsOfTheStart(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asked    holdfast.ETLRun
		planned  bool
		mode     string // of the run configuration, by the start
		simulate bool
	}{
		"planned, then made a simulation":       {planned: true, mode: "Yes", simulate: true},
		"waiting, then made a simulation":       {mode: "yes", simulate: true},
		"planned as one, then made a real one":  {asked: holdfast.ETLRun{Simulate: true}, planned: true, mode: "no"},
		"planned as one by its own property":    {asked: holdfast.ETLRun{Simulate: true, Properties: map[string]string{"simulation.mode": "1"}}, planned: true, mode: "no", simulate: true},
		"asked for as a simulation, waiting":    {asked: holdfast.ETLRun{Simulate: true}, mode: "no", simulate: true},
		"asked for as a real one by a property": {asked: holdfast.ETLRun{Properties: map[string]string{"simulation.mode": "no"}}, mode: "yes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &stand{world: newWorld(t, false)}
			j := s.newETL(t, "orders", "x", func(j *holdfast.Job) { j.ETL.Configurations[0].Properties[holdfast.PropertySimulation] = c.mode })
			now := time.Now()
			due := now
			if c.planned {
				due = now.Add(time.Second)
			}
			id := s.submitETL(t, j, c.asked, due, now)
			s.start(t, nil)
			started := make(chan engine.ETL, 1)
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(_ context.Context, req engine.ETL) (engine.Result, error) {
				started <- req
				return engine.Result{}, nil
			}}))
			e := s.waitEnded(t, id, 10*time.Second, holdfast.OutcomeSucceeded)
			if req := <-started; req.Simulate != c.simulate || e.ETL.Simulate != c.simulate {
				t.Errorf("simulate: got %t for the worker and %t in the record, want %t", req.Simulate, e.ETL.Simulate, c.simulate)
			}
		})
	}
}

// TestPlannedTwoControlPlanes runs two control planes on one database: each time of
// a recurrence makes one execution.
func TestPlannedTwoControlPlanes(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	second := &stand{world: s.world}
	second.start(t, nil)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
	now := time.Now().UTC().Truncate(time.Second)
	var jobs []holdfast.Job
	for i := range 5 {
		j := s.newETL(t, fmt.Sprint("orders ", i), "x", recurring(now, time.Second))
		s.submitETL(t, j, holdfast.ETLRun{}, now.Add(time.Second), now)
		jobs = append(jobs, j)
	}
	time.Sleep(6 * time.Second)
	second.stop()
	s.stop()
	for _, j := range jobs {
		var last time.Time
		ended, planned := 0, 0
		for _, e := range s.executionsOf(t, j.ID) {
			if !e.Due.After(last) {
				t.Errorf("%s: executions are due at %s and at %s", j.Name, last, e.Due)
			}
			last = e.Due
			switch e.State {
			case holdfast.StateEnded:
				ended++
			case holdfast.StatePlanned:
				planned++
			case holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended:
			}
		}
		if ended < 2 || planned != 1 {
			t.Errorf("%s: got %d executions that have ended and %d that are planned, want several and 1", j.Name, ended, planned)
		}
	}
}

// TestPlannedClockJumps sets the clock of a control plane under an hourly ETL.
// Nothing is repeated and nothing floods; what was planned in a future that is none
// any more is found anew.
func TestPlannedClockJumps(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		jumps []time.Time // to which the clock is set, one after the other
		ended int         // executions that have ended then
		next  time.Time
	}{
		"back by hours":         {jumps: []time.Time{eight.Add(-7 * time.Hour)}, ended: 1, next: eight.Add(time.Hour)},
		"forward by hours":      {jumps: []time.Time{eight.Add(7*time.Hour + time.Minute)}, ended: 2, next: eight.Add(8 * time.Hour)},
		"forward and back":      {jumps: []time.Time{eight.Add(7*time.Hour + time.Minute), eight.Add(5 * time.Minute)}, ended: 2, next: eight.Add(8 * time.Hour)},
		"a year ahead and back": {jumps: []time.Time{eight.AddDate(1, 0, 0), eight.Add(5 * time.Minute)}, ended: 2, next: eight.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clock wallClock
			clock.set(eight.Add(-100 * time.Millisecond))
			s := &stand{world: newWorld(t, false)}
			j := s.newETL(t, "orders", "x", recurring(eight, time.Hour))
			s.submitETL(t, j, holdfast.ETLRun{}, eight, eight.Add(-time.Hour))
			s.start(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.Now = clock.now })
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
			settled := func(ended int) []holdfast.Execution {
				var list []holdfast.Execution
				eventually(t, 10*time.Second, func() string {
					list = s.executionsOf(t, j.ID)
					n := 0
					for _, e := range list {
						if e.State == holdfast.StateEnded {
							n++
						}
					}
					if n != ended {
						return fmt.Sprintf("got %d executions that have ended, want %d", n, ended)
					}
					return ""
				})
				return list
			}
			settled(1)
			for i, at := range c.jumps {
				clock.set(at)
				if i == 0 {
					settled(c.ended)
				}
			}
			time.Sleep(2500 * time.Millisecond)
			list := settled(c.ended)
			last := list[len(list)-1]
			if last.State != holdfast.StatePlanned || !last.Due.Equal(c.next) || len(list) != c.ended+1 {
				t.Errorf("got %d executions, the last %s at %s, want %d and one planned at %s", len(list), last.State, last.Due, c.ended+1, c.next)
			}
		})
	}
}

// TestPlannedOneBad lets two executions come due of which one cannot be planned
// again: the other runs all the same.
func TestPlannedOneBad(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
	now := time.Now()
	bad := s.newETL(t, "bad", "x", recurring(now, time.Hour))
	good := s.newETL(t, "good", "x", nil)
	bad.Site = 424242
	s.update(t, func(tx store.Tx) error { return tx.UpdateJob(t.Context(), bad) })
	first := s.submitETL(t, bad, holdfast.ETLRun{}, now.Add(100*time.Millisecond), now)
	second := s.submitETL(t, good, holdfast.ETLRun{}, now.Add(200*time.Millisecond), now)
	s.waitEnded(t, second, 5*time.Second, holdfast.OutcomeSucceeded)
	if e := s.execution(t, first); e.State != holdfast.StatePlanned {
		t.Errorf("got %+v, want PLANNED: its successor could not be planned", e.Status)
	}
}

// TestETLQuestions asks a worker about an ETL.
func TestETLQuestions(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	ctx := t.Context()
	j := s.newETL(t, "orders", "the definition", nil)
	task := holdfast.ETLTask{Job: j, Properties: map[string]string{"level": "5"}}
	require(t, s.store.View(ctx, func(r store.Reader) (err error) {
		for _, id := range j.ETL.Sites {
			site, err := r.Site(ctx, s.account, id)
			if err != nil {
				return err
			}
			task.Sites = append(task.Sites, site)
		}
		task.Site = task.Sites[0]
		return nil
	}))
	if _, err := s.dispatcher.ETLCounters(ctx, task); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("without a worker: got %v, want %s", err, holdfast.CodeUnavailable)
	}
	s.startWorker(t, "backups only", script{}, newShelf(), fastPoll)
	time.Sleep(100 * time.Millisecond)
	if _, err := s.dispatcher.ETLCounters(ctx, task); holdfast.ErrorCode(err) != holdfast.CodeUnavailable || !strings.Contains(err.Error(), "has no engine") {
		t.Errorf("without an engine: got %v, want %s", err, holdfast.CodeUnavailable)
	}
	long, updated := strings.Repeat("x", 200<<10), eight
	check := func(req engine.ETL) {
		if req.Definition != "the definition" || req.Job != j.ID || req.Installation == "" || req.Properties["level"] != "5" ||
			req.Sites["berlin"].Password.Reveal() != sitePassword || req.Sites["dwh"].Password.Reveal() != dwhPassword {
			t.Errorf("request: got %+v", req)
		}
	}
	s.startWorker(t, "etls", script{}, newShelf(), etlWorker(pipe{
		counters: []engine.FlowCounter{{Flow: "f", Extract: "e", Value: "7", Updated: updated, Execution: 1001}},
		setCounter: func(req engine.ETL, flow, extract, value string) error {
			check(req)
			if flow != "f" || extract != "e" {
				return holdfast.Errorf(holdfast.CodeNotFound, "flow %s has no extract %s", flow, extract)
			}
			if value == "busy" {
				return holdfast.Errorf(holdfast.CodeConflict, "an execution has a transaction open")
			}
			return nil
		},
		preview: func(_ context.Context, req engine.ETL, rows int) ([]engine.Relation, error) {
			check(req)
			r := engine.Relation{Name: "orders", Columns: []engine.Column{{Name: "id", Type: "bigint"}, {Name: "note", Type: "text"}}}
			for range rows {
				r.Rows = append(r.Rows, []*string{nil, &long})
			}
			return []engine.Relation{r, {Name: "empty"}}, nil
		},
	}))
	eventually(t, 5*time.Second, func() string {
		got, err := s.dispatcher.ETLCounters(ctx, task)
		if err != nil {
			return err.Error()
		}
		if len(got) != 1 || got[0].Value != "7" || !got[0].Updated.Equal(updated) || got[0].Execution != 1001 {
			t.Errorf("counters: got %+v", got)
		}
		return ""
	})
	for _, c := range []struct {
		flow, value string
		want        holdfast.Code
	}{{"f", "8", ""}, {"f", "", ""}, {"f", "busy", holdfast.CodeConflict}, {"g", "8", holdfast.CodeNotFound}} {
		if err := s.dispatcher.SetETLCounter(ctx, task, c.flow, "e", c.value); holdfast.ErrorCode(err) != c.want {
			t.Errorf("set counter of %s to %q: got %v, want %q", c.flow, c.value, err, c.want)
		}
	}
	got, err := s.dispatcher.PreviewETL(ctx, task, 100)
	require(t, err)
	b, err := json.Marshal(got)
	require(t, err)
	if len(got) != 2 || len(got[0].Rows) == 0 || got[0].Rows[0][0] != nil || len(*got[0].Rows[0][1]) > 64<<10 || len(b) > 1<<20 || got[1].Name != "empty" {
		t.Errorf("preview: got %d relations in %d bytes, want it cut", len(got), len(b))
	}
	if _, err := s.dispatcher.PreviewETL(ctx, task, 0); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("a preview of no rows: got %v, want %s", err, holdfast.CodeInvalid)
	}
}
