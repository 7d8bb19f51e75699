package etl_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// A source without rows took all rows of the target, and the execution was a good one.
func TestNothingReadEmptiesNoTarget(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, v int)")
	p.dwh.Exec(t, "", "CREATE TABLE plain (id int UNIQUE, v int); CREATE TABLE hung (LIKE plain INCLUDING ALL); CREATE VIEW v AS SELECT * FROM hung; CREATE TABLE none (LIKE plain INCLUDING ALL)")
	execution := holdfast.ExecutionID(0)
	for _, c := range []struct {
		name, load, steps, head string
		fails                   bool
	}{
		{"merge", "table: plain, mode: merge, key: [id]", "", "", true},
		{"swap", "table: plain, mode: replace", "", "", true},
		{"in place", "table: hung, mode: replace", "", "", true},
		{"rows by a step in the target", "table: plain, mode: merge, key: [id]", "transform: [{name: b, in: target, over: a, sql: 'select 1 as id, count(*)::int as v from a'}]", "", false},
		{"an empty target", "table: none, mode: replace", "", "", false},
		{"upsert", "table: plain, mode: upsert, key: [id]", "", "", false},
		{"merge that may", "table: plain, mode: merge, key: [id]", "", "empty: ok", false},
		{"replace that may", "table: hung, mode: replace", "", "empty: warning", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.dwh.Exec(t, "", "TRUNCATE plain, hung; INSERT INTO plain SELECT g FROM generate_series(1, 9) AS g; INSERT INTO hung SELECT * FROM plain")
			from, options := "a", []testkit.LogOption(nil)
			if c.steps != "" {
				from = "b"
			}
			if strings.Contains(c.head, "warning") {
				options = append(options, testkit.Expect("nothing was read"))
			}
			req := p.order(t, "\n"+c.head+"\nextract: [{name: a, connection: shop, query: select * from a where id > 5}]\n"+c.steps+
				"\nload: [{from: "+from+", connection: dwh, "+c.load+"}]\n", options...)
			execution++
			req.Execution = execution
			if !c.fails {
				run(t, req)
				return
			}
			fail(t, req, holdfast.CodeInvalid, "would have emptied its target", "empty: ok")
			if got := p.dwh.Value(t, "", "SELECT (SELECT count(*) FROM plain) + (SELECT count(*) FROM hung)"); got != "18" {
				t.Errorf("got %s rows in the targets, want 18", got)
			}
		})
	}
}
