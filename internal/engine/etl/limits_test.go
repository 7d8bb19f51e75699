package etl_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// A file that was cut off before its first line empties no table.
func TestFileWithoutHeader(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1)")
	root := t.TempDir()
	write(t, filepath.Join(root, "a.csv"), "id\n1\n")
	write(t, filepath.Join(root, "b.csv"), "")
	for _, transform := range []string{"", `transform: [{name: x, in: engine, sql: "select id from f"}]`} {
		from := "f"
		if transform != "" {
			from = "x"
		}
		for _, mode := range []string{"replace", "merge, key: [id]"} {
			req := toFiles(t, p.dwh, root, `
extract: [{name: f, connection: lake, file: {path: "*.csv", format: csv, header: true, fields: [{name: id, type: integer}]}}]
`+transform+`
load: [{from: `+from+`, connection: dwh, table: a, mode: `+mode+`}]
`)
			_, err := runEngine(t, req)
			wantError(t, err, holdfast.CodeInvalid, "b.csv", "is empty")
		}
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != "1" {
		t.Errorf("the table has %s rows", got)
	}
}

// A version of an output is one unit, whatever batch says.
func TestOutputIsOneUnit(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 1000)")
	req := toFiles(t, shop, t.TempDir(), `
batch: {rows: 10}
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]
load: [{from: a, connection: lake, output: {path: out/a, format: csv}}]
`)
	if f := run(t, req).Flows[0]; f.Read != 1000 || f.Units != 1 {
		t.Errorf("got flow %+v, want all rows in one unit", f)
	}
}

func TestSimulatedService(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v int)")
	req := p.order(t, service)
	req.Simulate = true
	s := serve(t, t.Context(), req)
	for range 3 {
		select {
		case <-s.rounds:
		case err := <-s.ended:
			t.Fatalf("the service has ended: %v", err)
		case <-time.After(20 * time.Second):
			t.Fatal("there are no rounds")
		}
	}
	close(s.stop)
	if err := s.end(t); err != nil {
		t.Error(err)
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != "0" {
		t.Errorf("a simulation has loaded %s rows", got)
	}
}

// A simulation finds what a commit would.
func TestSimulatedDeferredConstraint(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, r int); INSERT INTO a VALUES (1, 1), (2, 99)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, r int REFERENCES a DEFERRABLE INITIALLY DEFERRED)")
	for i, simulate := range []bool{true, false} {
		req := p.order(t, "\nbatch: {rows: 1}\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]\nload: [{from: a, connection: dwh, table: a}]\n")
		req.Simulate, req.Execution = simulate, holdfast.ExecutionID(1001+i)
		fail(t, req, holdfast.CodeInvalid, "foreign key")
	}
}

// The process of the engine may be killed at any time, and most likely for want of
// memory: the service goes on with another one.
func TestServiceOutlivesItsEngine(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v int); INSERT INTO a VALUES (1, 1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, v int)")
	req := p.order(t, strings.Replace(service, "load: [{from: a,", "transform: [{name: x, in: engine, sql: \"select * from a\"}]\nload: [{from: x,", 1))
	dir := t.TempDir()
	s := &served{stop: make(chan struct{}), ended: make(chan error, 1)}
	req.Stop = s.stop
	go func() {
		_, err := etl.New(etl.Config{DuckBinary: ducktest.Binary(t), TempDir: dir}).Run(t.Context(), req)
		s.ended <- err
	}()
	const count = "SELECT count(*) FROM a"
	s.wait(t, p.dwh, count, "1")
	for i := range 2 {
		if err := syscall.Kill(childOf(t, dir), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		p.shop.Exec(t, "", fmt.Sprintf("INSERT INTO a VALUES (%d, 1)", i+2))
		s.wait(t, p.dwh, count, strconv.Itoa(i+2))
	}
	close(s.stop)
	if err := s.end(t); err != nil {
		t.Error(err)
	}
}

// childOf finds the process of the engine that works in a directory.
func childOf(t *testing.T, dir string) int {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if text, err := os.ReadFile(name); err == nil && strings.Contains(string(text), "TMPDIR="+dir+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the engine has no process")
	return 0
}

// Limits of rejected rows hold for the execution, and not for each of its units. The
// directory for temporary files need not be there.
func TestRejectLimitsOfUnits(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, s text); INSERT INTO a SELECT g, CASE WHEN g % 10 < 4 THEN 'bad' ELSE '1' END FROM generate_series(1, 100) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, s int)")
	for i, c := range []struct {
		limit, want, loaded string
	}{
		{"max_rows: 13", "more than 13 rows", "18"}, // three units of 10
		{"max_rows: 40", "", "60"},
		{"max_ratio: 0.4", "", "60"},
		{"max_ratio: 0.35", "4 of 10 rows", "0"},
	} {
		p.dwh.Exec(t, "", "TRUNCATE a")
		req := p.order(t, `
batch: {rows: 10}
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}, on_reject: {`+c.limit+`}}]
transform: [{name: x, over: a, in: rows, rows: [{cast: {name: s, type: integer}}]}]
load: [{name: l`+strconv.Itoa(i)+`, from: x, connection: dwh, table: a}]
`, testkit.Allow(""))
		req.Execution = holdfast.ExecutionID(1001 + i)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := etl.New(etl.Config{TempDir: filepath.Join(t.TempDir(), "state/temp")}).Run(ctx, req)
		cancel()
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", c.limit, err)
		} else if c.want != "" {
			wantError(t, err, holdfast.CodeInvalid, c.want)
		}
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != c.loaded {
			t.Errorf("%s: got %s rows, want %s", c.limit, got, c.loaded)
		}
	}
}

// What a worker holds of rejected rows has no name that could outlive it.
func TestRejectsHaveNoName(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int)")
	root, temp := t.TempDir(), t.TempDir()
	write(t, filepath.Join(root, "a.csv"), "1\nsecret\n")
	req := fromFiles(t, dwh, "{directory: "+root+"}", `
extract: [{name: a, connection: in, file: {path: a.csv, format: csv, fields: [{name: id, type: integer}]}, on_reject: {}}]
load: [{from: a, connection: dwh, table: a}]
`, testkit.Expect("rejected"))
	req.Roots = []string{root}
	var left []string
	_, err := etl.New(etl.Config{TempDir: temp, Step: func(name string) {
		if name == "loaded" {
			left, _ = filepath.Glob(filepath.Join(temp, "*"))
		}
	}}).Run(t.Context(), req)
	if err != nil || len(left) > 0 {
		t.Errorf("got files %q, %v", left, err)
	}
	if got := dwh.Value(t, "", "SELECT raw FROM holdfast_etl.reject"); got != "secret" {
		t.Errorf("got rejected row %q", got)
	}
}

// What stands where the rows of a key go, and what its columns are called.
func TestLoadByUnusualKeys(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE a (id int, code text, "x%FROM%" text); INSERT INTO a VALUES (7, 'x', '1'), (8, 'y', '2'), (9, NULL, '3'), (10, NULL, '4')`)
	p.dwh.Exec(t, "", `CREATE TABLE named (id int PRIMARY KEY, code text, "x%FROM%" text);
		CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY, code text PRIMARY KEY, "x%FROM%" text); INSERT INTO ident (code, "x%FROM%") VALUES ('x', 'old');
		CREATE TABLE nulls (id int, code text UNIQUE NULLS NOT DISTINCT, "x%FROM%" text); INSERT INTO nulls VALUES (1, NULL, 'old')`)
	for i, c := range []struct{ table, key, where, want string }{
		{"named", "[id]", "true", "7 1 8 2 9 3 10 4"},
		{"ident", "[code]", "code IS NOT NULL", "1 1 8 2"}, // the number that is there stays
		{"nulls", "[code]", "true", "7 1 8 2 10 4"},
	} {
		for j, mode := range []string{"upsert", "merge"} {
			req := p.order(t, `
extract: [{name: a, connection: shop, query: "select * from a where `+c.where+` order by id"}]
load: [{name: `+c.table+mode+`, from: a, connection: dwh, table: `+c.table+`, mode: `+mode+`, key: `+c.key+`}]
`, testkit.Allow(""))
			req.Execution = holdfast.ExecutionID(1001 + 2*i + j)
			run(t, req)
			if got := p.dwh.Value(t, "", `SELECT string_agg(id || ' ' || "x%FROM%", ' ' ORDER BY id) FROM `+c.table); got != c.want {
				t.Errorf("%s by %s: got %s, want %s", c.table, mode, got, c.want)
			}
		}
	}
}

// Numbers of a server's own objects are others elsewhere, and arrive by their names.
func TestNamesOfObjects(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	const table = "CREATE TABLE a (c regclass, t regtype, p regprocedure, r regrole, all_c regclass[], own aclitem)"
	p.shop.Exec(t, "", "CREATE TABLE more (); CREATE TABLE orders (id int); "+table+
		"; INSERT INTO a VALUES ('orders', 'orders', 'lower(text)', 'postgres', '{orders,more}', 'postgres=r/postgres'), (NULL, 'int', NULL, NULL, '{}', NULL)")
	p.dwh.Exec(t, "", "CREATE TABLE orders (id int); CREATE TABLE other (); CREATE TABLE more (); "+table)
	for i, transform := range []string{"", `transform: [{name: x, in: engine, sql: "select * from a"}]`, `transform: [{name: x, in: rows, over: a, rows: [{filter: {column: t, op: is not null}}]}]`} {
		p.dwh.Exec(t, "", "TRUNCATE a")
		from := "a"
		if transform != "" {
			from = "x"
		}
		req := p.order(t, fmt.Sprintf("\nextract: [{name: a, connection: shop, table: a}]\n%s\nload: [{name: l%d, from: %s, connection: dwh, table: a}]\n", transform, i, from))
		req.Execution = holdfast.ExecutionID(1001 + i)
		mustRunEngine(t, req)
		same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
	}
}

// A line that is no JSON is a row like any other that cannot be read.
func TestBadJSON(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int, s text)")
	root := t.TempDir()
	write(t, filepath.Join(root, "a.json"), "{\"id\": 1, \"s\": \"x\"}\n{\"id\": 2\n{\"id\": \"three\"}\n{\"id\": 4}\n")
	def := func(reject string) string {
		return `
extract: [{name: f, connection: lake, file: {path: a.json, format: json, fields: [{name: id, type: integer}, {name: s, type: text}]}` + reject + `}]
load: [{from: f, connection: dwh, table: a}]
`
	}
	_, err := runEngine(t, toFiles(t, dwh, root, def("")))
	wantError(t, err, holdfast.CodeInvalid, "a.json: row 2: the line is no object of JSON")
	req := toFiles(t, dwh, root, def(", on_reject: {}"), testkit.Allow(""))
	req.Execution++
	if f := mustRunEngine(t, req).Flows[0]; f.Read != 4 || f.Rejected != 2 || f.Loaded != 2 {
		t.Errorf("got flow %+v, want two of four rows", f)
	}
	got := dwh.Value(t, "", "SELECT string_agg(concat_ws(' ', line, column_name, reason, raw), '; ' ORDER BY line) FROM holdfast_etl.reject")
	if want := `2 a.json: the line is no object of JSON {"id": 2; 3 id a.json: the value is no whole number {"id": "three"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
