package etl_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
)

// totals is a report that remembers what each total was of what was done.
type totals struct {
	enginetest.Report

	mu   sync.Mutex // guards the field below
	seen []string
}

func (r *totals) Total(rows, bytes int64) {
	r.Report.Total(rows, bytes)
	_, _, done, _ := r.Counts()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = append(r.seen, fmt.Sprintf("%d%%", (100*done+bytes/2)/max(bytes, 1)))
}

func TestProgress(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.dwh.Exec(t, "", "CREATE TABLE a (id bigint, at timestamptz, n numeric, name text)")
	p.shop.Exec(t, "", `CREATE TABLE a (id bigint, at timestamptz, n numeric, name text);
		INSERT INTO a SELECT g, '2026-01-01'::timestamptz + g * interval '1.5 s', g / 4.0, lpad(g::text, 6, '0') FROM generate_series(1, 1000) AS g`)
	load := "\nload: [{from: a, connection: dwh, table: a}]\n"
	tenths := []string{"10%", "20%", "30%", "40%", "50%", "60%", "70%", "80%", "90%", "100%"}
	for _, c := range []struct {
		name, definition string
		rows             int64
		want             []string // percents
	}{
		{"a table", "extract: [{name: a, connection: shop, table: a}]" + load, 1000, nil},
		{"units by a number, from a start", "extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id, start: '0'}}]" + load + "batch: {rows: 100}\n", 1000, tenths},
		{"units by a number, from the first unit's end", "extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: n}}]" + load + "batch: {rows: 100}\n", 1000, tenths[1:]},
		{"units by a time", "extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: at, start: '2026-01-01'}}]" + load + "batch: {rows: 100}\n", 1000, tenths},
		{"units by text", "extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: name}}]" + load + "batch: {rows: 100}\n", 1000, nil},
		{
			"the last of two flows", "extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id, start: '0'}}]" +
				"\nload: [{name: one, from: a, connection: dwh, table: a}, {name: two, from: a, connection: dwh, table: a}]\nbatch: {rows: 200}\n",
			2000,
			[]string{"60%", "70%", "80%", "90%", "100%"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.dwh.Exec(t, "", "DROP SCHEMA IF EXISTS holdfast_etl CASCADE")
			req, r := p.order(t, c.definition), &totals{}
			req.Report = r
			res := run(t, req)
			rows, _, bytes, total := r.Counts()
			if rows != c.rows || bytes != res.Bytes || len(c.want) > 0 && total != bytes {
				t.Errorf("got %d rows and %d bytes of %d, want %d rows and %d bytes", rows, bytes, total, c.rows, res.Bytes)
			}
			if !slices.Equal(r.seen, c.want) {
				t.Errorf("got %v, want %v", r.seen, c.want)
			}
		})
	}
}

func TestProgressOfLargeRows(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, s text)")
	p.shop.Exec(t, "", "CREATE TABLE a (id int, s text); INSERT INTO a SELECT g, repeat('x', (1 << 20) / 2) FROM generate_series(1, 6) AS g")
	req, r := p.order(t, "extract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a}]\n"), &totals{}
	req.Report = r
	res := run(t, req)
	if rows, _, bytes, _ := r.Counts(); rows != 6 || bytes != res.Bytes {
		t.Errorf("got %d rows, %d bytes; want 6 and %d", rows, bytes, res.Bytes)
	}
}

func TestProgressOfFiles(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int, s text)")
	root := t.TempDir()
	line := "7," + strings.Repeat("x", 997) + "\n"
	write(t, filepath.Join(root, "1.csv"), strings.Repeat(line, 3000))
	write(t, filepath.Join(root, "2.csv"), strings.Repeat(line, 10))
	for _, c := range []struct{ name, transform, from string }{
		{"into the target", "", "a"},
		{"by the engine", "transform: [{name: b, in: engine, sql: select * from a}]", "b"},
		{"by row steps and the engine", "transform: [{name: b, in: rows, over: a, rows: [{filter: {column: id, op: '>', values: ['0']}}]}, {name: c, in: engine, sql: select * from b}]", "c"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dwh.Exec(t, "", "DROP SCHEMA IF EXISTS holdfast_etl CASCADE")
			req := fromFiles(t, dwh, "{directory: "+root+"}", `
extract: [{name: a, connection: in, file: {path: "*.csv", format: csv, fields: [{name: id, type: integer}, {name: s, type: text}]}}]
`+c.transform+`
load: [{from: `+c.from+`, connection: dwh, table: a}]
`)
			r := &totals{}
			req.Roots, req.Report = []string{root}, r
			mustRunEngine(t, req)
			rows, _, bytes, total := r.Counts()
			if want := int64(3010 * len(line)); rows != 3010 || bytes != want || total != want || !slices.Equal(r.seen, []string{"0%"}) {
				t.Errorf("got %d rows and %d bytes of %d, totals %v; want 3010 rows and %d bytes", rows, bytes, total, r.seen, want)
			}
		})
	}
}
