package dispatch_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
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

// newTrigger inserts a trigger that runs a job after another one.
func (w *world) newTrigger(t testing.TB, job, run holdfast.JobID, change func(*holdfast.Trigger)) holdfast.Trigger {
	t.Helper()
	tr := holdfast.Trigger{
		Account: w.account, Job: job, Run: run, On: holdfast.OnSucceeded, RunType: holdfast.RunDelta, Active: true, Created: time.Now(),
	}
	if change != nil {
		change(&tr)
	}
	w.update(t, func(tx store.Tx) error { return tx.InsertTrigger(t.Context(), &tr) })
	return tr
}

// fired is what events tell of a trigger.
type fired struct {
	kind         string
	site         holdfast.SiteID
	Job          holdfast.JobID       `json:"job"`
	After        holdfast.JobID       `json:"after"`
	Cause        holdfast.ExecutionID `json:"cause"`
	Execution    holdfast.ExecutionID `json:"execution"`
	Reason       string               `json:"reason"`
	ForExecution holdfast.ExecutionID `json:"for_execution"`
	Error        string               `json:"error"`
}

// firings lists the events of a trigger.
func (w *world) firings(t testing.TB, id holdfast.TriggerID) (all []fired) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	require(t, w.store.View(ctx, func(r store.Reader) error {
		events, err := r.Events(ctx, w.account, 0, 0)
		for _, e := range events {
			if e.Subject == fmt.Sprintf("trigger %d", id) {
				f := fired{kind: e.Kind, site: e.Site}
				require(t, json.Unmarshal(e.Data, &f))
				all = append(all, f)
			}
		}
		return err
	}))
	return all
}

// endsWith is a pipeline that ends as it is told.
func endsWith(result engine.Result, err error) pipe {
	return pipe{run: func(context.Context, engine.ETL) (engine.Result, error) { return result, err }}
}

// TestTriggerBacksUpAfterLoad runs an ETL, after it a delta, and after that a second
// ETL.
func TestTriggerBacksUpAfterLoad(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
	load := s.newETL(t, "load", "x", nil)
	report := s.newETL(t, "report", "x", nil)
	backup := s.newTrigger(t, load.ID, s.job, nil)
	then := s.newTrigger(t, s.job, report.ID, func(tr *holdfast.Trigger) { tr.RunType = "" })
	first := s.runETL(t, load)
	s.waitEnded(t, first, 5*time.Second, holdfast.OutcomeSucceeded)
	var last []holdfast.Execution
	eventually(t, 5*time.Second, func() string {
		if last = s.executionsOf(t, report.ID); len(last) == 0 {
			return "the last of the chain has not been made"
		}
		return ""
	})
	s.waitEnded(t, last[0].ID, 5*time.Second, holdfast.OutcomeSucceeded)
	made := s.executionsOf(t, s.job)
	if len(made) != 1 || len(last) != 1 {
		t.Fatalf("got %d backups and %d reports, want one each", len(made), len(last))
	}
	b := made[0]
	if b.RunAsked != holdfast.RunDelta || b.RunType != holdfast.RunFull || b.Actor != "trigger" || b.Cause != first || b.Submission == 0 || b.Parent != 0 {
		t.Errorf("backup: got %+v, want a delta, which had no base, because of execution %d", b, first)
	}
	if last[0].Cause != b.ID || last[0].RunAsked != "" || last[0].ETL == nil {
		t.Errorf("report: got %+v, want it because of execution %d", last[0], b.ID)
	}
	s.checkEvents(t, b.ID, "execution.queued", "execution.started", "execution.ended")
	for tr, want := range map[holdfast.TriggerID]fired{
		backup.ID: {kind: "trigger.fired", site: s.site, Job: s.job, After: load.ID, Cause: first, Execution: b.ID},
		then.ID:   {kind: "trigger.fired", site: s.site, Job: report.ID, After: s.job, Cause: b.ID, Execution: last[0].ID},
	} {
		if got := s.firings(t, tr); len(got) != 1 || got[0] != want {
			t.Errorf("trigger %d: got events %+v, want %+v", tr, got, want)
		}
	}
}

// TestTriggerOutcomes ends an ETL in several ways under a trigger that runs another
// one.
func TestTriggerOutcomes(t *testing.T) {
	t.Parallel()
	warned := engine.Result{Warnings: []string{"3 rows were rejected"}}
	broken := holdfast.Errorf(holdfast.CodeInvalid, "no")
	for name, c := range map[string]struct {
		pipe    pipe
		run     holdfast.ETLRun
		change  func(*holdfast.Trigger)
		outcome holdfast.Outcome
		fires   bool
	}{
		"good":                {outcome: holdfast.OutcomeSucceeded, fires: true},
		"good, on done":       {change: onDone, outcome: holdfast.OutcomeSucceeded, fires: true},
		"warns":               {pipe: endsWith(warned, nil), outcome: holdfast.OutcomeWarning},
		"warns, on done":      {pipe: endsWith(warned, nil), change: onDone, outcome: holdfast.OutcomeWarning, fires: true},
		"fails":               {pipe: endsWith(engine.Result{}, broken), change: onDone, outcome: holdfast.OutcomeFailed},
		"simulated":           {run: holdfast.ETLRun{Simulate: true}, change: onDone, outcome: holdfast.OutcomeSucceeded},
		"an inactive trigger": {change: func(tr *holdfast.Trigger) { tr.Active = false }, outcome: holdfast.OutcomeSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(c.pipe))
			load, report := s.newETL(t, "load", "x", nil), s.newETL(t, "report", "x", nil)
			tr := s.newTrigger(t, load.ID, report.ID, c.change)
			now := time.Now()
			s.waitEnded(t, s.submitETL(t, load, c.run, now, now), 5*time.Second, c.outcome)
			if n := len(s.executionsOf(t, report.ID)); (n == 1) != c.fires || n > 1 {
				t.Errorf("got %d executions of the other, want one: %t", n, c.fires)
			}
			if n := len(s.firings(t, tr.ID)); (n == 1) != c.fires || n > 1 {
				t.Errorf("got %d events, want one: %t", n, c.fires)
			}
		})
	}
}

func onDone(tr *holdfast.Trigger) { tr.On = holdfast.OnDone }

// TestTriggerSkips fires triggers whose jobs cannot run: the end is taken all the
// same, and an event says why.
func TestTriggerSkips(t *testing.T) {
	t.Parallel()
	changed := func(change func(*holdfast.Job)) func(t *testing.T, s *stand, j holdfast.Job) {
		return func(t *testing.T, s *stand, j holdfast.Job) {
			t.Helper()
			change(&j)
			s.update(t, func(tx store.Tx) error { return tx.UpdateJob(t.Context(), j) })
		}
	}
	live := func(change func(*holdfast.Execution)) func(t *testing.T, s *stand, j holdfast.Job) {
		return func(t *testing.T, s *stand, j holdfast.Job) {
			t.Helper()
			e := holdfast.NewExecution(j, holdfast.Site{Pool: "elsewhere", Host: s.host}, time.Now(), time.Now(), "anna")
			if j.ETL != nil {
				e.ETL = &holdfast.ETLRun{}
			}
			change(&e)
			s.submit(t, e)
		}
	}
	for name, c := range map[string]struct {
		etl     bool // the job that is run is an ETL
		prepare func(t *testing.T, s *stand, j holdfast.Job)
		reason  holdfast.SkipReason // none: it runs
		text    string
	}{
		"inactive":            {prepare: changed(func(j *holdfast.Job) { j.Active = false }), reason: holdfast.SkipRefused, text: "not active"},
		"deleted":             {prepare: changed(func(j *holdfast.Job) { j.Deleted = time.Now() }), reason: holdfast.SkipRefused, text: "deleted"},
		"at no site":          {prepare: changed(func(j *holdfast.Job) { j.Site = 424242 }), reason: holdfast.SkipRefused, text: "site 424242"},
		"without properties":  {etl: true, prepare: changed(func(j *holdfast.Job) { j.ETL.Configurations[0].Active = false }), reason: holdfast.SkipRefused, text: "no active run configuration"},
		"a service by now":    {etl: true, prepare: changed(func(j *holdfast.Job) { j.ETL.Service = true }), reason: holdfast.SkipRefused, text: "service"},
		"what cannot be read": {etl: true, prepare: spoil, reason: holdfast.SkipRefused, text: "internal"},
		"a backup that waits": {prepare: live(func(e *holdfast.Execution) { e.RunAsked = holdfast.RunDelta }), reason: holdfast.SkipQueued},
		"a full that waits":   {prepare: live(func(e *holdfast.Execution) { e.RunAsked = holdfast.RunFull }), reason: holdfast.SkipBusy},
		"a backup that rests": {prepare: live(func(e *holdfast.Execution) { e.State, e.Wanted = holdfast.StateSuspended, holdfast.WantSuspend }), reason: holdfast.SkipBusy},
		"a backup for later":  {prepare: live(func(e *holdfast.Execution) { e.State, e.Due = holdfast.StatePlanned, e.Due.Add(time.Hour) })},
		"an ETL that waits":   {etl: true, prepare: live(func(*holdfast.Execution) {}), reason: holdfast.SkipQueued},
		"an ETL that rests": {etl: true, prepare: live(func(e *holdfast.Execution) {
			e.State, e.Wanted, e.Fence = holdfast.StateSuspended, holdfast.WantSuspend, 1
		})},
		"an ETL that is asked": {etl: true, prepare: live(func(e *holdfast.Execution) { e.ETL.Properties = map[string]string{"level": "7"} })},
		"as many as may wait": {etl: true, prepare: func(t *testing.T, s *stand, j holdfast.Job) {
			t.Helper()
			for i := range holdfast.MaxFollowUps {
				live(func(e *holdfast.Execution) { e.ETL.Properties = map[string]string{"level": fmt.Sprint(i)} })(t, s, j)
			}
		}, reason: holdfast.SkipFull},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
			load := s.newETL(t, "load", "x", nil)
			tr := holdfast.Trigger{Run: s.job}
			run := holdfast.Job{}
			if c.etl {
				tr.Run = s.newETL(t, "report", "x", nil).ID
			}
			require(t, s.store.View(t.Context(), func(r store.Reader) (err error) {
				run, err = r.Job(t.Context(), s.account, tr.Run)
				return err
			}))
			tr = s.newTrigger(t, load.ID, tr.Run, nil)
			c.prepare(t, s, run)
			before := len(s.executionsOf(t, tr.Run))
			cause := s.runETL(t, load)
			s.waitEnded(t, cause, 5*time.Second, holdfast.OutcomeSucceeded)
			got := s.firings(t, tr.ID)
			if len(got) != 1 || got[0].Cause != cause || got[0].Reason != string(c.reason) || !strings.Contains(strings.ToLower(got[0].Error), c.text) {
				t.Fatalf("got events %+v, want one with the reason %q and %q in its error", got, c.reason, c.text)
			}
			if c.reason != holdfast.SkipNone && (got[0].kind != "trigger.skipped" || got[0].Execution != 0) {
				t.Errorf("got %+v, want it skipped", got[0])
			}
			if c.reason != holdfast.SkipNone && (got[0].ForExecution == 0) != (c.reason == holdfast.SkipRefused) {
				t.Errorf("got %+v, want the execution that is in the way, or an error", got[0])
			}
			made := len(s.executionsOf(t, tr.Run)) - before
			if want := c.reason == holdfast.SkipNone; (made == 1) != want || made > 1 {
				t.Errorf("got %d executions, want one: %t", made, want)
			}
		})
	}
}

// spoil makes the row of a job one that cannot be read.
func spoil(t *testing.T, s *stand, j holdfast.Job) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.database()+"?_pragma=busy_timeout(10000)")
	require(t, err)
	_, err = db.ExecContext(t.Context(), "UPDATE jobs SET etl = 'no JSON' WHERE id = ?", int64(j.ID))
	require(t, errors.Join(err, db.Close()))
}

// brittle is a store whose transactions fail when they make an execution of a job.
type brittle struct {
	store.Store
	job   holdfast.JobID
	times atomic.Int64
}

// Update implements store.Store.
func (b *brittle) Update(ctx context.Context, fn func(store.Tx) error) error {
	return b.Store.Update(ctx, func(tx store.Tx) error { return fn(brittleTx{tx, b}) })
}

type brittleTx struct {
	store.Tx
	b *brittle
}

// InsertExecution implements store.Tx.
func (t brittleTx) InsertExecution(ctx context.Context, e *holdfast.Execution) error {
	if err := t.Tx.InsertExecution(ctx, e); err != nil || e.Job != t.b.job || t.b.times.Add(-1) < 0 {
		return err
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "the metadata database is locked")
}

// TestTriggerWhenTheDatabaseFails lets the database fail three times while a trigger
// fires: nothing is kept of these, and then all of it.
func TestTriggerWhenTheDatabaseFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	s := &stand{world: w}
	load := s.newETL(t, "load", "x", nil)
	tr := s.newTrigger(t, load.ID, s.job, nil)
	b := &brittle{Store: w.store, job: s.job}
	b.times.Store(3)
	s.start(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.Store = b })
	s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{}))
	s.waitEnded(t, s.runETL(t, load), 20*time.Second, holdfast.OutcomeSucceeded)
	if got := b.times.Load(); got != -1 {
		t.Errorf("got %d failures left, want the one after the last to succeed", got)
	}
	made := s.executionsOf(t, s.job)
	if len(made) != 1 {
		t.Fatalf("got %d backups, want one", len(made))
	}
	if got := s.firings(t, tr.ID); len(got) != 1 || got[0].kind != "trigger.fired" {
		t.Errorf("got events %+v, want one", got)
	}
	s.waitEnded(t, made[0].ID, 5*time.Second, holdfast.OutcomeSucceeded)
}

// TestTriggerTwoControlPlanes runs two control planes with a worker each on one
// database: each end makes one execution.
func TestTriggerTwoControlPlanes(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	second := &stand{world: s.world}
	second.start(t, nil)
	s.startWorker(t, "first", script{}, newShelf(), etlWorker(pipe{}))
	second.startWorker(t, "second", script{}, newShelf(), etlWorker(pipe{}))
	causes := map[holdfast.JobID]holdfast.ExecutionID{}
	for i := range 5 {
		load, report := s.newETL(t, fmt.Sprint("load ", i), "x", nil), s.newETL(t, fmt.Sprint("report ", i), "x", nil)
		s.newTrigger(t, load.ID, report.ID, func(tr *holdfast.Trigger) { tr.RunType = "" })
		causes[report.ID] = s.runETL(t, load)
	}
	for report, cause := range causes {
		s.waitEnded(t, cause, 10*time.Second, holdfast.OutcomeSucceeded)
		made := s.executionsOf(t, report)
		if len(made) != 1 || made[0].Cause != cause {
			t.Fatalf("job %d: got executions %+v, want one because of execution %d", report, made, cause)
		}
		s.waitEnded(t, made[0].ID, 10*time.Second, holdfast.OutcomeSucceeded)
	}
}

// TestTriggerFailureControlAt kills the control plane around the transaction that
// ends an execution: what is to run after it runs once.
func TestTriggerFailureControlAt(t *testing.T) {
	t.Parallel()
	for step, before := range map[string]int{"finish.received": 0, "finish.decided": 0, "finish.committed": 1} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			c := f.startControl(step)
			f.address()
			load := f.newETL(t, "load", program{Units: 2}.definition(), nil)
			tr := f.newTrigger(t, load.ID, f.job, nil)
			id := f.runETL(t, load)
			m := f.newMember("w1")
			m.start(nil)
			c.wait(startLimit, "step "+step)
			c.waitEnded(startLimit)
			if n := len(f.executionsOf(t, f.job)); n != before {
				t.Errorf("got %d backups when the control plane was gone, want %d", n, before)
			}
			f.startControl("")
			f.repoint(m)
			f.waitEnded(t, id, endLimit, holdfast.OutcomeSucceeded)
			made := f.executionsOf(t, f.job)
			if len(made) != 1 || made[0].Cause != id {
				t.Fatalf("got backups %+v, want one because of execution %d", made, id)
			}
			f.waitEnded(t, made[0].ID, endLimit, holdfast.OutcomeSucceeded)
			time.Sleep(time.Second) // a finish that is sent again comes now
			if n := len(f.executionsOf(t, f.job)); n != 1 {
				t.Errorf("got %d backups at last, want one", n)
			}
			if got := f.firings(t, tr.ID); len(got) != 1 || got[0].kind != "trigger.fired" {
				t.Errorf("got events %+v, want one", got)
			}
		})
	}
}
