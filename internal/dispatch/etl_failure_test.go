package dispatch_test

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Each test of this file is a line of the failure matrix for ETLs. Control plane
// and workers are processes, and the target is a database beside them.

// batchOf is an ETL of so many units, whose last one waits for the file hold.
func (f *fleet) batchOf(units int, hold string) holdfast.ExecutionID {
	f.t.Helper()
	p := program{Units: units, Pause: 10 * time.Millisecond}
	if hold != "" {
		p.Hold = f.hold(hold)
	}
	return f.runETL(f.t, f.newETL(f.t, "orders", p.definition(), nil))
}

// serviceOf is a service ETL whose rounds come one after the other.
func (f *fleet) serviceOf() holdfast.ExecutionID {
	f.t.Helper()
	return f.runETL(f.t, f.newETL(f.t, "changes", program{Pause: 50 * time.Millisecond}.definition(), aService))
}

// TestETLFailureWorkerAt kills the worker at each step of an execution: the next
// one goes on behind the last unit that was committed.
func TestETLFailureWorkerAt(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"order.received", "unit.before", "unit.committed", "finish.before"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			f.startControl("")
			first, second := f.newMember("w1"), f.newMember("w2")
			w := first.start(func(p *plan) { p.At, p.Signal = step, syscall.SIGKILL })
			id := f.batchOf(3, "")
			w.wait(startLimit, "step "+step)
			w.waitEnded(startLimit)
			second.start(nil)
			e := f.waitEnded(t, id, shortSilence+endLimit, holdfast.OutcomeSucceeded)
			if e.Fence != 2 || e.Attempts != 1 {
				t.Errorf("got fence %d and %d attempts lost, want 2 and 1", e.Fence, e.Attempts)
			}
			f.wantOnce(t, id, 3)
			f.wantMonotoneFences(id, e.Fence)
		})
	}
}

// TestETLFailureWorkerFrozenAt freezes the worker in front of each of its writes,
// lets another one do the work, and thaws it: it changes nothing.
func TestETLFailureWorkerFrozenAt(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"order.received", "unit.before", "unit.committed", "finish.before"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			f.startControl("")
			first, second := f.newMember("w1"), f.newMember("w2")
			w := first.start(func(p *plan) { p.At, p.Signal = step, syscall.SIGSTOP })
			id := f.batchOf(3, "")
			w.wait(startLimit, "step "+step)
			second.start(nil)
			f.waitEnded(t, id, shortSilence+endLimit, holdfast.OutcomeSucceeded)
			f.wantOnce(t, id, 3)
			w.signal(syscall.SIGCONT)
			time.Sleep(2 * time.Second) // it does now what it was about to do
			f.wantOnce(t, id, 3)
			if e := f.execution(t, id); e.Outcome != holdfast.OutcomeSucceeded || e.Fence != 2 {
				t.Errorf("got %+v, want SUCCEEDED with fence 2", e.Status)
			}
			// It is free again for the next one.
			second.child.kill()
			next := f.runETL(t, f.newETL(t, "later", program{Units: 1}.definition(), nil))
			f.waitEnded(t, next, endLimit, holdfast.OutcomeSucceeded)
		})
	}
}

// TestETLFailureControlAt kills the control plane at each of its durable steps: the
// worker lives on, and nothing is done twice.
func TestETLFailureControlAt(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"ask.received", "ask.committed", "finish.received", "finish.committed"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			c := f.startControl(step)
			f.address()
			id := f.batchOf(3, "")
			m := f.newMember("w1")
			m.start(nil)
			c.wait(startLimit, "step "+step)
			c.waitEnded(startLimit)
			f.startControl("")
			f.repoint(m)
			e := f.waitEnded(t, id, endLimit, holdfast.OutcomeSucceeded)
			if e.Fence != 1 || e.Attempts != 0 {
				t.Errorf("got fence %d and %d attempts lost, want 1 and 0", e.Fence, e.Attempts)
			}
			f.wantOnce(t, id, 3)
		})
	}
}

// TestETLFailureControlAway takes the control plane away past the silence: units
// are committed meanwhile, and the end is told when it is back.
func TestETLFailureControlAway(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	c := f.startControl("")
	m := f.newMember("w1")
	w := m.start(nil)
	id := f.batchOf(5, "go")
	w.wait(startLimit, "started "+itoa(id)+" 1")
	f.waitUnits(t, id, 4, startLimit)
	c.kill()
	f.release(f.hold("go"))
	f.waitUnits(t, id, 5, startLimit)
	time.Sleep(shortSilence + time.Second)
	f.startControl("")
	f.repoint(m)
	e := f.waitEnded(t, id, endLimit, holdfast.OutcomeSucceeded)
	if e.Fence != 1 || e.Attempts != 0 {
		t.Errorf("got fence %d and %d attempts lost, want 1 and 0", e.Fence, e.Attempts)
	}
	f.wantOnce(t, id, 5)
}

// TestETLFailurePartition cuts the worker off past the silence: another one goes on
// behind its units, and it commits none of its own any more.
func TestETLFailurePartition(t *testing.T) {
	t.Parallel()
	f := newFleet(t, nil)
	f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	w := first.start(nil)
	id := f.batchOf(5, "go")
	w.wait(startLimit, "started "+itoa(id)+" 1")
	f.waitUnits(t, id, 4, startLimit)
	first.proxy.point("")
	other := second.start(nil)
	other.wait(shortSilence+startLimit, "started "+itoa(id)+" 2 after 4")
	f.release(f.hold("go")) // both go on now
	f.waitEnded(t, id, endLimit, holdfast.OutcomeSucceeded)
	first.proxy.point(f.address())
	w.wait(endLimit, "cancelled")
	f.wantOnce(t, id, 5)
}

// TestETLFailureKillOfFrozen kills an execution whose worker is frozen in front of
// a unit: it has ended within 15 seconds, another worker releases what it left, and
// thawed it commits nothing: its successor has claimed the target.
func TestETLFailureKillOfFrozen(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(p *plan) { p.Kill, p.Silence = 0, 30*time.Second }) // the limit of production
	c := f.startControl("")
	first, second := f.newMember("w1"), f.newMember("w2")
	w := first.start(func(p *plan) { p.At, p.Signal = "unit.before", syscall.SIGSTOP })
	id := f.batchOf(3, "")
	w.wait(startLimit, "step unit.before")
	other := second.start(nil)
	c.ask(request{Op: "kill", ID: id})
	c.wait(startLimit, "done")
	if e := f.waitEnded(t, id, 15*time.Second, holdfast.OutcomeKilled); e.Fence != 2 {
		t.Errorf("fence: got %d, want 2: the decision closes the worker's", e.Fence)
	}
	other.wait(60*time.Second, "released "+itoa(id)+" 1")
	next := f.runETL(t, f.newETL(t, "later", program{Units: 2}.definition(), nil))
	f.waitEnded(t, next, endLimit, holdfast.OutcomeSucceeded)
	w.signal(syscall.SIGCONT)
	w.wait(startLimit, "cancelled")
	f.wantOnce(t, next, 2)
	if units, _, _ := f.loaded(t, id); len(units) != 0 {
		t.Errorf("units of the killed execution: got %v, want none", units)
	}
}

// TestServiceSurvives restarts the worker, by force and by request, and the control
// plane under a service: it goes on, each round once, and is stopped in the end.
func TestServiceSurvives(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(p *plan) { p.Drain = 5 * time.Second })
	f.startControl("")
	m := f.newMember("w1")
	w := m.start(nil)
	id := f.serviceOf()
	w.wait(startLimit, "started "+itoa(id)+" 1")
	f.waitUnits(t, id, 3, startLimit)

	w.kill()
	w = m.start(nil)
	w.wait(shortSilence+startLimit, "started "+itoa(id)+" 2")
	f.waitFor(t, id, startLimit, "attempts counted anew", func(e holdfast.Execution) bool { return e.Fence == 2 && e.Attempts == 0 })

	w.signal(syscall.SIGTERM)
	w.wait(startLimit, "ended")
	if e := f.execution(t, id); e.State != holdfast.StateQueued || e.Attempts != 0 {
		t.Errorf("after the drain: got %+v, want QUEUED and no attempt lost", e.Status)
	}
	w = m.start(nil)
	w.wait(startLimit, "started "+itoa(id)+" 3")

	f.control.kill()
	units, _, _ := f.loaded(t, id)
	f.waitUnits(t, id, len(units)+5, startLimit) // it goes on without anybody
	c := f.startControl("")
	f.repoint(m)
	f.waitFor(t, id, startLimit, "a beat to the new control plane", func(e holdfast.Execution) bool { return e.Fence == 3 && e.HandBacks == 0 })

	f.update(t, func(tx store.Tx) error {
		ctx := context.WithoutCancel(t.Context())
		e, err := tx.Execution(ctx, 0, id)
		if err != nil {
			return err
		}
		return tx.MoveETLRun(ctx, e, holdfast.ETLRun{Service: true, Identity: e.ETL.Identity, Properties: map[string]string{"level": "99"}, Version: e.ETL.Version + 1})
	})
	eventually(t, startLimit, func() string {
		if _, _, level := f.loaded(t, id); level != "99" {
			return "the level of the last round is " + level + ", want 99"
		}
		return ""
	})

	c.ask(request{Op: "stop", ID: id})
	c.wait(startLimit, "done")
	e := f.waitEnded(t, id, startLimit, holdfast.OutcomeStopped)
	if e.Fence != 3 {
		t.Errorf("fence: got %d, want 3", e.Fence)
	}
	f.wantOnce(t, id, 0)
}
