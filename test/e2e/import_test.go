package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// importReport is what an import prints as JSON.
type importReport struct {
	New      int      `json:"new"`
	Copies   int      `json:"copies"`
	Known    int      `json:"known"`
	Refused  int      `json:"refused"`
	Others   int      `json:"others"`
	NewSites []string `json:"new_sites"`
	NewJobs  []string `json:"new_jobs"`
	Sets     []struct {
		Set    string `json:"set"`
		State  string `json:"state"`
		Reason string `json:"reason"`
	} `json:"sets"`
}

// snapshotReport is what a report prints as JSON.
type snapshotReport struct {
	Snapshots int `json:"snapshots"`
	Recorded  int `json:"recorded"`
	Findings  []struct {
		Kind     string `json:"kind"`
		Set      string `json:"set"`
		Snapshot string `json:"snapshot"`
	} `json:"findings"`
}

func (r *rig) report(code int) snapshotReport {
	r.t.Helper()
	var v snapshotReport
	res := r.want(code, "repository", "report", "main", "-o", "json")
	noError(r.t, json.Unmarshal([]byte(res.stdout), &v))
	return v
}

// kinds are the findings of a report.
func (v snapshotReport) kinds() string {
	var all []string
	for _, f := range v.Findings {
		all = append(all, f.Kind)
	}
	return strings.Join(all, " ")
}

// states are all sets with the states of their copies, the newest first.
func (r *rig) states() string {
	r.t.Helper()
	var l []struct {
		ID     int64 `json:"id"`
		Copies []struct {
			State string `json:"state"`
		} `json:"copies"`
	}
	r.ask(&l, "set", "list")
	var all []string
	for _, s := range l {
		all = append(all, fmt.Sprint(s.ID, " ", s.Copies[0].State))
	}
	return strings.Join(all, ", ")
}

func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// TestImportIntoANewInstallation throws the state directory away, makes a new
// installation, and goes on in it as docs/operations/recovery.md says.
func TestImportIntoANewInstallation(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.backupTwice(pg)
	want := pg.Content(t)
	check(t, "nothing to report", len(r.report(0).Findings), 0)
	r.down()
	noError(t, os.Rename(r.state, r.path("state.away")))

	r.up()
	r.refuse(2, []string{"no such file"}, "repository", "connect", "main", "--kit", r.path("none.kit"))
	r.refuse(4, []string{"no repository can be opened at", "--location"}, "repository", "connect", "main", "--kit", r.path("main.kit"), "--location", r.path("none"))
	r.want(0, "repository", "connect", "main", "--kit", r.path("main.kit"))
	r.refuse(5, []string{"no host", "holdfast host add"}, "repository", "import", "main")
	r.want(0, "host", "add", "db1")
	check(t, "findings before the import", r.report(3).kinds(), "other other")
	r.imported(want)

	testkit.Run(t, "chown", "-R", "--reference="+r.dir, r.path("repository"))
	r.foreign("-r", r.path("repository"), "--tag", "set=2000")
	check(t, "findings in the end", r.report(3).kinds(), "other")
	var v importReport
	noError(t, json.Unmarshal([]byte(r.want(3, "repository", "import", "main", "-o", "json").stdout), &v))
	check(t, "an import of nothing", fmt.Sprint(v.New, v.Known, v.Refused), "0 2 1")
	if first := r.confirmed(pg); first <= 2000 {
		t.Errorf("the set after an import that saw the number 2000 is %d", first)
	}
}

// TestImportFromAnObjectStore is the same with a bucket.
func TestImportFromAnObjectStore(t *testing.T) {
	t.Parallel()
	pg := source(t)
	store := s3test.Start(t)
	r := newInStore(t, pg, store, store.Config(t))
	r.backupTwice(pg)
	want := pg.Content(t)
	r.down()
	noError(t, os.Rename(r.state, r.path("state.away")))

	r.up()
	r.want(0, "host", "add", "db1")
	connect := []string{"repository", "connect", "main", "--kit", r.path("main.kit")}
	r.refuse(2, []string{"--access-key"}, connect...)
	connect = append(connect, "--access-key", r.cfg.AccessKey, "--region", r.cfg.Region)
	r.refuse(5, []string{"access key"}, append(connect, "--secret-key-file", r.path("wrong"))...)
	r.want(0, append(connect, "--secret-key-file", r.path("right"))...)
	r.imported(want)
	r.confirmed(pg)
}

// backupTwice makes a FULL and a DELTA.
func (r *rig) backupTwice(pg *testkit.Postgres) {
	r.t.Helper()
	for _, runType := range []string{"full", "delta"} {
		pg.Exec(r.t, "", "UPDATE documents SET title = 'before the "+runType+"' WHERE id % 1000 = 0")
		r.want(0, "job", "run", "berlin/nightly", "--run-type", runType, "--wait")
	}
}

// imported imports both sets, and restores the newer one through the server.
func (r *rig) imported(want map[string]testkit.Content) {
	t := r.t
	t.Helper()
	var v importReport
	r.ask(&v, "repository", "import", "main", "--dry-run")
	check(t, "new sets of a dry run", v.New, 2)
	check(t, "sets after a dry run", r.states(), "")
	r.ask(&v, "repository", "import", "main")
	check(t, "new sets", v.New, 2)
	check(t, "new sites and jobs", strings.Join(append(v.NewSites, v.NewJobs...), " "), "berlin berlin/nightly")
	check(t, "sets", r.states(), "1002 UNCONFIRMED, 1001 UNCONFIRMED")
	r.ask(&v, "repository", "import", "main")
	check(t, "the second import", fmt.Sprint(v.New, v.Known, v.Refused), "0 2 0")
	check(t, "findings after the import", len(r.report(0).Findings), 0)

	to := r.path("restores/first")
	r.want(0, "restore", "latest", "--site", "berlin", "--to", to, "--tablespace", r.spaceOf(1002, "restores/first-ts1"), "--wait")
	restored(t, to, want)
}

// foreign adds a snapshot of stock restic.
func (r *rig) foreign(at ...string) {
	t := r.t
	t.Helper()
	kit, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	cmd := testkit.Command(t, testkit.Require(t, "restic"), append([]string{"--no-cache", "backup", r.path("main.kit")}, at...)...)
	cmd.Env = append(cmd.Env, "RESTIC_PASSWORD="+field(t, string(kit), "Password"))
	mustFinish(t, cmd)
}

// confirmed backs up before and after the sets are confirmed, and has retention drop what
// it shall. It returns the first set that it made.
func (r *rig) confirmed(pg *testkit.Postgres) int64 {
	t := r.t
	t.Helper()
	r.want(0, append([]string{"site", "update", "berlin", "--password-file", r.path("password")}, server(pg)...)...)
	r.want(0, "job", "update", "berlin/nightly", "--active=true", "--retain", "1")
	var e chained
	r.ask(&e, "job", "run", "berlin/nightly", "--run-type", "delta", "--wait")
	if e.RunType != "FULL" || !strings.Contains(e.Reason, "confirmed") || e.Set <= 1002 || e.ID <= 1002 {
		t.Errorf("a delta on sets that nobody has confirmed: got %+v", e)
	}
	check(t, "sets before they are confirmed", r.states(), fmt.Sprintf("%d COMPLETE, 1002 UNCONFIRMED, 1001 UNCONFIRMED", e.Set))
	first := e.Set

	r.want(0, "set", "confirm", "1001")
	r.want(0, "set", "confirm", "--all", "--site", "berlin")
	check(t, "sets once they are confirmed", r.states(), fmt.Sprintf("%d COMPLETE, 1002 COMPLETE, 1001 COMPLETE", first))
	r.want(0, "set", "protect", "1002")
	r.ask(&e, "job", "run", "berlin/nightly", "--run-type", "delta", "--wait")
	if e.RunType != "DELTA" {
		t.Errorf("got %+v, want a DELTA", e)
	}
	check(t, "sets after a backup with a retention of one", r.states(), fmt.Sprintf("%d COMPLETE, 1002 COMPLETE", e.Set))
	// The snapshot of the imported set is removed as the other installation's.
	var v snapshotReport
	for deadline := time.Now().Add(readyLimit); ; time.Sleep(100 * time.Millisecond) {
		res := r.try("repository", "report", "main", "-o", "json")
		noError(t, json.Unmarshal([]byte(res.stdout), &v))
		if v.Snapshots-len(v.Findings) == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the snapshots of what expired are still there: %+v", v)
		}
	}
	check(t, "recorded snapshots", v.Recorded, 2)
	r.want(0, "repository", "check", "main")
	r.down()
	return first
}
