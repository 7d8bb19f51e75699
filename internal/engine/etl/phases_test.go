package etl_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// logged runs an execution, and returns the lines of its log with one of the
// messages, each with its counts.
func logged(t *testing.T, run func(*slog.Logger), messages ...string) []string {
	t.Helper()
	var b bytes.Buffer
	run(slog.New(slog.NewJSONHandler(&b, nil)))
	var lines []string
	for line := range bytes.Lines(b.Bytes()) {
		var l map[string]any
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatal(err)
		}
		msg := fmt.Sprint(l["msg"])
		for _, m := range messages {
			if m != msg {
				continue
			}
			for _, key := range []string{"flow", "extract", "transform", "step", "rows", "bytes", "files", "in", "out", "filtered", "rejected", "deleted", "duplicates"} {
				if v, ok := l[key]; ok {
					msg += fmt.Sprintf(" %s=%v", key, v)
				}
			}
			lines = append(lines, msg)
		}
	}
	return lines
}

// The log says what went through each part of a flow.
func TestPhasesAreLogged(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, name text); INSERT INTO a SELECT g, 'n' FROM generate_series(1, 100) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, name text); CREATE TABLE b (id int, title text)")
	root := t.TempDir()
	write(t, filepath.Join(root, "1.csv"), "1,a\n2,b\n3,c\nx,d\n")
	write(t, filepath.Join(root, "2.csv"), "3,e\n")
	for i, c := range []struct {
		name, definition string
		want             []string
	}{
		{
			"units and transforms in rows", `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]
transform:
  - {name: some, in: rows, over: a, rows: [{filter: {column: id, op: "<=", values: ["90"]}}, {reject: {column: id, op: "<>", values: ["7"]}}]}
  - {name: few, in: rows, over: some, rows: [{rename: {column: name, to: title}}, {filter: {column: id, op: ">", values: ["10"]}}]}
load: [{from: few, connection: dwh, table: b}]
batch: {rows: 30}
`, []string{
				// A tuple is 2+4+4+4+1 bytes. Each of four units has the stream's header of 19
				// bytes and its end of 2.
				fmt.Sprintf("extract ended flow=few extract=a rows=100 bytes=%d", 100*15+4*21),
				"transform ended flow=few transform=some in=100 out=89 filtered=10 rejected=1",
				"transform ended flow=few transform=few in=89 out=80 filtered=9 rejected=0",
				"load ended flow=few rows=80 deleted=0 duplicates=0",
			},
		},
		{
			"files and steps in the target", `
extract: [{name: f, connection: files, file: {path: "*.csv", format: csv, header: false, fields: [{name: id, type: integer}, {name: name, type: text}]}, on_reject: {max_rows: 5}}]
transform: [{name: more, in: target, over: f, sql: "select id + 1000 as id, name from f where id > 1"}]
load: [{from: more, connection: dwh, table: a, mode: upsert, key: [id]}]
`, []string{
				"step computed flow=more step=more rows=3",
				"extract ended flow=more extract=f rows=5 bytes=20 files=2",
				"load ended flow=more rows=2 deleted=0 duplicates=1",
			},
		},
		{
			"an output", `
extract: [{name: a, connection: shop, query: "select id, name from a"}]
transform: [{name: some, in: rows, over: a, rows: [{filter: {column: id, op: ">", values: ["90"]}}]}]
load: [{from: some, connection: files, output: {path: out, format: csv}}]
`, []string{
				fmt.Sprintf("extract ended flow=some extract=a rows=100 bytes=%d", 100*15+21),
				"transform ended flow=some transform=some in=100 out=10 filtered=90 rejected=0",
				"load ended flow=some rows=10 deleted=0 duplicates=0",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := p.order(t, c.definition)
			req.Definition = strings.Replace(req.Definition, "dwh: {site: dwh}", "dwh: {site: dwh}, files: {directory: "+root+"}", 1)
			req.Roots, req.Execution = []string{root}, req.Execution+holdfast.ExecutionID(i)
			got := logged(t, func(l *slog.Logger) { req.Log = l; run(t, req) }, "extract ended", "transform ended", "step computed", "load ended")
			if strings.Join(got, "\n") != strings.Join(c.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}
