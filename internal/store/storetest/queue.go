package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// wantNext compares the next of the queue with an execution, or with none.
func (f *fixture) wantNext(t *testing.T, what string, ask store.Ask, want holdfast.ExecutionID) {
	t.Helper()
	f.view(t, func(ctx context.Context, r store.Reader) error {
		got, err := r.NextQueued(ctx, ask)
		switch {
		case want == 0:
			wantCode(t, what, err, holdfast.CodeNotFound)
		case err != nil:
			t.Errorf("%s: %v", what, err)
		case got.ID != want:
			t.Errorf("%s: got execution %d, want %d", what, got.ID, want)
		}
		return nil
	})
}

func testNextQueued(t *testing.T, f *fixture) {
	ask := store.Ask{Pool: holdfast.DefaultPool, Hosts: []holdfast.HostID{f.host.ID}, Now: at(10), Batch: true}
	jobs := make([]holdfast.Job, 8)
	for i := range jobs {
		jobs[i] = f.addJob(t, f.site, fmt.Sprintf("job%d", i))
	}
	with := func(p holdfast.Priority, due int) func(*holdfast.Execution) {
		return func(e *holdfast.Execution) { e.Priority, e.Due = p, at(due) }
	}
	low := f.add(t, jobs[0], with(5, 1))
	f.wantNext(t, "the only one", ask, low.ID)
	later := f.add(t, jobs[1], with(2, 9))
	f.wantNext(t, "a higher priority, though due later", ask, later.ID)
	longer := f.add(t, jobs[2], with(2, 8))
	f.wantNext(t, "the same priority, due for longer", ask, longer.ID)
	f.add(t, jobs[3], with(2, 8))
	f.wantNext(t, "the same in all, but a higher id", ask, longer.ID)
	f.add(t, jobs[4], with(1, 11))
	f.wantNext(t, "the highest priority, not due yet", ask, longer.ID)
	f.add(t, jobs[4], func(e *holdfast.Execution) { e.Priority, e.Pool = 1, "other" })
	f.wantNext(t, "another pool", ask, longer.ID)
	f.add(t, jobs[4], func(e *holdfast.Execution) { e.Priority, e.Host = 1, f.host.ID+1 })
	f.wantNext(t, "another host", ask, longer.ID)
	f.wantNext(t, "no host", store.Ask{Pool: ask.Pool, Now: ask.Now, Batch: true}, 0)
	f.wantNext(t, "no such pool", store.Ask{Pool: "none", Hosts: ask.Hosts, Now: ask.Now, Batch: true}, 0)
	never := f.add(t, jobs[5], func(e *holdfast.Execution) { e.Priority, e.Due = 2, time.Time{} })
	f.wantNext(t, "due at once", ask, never.ID)
	f.move(t, never, holdfast.MoveStart)
	f.wantNext(t, "when that one runs", ask, longer.ID)

	// Many wait for a job that is busy, before one that may start.
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		for range 500 {
			e := f.execution(jobs[5])
			e.Priority, e.Due = 1, at(-100)
			if err := tx.InsertExecution(ctx, &e); err != nil {
				return err
			}
		}
		return nil
	})
	f.wantNext(t, "behind many of a running job", ask, longer.ID)
	held := f.add(t, jobs[6], with(1, 0))
	f.move(t, held, holdfast.MoveSuspend)
	f.add(t, jobs[6], with(1, 0))
	f.wantNext(t, "behind one of a suspended job", ask, longer.ID)
	first := f.add(t, jobs[7], with(1, 5))
	f.add(t, jobs[7], with(1, 6))
	f.wantNext(t, "the first of a job that is not busy", ask, first.ID)
}

// testQueueBehindMany has more blocked executions at the head of the queue than
// anyone would look at one by one, and behind them jobs of which only a part is
// blocked.
func testQueueBehindMany(t *testing.T, f *fixture) {
	ask := store.Ask{Pool: holdfast.DefaultPool, Hosts: []holdfast.HostID{f.host.ID}, Now: at(10), Batch: true}
	busy, twoRepositories, twoSites := f.job, f.addJob(t, f.site, "two repositories"), f.addJob(t, f.site, "two sites")
	full := f.addSite(t, "full", func(s *holdfast.Site) { s.MaxRunning = 1 })
	roomy := f.addSite(t, "roomy", func(s *holdfast.Site) { s.MaxRunning = 1 })
	slow := holdfast.Repository{Account: f.account, Name: "slow", MaxRunning: 1}
	fast := holdfast.Repository{Account: f.account, Name: "fast", MaxRunning: 1}
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(func() error { return tx.InsertRepository(ctx, &slow) }, func() error { return tx.InsertRepository(ctx, &fast) })
	})
	f.move(t, f.add(t, busy, func(e *holdfast.Execution) { e.Repository = slow.ID }), holdfast.MoveStart)
	f.move(t, f.add(t, f.addJob(t, full, "holder"), nil), holdfast.MoveStart)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		for range 300 {
			e := f.execution(busy)
			e.Due = at(-100)
			if err := tx.InsertExecution(ctx, &e); err != nil {
				return err
			}
		}
		return nil
	})
	f.wantNext(t, "nothing but what is blocked", ask, 0)
	f.add(t, twoRepositories, func(e *holdfast.Execution) { e.Repository, e.Due = slow.ID, at(0) })
	later := f.add(t, twoRepositories, func(e *holdfast.Execution) { e.Repository, e.Due = fast.ID, at(5) })
	f.wantNext(t, "the repository that has room", ask, later.ID)
	f.add(t, twoSites, func(e *holdfast.Execution) { e.Site, e.Due = full.ID, at(0) })
	f.wantNext(t, "with another at a full site", ask, later.ID)
	sooner := f.add(t, twoSites, func(e *holdfast.Execution) { e.Site, e.Due = roomy.ID, at(4) })
	f.wantNext(t, "the site that has room, due for longer", ask, sooner.ID)
	f.add(t, twoSites, func(e *holdfast.Execution) { e.Site, e.Due = roomy.ID, at(4) })
	f.add(t, twoSites, func(e *holdfast.Execution) { e.Site, e.Due = roomy.ID, at(11) })
	f.wantNext(t, "the lowest id of those", ask, sooner.ID)
	f.move(t, sooner, holdfast.MoveStart)
	f.wantNext(t, "when that one runs", ask, later.ID)
	f.move(t, later, holdfast.MoveStart)
	f.wantNext(t, "when both run", ask, 0)
}

// queueModel is what the queue should do, with everything in memory.
type queueModel struct {
	sites        []holdfast.Site
	repositories []holdfast.Repository
	executions   []holdfast.Execution
}

func (m *queueModel) running(same func(holdfast.Execution) bool) int {
	n := 0
	for _, e := range m.executions {
		if e.State == holdfast.StateRunning && same(e) {
			n++
		}
	}
	return n
}

func (m *queueModel) startable(q holdfast.Execution, ask store.Ask) bool {
	if q.State != holdfast.StateQueued || q.Pool != ask.Pool || q.Due.After(ask.Now) || !slices.Contains(ask.Hosts, q.Host) {
		return false
	}
	if service := q.ETL != nil && q.ETL.Service; service && !ask.Service || !service && !ask.Batch {
		return false
	}
	for _, e := range m.executions {
		if e.Job == q.Job && (e.State == holdfast.StateRunning || e.State == holdfast.StateSuspended) {
			return false
		}
	}
	for _, s := range m.sites {
		if s.ID == q.Site && s.MaxRunning > 0 && m.running(func(e holdfast.Execution) bool { return e.Site == s.ID }) >= s.MaxRunning {
			return false
		}
	}
	for _, r := range m.repositories {
		if r.ID == q.Repository && r.MaxRunning > 0 && m.running(func(e holdfast.Execution) bool { return e.Repository == r.ID }) >= r.MaxRunning {
			return false
		}
	}
	return true
}

func (m *queueModel) next(ask store.Ask) holdfast.ExecutionID {
	var best []holdfast.Execution
	for _, e := range m.executions {
		if m.startable(e, ask) {
			best = append(best, e)
		}
	}
	if len(best) == 0 {
		return 0
	}
	return slices.MinFunc(best, func(a, b holdfast.Execution) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID))
	}).ID
}

// queueStatuses are the statuses that executions of the model begin with.
func queueStatuses() []holdfast.Status {
	return []holdfast.Status{
		{State: holdfast.StateQueued},
		{State: holdfast.StateQueued, Fence: 2, Reason: holdfast.ReasonTransient, Retries: 1},
		{State: holdfast.StateQueued, Fence: 1, Reason: holdfast.ReasonLost, Attempts: 1},
		{State: holdfast.StatePlanned},
		{State: holdfast.StateRunning, Fence: 1},
		{State: holdfast.StateSuspended, Wanted: holdfast.WantSuspend},
		{State: holdfast.StateEnded, Outcome: holdfast.OutcomeSucceeded, Fence: 1},
	}
}

func testQueueModel(t *testing.T, f *fixture) {
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		m := f.drawQueue(rt, t, round)
		pool := fmt.Sprintf("p%d", round)
		for range rapid.IntRange(1, 12).Draw(rt, "asks") {
			ask := store.Ask{
				Pool: pool, Now: at(rapid.IntRange(-2, 5).Draw(rt, "now")),
				Batch: rapid.IntRange(0, 3).Draw(rt, "batch") > 0, Service: rapid.Bool().Draw(rt, "service"),
				Hosts: rapid.SampledFrom([][]holdfast.HostID{{1}, {2}, {1, 2}, {2, 1, 3}}).Draw(rt, "hosts"),
			}
			want := m.next(ask)
			var got holdfast.ExecutionID
			err := f.Update(t.Context(), func(tx store.Tx) error {
				got = 0
				e, err := tx.NextQueued(t.Context(), ask)
				if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
					return nil
				}
				if err != nil {
					return err
				}
				next := e
				if next.Status, err = e.Next(holdfast.MoveStart); err != nil {
					return err
				}
				got = e.ID
				return tx.MoveExecution(t.Context(), e, next)
			})
			if err != nil {
				rt.Fatalf("ask: %v", err)
			}
			if got != want {
				rt.Fatalf("got execution %d next, want %d", got, want)
			}
			for i, e := range m.executions {
				if e.ID == got {
					m.executions[i].Status, _ = e.Next(holdfast.MoveStart)
				}
			}
			if rapid.Bool().Draw(rt, "one ends") {
				f.endOne(rt, t, m)
			}
		}
	})
}

// drawQueue fills a pool of its own.
func (f *fixture) drawQueue(rt *rapid.T, t *testing.T, round int) *queueModel {
	m := &queueModel{}
	limit := rapid.IntRange(0, 3)
	var jobs []holdfast.Job
	err := f.Update(t.Context(), func(tx store.Tx) error {
		ctx := t.Context()
		for i := range 2 {
			r := holdfast.Repository{Account: f.account, Name: fmt.Sprintf("r%d-%d", round, i), MaxRunning: limit.Draw(rt, "repository's limit")}
			if err := tx.InsertRepository(ctx, &r); err != nil {
				return err
			}
			m.repositories = append(m.repositories, r)
			s := holdfast.Site{Account: f.account, Host: f.host.ID, Slug: fmt.Sprintf("s%d-%d", round, i), MaxRunning: limit.Draw(rt, "site's limit")}
			if err := tx.InsertSite(ctx, &s); err != nil {
				return err
			}
			m.sites = append(m.sites, s)
			for k := range 3 {
				j := holdfast.Job{Account: f.account, Site: s.ID, Type: holdfast.JobBackup, Name: fmt.Sprintf("j%d", k)}
				if err := tx.InsertJob(ctx, &j); err != nil {
					return err
				}
				jobs = append(jobs, j)
			}
		}
		n, spread := rapid.IntRange(0, 25).Draw(rt, "executions"), 3
		if rapid.Bool().Draw(rt, "crowded") { // many that differ in little
			n, spread = n+150, 1
		}
		for range n {
			e := f.execution(rapid.SampledFrom(jobs).Draw(rt, "job"))
			e.Status = rapid.SampledFrom(queueStatuses()).Draw(rt, "status")
			e.ETL = rapid.SampledFrom([]*holdfast.ETLRun{nil, nil, {}, {Service: true}}).Draw(rt, "ETL")
			e.Priority = holdfast.Priority(rapid.IntRange(1, spread).Draw(rt, "priority"))
			e.Due = at(rapid.IntRange(-2, 5).Draw(rt, "due"))
			e.Host = holdfast.HostID(rapid.IntRange(1, spread).Draw(rt, "host"))
			e.Pool = fmt.Sprintf("p%d", round)
			if rapid.IntRange(0, 9).Draw(rt, "elsewhere") == 0 {
				e.Pool += "x"
			}
			e.Site = rapid.SampledFrom(m.sites).Draw(rt, "site").ID // a job may have moved
			e.Repository = rapid.SampledFrom(m.repositories).Draw(rt, "repository").ID
			if err := tx.InsertExecution(ctx, &e); err != nil {
				return err
			}
			m.executions = append(m.executions, e)
		}
		return nil
	})
	if err != nil {
		rt.Fatalf("fill the queue: %v", err)
	}
	return m
}

// endOne ends one running execution of the model, when there is one.
func (f *fixture) endOne(rt *rapid.T, t *testing.T, m *queueModel) {
	for i, e := range m.executions {
		if e.State != holdfast.StateRunning {
			continue
		}
		err := f.Update(t.Context(), func(tx store.Tx) error {
			now, err := tx.Execution(t.Context(), f.account, e.ID)
			if err != nil {
				return err
			}
			next := now
			if next.Status, err = now.Next(holdfast.MoveSucceed); err != nil {
				return err
			}
			return tx.MoveExecution(t.Context(), now, next)
		})
		if err != nil {
			rt.Fatalf("end execution %d: %v", e.ID, err)
		}
		m.executions[i].Status, _ = e.Next(holdfast.MoveSucceed)
		return
	}
}
