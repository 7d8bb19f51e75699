package etl_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
)

func TestCounters(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, at timestamptz); INSERT INTO a SELECT g, 'epoch'::timestamptz + g * interval '1.000001 second' FROM generate_series(1, 10) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, at timestamptz); CREATE TABLE b (id int, at timestamptz); CREATE TABLE c (id int, at timestamptz)")
	def := `
parameters: {least: {type: integer, required: true}}
extract: [{name: a, connection: shop, query: "select * from a where id >= :least", incremental: {strategy: column, column: at, tie: id}}, {name: all, connection: shop, table: a}]
load: [{name: one, from: a, connection: dwh, table: a}, {name: two, from: a, connection: dwh, table: b}, {name: three, from: all, connection: dwh, table: c}]
`
	req := p.order(t, def)
	req.Properties = map[string]string{"least": "1"}
	pipeline, looking := etl.New(etl.Config{}), req
	looking.Properties = nil // they do not matter to who looks on
	counters := func() string {
		t.Helper()
		all, err := pipeline.Counters(t.Context(), looking)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, c := range all {
			s = append(s, fmt.Sprintf("%s %s %s %d %t", c.Flow, c.Extract, c.Value, c.Execution, c.Updated.IsZero()))
		}
		return strings.Join(s, "\n")
	}
	if got, want := counters(), "one a  0 true\ntwo a  0 true"; got != want {
		t.Errorf("before the first execution: got\n%s\nwant\n%s", got, want)
	}
	run(t, req)
	const last = `{"column":"1970-01-01 00:00:10.00001+00","tie":"10"}`
	if got, want := counters(), "one a "+last+" 1001 false\ntwo a "+last+" 1001 false"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	set := func(flow, extract, value string) error {
		return pipeline.SetCounter(t.Context(), looking, flow, extract, value)
	}
	if err := set("one", "a", "1970-01-01 00:00:05.000005+00"); err != nil {
		t.Error(err)
	}
	if err := set("two", "a", ""); err != nil {
		t.Error(err)
	}
	if got, want := counters(), `one a {"column":"1970-01-01 00:00:05.000005+00"} 0 false`+"\ntwo a  0 true"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	p.dwh.Exec(t, "", "TRUNCATE a, b")
	req.Execution = 1002
	run(t, req)
	if got := p.dwh.Value(t, "", "SELECT string_agg(id::text, ',' ORDER BY id) FROM a"); got != "6,7,8,9,10" {
		t.Errorf("got ids %s, want those behind the counter", got)
	}
	wantError(t, set("none", "a", "1"), holdfast.CodeNotFound, "none")
	wantError(t, set("three", "all", "1"), holdfast.CodeNotFound, "all")
	wantError(t, set("one", "a", strings.Repeat("x", 1<<20)), holdfast.CodeInvalid, "bytes")

	conn := p.dwh.Connect(t)
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "SELECT FROM holdfast_etl.flow WHERE flow = 'one' FOR UPDATE"); err != nil {
		t.Fatal(err)
	}
	wantError(t, set("one", "a", "2026-01-31"), holdfast.CodeConflict, "loading")
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.nothingLeft(t)
}

func TestRelease(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	def := "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a}]\n"
	c := child{Shop: siteOf(p.shop, "shop"), DWH: siteOf(p.dwh, "dwh"), Definition: connections + def, Execution: 1001, Fence: 3, FreezeAt: "locked"}
	frozen := c.start(t)
	for s := range frozen.steps {
		if s == "locked" {
			break
		}
	}
	req := p.order(t, def)
	req.Fence = 3
	if err := etl.New(etl.Config{}).Release(t.Context(), req); err != nil {
		t.Error(err)
	}
	p.nothingLeft(t)
	if err := frozen.thaw(); err == nil {
		t.Error("the thawed one succeeded")
	}
	if _, err := etl.New(etl.Config{}).Run(t.Context(), req); !errors.Is(err, engine.ErrStale) {
		t.Errorf("the released fence claimed again: got %v, want %v", err, engine.ErrStale)
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != "0" {
		t.Errorf("got %s rows, want none", got)
	}
	req.Fence = 4 // silence has ended the other, and its execution goes on
	run(t, req)
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
}

// A fence that is released between two flows has claimed the second already.
func TestReleaseBetweenFlows(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int); CREATE TABLE b (id int)")
	def := "\nextract: [{name: a, connection: shop, table: a}]\nload: [{name: one, from: a, connection: dwh, table: a}, {name: two, from: a, connection: dwh, table: b}]\n"
	c := child{Shop: siteOf(p.shop, "shop"), DWH: siteOf(p.dwh, "dwh"), Definition: connections + def, Execution: 1001, Fence: 1, FreezeAt: "committed"}
	frozen := c.start(t)
	for s := range frozen.steps {
		if s == "committed" {
			break
		}
	}
	req := p.order(t, def)
	if err := etl.New(etl.Config{}).Release(t.Context(), req); err != nil {
		t.Error(err)
	}
	if err := frozen.thaw(); err == nil {
		t.Error("the thawed one succeeded")
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM b"); got != "0" {
		t.Errorf("got %s rows in the second flow's table, want none", got)
	}
	req.Fence = 2
	run(t, req)
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM b")
}

func TestPreview(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, region text); INSERT INTO a SELECT g, CASE g % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'r' END FROM generate_series(1, 100) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, region text); CREATE TABLE s (region text, n bigint)")
	root := t.TempDir()
	write(t, filepath.Join(root, "1.csv"), "1,x\n2,\nbad,y\n")
	req := p.order(t, `
extract:
  - {name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}
  - {name: f, connection: files, file: {path: "*.csv", format: csv, fields: [{name: id, type: integer}, {name: v, type: text}]}}
transform:
  - {name: odd, in: source, over: a, sql: "select * from a where id % 2 = 1 order by id"}
  - {name: masked, in: rows, over: odd, rows: [{constant: {column: c, type: integer, value: "7"}}]}
  - {name: joined, in: engine, sql: "select o.id, f.v from masked o join f on f.id = o.id"}
  - {name: counted, in: target, over: masked, sql: "select region, count(*) as n from masked group by region order by n desc, region"}
  - {name: check, in: engine, assert: "select count(*) from joined", expect: 77}
load:
  - {from: joined, connection: dwh, table: a}
  - {from: counted, connection: dwh, table: s}
`)
	req.Definition = strings.Replace(req.Definition, "dwh: {site: dwh}", "dwh: {site: dwh}, files: {directory: "+root+"}", 1)
	req.Roots = []string{root}
	all, err := etl.New(etl.Config{DuckBinary: ducktest.Binary(t), TempDir: t.TempDir()}).Preview(t.Context(), req, 2)
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, holdfast.ErrorHint(err))
	}
	var got strings.Builder
	for _, r := range all {
		fmt.Fprintf(&got, "%s:", r.Name)
		for _, c := range r.Columns {
			fmt.Fprintf(&got, " %s %s", c.Name, c.Type)
		}
		for _, row := range r.Rows {
			got.WriteString(" |")
			for _, v := range row {
				if v == nil {
					got.WriteString(" NULL")
				} else {
					fmt.Fprintf(&got, " %q", *v)
				}
			}
		}
		if r.Rejected > 0 {
			fmt.Fprintf(&got, " (%d rejected: %s)", r.Rejected, r.Reason)
		}
		got.WriteString("\n")
	}
	want := `a: id integer region text | "1" "" | "2" "r"
f: id integer v text | "1" "x" | "2" NULL (1 rejected: 1.csv, line 3, column id: the value is no whole number)
odd: id integer region text | "1" "" | "3" NULL
masked: id integer region text c integer | "1" "" "7" | "3" NULL "7"
joined: id integer v text | "1" "x"
counted: region text n bigint | "" "17" | NULL "17"
`
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
	p.nothingLeft(t)
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM pg_namespace WHERE nspname = 'holdfast_etl'"); got != "0" {
		t.Error("the preview has left something")
	}
}
