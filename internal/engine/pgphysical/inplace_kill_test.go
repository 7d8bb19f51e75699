package pgphysical_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestKilledRestoreInPlace kills the process that restores at each step that
// outlives it. What was there is whole somewhere at any time, and both the next
// fence and another execution come to an end.
func TestKilledRestoreInPlace(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	p.Stop(t, testkit.Fast)
	base, saved := filepath.Dir(p.DataDir), testkit.Dir(t)
	dirs := []string{p.DataDir, p.Tablespaces[0]}
	var old []string
	for _, dir := range dirs {
		testkit.Run(t, "cp", "-a", dir, filepath.Join(saved, filepath.Base(dir)))
		old = append(old, facts(t, dir))
	}
	reset := func(t *testing.T) {
		t.Helper()
		for _, dir := range dirs {
			all, err := filepath.Glob(dir + "*")
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range all {
				if err := os.RemoveAll(d); err != nil {
					t.Fatal(err)
				}
			}
			testkit.Run(t, "cp", "-a", filepath.Join(saved, filepath.Base(dir)), dir)
		}
	}
	// whole fails the test unless the old content is where it was, or aside.
	whole := func(t *testing.T, when string) {
		t.Helper()
		for i, dir := range dirs {
			at := dir
			if kept := engine.KeptAt(dir, 1002); exists(kept) {
				at = kept
			}
			if facts(t, at) != old[i] {
				t.Errorf("%s: what was in %s is not in %s", when, dir, at)
			}
		}
	}
	req := p.inPlace(t)
	link := filepath.Join(base, "link")
	symlink(t, p.DataDir, link)
	req.Spec.Directory = link
	run := planOf(t, req, p.src.Source())
	steps, said, killed := run.run(t, nil)
	want := []string{"checked", "moved", "made", "marked", "checked", "moved", "made", "marked", "whole", "unmarked", "unmarked"}
	if killed || said != "" || !slices.Equal(steps, want) {
		t.Fatalf("got steps %q (%s), want %q", steps, said, want)
	}
	for k, step := range steps {
		for name, next := range map[string]func(*engine.Restore){
			"the next fence":    func(r *engine.Restore) { r.Fence = 2 },
			"another execution": func(r *engine.Restore) { r.Execution = 1003 },
		} {
			t.Run(step+" "+string('0'+rune(k/10))+string('0'+rune(k%10))+", "+name, func(t *testing.T) {
				reset(t)
				run.KillAt = k + 1
				if _, said, killed := run.run(t, nil); !killed {
					t.Fatalf("the process was not killed: %s", said)
				}
				whole(t, "after the kill")
				again := req
				again.Log = testkit.Logger(t)
				next(&again)
				res := enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), again, p.src.Source())
				if again.Fence == 2 && len(res.Kept) != 2 {
					t.Errorf("kept: got %v, want both directories", res.Kept)
				}
				verify(t, p.DataDir)
				if again.Fence == 2 || k > 0 { // else the other one has moved it
					whole(t, "after the end")
				}
			})
		}
	}
	p.check(t)
}
