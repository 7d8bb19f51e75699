package dispatch_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// TestRestoreInPlace follows restores in place whose engine moves something aside.
func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	s := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.KillLimit = 500 * time.Millisecond })
	var answer atomic.Pointer[func(context.Context, engine.Restore) (engine.Result, error)]
	asked := make(chan engine.Restore, 10)
	s.startWorker(t, "local", script{restore: func(ctx context.Context, req engine.Restore, _ engine.Source) (engine.Result, error) {
		asked <- req
		return (*answer.Load())(ctx, req)
	}}, newShelf(), fastBeat)
	made, _ := s.runs(t, s.job, holdfast.RunFull, holdfast.OutcomeSucceeded)
	job := s.newRestoreJob(t)
	submit := func() holdfast.ExecutionID {
		e := s.queued(job)
		e.Type, e.RunAsked, e.Set = holdfast.JobRestore, "", made.Set
		e.Restore = &holdfast.RestoreSpec{Set: made.Set, Site: s.site, Host: s.host, Directory: "/srv/pg"}
		id := s.submit(t, e)
		s.dispatcher.Ring(holdfast.DefaultPool)
		return id
	}
	kept := []engine.Kept{{Path: "/srv/pg", At: "/srv/pg.before-1"}}
	deaf := make(chan struct{})
	listen := sync.OnceFunc(func() { close(deaf) })
	defer listen()
	for _, c := range []struct {
		name   string
		answer func(context.Context, engine.Restore) (engine.Result, error)
		wish   holdfast.Move
		want   holdfast.Outcome
		words  []string
	}{
		{"succeeds", func(context.Context, engine.Restore) (engine.Result, error) {
			return engine.Result{Kept: kept}, nil
		}, "", holdfast.OutcomeSucceeded, []string{"is kept in /srv/pg.before-1: remove it"}},
		{"succeeds with a warning", func(context.Context, engine.Restore) (engine.Result, error) {
			return engine.Result{Kept: kept, Warnings: []string{"a warning"}}, nil
		}, "", holdfast.OutcomeWarning, []string{"a warning; what was in /srv/pg is kept"}},
		{"fails", func(context.Context, engine.Restore) (engine.Result, error) {
			return engine.Result{Kept: kept}, holdfast.Errorf(holdfast.CodeInvalid, "the set is bad")
		}, "", holdfast.OutcomeFailed, []string{"the set is bad; what was in /srv/pg is kept in /srv/pg.before-1; to have it back: mv -T /srv/pg.before-1 /srv/pg"}},
		{"is killed", func(ctx context.Context, _ engine.Restore) (engine.Result, error) {
			<-ctx.Done()
			return engine.Result{Kept: kept}, context.Cause(ctx)
		}, holdfast.MoveKill, holdfast.OutcomeKilled, []string{"is kept in /srv/pg.before-1; to have it back"}},
		{"is killed at its very end", func(ctx context.Context, _ engine.Restore) (engine.Result, error) {
			<-ctx.Done()
			return engine.Result{Kept: kept}, nil
		}, holdfast.MoveKill, holdfast.OutcomeKilled, []string{"is kept in /srv/pg.before-1; to have it back"}},
		{"does not listen", func(context.Context, engine.Restore) (engine.Result, error) {
			<-deaf
			return engine.Result{}, nil
		}, holdfast.MoveKill, holdfast.OutcomeKilled, []string{"did not confirm", "if it had begun to write, what was in /srv/pg is kept in /srv/pg.before-"}},
	} {
		answer.Store(&c.answer)
		id := submit()
		req := <-asked
		if req.InPlace.ID != s.site || req.InPlace.DataDir != "/srv/pg" || req.InPlace.Server.Port != 5432 || !req.InPlace.Password.IsZero() {
			t.Errorf("%s: got site %+v, want the one in whose place it is, without its password", c.name, req.InPlace)
		}
		if c.wish != "" {
			next := s.move(t, id, c.wish)
			s.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
		}
		e := s.waitEnded(t, id, 10*time.Second, c.want)
		for _, w := range c.words {
			if !strings.Contains(e.Detail, w) {
				t.Errorf("%s: got detail %q, want %q in it", c.name, e.Detail, w)
			}
		}
	}

	listen() // its slot is free again

	// The site has got another data directory since: nobody said that it may be moved.
	s.update(t, func(tx store.Tx) error {
		site, err := tx.Site(t.Context(), s.account, s.site)
		if err != nil {
			return err
		}
		site.DataDir = "/srv/other"
		return tx.UpdateSite(t.Context(), site)
	})
	e := s.waitEnded(t, submit(), 10*time.Second, holdfast.OutcomeFailed)
	if !strings.Contains(e.Detail, "is not /srv/pg any more: ask for the restore again") || len(asked) != 0 {
		t.Errorf("got detail %q, and %d orders", e.Detail, len(asked))
	}
}
