package dispatch_test

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// changeAll makes an ETL another in everything that an execution starts with: its
// definition, its sites, its run configuration, and where its second site is.
func (w *world) changeAll(t testing.TB, j holdfast.Job) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	w.update(t, func(tx store.Tx) error {
		now, err := tx.Job(ctx, 0, j.ID)
		if err != nil {
			return err
		}
		dwh, err := tx.SiteBySlug(ctx, w.account, "dwh")
		if err != nil {
			return err
		}
		dwh.Server.Host = "another"
		spec := *now.ETL
		spec.Definition, spec.Sites = "second", []holdfast.SiteID{w.site}
		spec.Configurations = []holdfast.RunConfiguration{{
			ID: spec.Configurations[0].ID, Name: "Default", Active: true, Properties: map[string]string{"region": "south", holdfast.PropertySimulation: "true"},
		}}
		now.ETL = &spec
		if err := tx.UpdateSite(ctx, dwh); err != nil {
			return err
		}
		return tx.UpdateJob(ctx, now)
	})
}

// wantFirst checks that the engine is asked for what the ETL did before changeAll.
func wantFirst(t testing.TB, what string, req engine.ETL) {
	t.Helper()
	dwh := req.Sites["dwh"]
	if req.Definition != "first" || len(req.Sites) != 2 || dwh.Server.Host != "warehouse" || dwh.Password.Reveal() != dwhPassword || req.Simulate ||
		!maps.Equal(req.Properties, map[string]string{"region": "north", "level": "5", "limit": "10"}) {
		t.Errorf("%s with fence %d: got definition %q, sites %v, properties %v, simulate %t; want what it has started with",
			what, req.Fence, req.Definition, req.Sites, req.Properties, req.Simulate)
	}
}

// TestAttemptsOfOneExecutionAreAlike changes an ETL while an execution of it is under
// way: a further attempt, and one by another control plane, does what the first did,
// for it goes on behind what that has committed. The next execution does the new.
func TestAttemptsOfOneExecutionAreAlike(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		service bool
		leave   func(t *testing.T, s *stand, id holdfast.ExecutionID)
	}{
		"tried again": {},
		"resumed":     {leave: suspended},
		"service":     {service: true, leave: suspended},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) {
				c.RetryBase, c.RetryMax = 20*time.Millisecond, 20*time.Millisecond
			})
			started, fail := make(chan engine.ETL, 8), make(chan struct{}, 1)
			s.startWorker(t, "local", script{}, newShelf(), etlWorker(pipe{run: func(ctx context.Context, req engine.ETL) (engine.Result, error) {
				started <- req
				select {
				case <-ctx.Done():
					return engine.Result{}, context.Cause(ctx)
				case <-req.Stop:
					if ctx.Err() != nil {
						return engine.Result{}, context.Cause(ctx)
					}
					return units(1), engine.ErrWish
				case <-fail:
					return engine.Result{}, holdfast.Errorf(holdfast.CodeUnavailable, "the server is away")
				}
			}}))
			j := s.newETL(t, "orders", "first", func(j *holdfast.Job) { j.ETL.Service = c.service })
			id := s.runETL(t, j)
			s.dispatcher.Ring(holdfast.DefaultPool)
			wantFirst(t, "the first start", <-started)
			s.changeAll(t, j)
			if c.leave == nil {
				fail <- struct{}{}
			} else {
				c.leave(t, s, id)
			}
			again := <-started
			if again.Execution != id || again.Fence != 2 {
				t.Fatalf("got execution %d with fence %d, want %d with 2", again.Execution, again.Fence, id)
			}
			wantFirst(t, "the second start", again)

			next := s.move(t, id, holdfast.MoveStop)
			s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
			s.waitEnded(t, id, 5*time.Second, holdfast.OutcomeStopped)
			s.runETL(t, j)
			s.dispatcher.Ring(holdfast.DefaultPool)
			if req := <-started; req.Definition != "second" || len(req.Sites) != 1 || !req.Simulate || req.Properties["region"] != "south" {
				t.Errorf("next execution: got definition %q, %d sites, properties %v, simulate %t; want what the job does now",
					req.Definition, len(req.Sites), req.Properties, req.Simulate)
			}
		})
	}
}

// suspended lets an execution rest, and go on.
func suspended(t *testing.T, s *stand, id holdfast.ExecutionID) {
	t.Helper()
	next := s.move(t, id, holdfast.MoveSuspend)
	s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	s.waitFor(t, id, 5*time.Second, "suspended", func(e holdfast.Execution) bool { return e.State == holdfast.StateSuspended })
	s.move(t, id, holdfast.MoveResume)
	s.dispatcher.Ring(holdfast.DefaultPool)
}

// TestReleaseGoesWhereTheOrderWas changes an ETL, and kills an execution of it whose
// engine does not end: what that left is released on the servers that it works with.
// Of a simulation the release is one, too: it must make nothing.
func TestReleaseGoesWhereTheOrderWas(t *testing.T) {
	t.Parallel()
	for name, simulate := range map[string]bool{"real": false, "simulated": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, nil)
			started, released := s.startStuck(t)
			j := s.newETL(t, "orders", "first", nil)
			now := time.Now()
			id := s.submitETL(t, j, holdfast.ETLRun{Simulate: simulate}, now, now)
			s.dispatcher.Ring(holdfast.DefaultPool)
			<-started
			s.changeAll(t, j)
			next := s.move(t, id, holdfast.MoveKill)
			s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
			s.waitEnded(t, id, 15*time.Second, holdfast.OutcomeKilled)
			select {
			case req := <-released:
				if e := s.execution(t, id); req.Simulate != simulate || req.Identity == "" || req.Identity != e.ETL.Identity {
					t.Errorf("release: got simulate %t and the identity %q, want %t and %q", req.Simulate, req.Identity, simulate, e.ETL.Identity)
				}
				req.Simulate = false
				wantFirst(t, "release", req)
			case <-time.After(5 * time.Second):
				t.Error("nothing was released")
			}
		})
	}
}
