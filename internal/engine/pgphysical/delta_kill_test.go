package pgphysical_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// byDelta asks for a restore over the cluster's stopped directory.
func (p *place) byDelta(t *testing.T) engine.Restore {
	t.Helper()
	req := p.inPlace(t)
	req.Spec.Site, req.Spec.Delta, req.InPlace = 0, true, engine.Site{}
	return req
}

// TestKilledDeltaRestore kills the process that restores at each step that outlives
// it: from the first change to the last the directory does not start, and the next
// fence comes to the end.
func TestKilledDeltaRestore(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.Stop(t, testkit.Fast)
	saved := testkit.Dir(t)
	dirs := []string{p.DataDir, p.Tablespaces[0]}
	for _, dir := range dirs {
		testkit.Run(t, "cp", "-a", dir, filepath.Join(saved, filepath.Base(dir)))
	}
	req := p.byDelta(t)
	run := planOf(t, req, p.src.Source())
	steps, said, killed := run.run(t, nil)
	want := []string{"made", "marked", "made", "marked", "stripped", "whole", "unmarked", "unmarked"}
	if killed || said != "" || !slices.Equal(steps, want) {
		t.Fatalf("got steps %q (%s), want %q", steps, said, want)
	}
	for k, step := range steps {
		if step == "made" {
			continue // they were there
		}
		for _, dir := range dirs {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			testkit.Run(t, "cp", "-a", filepath.Join(saved, filepath.Base(dir)), dir)
		}
		run.KillAt = k + 1
		if _, said, killed := run.run(t, nil); !killed {
			t.Fatalf("%s: the process was not killed: %s", step, said)
		}
		if step == "stripped" && (exists(filepath.Join(p.DataDir, "global/pg_control")) || !exists(filepath.Join(p.DataDir, ".holdfast-restore"))) {
			t.Errorf("%s: what is half-written could be started", step)
		}
		again := req
		again.Fence, again.Log = 2, testkit.Logger(t)
		enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), again, p.src.Source())
		verify(t, p.DataDir)
	}
	p.check(t)
}

// TestDeltaRestoreIsDoneOnce: what an execution has restored, and somebody has used
// since, is not written over by another attempt at it.
func TestDeltaRestoreIsDoneOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 0)
	p.Stop(t, testkit.Fast)
	e := pgphysical.New(pgphysical.Options{})
	req := p.byDelta(t)
	req.Fence = 2
	enginetest.RestoreAll(t, e, req, p.src.Source())
	p.Start(t)
	p.Exec(t, "", "CREATE TABLE since AS SELECT 1 AS i")
	p.Stop(t, testkit.Fast)
	if res := enginetest.RestoreAll(t, e, req, p.src.Source()); res.Written != 0 || res.Bytes == 0 {
		t.Errorf("the attempt after the last: got %+v", res)
	}
	late := req
	late.Fence = 1
	_, err := e.Restore(t.Context(), late, p.src.Source())
	wantError(t, err, holdfast.CodeConflict, "restored by this execution")
	p.Start(t)
	if got := p.Value(t, "", "SELECT count(*) FROM since"); got != "1" {
		t.Errorf("what was made since is gone: got %s", got)
	}
	p.Stop(t, testkit.Fast)

	marker := filepath.Join(p.DataDir, ".holdfast-restore")
	writeFile(t, marker, `{"execution":1002,"fence":2,"set":1001,"source":"pgdata"}`)
	if _, err := e.Restore(t.Context(), late, p.src.Source()); !errors.Is(err, engine.ErrStale) {
		t.Errorf("beside a later attempt: got %v, want %v", err, engine.ErrStale)
	}
	next := req
	next.Execution = 1003
	enginetest.RestoreAll(t, e, next, p.src.Source())
	p.check(t)
}
