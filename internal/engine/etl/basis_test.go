package etl_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

// A counter says nothing about another target, or another column.
func TestCounterOfAnother(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, at int NOT NULL); INSERT INTO a SELECT g, 100 - g FROM generate_series(1, 10) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, at int); CREATE TABLE b (id int, at int)")
	const base = "\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]\nload: [{from: a, connection: dwh, table: a}]\n"
	run(t, p.order(t, base))
	execution := holdfast.ExecutionID(1002)
	for name, def := range map[string]string{
		"table":  strings.Replace(base, "table: a}]\n", "table: b}]\n", 1),
		"column": strings.Replace(base, "column: id", "column: at", 1),
		"tie":    strings.Replace(base, "column: id", "column: id, tie: at", 1),
		"source": strings.Replace(base, "table: a, incremental", "table: public.b, incremental", 1),
	} {
		req := p.order(t, def)
		req.Execution, execution = execution, execution+1
		fail(t, req, holdfast.CodeConflict, `"public"."a" by "id" from "a"`, "--reset")
		if t.Failed() {
			t.Fatalf("with another %s", name)
		}
	}
	p.shop.Exec(t, "", "CREATE TABLE b AS SELECT g + 100 AS id, 1 AS at FROM generate_series(1, 3) AS g")
	other := p.order(t, strings.Replace(base, "table: a}]\n", "table: b}]\n", 1))
	if err := etl.New(etl.Config{}).SetCounter(t.Context(), other, "a", "a", "7"); err != nil {
		t.Fatal(err)
	}
	other.Execution = execution
	run(t, other)
	if got := p.dwh.Value(t, "", "SELECT string_agg(id::text, ',' ORDER BY id) FROM b"); got != "8,9,10" {
		t.Errorf("got %s in the other table, want what is behind the counter that was set", got)
	}
}

// A counter goes on over another query, and the log says so once. One that was
// written before bases had relations goes on, too.
func TestCounterOfAChangedQuery(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 10); INSERT INTO b SELECT generate_series(1, 20)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	execution := holdfast.ExecutionID(1001)
	for _, c := range []struct {
		extract string
		before  string // what the books say
		changed int    // times that the log says so
		basis   string
		last    string // id that was loaded; empty: it fails
	}{
		{"table: a", "", 0, `from "a"`, "10"},
		{"table: b", `UPDATE holdfast_etl.counter SET basis = replace(basis, ' from "a"', '')`, 0, `from "b"`, "20"},
		{"table: a", "", 0, `from "b"`, ""},
		{"query: select id from b where id < 30", "INSERT", 1, "from query ", "29"},
		{"query: \"select  id\\nfrom b where id < 30\"", "", 0, "from query ", "29"},
		{"query: select id from b", "", 1, "from query ", "40"},
		{"table: a", "", 1, `from "a"`, "40"},
	} {
		if c.before == "INSERT" {
			p.shop.Exec(t, "", "INSERT INTO b SELECT generate_series(21, 40)")
		} else if c.before != "" {
			p.dwh.Exec(t, "", c.before)
		}
		req := p.order(t, "\nextract: [{name: a, connection: shop, "+c.extract+", incremental: {strategy: column, column: id}}]\nload: [{from: a, connection: dwh, table: a}]\nbatch: {rows: 4}\n")
		req.Execution, execution = execution, execution+1
		if c.last == "" {
			fail(t, req, holdfast.CodeConflict, `is that of "public"."a" by "id" from "b", and the definition says "public"."a" by "id" from "a"`, "--reset")
		} else if got := logged(t, func(l *slog.Logger) { req.Log = l; run(t, req) }, "the query has changed, and the counter goes on where it is"); len(got) != c.changed {
			t.Errorf("%s: got %q, want it said %d times", c.extract, got, c.changed)
		}
		if got := p.dwh.Value(t, "", "SELECT basis FROM holdfast_etl.counter"); !strings.Contains(got, c.basis) {
			t.Errorf("%s: got the basis %s, want %q in it", c.extract, got, c.basis)
		}
		if got := p.dwh.Value(t, "", "SELECT max(id) FROM a"); c.last != "" && got != c.last {
			t.Errorf("%s: got rows up to %s, want %s", c.extract, got, c.last)
		}
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) || ' ' || count(DISTINCT id) FROM a"); got != "40 40" {
		t.Errorf("got %s rows and ids, want 40 of each", got)
	}
}

func TestFileCounterOfAnother(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, at int NOT NULL); INSERT INTO a SELECT g, 100 - g FROM generate_series(1, 10) AS g")
	const def = `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]
load: [{from: a, connection: lake, output: {path: a, format: csv}}]
`
	root := t.TempDir()
	run(t, toFiles(t, shop, root, def))
	req := toFiles(t, shop, root, strings.Replace(def, "column: id", "column: at", 1))
	req.Execution++
	fail(t, req, holdfast.CodeConflict, `by "id" from "a"`, "--reset")
	shop.Exec(t, "", "CREATE TABLE b AS SELECT * FROM a")
	req = toFiles(t, shop, root, strings.Replace(def, "table: a", "table: b", 1))
	req.Execution++
	fail(t, req, holdfast.CodeConflict, `by "id" from "a"`, "--reset")
}

func TestSetCounterChecks(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, at timestamptz, n int)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, at timestamptz, n int); CREATE TABLE b (LIKE a); CREATE TABLE c (id int)")
	root := t.TempDir()
	req := p.order(t, `
extract:
  - {name: pair, connection: shop, table: a, incremental: {strategy: column, column: at, tie: id}}
  - {name: one, connection: shop, table: a, incremental: {strategy: column, column: n}}
  - {name: files, connection: files, file: {path: "*.csv", format: csv, fields: [{name: id, type: integer}]}, incremental: {strategy: file}}
load:
  - {from: pair, connection: dwh, table: a}
  - {from: one, connection: dwh, table: b}
  - {from: files, connection: dwh, table: c}
`)
	req.Definition = strings.Replace(req.Definition, "dwh: {site: dwh}", "dwh: {site: dwh}, files: {directory: "+root+"}", 1)
	req.Roots = []string{root}
	tests := []struct{ extract, value, want string }{
		{"pair", "2026-01-31 12:00+01", `{"column":"2026-01-31 11:00:00+00"}`},
		{"pair", `{"column": "2026-01-31", "tie": " 7 "}`, `{"column":"2026-01-31 00:00:00+00","tie":"7"}`},
		{"pair", "last week", "error: timestamp with time zone"},
		{"pair", "infinity", "error: nothing would ever be loaded"},
		{"pair", `{"column": "2026-01-31", "tie": "x"}`, "error: integer"},
		{"pair", `{"column": "2026-01-31", "tied": "7"}`, "error: no JSON with the keys column and tie"},
		{"one", "41", `{"column":"41"}`},
		{"one", "4.5", "error: integer"},
		{"one", `{"column": "4", "tie": "7"}`, "error: extract one has none"},
		{"files", `[{"path": "1.csv", "size": 3, "mtime": "2026-01-31T12:00:00Z"}]`, `[{"path":"1.csv","size":3,"mtime":"2026-01-31T12:00:00Z"}]`},
		{"files", "1.csv", "error: no list of files"},
		{"files", "null", "error: no list of files"},
		{"files", `[{"path": "1.csv", "size": 3}]`, "error: with path, size and mtime"},
		{"files", `[{"path": "1.csv", "size": 3, "mtime": "2026-01-31T12:00:00Z", "sum": 1}]`, "error: with path, size and mtime"},
	}
	pipeline := etl.New(etl.Config{})
	for _, tt := range tests {
		t.Run(tt.extract+" "+tt.value, func(t *testing.T) {
			err := pipeline.SetCounter(t.Context(), req, tt.extract, tt.extract, tt.value)
			if want, ok := strings.CutPrefix(tt.want, "error: "); ok {
				wantError(t, err, holdfast.CodeInvalid, want)
				return
			}
			if err != nil {
				t.Fatalf("%v (hint: %s)", err, holdfast.ErrorHint(err))
			}
			if got := p.dwh.Value(t, "", "SELECT value FROM holdfast_etl.counter WHERE extract = '"+tt.extract+"'"); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	p.nothingLeft(t)
}

// Rows whose counter an outer join made NULL are told of, whatever their table says.
func TestNullOfOuterJoin(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, upd int NOT NULL); INSERT INTO a SELECT generate_series(1, 10); INSERT INTO b SELECT g, g FROM generate_series(1, 6) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, upd int)")
	fail(t, p.order(t, `
extract: [{name: a, connection: shop, query: "select a.id, b.upd from a left join b on b.id = a.id", incremental: {strategy: column, column: upd}}]
load: [{from: a, connection: dwh, table: a}]
`), holdfast.CodeInvalid, "upd", "NULL")
}

// What has no time zone was written in the server's own.
func TestLagWithoutZone(t *testing.T) {
	t.Parallel()
	for _, zone := range []string{"America/New_York", "Asia/Tokyo", "UTC"} {
		t.Run(zone, func(t *testing.T) {
			t.Parallel()
			p := startPair(t)
			p.shop.Exec(t, "", "ALTER DATABASE postgres SET TimeZone = '"+zone+"'")
			p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, at timestamp NOT NULL); INSERT INTO a VALUES (1, now() - interval '11 minutes'), (2, now() - interval '9 minutes')")
			p.dwh.Exec(t, "", "CREATE TABLE a (id int, at timestamp)")
			run(t, p.order(t, "\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: at, tie: id, lag: 10m}}]\nload: [{from: a, connection: dwh, table: a}]\n"))
			if got := p.dwh.Value(t, "", "SELECT string_agg(id::text, ',') FROM a"); got != "1" {
				t.Errorf("got rows %s, want the one that is older than the lag", got)
			}
		})
	}
}

// An extension's type has operators of its own, wherever they are.
func TestCountByExtensionType(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
		CREATE TABLE a (code ext.citext, m mood, id int); INSERT INTO a VALUES ('a', 'sad', 1), ('B', 'happy', 2), ('c', 'ok', 3)`)
	p.dwh.Exec(t, "", "CREATE TABLE a (code text, m text, id int); CREATE TABLE b (code text, m text, id int)")
	def := `
batch: {rows: 1}
extract:
  - {name: a, connection: shop, table: a, incremental: {strategy: column, column: code, tie: id}}
  - {name: b, connection: shop, table: a, incremental: {strategy: column, column: m, tie: code}}
load: [{from: a, connection: dwh, table: a}, {from: b, connection: dwh, table: b}]
`
	run(t, p.order(t, def))
	p.shop.Exec(t, "", "INSERT INTO a VALUES ('C', 'happy', 4), ('D', 'happy', 5)")
	req := p.order(t, def)
	req.Execution++
	run(t, req)
	same(t, p.shop, "SELECT code::text, m::text, id FROM a", p.dwh, "SELECT * FROM a")
	same(t, p.shop, "SELECT code::text, m::text, id FROM a", p.dwh, "SELECT * FROM b")
}
