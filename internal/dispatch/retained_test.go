package dispatch_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// lockedShelf may not delete some snapshots yet.
type lockedShelf struct {
	*shelf
	held func(snapshot string) bool
}

func (s lockedShelf) open(ctx context.Context, b objstore.Bucket, password holdfast.Secret) (worker.Repository, error) {
	if _, err := s.shelf.open(ctx, b, password); err != nil {
		return nil, err
	}
	return s, nil
}

var retainedUntil = time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC)

func (s lockedShelf) RemoveSnapshot(ctx context.Context, snapshot string, tags []string) (bool, error) {
	if s.held(snapshot) {
		return true, objstore.Retained(snapshot, retainedUntil)
	}
	return s.shelf.RemoveSnapshot(ctx, snapshot, tags)
}

// TestRetainedSnapshotHoldsUpNoOther expires five sets, the first of which the store may
// not delete yet: the others go, an event says so once, and backups go on.
func TestRetainedSnapshotHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	first := ""
	locked := lockedShelf{shelf: books, held: func(snapshot string) bool {
		books.mu.Lock()
		defer books.mu.Unlock()
		return snapshot == first
	}}
	s.startWorker(t, "local", script{}, books, func(c *worker.Config) { c.OpenRepository = locked.open })
	var ended []holdfast.Execution
	for range 6 {
		ended = append(ended, s.run(t, s.job, holdfast.OutcomeSucceeded))
	}
	books.mu.Lock()
	first = s.copies(t, ended[0].ID)[0].Snapshot
	books.mu.Unlock()
	s.retain(t, s.job, 1)
	last := s.run(t, s.job, holdfast.OutcomeSucceeded)
	want := map[holdfast.ExecutionID]holdfast.CopyState{ended[0].ID: holdfast.CopyExpired, last.ID: holdfast.CopyComplete}
	for _, e := range ended[1:] {
		want[e.ID] = holdfast.CopyDeleted
	}
	s.waitState(t, want)
	eventually(t, 10*time.Second, func() string {
		told := 0
		require(t, s.store.View(t.Context(), func(r store.Reader) error {
			events, err := r.Events(t.Context(), s.account, 0, 0)
			for _, e := range events {
				if e.Kind == "copy.retained" {
					var data struct {
						Snapshot string
						Until    time.Time
					}
					require(t, json.Unmarshal(e.Data, &data))
					if data.Snapshot != first || !data.Until.Equal(retainedUntil) {
						t.Errorf("got %s", e.Data)
					}
					told++
				}
			}
			return err
		}))
		if told != 1 {
			return "the event of the retention is not there once"
		}
		return ""
	})
}
