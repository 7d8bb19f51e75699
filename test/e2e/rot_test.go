package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRot changes bytes in packs of a repository in use. The first that finds it says so,
// and it is remembered: nothing new counts on what is bad, and what the source still has is
// stored anew, so that the old sets restore again, too.
func TestRot(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	want := pg.Content(t)
	var first chained
	r.ask(&first, "job", "run", "nightly", "--run-type", "full", "--wait")
	state := func(set int64) string {
		t.Helper()
		var s struct {
			Copies []struct {
				State string `json:"state"`
			} `json:"copies"`
		}
		r.ask(&s, "set", "show", fmt.Sprint(set))
		return s.Copies[0].State
	}
	restore := func(code int, set int64, dir string) string {
		t.Helper()
		res := r.want(code, "restore", fmt.Sprint(set), "--to", r.path("restores/"+dir), "--tablespace", r.spaceOf(set, "restores/"+dir+"-ts"), "--wait")
		return res.stdout + res.stderr
	}

	spoilPacks(t, r.path("repository/data"))
	if said := restore(1, first.Set, "bad"); !strings.Contains(said, "damaged") || !strings.Contains(said, "file ") || !strings.Contains(said, "restore another set") {
		t.Errorf("the restore does not say which file is damaged, and what to do: %s", said)
	}
	check(t, "the set of which something is damaged", state(first.Set), "DAMAGED")
	// Nobody reads every pack in a plain check; those that were found bad are read.
	if res := r.want(1, "repository", "check", "main"); !strings.Contains(res.stdout, "DAMAGED") {
		t.Errorf("a check after it says\n%s%s", res.stdout, res.stderr)
	}
	r.want(1, "repository", "check", "main", "--read-data") // finds the others

	var next chained
	r.ask(&next, "job", "run", "nightly", "--run-type", "delta", "--wait")
	if next.RunType != "FULL" || next.Added < first.Added/2 {
		t.Errorf("the backup after it is a %s that added %d bytes, want a FULL of about %d: %s", next.RunType, next.Added, first.Added, next.Reason)
	}
	check(t, "the set after it", state(next.Set), "COMPLETE")
	restore(0, next.Set, "next")
	restored(t, r.path("restores/next"), want)
	restore(0, first.Set, "first")
	check(t, "the first set, of which everything is there again", state(first.Set), "COMPLETE")
	r.down()
}

// spoilPacks changes a byte in the middle of every pack.
func spoilPacks(t *testing.T, dir string) {
	t.Helper()
	n := 0
	noError(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		if len(b) < 100_000 {
			return nil // directories: a set without them is another matter
		}
		n++
		b[len(b)/2] ^= 0x40
		if err := os.Chmod(p, 0o600); err != nil {
			return err
		}
		return os.WriteFile(p, b, 0o600)
	}))
	if n == 0 {
		t.Fatal("there is no pack to spoil")
	}
}
