package etl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// Many rows have one key, and the engine has several threads: the newest row of each
// key is the one that stays.
func TestEngineOrder(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE ev (n bigint PRIMARY KEY, id int, pad text); INSERT INTO ev SELECT g, g % 1000, repeat('x', 100) FROM generate_series(1, 260000) AS g`)
	p.dwh.Exec(t, "", `CREATE TABLE last (id int PRIMARY KEY, n bigint, pad text)`)
	root := t.TempDir()
	var files [2]strings.Builder
	for n := range 400_000 {
		fmt.Fprintf(&files[n/200_000], "%d,%d,%s\n", n, n%1000, strings.Repeat("y", 100))
	}
	for i := range files {
		write(t, filepath.Join(root, fmt.Sprintf("f%d.csv", i)), files[i].String())
	}
	const fromTable = "extract: [{name: ev, connection: shop, table: ev, incremental: {strategy: column, column: n}}]\n"
	for i, c := range []struct {
		name, definition string
		least            int
	}{
		{"a streamed step", fromTable + `
transform: [{name: x, in: engine, sql: "select id, n, pad from ev where length(pad) > 3"}]
load: [{name: l0, from: x, connection: dwh, table: last, mode: upsert, key: [id]}]`, 259_000},
		{"a kept relation", fromTable + `
transform: [{name: x, in: engine, sql: "select id, n, pad from ev where n > (select min(n) from ev)"}]
load: [{name: l1, from: x, connection: dwh, table: last, mode: upsert, key: [id]}]`, 259_000},
		{"ORDER BY of a result", fromTable + `
transform: [{name: x, in: engine, sql: "select id, n, pad from ev order by n desc"}]
load: [{name: l2, from: x, connection: dwh, table: last, mode: upsert, key: [id]}]`, -1000},
		{"ORDER BY of a step before", fromTable + `
transform: [{name: x, in: engine, sql: "select id, n, pad from ev order by n desc"}, {name: y, in: engine, sql: "select id, n, pad || 'z' as pad from x where length(pad) > 3"}]
load: [{name: l3, from: y, connection: dwh, table: last, mode: upsert, key: [id]}]`, -1000},
		{"ORDER BY of a kept step", fromTable + `
transform: [{name: x, in: engine, sql: "select id, n, pad from ev order by n desc"}, {name: y, in: engine, sql: "select id, n, pad from x where n < (select max(n) + 1 from x)"}]
load: [{name: l4, from: y, connection: dwh, table: last, mode: upsert, key: [id]}]`, -1000},
		{"files", `
extract: [{name: f, connection: lake, file: {path: "f*.csv", format: csv, header: false, fields: [{name: n, type: bigint}, {name: id, type: integer}, {name: pad, type: text}]}}]
transform: [{name: x, in: engine, sql: "select id, n, pad from f where length(pad) > 3"}]
load: [{name: l5, from: x, connection: dwh, table: last, mode: merge, key: [id]}]`, 399_000},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.dwh.Exec(t, "", "TRUNCATE last")
			req := p.order(t, "resources: {threads: 2}\n"+c.definition+"\n", testkit.Allow(""))
			req.Definition = strings.Replace(req.Definition, "dwh: {site: dwh}", "dwh: {site: dwh}, lake: {directory: "+root+"}", 1)
			req.Roots = []string{root}
			req.Execution = holdfast.ExecutionID(1001 + i)
			if w := mustRunEngine(t, req).Warnings; len(w) != 1 || !strings.Contains(w[0], "ORDER BY") {
				t.Errorf("got warnings %q, want one of equal keys", w)
			}
			want := "n >= " + strconv.Itoa(c.least)
			if c.least < 0 { // the first rows come last
				want = "n <= 1001"
			}
			if got := p.dwh.Rows(t, "", "SELECT count(*), count(*) FILTER (WHERE "+want+") FROM last")[0]; got[0] != "1000" || got[1] != "1000" {
				t.Errorf("got %s rows, and %s that came last", got[0], got[1])
			}
		})
	}
	t.Run("ORDER BY of a file", func(t *testing.T) {
		req := toFiles(t, p.shop, root, `
resources: {threads: 2}
extract: [{name: ev, connection: shop, table: ev}]
transform: [{name: x, in: engine, sql: "select n from ev order by pad, n desc"}, {name: y, in: engine, sql: "select n from x where n > 10"}]
load: [{from: y, connection: lake, output: {path: out, format: csv}}]
`)
		mustRunEngine(t, req)
		text, err := os.ReadFile(filepath.Join(root, "out/v000000001/rows.csv"))
		if err != nil {
			t.Fatal(err)
		}
		var all []int
		for line := range strings.Lines(string(text)) {
			if n, err := strconv.Atoi(strings.Trim(line, "\"\r\n")); err == nil {
				all = append(all, -n)
			}
		}
		if len(all) != 259_990 || !slices.IsSorted(all) {
			t.Errorf("got %d rows, sorted: %t", len(all), slices.IsSorted(all))
		}
	})
}
