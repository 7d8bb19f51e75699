package worker

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// TestReaperRemovesNoSnapshotOfAnotherOrder has one order's worker say that another
// order's snapshot was its own: who removes what that one has left behind must not
// remove the good set.
func TestReaperRemovesNoSnapshotOfAnotherOrder(t *testing.T) {
	t.Parallel()
	ctx, password := t.Context(), holdfast.NewSecret("correct horse")
	inner, err := repository.Create(ctx, mem.New(), password)
	if err != nil {
		t.Fatal(err)
	}
	repo := realRepository{inner}
	w, err := repo.NewWriter(ctx, "here/1", "db1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(ctx, engine.File{Node: engine.Node{Path: "pgdata", Mode: 0o700 | 1<<31, ModTime: time.Now()}}); err != nil {
		t.Fatal(err)
	}
	good, err := w.Commit(ctx, repository.Commit{Time: time.Now(), Hostname: "db1", Paths: []string{"/pgdata"}, Tags: ownTags("here", 1001, 1)},
		func(context.Context, string) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for _, other := range [][]string{ownTags("here", 1002, 1), ownTags("here", 1001, 2), ownTags("elsewhere", 1001, 1), ownTags("here", 100, 1)} {
		found, err := repo.RemoveSnapshot(ctx, good, other)
		if !found || holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "stays") {
			t.Errorf("for the order of %v: got %v, %v, want a refusal", other, found, err)
		}
		if _, err := inner.Snapshot(ctx, good); err != nil {
			t.Fatalf("for the order of %v: the snapshot is gone: %v", other, err)
		}
	}
	for _, want := range []bool{true, false} {
		if found, err := repo.RemoveSnapshot(ctx, good, ownTags("here", 1001, 1)); found != want || err != nil {
			t.Errorf("for its own order: got %v, %v, want %v", found, err, want)
		}
	}
}
