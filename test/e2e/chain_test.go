package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// chained is an execution or a set in its chain.
type chained struct {
	ID      int64  `json:"id"`
	Outcome string `json:"outcome"`
	RunType string `json:"run_type"`
	Reason  string `json:"run_type_reason"`
	Parent  int64  `json:"parent_id"`
	Set     int64  `json:"set_id"`
	Bytes   int64  `json:"bytes"`
	Added   int64  `json:"added_bytes"`
	Copies  []struct {
		Snapshot string `json:"snapshot"`
	} `json:"copies"`
}

// TestEachSetOfAChainRestoresAlone removes all sets of a chain but one with stock
// restic, in a copy of the repository, and restores that one.
func TestEachSetOfAChainRestoresAlone(t *testing.T) {
	t.Parallel()
	restic := testkit.Require(t, "restic")
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)

	type step struct {
		asked, ran, why string
		base            int // step that it builds on; -1: none
		change          string
		set             chained
		want            map[string]testkit.Content
	}
	steps := []step{
		{asked: "delta", ran: "FULL", why: "first backup of the job", base: -1},
		{asked: "delta", ran: "DELTA", base: 0, change: "UPDATE documents SET title = 'changed' WHERE id % 1000 = 0"},
		{asked: "cumulative", ran: "CUMULATIVE", base: 0, change: "DELETE FROM documents WHERE id > 19000"},
		{asked: "delta", ran: "DELTA", base: 2, change: "CREATE TABLE late TABLESPACE ts1 AS SELECT i FROM generate_series(1, 5000) i"},
		{asked: "full", ran: "FULL", base: -1, change: "INSERT INTO late VALUES (0)"},
		{asked: "cumulative", ran: "CUMULATIVE", base: 4, change: "TRUNCATE late"},
	}
	executions := make([]chained, len(steps))
	for i := range steps {
		s := &steps[i]
		if s.change != "" {
			pg.Exec(t, "", s.change)
		}
		s.want = pg.Content(t)
		e := &executions[i]
		r.ask(e, "job", "run", "nightly", "--run-type", s.asked, "--wait")
		r.ask(&s.set, "set", "show", fmt.Sprint(e.Set))
		var onExecution, onSet int64
		if s.base >= 0 {
			onExecution, onSet = executions[s.base].ID, steps[s.base].set.ID
		}
		if e.RunType != s.ran || e.Parent != onExecution || !strings.Contains(e.Reason, s.why) || (s.why == "") != (e.Reason == "") {
			t.Errorf("step %d: got %s on %d (%q), want %s on %d (%q)", i, e.RunType, e.Parent, e.Reason, s.ran, onExecution, s.why)
		}
		if s.set.RunType != s.ran || s.set.Parent != onSet || len(s.set.Copies) != 1 {
			t.Errorf("step %d: got set %+v, want %s on %d", i, s.set, s.ran, onSet)
		}
		if i > 0 && s.set.Added > s.set.Bytes/5 {
			t.Errorf("step %d: it added %d of %d bytes, and only little was changed", i, s.set.Added, s.set.Bytes)
		}
	}
	space := r.spaceOf(steps[0].set.ID, "") // its number is the same in all of them
	oid, _, _ := strings.Cut(space, "=")
	r.down()

	kit, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	for i, s := range steps {
		t.Run(fmt.Sprintf("%d %s", i, s.ran), func(t *testing.T) {
			name := fmt.Sprintf("alone%d", i)
			alone := r.path(name)
			testkit.Run(t, "cp", "-a", r.path("repository"), alone)
			others := []string{"--no-cache", "-r", alone, "forget", "--prune"}
			for j, o := range steps {
				if j != i {
					others = append(others, o.set.Copies[0].Snapshot)
				}
			}
			run := func(args ...string) {
				t.Helper()
				cmd := testkit.Command(t, restic, args...)
				cmd.Env = append(cmd.Env, "RESTIC_PASSWORD="+field(t, string(kit), "Password"))
				mustFinish(t, cmd)
			}
			run(others...)
			run("--no-cache", "-r", alone, "check", "--read-data")
			to := r.path(name + "-data")
			mustFinish(t, r.command("restore", "--offline", "--kit", r.path("main.kit"), "--repository", alone, fmt.Sprint(s.set.ID),
				"--to", to, "--tablespace", oid+"="+r.path(name+"-ts1")))
			restored(t, to, s.want)
		})
	}
}

// mustFinish runs a command that must succeed.
func mustFinish(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if res := finish(t, cmd); res.code != 0 {
		t.Fatalf("%s: got code %d\n%s%s", cmd, res.code, res.stdout, res.stderr)
	}
}
