package e2e

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// loadDefinition copies a table, and reportDefinition counts what has come.
const (
	loadDefinition = `apiVersion: holdfast/etl/v1
name: load
connections:
  shop: {site: berlin}
extract:
  - {name: orders, connection: shop, query: "SELECT i AS id FROM generate_series(1, 10) i"}
load:
  - {from: orders, connection: shop, table: public.copies, mode: replace}
`
	reportDefinition = `apiVersion: holdfast/etl/v1
name: report
connections:
  shop: {site: berlin}
extract:
  - {name: counted, connection: shop, query: "SELECT count(*) AS n FROM copies"}
load:
  - {from: counted, connection: shop, table: public.report, mode: replace}
`
)

// triggered is what this test reads of an execution.
type triggered struct {
	ID       int64  `json:"id"`
	Job      string `json:"job"`
	Outcome  string `json:"outcome"`
	RunAsked string `json:"run_asked"`
	Cause    int64  `json:"cause_id"`
}

// A load is followed by a backup, and the backup by a report; a simulation by
// nothing.
func TestTriggersRunAChain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Password: password})
	pg.Exec(t, "", `CREATE TABLE copies (id integer); CREATE TABLE report (n bigint)`)
	r.up()
	r.register(pg)
	for name, text := range map[string]string{"load": loadDefinition, "report": reportDefinition} {
		noError(t, os.WriteFile(r.path(name+".yaml"), []byte(text), 0o644))
		r.want(0, "etl", "create", r.path(name+".yaml"))
	}
	r.want(0, "trigger", "create", "--after", "load", "--run", "berlin/nightly")
	r.want(0, "trigger", "create", "--after", "nightly", "--run", "report", "--on", "done", "--inactive")
	r.want(0, "trigger", "update", "nightly", "1002", "--active")
	out := r.want(0, "trigger", "list", "nightly").stdout
	if !strings.Contains(out, "berlin/report") || !strings.Contains(out, "DONE") || !strings.Contains(out, "yes") {
		t.Errorf("got triggers\n%s", out)
	}
	r.refuse(2, []string{"loop"}, "trigger", "create", "--after", "report", "--run", "load")
	r.refuse(2, []string{"--run is missing"}, "trigger", "create", "--after", "report")
	r.refuse(2, []string{"--active"}, "trigger", "update", "nightly", "1002")

	r.want(0, "etl", "run", "load", "--simulate", "--wait")
	r.want(0, "etl", "run", "load", "--wait")
	var all []triggered
	for range 200 {
		r.ask(&all, "execution", "list")
		if len(all) == 4 && all[0].Outcome != "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(all) != 4 { // the newest first
		t.Fatalf("got executions %+v, want a simulation, a load, a backup and a report", all)
	}
	report, backup, load := all[0], all[1], all[2]
	if load.Job != "load" || load.Cause != 0 || backup.Job != "nightly" || backup.Cause != load.ID || backup.RunAsked != "DELTA" ||
		backup.Outcome != "SUCCEEDED" || report.Job != "report" || report.Cause != backup.ID || report.Outcome != "SUCCEEDED" {
		t.Errorf("got executions %+v, want a chain that has succeeded", all)
	}
	if n := pg.Value(t, "", "SELECT n FROM report"); n != "10" {
		t.Errorf("the report says %q, want 10", n)
	}
	r.want(0, "trigger", "delete", "nightly", "1002")
	var left []triggered
	if r.ask(&left, "trigger", "list", "nightly"); len(left) != 0 {
		t.Errorf("got triggers %+v, want none", left)
	}
	r.down()
}
