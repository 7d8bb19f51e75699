package dispatch_test

import (
	"context"
	"database/sql"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Each test of this file is a line of the failure matrix: what dies, when, and
// what must happen then. Control plane and workers are processes; they speak
// over the TLS listener.

// startLimit is how long a worker may take to begin what has been submitted.
const startLimit = 10 * time.Second

// endLimit is how long an execution may take to end when nothing more fails.
const endLimit = 30 * time.Second

func TestFailureControlBeforeSubmitCommits(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	c := f.startControl("submit.inserted")
	f.address()
	c.ask(request{Op: "execute", Job: f.job, Key: "key-1"})
	c.wait(startLimit, "step submit.inserted")
	c.waitEnded(startLimit)
	f.startControl("")
	m := f.newMember("w1")
	m.start(nil)
	time.Sleep(2 * shortPoll)
	id, refused := f.execute("key-1")
	if refused != "" || id != holdfast.FirstID {
		t.Fatalf("retry: got execution %d, refused %q, want the first id: nothing existed", id, refused)
	}
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 {
		t.Errorf("fence: got %d, want 1", e.Fence)
	}
}

func TestFailureControlAfterSubmitCommits(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	c := f.startControl("submit.committed")
	m := f.newMember("w1")
	w := m.start(nil)
	c.ask(request{Op: "execute", Job: f.job, Key: "key-1"})
	c.wait(startLimit, "step submit.committed")
	c.waitEnded(startLimit)
	f.startControl("")
	f.repoint(m)
	w.wait(5*time.Second+startLimit, "started "+itoa(int64(holdfast.FirstID))+" 1")
	id, refused := f.execute("key-1")
	if refused != "" || id != holdfast.FirstID {
		t.Fatalf("retry with the same key: got execution %d, refused %q, want the first one", id, refused)
	}
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 {
		t.Errorf("fence: got %d, want 1: it runs once", e.Fence)
	}
}

// TestFailureControlAt kills the control plane at each of its durable steps after
// the submit, under a worker that lives on.
func TestFailureControlAt(t *testing.T) {
	t.Parallel()
	for _, step := range []string{
		"ask.received", "ask.committed", "intend.received", "intend.committed", "finish.received", "finish.committed",
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			c := f.startControl(step)
			f.mustExecute()
			m := f.newMember("w1")
			m.start(nil)
			c.wait(startLimit, "step "+step)
			c.waitEnded(startLimit)
			f.startControl("")
			f.repoint(m)
			// A repeated message gets the same answer: no attempt is lost.
			if e := f.wantOneSet(holdfast.FirstID, endLimit); e.Fence != 1 || e.Attempts != 0 {
				t.Errorf("got fence %d and %d attempts lost, want 1 and 0", e.Fence, e.Attempts)
			}
		})
	}
}

// TestFailureControlAfterSilence kills the control plane right after it has moved
// a silent execution on, before it tells anybody.
func TestFailureControlAfterSilence(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	c := f.startControl("silence.committed")
	m := f.newMember("w1")
	w := m.start(func(p *plan) { p.Hold = f.hold("never") })
	id := f.mustExecute()
	w.wait(startLimit, "started")
	w.kill()
	c.wait(shortSilence+startLimit, "step silence.committed")
	c.waitEnded(startLimit)
	f.startControl("")
	m.start(nil)
	if e := f.wantOneSet(id, endLimit); e.Fence != 2 || e.Attempts != 1 {
		t.Errorf("got fence %d and %d attempts lost, want 2 and 1", e.Fence, e.Attempts)
	}
}

// TestFailureWorkerKilledRestartsWithin15s has the limits of production.
func TestFailureWorkerKilledRestartsWithin15s(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(p *plan) { p.Silence, p.Beat, p.Poll = 0, 0, 0 })
	f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	w := first.start(func(p *plan) { p.Hold = f.hold("never") })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	other := second.start(nil)
	time.Sleep(time.Second)
	w.kill()
	killed := time.Now()
	other.wait(15*time.Second, "started "+itoa(id)+" 2")
	if d := time.Since(killed); d < holdfast.SilenceLimit-holdfast.BeatInterval {
		t.Errorf("started again after %s, before a silence of %s", d, holdfast.SilenceLimit)
	}
	f.wantOneSet(id, endLimit)
}

// TestFailureWorkerAt kills the worker at each of its durable steps; another one
// takes over, and what was stored is found again.
func TestFailureWorkerAt(t *testing.T) {
	t.Parallel()
	for step, intended := range map[string]bool{
		"order.received": false, "backup.stored": false, "intend.before": false,
		"intend.granted": true, "snapshot.written": true, "finish.before": true,
	} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			f.startControl("")
			first, second := f.newMember("w1"), f.newMember("w2")
			w := first.start(func(p *plan) { p.At, p.Signal = step, syscall.SIGKILL })
			id := f.mustExecute()
			w.wait(startLimit, "step "+step)
			w.waitEnded(startLimit)
			f.noSetYet()
			other := second.start(nil)
			other.wait(shortSilence+startLimit, "started "+itoa(id)+" 2")
			e := f.wantOneSet(id, endLimit)
			if e.Fence != 2 || e.Attempts != 1 {
				t.Errorf("got fence %d and %d attempts lost, want 2 and 1", e.Fence, e.Attempts)
			}
			copies := f.copies(t, id)
			if got := len(copies) == 2; got != intended {
				t.Errorf("copies: got %+v, want one of the killed fence: %t", copies, intended)
			}
			if intended && e.Progress.AddedBytes > contentBytes/4 {
				t.Errorf("the next attempt stored %d bytes anew: it did not find what was there", e.Progress.AddedBytes)
			}
		})
	}
}

// TestFailureWorkerAfterFinish kills the worker when its finish has been
// answered: it has ended, and stays so.
func TestFailureWorkerAfterFinish(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	m := f.newMember("w1")
	w := m.start(func(p *plan) { p.At, p.Signal = "finish.answered", syscall.SIGKILL })
	id := f.mustExecute()
	w.wait(startLimit, "step finish.answered")
	w.waitEnded(startLimit)
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 {
		t.Errorf("fence: got %d, want 1", e.Fence)
	}
}

// TestFailureWorkerFrozenAt freezes the worker in front of each of its writes,
// lets another one do the work, and thaws it.
func TestFailureWorkerFrozenAt(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"order.received", "backup.stored", "intend.before", "intend.granted", "snapshot.written", "finish.before"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			f.startControl("")
			first, second := f.newMember("w1"), f.newMember("w2")
			w := first.start(func(p *plan) { p.At, p.Signal = step, syscall.SIGSTOP })
			id := f.mustExecute()
			w.wait(startLimit, "step "+step)
			second.start(nil)
			f.waitEnded(t, id, shortSilence+endLimit, holdfast.OutcomeSucceeded)
			if n := f.visibleSets(t); n != 1 {
				t.Errorf("visible sets while frozen: got %d, want 1", n)
			}
			w.signal(syscall.SIGCONT)
			time.Sleep(2 * time.Second) // it does now what it was about to do
			if e := f.wantOneSet(id, endLimit); e.Fence != 2 {
				t.Errorf("fence: got %d, want 2", e.Fence)
			}
		})
	}
}

// TestFailurePartition cuts the worker off past the silence: another one takes
// over; the first goes on, cannot intend, and ends when it hears that it is
// outdated.
func TestFailurePartition(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	hold := f.hold("go")
	w := first.start(func(p *plan) { p.Hold = hold })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	first.proxy.point("")
	other := second.start(nil)
	other.wait(shortSilence+startLimit, "started "+itoa(id)+" 2")
	f.waitEnded(t, id, endLimit, holdfast.OutcomeSucceeded)
	f.release(hold) // it stores its set now, and asks in vain
	time.Sleep(time.Second)
	first.proxy.point(f.address())
	if e := f.wantOneSet(id, endLimit); e.Fence != 2 {
		t.Errorf("fence: got %d, want 2", e.Fence)
	}
	// It is free again for the next one.
	second.child.kill()
	next := f.mustExecute()
	w.wait(endLimit, "started "+itoa(next)+" 1")
}

// TestFailurePartitionWhileWorking heals while the engine still works: it is told
// to end at once.
func TestFailurePartitionWhileWorking(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	w := first.start(func(p *plan) { p.Hold = f.hold("never") })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	first.proxy.point("")
	second.start(nil)
	f.waitEnded(t, id, shortSilence+endLimit, holdfast.OutcomeSucceeded)
	first.proxy.point(f.address())
	if line := w.wait(startLimit, "cancelled"); !strings.Contains(line, "outdated") {
		t.Errorf("got %q, want that the order is outdated", line)
	}
	f.wantOneSet(id, endLimit)
}

// TestFailureControlAway takes the whole control plane away past the silence:
// the execution goes on as if nothing had happened.
func TestFailureControlAway(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	c := f.startControl("")
	m := f.newMember("w1")
	hold := f.hold("go")
	w := m.start(func(p *plan) { p.Hold = hold })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	c.kill()
	f.release(hold) // it wants to intend while nobody is there
	time.Sleep(shortSilence + time.Second)
	if n := f.snapshots(); n != 0 {
		t.Errorf("snapshots without a control plane: got %d, want 0", n)
	}
	f.startControl("")
	f.repoint(m)
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 || e.Attempts != 0 {
		t.Errorf("got fence %d and %d attempts lost, want 1 and 0", e.Fence, e.Attempts)
	}
}

// TestFailureNATSRestarted restarts the message server, which is the control
// plane's, while the worker is frozen: silence begins anew.
func TestFailureNATSRestarted(t *testing.T) {
	t.Parallel()
	const silence = 6 * time.Second
	f := newFleet(t, func(p *plan) { p.Silence = silence })
	c := f.startControl("")
	m := f.newMember("w1")
	hold := f.hold("go")
	w := m.start(func(p *plan) { p.Hold = hold })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	w.signal(syscall.SIGSTOP)
	time.Sleep(silence * 2 / 3)
	c.kill()
	f.startControl("")
	f.repoint(m)
	began := time.Now()
	for time.Since(began) < silence/2 {
		if e := f.execution(t, id); e.State != holdfast.StateRunning || e.Fence != 1 {
			t.Fatalf("%s after the restart: got %+v, want RUNNING with fence 1", time.Since(began), e.Status)
		}
		time.Sleep(50 * time.Millisecond)
	}
	w.signal(syscall.SIGCONT)
	time.Sleep(silence)
	f.release(hold)
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 || e.Attempts != 0 {
		t.Errorf("got fence %d and %d attempts lost, want 1 and 0: beats resume", e.Fence, e.Attempts)
	}
}

// TestFailureControlFrozen freezes the control plane past the silence: when it
// thaws it has heard nobody, and must not blame the workers.
func TestFailureControlFrozen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	c := f.startControl("")
	m := f.newMember("w1")
	hold := f.hold("go")
	w := m.start(func(p *plan) { p.Hold = hold })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	c.signal(syscall.SIGSTOP)
	time.Sleep(shortSilence + 2*time.Second)
	c.signal(syscall.SIGCONT)
	time.Sleep(shortSilence * 2 / 3)
	f.release(hold)
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 || e.Attempts != 0 {
		t.Errorf("got fence %d and %d attempts lost, want 1 and 0", e.Fence, e.Attempts)
	}
}

// TestFailureDatabaseLocked locks the database past the silence: a submit says
// so, running work goes on, and finishes when the store returns.
func TestFailureDatabaseLocked(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	m := f.newMember("w1")
	hold := f.hold("go")
	w := m.start(func(p *plan) { p.Hold = hold })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	unlock := f.lock(t)
	if _, refused := f.execute(""); refused != string(holdfast.CodeUnavailable) {
		t.Errorf("submit: got %q, want %s", refused, holdfast.CodeUnavailable)
	}
	f.release(hold) // it finishes under the lock
	time.Sleep(shortSilence + time.Second)
	unlock()
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 || e.Attempts != 0 {
		t.Errorf("got fence %d and %d attempts lost, want 1 and 0", e.Fence, e.Attempts)
	}
}

// TestFailureSubmitWhileLocked submits to a locked database.
func TestFailureSubmitWhileLocked(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	f.address()
	unlock := f.lock(t)
	if _, refused := f.execute("key-1"); refused != string(holdfast.CodeUnavailable) {
		t.Errorf("submit: got %q, want %s", refused, holdfast.CodeUnavailable)
	}
	unlock()
	if id, refused := f.execute("key-1"); refused != "" || id != holdfast.FirstID {
		t.Errorf("submit after the lock: got execution %d, refused %q, want the first id", id, refused)
	}
}

// lock holds the database as a foreign program would.
func (f *fleet) lock(t *testing.T) (unlock func()) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	db, err := sql.Open("sqlite", f.database())
	require(t, err)
	conn, err := db.Conn(ctx)
	require(t, err)
	eventually(t, 10*time.Second, func() string {
		if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
			return err.Error()
		}
		return ""
	})
	return func() {
		_, err := conn.ExecContext(ctx, "ROLLBACK")
		require(t, err)
		require(t, conn.Close())
		require(t, db.Close())
	}
}

// TestFailureClockJumps sets the wall clock by hours, either way, under a running
// execution.
func TestFailureClockJumps(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forward": 7 * time.Hour, "back": -7 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var offset atomic.Int64
			s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) {
				c.SilenceLimit = 2 * time.Second
				c.Now = func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
			})
			started, done := make(chan engine.Backup, 2), make(chan struct{})
			s.startWorker(t, "local", until(done, started), newShelf(), fastBeat)
			e := s.queued(s.job)
			e.AbortAfter = time.Hour
			id := s.submit(t, e)
			s.dispatcher.Ring(holdfast.DefaultPool)
			<-started
			time.Sleep(500 * time.Millisecond)
			offset.Store(int64(jump))
			time.Sleep(2500 * time.Millisecond)
			if got := s.execution(t, id); got.State != holdfast.StateRunning || got.Fence != 1 || got.Wanted != holdfast.WantRun {
				t.Errorf("after the jump: got %+v, want RUNNING with fence 1", got.Status)
			}
			close(done)
			s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeSucceeded)
		})
	}
}

// TestFailureClockBackWhileQueued sets the wall clock back under executions that
// wait: one was submitted at once, one waits after a failure, and one was
// submitted before this control plane started. None waits for hours.
func TestFailureClockBackWhileQueued(t *testing.T) {
	t.Parallel()
	var offset atomic.Int64
	var failed atomic.Bool
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) {
		c.Now, c.RetryBase, c.RetryMax = now, time.Second, time.Second
	})
	future := func(name string, by time.Duration) holdfast.ExecutionID {
		e := s.queued(s.newJob(t, name))
		e.Due = e.Due.Add(by)
		return s.submit(t, e)
	}
	before := future("before", 9*time.Hour)
	w := s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		if failed.CompareAndSwap(false, true) {
			return engine.Result{}, holdfast.Errorf(holdfast.CodeUnavailable, "the server is starting up")
		}
		return engine.Result{}, nil
	}}, newShelf(), fastPoll)
	s.waitEnded(t, before, 10*time.Second, holdfast.OutcomeSucceeded)
	w.stop()
	atOnce := future("at once", 0)
	time.Sleep(1500 * time.Millisecond) // the clock is known
	offset.Store(int64(-7 * time.Hour))
	s.startWorker(t, "other", script{}, newShelf(), fastPoll)
	s.waitEnded(t, atOnce, 5*time.Second, holdfast.OutcomeSucceeded)
}

// TestFailureTermHandsBack ends a worker whose execution does not come to an end
// within the drain: another one gets it, and no attempt is lost.
func TestFailureTermHandsBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	w := first.start(func(p *plan) { p.Hold, p.Drain = f.hold("never"), time.Second })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	other := second.start(nil)
	w.signal(syscall.SIGTERM)
	w.wait(startLimit, "ended")
	other.wait(startLimit, "started "+itoa(id)+" 2")
	if e := f.wantOneSet(id, endLimit); e.Fence != 2 || e.Attempts != 0 || e.Retries != 0 {
		t.Errorf("got fence %d, %d attempts and %d retries, want 2, 0, 0", e.Fence, e.Attempts, e.Retries)
	}
}

// TestFailureTermDrains ends a worker whose execution comes to an end within the
// drain; it takes no new one.
func TestFailureTermDrains(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	m := f.newMember("w1")
	hold := f.hold("go")
	w := m.start(func(p *plan) { p.Hold, p.Drain = hold, endLimit })
	id := f.mustExecute()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	w.signal(syscall.SIGTERM)
	time.Sleep(500 * time.Millisecond)
	later := f.submit(t, f.queued(f.newJob(t, "later")))
	time.Sleep(500 * time.Millisecond)
	f.release(hold)
	w.wait(endLimit, "ended")
	if e := f.wantOneSet(id, endLimit); e.Fence != 1 {
		t.Errorf("fence: got %d, want 1", e.Fence)
	}
	if e := f.execution(t, later); e.State != holdfast.StateQueued {
		t.Errorf("an execution that came during the drain: got %s, want %s", e.State, holdfast.StateQueued)
	}
}

// TestFailureKillOfFrozen kills an execution whose worker is frozen: it is
// decided without the worker, what it left is released by another one, and the
// thawed one writes nothing that stays.
func TestFailureKillOfFrozen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(p *plan) { p.Kill, p.Silence = 2*time.Second, 30*time.Second })
	c := f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	w := first.start(func(p *plan) { p.At, p.Signal = "intend.granted", syscall.SIGSTOP })
	id := f.mustExecute()
	w.wait(startLimit, "step intend.granted")
	other := second.start(nil)
	c.ask(request{Op: "kill", ID: id})
	c.wait(startLimit, "done")
	e := f.waitEnded(t, id, startLimit, holdfast.OutcomeKilled)
	if e.Fence != 2 {
		t.Errorf("fence: got %d, want 2: the decision closes the worker's", e.Fence)
	}
	other.wait(60*time.Second, "released "+itoa(id)+" 1")
	w.signal(syscall.SIGCONT)
	time.Sleep(2 * time.Second)
	eventually(t, 15*time.Second, func() string {
		if n := f.snapshots(); n != 0 {
			return itoa(int64(n)) + " snapshots, want 0"
		}
		return ""
	})
	f.noSetYet()
}
