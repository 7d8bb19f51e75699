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
)

// TestARetriedBackupIsNewerThanWhatRanMeanwhile lets a backup wait for its retry
// while another one of its job ends: its set is the newest then, though it was
// started first, and the retention of one set keeps it.
func TestARetriedBackupIsNewerThanWhatRanMeanwhile(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.RetryBase = time.Second }), newShelf()
	var failed atomic.Bool
	s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		if failed.CompareAndSwap(false, true) {
			return engine.Result{}, holdfast.Errorf(holdfast.CodeUnavailable, "the server is starting up")
		}
		return engine.Result{Bytes: 1, Files: 1}, nil
	}}, books, fastPoll)
	s.retain(t, s.job, 1)
	late := s.submit(t, s.queued(s.job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	s.waitFor(t, late, 5*time.Second, "waiting for its retry", func(e holdfast.Execution) bool { return e.Retries == 1 && e.State == holdfast.StateQueued })
	quick := s.run(t, s.job, holdfast.OutcomeSucceeded)
	e := s.waitEnded(t, late, 10*time.Second, holdfast.OutcomeSucceeded)
	if !e.Ended.After(quick.Ended) || e.Set <= quick.Set {
		t.Errorf("got set %d of the backup that ended last, and set %d of the one before", e.Set, quick.Set)
	}
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{quick.ID: holdfast.CopyDeleted, late: holdfast.CopyComplete})
}

// TestAnInPlaceRestoreThatEndsBeforeItsNextStartSaysWhereTheOldContentIs ends
// restores that have run before without any worker: one by its time limit, one
// because its site has another data directory by now.
func TestAnInPlaceRestoreThatEndsBeforeItsNextStartSaysWhereTheOldContentIs(t *testing.T) {
	t.Parallel()
	s := newStand(t, nil)
	s.startWorker(t, "local", script{}, newShelf(), fastPoll)
	backup := s.run(t, s.job, holdfast.OutcomeSucceeded)
	for _, c := range []struct {
		name, says string
		fence      holdfast.Fence
		limit      time.Duration
		want       holdfast.Outcome
		kept       bool
	}{
		{"its time limit has passed", "time limit", 1, time.Minute, holdfast.OutcomeAborted, true},
		{"its site has moved", "not /elsewhere any more", 1, 0, holdfast.OutcomeFailed, true},
		{"it has never been started", "not /elsewhere any more", 0, 0, holdfast.OutcomeFailed, false},
	} {
		e := s.queued(s.newJob(t, c.name))
		e.Type, e.Set, e.Fence, e.AbortAfter = holdfast.JobRestore, backup.Set, c.fence, c.limit
		e.Restore = &holdfast.RestoreSpec{Set: backup.Set, Site: s.site, Host: s.host, Directory: "/elsewhere"}
		if c.fence > 0 {
			e.Started = time.Now().Add(-time.Hour)
		}
		id := s.submit(t, e)
		s.dispatcher.Ring(holdfast.DefaultPool)
		e = s.waitEnded(t, id, 10*time.Second, c.want)
		at := engine.KeptAt("/elsewhere", id)
		if !strings.Contains(e.Detail, c.says) || strings.Contains(e.Detail, at) != c.kept {
			t.Errorf("%s: got %q, want %q in it, and %s: %v", c.name, e.Detail, c.says, at, c.kept)
		}
	}
}
