package dispatch_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// TestASetWhoseSnapshotIsMissingIsNotGood restores sets of a real repository of
// which something was removed behind our back.
func TestASetWhoseSnapshotIsMissingIsNotGood(t *testing.T) {
	t.Parallel()
	s := &stand{world: newWorld(t, true)}
	s.start(t, nil)
	data := randomBytes(1, 64<<10)
	s.startWorker(t, "local", script{
		backup: func(ctx context.Context, _ engine.Backup, sink engine.Sink) (engine.Result, error) {
			return engine.Result{Bytes: int64(len(data))}, sink.Add(ctx, engine.File{
				Node: engine.Node{Path: "pgdata/base/1/1", Mode: 0o600, Size: int64(len(data))},
				Open: func() (engine.Content, error) { return content{bytes.NewReader(data)}, nil },
			})
		},
		restore: func(ctx context.Context, _ engine.Restore, src engine.Source) (engine.Result, error) {
			return engine.Result{}, src.Walk(ctx, func(engine.Node) error { return nil })
		},
	}, newShelf(), func(c *worker.Config) { c.OpenBucket, c.OpenRepository = openBucket, nil })
	gone, whole := s.run(t, s.job, holdfast.OutcomeSucceeded), s.run(t, s.job, holdfast.OutcomeSucceeded)
	job := s.newRestoreJob(t)
	restore := func(set holdfast.SetID, want holdfast.Outcome) string {
		t.Helper()
		e := s.queued(job)
		e.Type, e.RunAsked, e.Set = holdfast.JobRestore, "", set
		e.Restore = &holdfast.RestoreSpec{Set: set, Host: s.host, Directory: "/srv/new"}
		id := s.submit(t, e)
		s.dispatcher.Ring(holdfast.DefaultPool)
		return s.waitEnded(t, id, 20*time.Second, want).Detail
	}
	state := func(e holdfast.Execution, want holdfast.CopyState) {
		t.Helper()
		if c := s.copies(t, e.ID); len(c) != 1 || c[0].State != want {
			t.Errorf("set %d: got %+v, want one copy that is %s", e.Set, c, want)
		}
	}
	damaged := func() (n int) {
		t.Helper()
		require(t, s.store.View(t.Context(), func(r store.Reader) error {
			events, err := r.Events(t.Context(), s.account, 0, 1000)
			for _, ev := range events {
				if ev.Kind == "copy.damaged" {
					n++
				}
			}
			return err
		}))
		return n
	}

	// The snapshot is not the only object that can be missing: a repository that
	// does not open, or cannot be read, says nothing of a set.
	for _, name := range []string{"config", "index"} {
		at := filepath.Join(s.bucket(), name)
		require(t, os.Rename(at, at+".away"))
		restore(whole.Set, holdfast.OutcomeFailed)
		require(t, os.RemoveAll(at))
		require(t, os.Rename(at+".away", at))
		state(whole, holdfast.CopyComplete)
	}

	snapshot := s.copies(t, gone.ID)[0].Snapshot
	at := filepath.Join(s.bucket(), "snapshots", snapshot)
	require(t, os.Rename(at, at+".away"))
	for range 2 { // the second finds it marked
		detail := restore(gone.Set, holdfast.OutcomeFailed)
		if !strings.Contains(detail, "has no snapshot "+snapshot) || !strings.Contains(detail, "restore another set; see holdfast set list") {
			t.Errorf("got %q, want what is missing and what to do", detail)
		}
		state(gone, holdfast.CopyDamaged)
	}
	if n := damaged(); n != 1 {
		t.Errorf("got %d events, want one", n)
	}
	restore(whole.Set, holdfast.OutcomeSucceeded)
	state(whole, holdfast.CopyComplete)

	require(t, os.Rename(at+".away", at))
	restore(gone.Set, holdfast.OutcomeSucceeded)
	state(gone, holdfast.CopyComplete)
}
