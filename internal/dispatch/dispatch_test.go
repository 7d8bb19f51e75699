package dispatch_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

var (
	_ service.Dispatcher = (*dispatch.Dispatcher)(nil)
	_ service.Pipelines  = (*dispatch.Dispatcher)(nil)
	_ service.Logs       = (*dispatch.Logs)(nil)
)

func TestBackup(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	s.startWorker(t, "local", script{backup: func(_ context.Context, req engine.Backup, _ engine.Sink) (engine.Result, error) {
		req.Report.Phase("copy")
		req.Report.Done(3, 300)
		req.Log.Info("a line of the log", "password", req.Site.Password)
		if req.Site.Password.Reveal() != sitePassword {
			t.Errorf("site password: got another one")
		}
		return engine.Result{Bytes: 300, Files: 3, Physical: &holdfast.PhysicalFacts{SystemIdentifier: 5, StartLSN: 1, StopLSN: 2}}, nil
	}}, books, nil)
	asked := s.queued(s.job)
	asked.RunAsked, asked.RunType = holdfast.RunDelta, holdfast.RunDelta
	id := s.submit(t, asked)
	s.dispatcher.Ring(holdfast.DefaultPool)

	e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded)
	if e.Fence != 1 || e.RunType != holdfast.RunFull || !strings.Contains(e.RunTypeReason, "DELTA runs as FULL") || e.StoredSize != 300 {
		t.Errorf("execution: got fence %d, run type %s (%s), size %d", e.Fence, e.RunType, e.RunTypeReason, e.StoredSize)
	}
	copies := s.copies(t, id)
	if len(copies) != 1 || copies[0].State != holdfast.CopyComplete || copies[0].Set != e.Set || !books.snapshots[copies[0].Snapshot] {
		t.Errorf("copies: got %+v, want one that is complete and on the shelf", copies)
	}
	if n := s.visibleSets(t); n != 1 {
		t.Errorf("visible sets: got %d, want 1", n)
	}
	data, _, err := s.logFiles.Read(t.Context(), id, 0, 1<<20)
	require(t, err)
	if !strings.Contains(string(data), "a line of the log") || !strings.Contains(string(data), "execution starts") || strings.Contains(string(data), sitePassword) {
		t.Errorf("log: got %q", data)
	}
	s.checkEvents(t, id, "execution.started", "execution.ended")
}

func (s *stand) checkEvents(t *testing.T, id holdfast.ExecutionID, want ...string) {
	t.Helper()
	var got []string
	require(t, s.store.View(t.Context(), func(r store.Reader) error {
		events, err := r.Events(t.Context(), s.account, 0, 1000)
		for _, e := range events {
			if e.Subject == "execution "+itoa(id) {
				got = append(got, e.Kind)
			}
		}
		return err
	}))
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("events: got %q, want %q", got, want)
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	specs := make(chan engine.Restore, 1)
	s.startWorker(t, "local", script{restore: func(_ context.Context, req engine.Restore, _ engine.Source) (engine.Result, error) {
		specs <- req
		return engine.Result{Bytes: 9}, nil
	}}, books, nil)
	backup := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	set := s.waitEnded(t, backup, 5*time.Second, holdfast.OutcomeSucceeded).Set

	job := s.newRestoreJob(t)
	e := s.queued(job)
	e.Type, e.Set, e.Restore = holdfast.JobRestore, set, &holdfast.RestoreSpec{Set: set, Host: s.host, Directory: "/srv/new"}
	id := s.submit(t, e)
	s.dispatcher.Ring(holdfast.DefaultPool)
	s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded)
	if got := <-specs; got.Spec.Directory != "/srv/new" || got.Roots == nil {
		t.Errorf("restore: got %+v, want the directory, and roots that are not nil", got)
	}

	missing := s.queued(job)
	missing.Type, missing.Set, missing.Restore = holdfast.JobRestore, 999999, e.Restore
	id = s.submit(t, missing)
	s.dispatcher.Ring(holdfast.DefaultPool)
	if got := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeFailed); !strings.Contains(got.Detail, "no copy that can be read") {
		t.Errorf("detail: got %q", got.Detail)
	}
}

func (w *world) newRestoreJob(t testing.TB) holdfast.JobID {
	t.Helper()
	j := holdfast.Job{
		Account: w.account, Site: w.site, Type: holdfast.JobRestore, Engine: holdfast.EnginePhysical, Name: "restore", Active: true,
		Priority: holdfast.DefaultPriority, Created: time.Now(), Restore: &holdfast.RestoreSpec{Directory: "/srv/new"},
	}
	w.update(t, func(tx store.Tx) error { return tx.InsertJob(t.Context(), &j) })
	return j.ID
}

// TestWishes tells a running execution each wish, and measures how fast the
// engine hears of it.
func TestWishes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		move    holdfast.Move
		state   holdfast.State
		outcome holdfast.Outcome
	}{
		{holdfast.MoveSuspend, holdfast.StateSuspended, holdfast.OutcomeNone},
		{holdfast.MoveStop, holdfast.StateEnded, holdfast.OutcomeStopped},
		{holdfast.MoveAbort, holdfast.StateEnded, holdfast.OutcomeAborted},
		{holdfast.MoveKill, holdfast.StateEnded, holdfast.OutcomeKilled},
	} {
		t.Run(string(c.move), func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			started := make(chan engine.Backup, 1)
			var heard atomic.Int64
			e := until(nil, started)
			inner := e.backup
			e.backup = func(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error) {
				res, err := inner(ctx, req, sink)
				heard.Store(time.Now().UnixNano())
				return res, err
			}
			s.startWorker(t, "local", e, newShelf(), nil)
			id := s.submit(t, s.queued(s.job))
			s.dispatcher.Ring(holdfast.DefaultPool)
			<-started
			next := s.move(t, id, c.move)
			told := time.Now()
			s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
			s.waitFor(t, id, 2*time.Second, string(c.state), func(e holdfast.Execution) bool { return e.State == c.state && e.Outcome == c.outcome })
			if d := time.Duration(heard.Load() - told.UnixNano()); d > 100*time.Millisecond {
				t.Errorf("the engine heard of it after %s, want at most 100ms", d)
			}
		})
	}
}

// TestResume suspends an execution and resumes it: it runs again with the next
// fence and ends.
func TestResume(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started, done := make(chan engine.Backup, 2), make(chan struct{})
	s.startWorker(t, "local", until(done, started), newShelf(), nil)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	next := s.move(t, id, holdfast.MoveSuspend)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	s.waitFor(t, id, 2*time.Second, "SUSPENDED", func(e holdfast.Execution) bool { return e.State == holdfast.StateSuspended })
	s.move(t, id, holdfast.MoveResume)
	s.dispatcher.Ring(holdfast.DefaultPool)
	if got := <-started; got.Fence != 2 {
		t.Errorf("fence: got %d, want 2", got.Fence)
	}
	close(done)
	if e := s.waitEnded(t, id, 2*time.Second, holdfast.OutcomeSucceeded); e.Attempts != 0 {
		t.Errorf("attempts: got %d, want 0", e.Attempts)
	}
}

// TestTimeLimit ends an execution whose time limit passes.
func TestTimeLimit(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.Backup, 1)
	s.startWorker(t, "local", until(nil, started), newShelf(), nil)
	e := s.queued(s.job)
	e.AbortAfter = time.Second
	id := s.submit(t, e)
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	if got := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeAborted); got.Reason != holdfast.ReasonTimeLimit {
		t.Errorf("reason: got %s, want %s", got.Reason, holdfast.ReasonTimeLimit)
	}
}

// TestTransient lets a backup fail twice in a way that may pass: it waits longer
// each time, and then succeeds.
func TestTransient(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.RetryBase = 50 * time.Millisecond })
	var n atomic.Int32
	s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		if n.Add(1) < 3 {
			return engine.Result{}, holdfast.Errorf(holdfast.CodeUnavailable, "the server is starting up")
		}
		return engine.Result{}, nil
	}}, newShelf(), fastPoll)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	if e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded); e.Retries != 2 || e.Attempts != 0 || e.Fence != 3 {
		t.Errorf("got %d retries, %d attempts, fence %d, want 2, 0, 3", e.Retries, e.Attempts, e.Fence)
	}
}

// TestNewPool gives the worker inside the process another pool while it runs: it
// takes that pool's work without a new start, and hears its bell.
func TestNewPool(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	w := s.startWorker(t, "local", script{}, newShelf(), fastPoll)
	row := w.row
	row.Pools = append(row.Pools, "fast")
	s.update(t, func(tx store.Tx) error { return tx.UpdateWorker(t.Context(), row) })
	e := s.queued(s.job)
	e.Pool = "fast"
	s.waitEnded(t, s.submit(t, e), 5*time.Second, holdfast.OutcomeSucceeded)
}

// TestHandedBackTooOften lets a worker be shut down once too often while an
// execution runs: it ends, and says why.
func TestHandedBackTooOften(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	started := make(chan engine.Backup, 1)
	w := s.startWorker(t, "local", until(nil, started), newShelf(), nil)
	e := s.queued(s.job)
	e.HandBacks = holdfast.DefaultHandBacks - 1
	id := s.submit(t, e)
	s.dispatcher.Ring(holdfast.DefaultPool)
	<-started
	w.stop()
	got := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeFailed)
	if got.Reason != holdfast.ReasonHandedBack || got.HandBacks != holdfast.DefaultHandBacks || !strings.Contains(got.Detail, "20 times") {
		t.Errorf("got reason %s, %d hand-backs, detail %q", got.Reason, got.HandBacks, got.Detail)
	}
}

// TestFailed lets a backup fail for good: the execution says why and what to do.
func TestFailed(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		return engine.Result{}, holdfast.Errorf(holdfast.CodeInvalid, "the role may not replicate").WithHint("grant it")
	}}, newShelf(), nil)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	if e := s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeFailed); e.Detail != "the role may not replicate: grant it" {
		t.Errorf("detail: got %q", e.Detail)
	}
	if n := s.visibleSets(t); n != 0 {
		t.Errorf("visible sets: got %d, want 0", n)
	}
}

// TestDamaged lets a backup find damage: the set is usable, and says so.
func TestDamaged(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		return engine.Result{Damaged: "block 3 of base/1/2", Warnings: []string{"one bad page"}}, nil
	}}, newShelf(), nil)
	id := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeWarning)
	if c := s.copies(t, id); len(c) != 1 || c[0].State != holdfast.CopyDamaged {
		t.Errorf("copies: got %+v, want one that is damaged", c)
	}
}

// TestPlanned queues a planned execution when it is due.
func TestPlanned(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.startWorker(t, "local", script{}, newShelf(), nil)
	e := s.queued(s.job)
	e.State, e.Due = holdfast.StatePlanned, time.Now().Add(500*time.Millisecond)
	id := s.submit(t, e)
	s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded)
}

// TestSiteOnHost tests a site through a worker that stands on its host.
func TestSiteOnHost(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	var site holdfast.Site
	require(t, s.store.View(t.Context(), func(r store.Reader) (err error) {
		site, err = r.Site(t.Context(), s.account, s.site)
		return err
	}))
	if _, err := s.dispatcher.TestSite(t.Context(), site, holdfast.EnginePhysical); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("without a worker: got %v, want %s", err, holdfast.CodeUnavailable)
	}
	h := s.startWorker(t, "local", script{}, newShelf(), nil)
	eventually(t, 5*time.Second, func() string {
		findings, err := s.dispatcher.TestSite(t.Context(), site, holdfast.EnginePhysical)
		if err != nil {
			return err.Error()
		}
		if len(findings) != 1 || !findings[0].OK || findings[0].Text != "berlin" {
			t.Fatalf("findings: got %+v", findings)
		}
		return ""
	})
	h.stop()
	if _, err := s.dispatcher.TestSite(t.Context(), site, holdfast.EnginePhysical); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("with the worker gone: got %v, want %s", err, holdfast.CodeUnavailable)
	}
}
