package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// copiesOf are the copies of a set: repository and state, by age.
func (r *rig) copiesOf(set int64) string {
	r.t.Helper()
	var s struct {
		Copies []struct {
			Repository string `json:"repository"`
			State      string `json:"state"`
		} `json:"copies"`
	}
	r.ask(&s, "set", "show", fmt.Sprint(set))
	var all []string
	for _, c := range s.Copies {
		all = append(all, c.Repository+" "+c.State)
	}
	return strings.Join(all, ", ")
}

// TestImportOfARepositoryAndItsCopy has two repositories with the same sets: the server
// that made them gets to know the copies, and so does a new installation, which
// restores from the one that is left.
func TestImportOfARepositoryAndItsCopy(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.want(0, "repository", "create", "far", "--location", r.path("far"), "--kit", r.path("far.kit"))
	r.backupTwice(pg)
	want := pg.Content(t)
	r.want(0, "repository", "copy", "main", "--all", "--to", "far")
	var v importReport
	r.ask(&v, "repository", "import", "far")
	check(t, "new sets and copies", fmt.Sprint(v.New, v.Copies, v.Known, v.Refused), "0 2 0 0")
	check(t, "copies of an own set", r.copiesOf(1002), "main COMPLETE, far UNCONFIRMED")
	check(t, "a delta on a set with two copies", r.runType("delta"), "DELTA")
	r.down()
	noError(t, os.Rename(r.state, r.path("state.away")))

	r.up()
	r.want(0, "host", "add", "db1")
	for _, name := range []string{"main", "far"} {
		r.want(0, "repository", "connect", name, "--kit", r.path(name+".kit"))
	}
	r.ask(&v, "repository", "import", "far")
	check(t, "sets of the copy", fmt.Sprint(v.New, v.Copies, v.Known, v.Refused), "2 0 0 0")
	out := r.want(0, "repository", "import", "main").stdout
	if !strings.Contains(out, "imported 2 copies of sets that the server knew from another repository") {
		t.Errorf("got %s", out)
	}
	for _, out := range []string{out, r.want(0, "repository", "report", "main").stdout} {
		if !strings.HasSuffix(out, "no schedule runs a backup of: berlin/nightly\n") {
			t.Errorf("nobody says that nothing runs: %s", out)
		}
	}
	if !strings.Contains(out, "to be set again: schedules, retention") {
		t.Errorf("got %s", out)
	}
	r.want(0, "job", "update", "berlin/nightly", "--active")
	r.want(0, "schedule", "create", "berlin/nightly", "30 2 * * *")
	if out := r.want(0, "repository", "report", "main").stdout; strings.Contains(out, "no schedule") {
		t.Errorf("with a schedule: got %s", out)
	}
	r.ask(&v, "repository", "import", "main")
	check(t, "again", fmt.Sprint(v.New, v.Copies, v.Known, v.Refused), "0 0 3 0")
	check(t, "copies of an imported set", r.copiesOf(1002), "far UNCONFIRMED, main UNCONFIRMED")
	check(t, "a set that was not copied", r.copiesOf(1003), "main UNCONFIRMED")

	noError(t, os.Rename(r.path("far"), r.path("far.away")))
	to := []string{"restore", "1002", "--to", r.path("restores/left"), "--tablespace", r.spaceOf(1002, "restores/left-ts1"), "--wait"}
	r.want(1, append(to, "--repository", "far")...)
	r.refuse(5, []string{"no copy in repository", "holdfast repository import"}, "restore", "1003", "--to", r.path("restores/none"), "--repository", "far",
		"--tablespace", r.spaceOf(1003, "restores/none-ts1"))
	r.refuse(4, nil, append(to, "--repository", "nowhere")...)
	r.want(0, append(to, "--repository", "main")...)
	restored(t, r.path("restores/left"), want)
	noError(t, os.Rename(r.path("far.away"), r.path("far")))

	r.want(0, "set", "confirm", "--all")
	check(t, "copies that are confirmed", r.copiesOf(1002), "far COMPLETE, main COMPLETE")
	r.want(0, "set", "delete", "1001", "--yes")
	for _, dir := range []string{"far", "repository"} {
		for deadline := time.Now().Add(readyLimit); ; time.Sleep(100 * time.Millisecond) {
			left, err := os.ReadDir(r.path(dir + "/snapshots"))
			noError(t, err)
			if len(left) == map[string]int{"far": 1, "repository": 2}[dir] {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: got %d snapshots: the copy of what was deleted is still there", dir, len(left))
			}
		}
	}
	r.down()
}

// runType makes a backup, and returns as what it ran.
func (r *rig) runType(asked string) string {
	r.t.Helper()
	var e chained
	r.ask(&e, "job", "run", "berlin/nightly", "--run-type", asked, "--wait")
	return e.RunType
}
