package etl_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// toFiles asks for an execution of a definition that writes files.
func toFiles(t testing.TB, shop *testkit.Postgres, root, definition string, log ...testkit.LogOption) engine.ETL {
	t.Helper()
	return engine.ETL{
		Installation: "here", Job: 1001, JobName: "test", Execution: 1001, Fence: 1,
		Definition: "apiVersion: holdfast/etl/v1\nname: test\nconnections: {shop: {site: shop}, lake: {directory: " + root + "}, dwh: {site: dwh}}\n" + definition,
		Sites:      map[string]engine.Site{"shop": siteOf(shop, "shop"), "dwh": siteOf(shop, "dwh")}, Roots: []string{root},
		Report: &enginetest.Report{}, Log: testkit.Logger(t, log...), Stop: make(chan struct{}),
	}
}

// versionOf checks a version against its manifest, and returns the manifest and the
// path of its rows.
func versionOf(t *testing.T, dir string) (map[string]any, string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	file := m["files"].([]any)[0].(map[string]any)
	name := filepath.Join(dir, file["name"].(string))
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	if file["sha256"] != hex.EncodeToString(sum[:]) || file["size"] != float64(len(content)) {
		t.Errorf("%s: the manifest says %v, which is wrong", name, file)
	}
	return m, name
}

func entries(t *testing.T, dir string) string {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		if !strings.HasPrefix(e.Name(), ".claims-") { // they stay
			names = append(names, e.Name())
		}
	}
	return strings.Join(names, " ")
}

func TestOutputCSV(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int, s text); INSERT INTO a VALUES (1, 'x'), (2, ''), (3, NULL), (4, E'a,\"b\"\\nc')")
	root := t.TempDir()
	def := `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]
load: [{from: a, connection: lake, output: {path: out/a, format: csv, max_kept: 2}}]
`
	dir := filepath.Join(root, "out/a")
	req := toFiles(t, shop, root, def)
	if f := run(t, req).Flows[0]; f.Loaded != 4 || f.Units != 1 || f.Target != dir {
		t.Errorf("got flow %+v", f)
	}
	m, name := versionOf(t, filepath.Join(dir, "v000000001"))
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if want := "\"id\",\"s\"\n1,x\n2,\"\"\n3,\n4,\"a,\"\"b\"\"\nc\"\n"; string(content) != want {
		t.Errorf("got %q, want %q", content, want)
	}
	if got := fmt.Sprint(m["execution"], m["fence"], m["rows"], m["counters"].(map[string]any)["a"].(map[string]any)["value"]); got != `1001 1 4{"column":"4"}` && got != `1001 1 4 {"column":"4"}` {
		t.Errorf("got manifest %s", got)
	}

	t.Run("the same execution writes nothing more", func(t *testing.T) {
		req.Fence = 2
		if f := run(t, req).Flows[0]; f.Loaded != 4 {
			t.Errorf("got flow %+v", f)
		}
		req.Execution = 1002
		if f := run(t, req).Flows[0]; f.Units != 0 {
			t.Errorf("nothing is new: got flow %+v", f)
		}
		if got := entries(t, dir); got != "v000000001" {
			t.Errorf("got %s, want one version", got)
		}
	})
	t.Run("a simulation leaves nothing", func(t *testing.T) {
		shop.Exec(t, "", "INSERT INTO a VALUES (5, 'y')")
		req := req
		req.Execution, req.Simulate = 1003, true
		if f := run(t, req).Flows[0]; f.Loaded != 1 || f.Units != 0 {
			t.Errorf("got flow %+v", f)
		}
		if got := entries(t, dir); got != "v000000001" {
			t.Errorf("got %s, want one version", got)
		}
	})
	t.Run("old versions go", func(t *testing.T) {
		for i := range 3 {
			req.Execution = holdfast.ExecutionID(1004 + i)
			shop.Exec(t, "", "INSERT INTO a VALUES ($1)", 6+i)
			run(t, req)
		}
		if got := entries(t, dir); got != "v000000003 v000000004" {
			t.Errorf("got %s, want the last two versions", got)
		}
	})
	t.Run("counters", func(t *testing.T) {
		p := etl.New(etl.Config{})
		if err := p.SetCounter(t.Context(), req, "a", "a", "5"); err != nil {
			t.Fatal(err)
		}
		all, err := p.Counters(t.Context(), req)
		if err != nil || len(all) != 1 || all[0].Value != `{"column":"5"}` || all[0].Execution != 0 {
			t.Errorf("got %+v, %v", all, err)
		}
		req.Execution = 1010
		if f := run(t, req).Flows[0]; f.Loaded != 3 {
			t.Errorf("got flow %+v, want the three rows behind the counter", f)
		}
	})
	t.Run("another flow's directory", func(t *testing.T) {
		req := req
		req.Job = 1002
		fail(t, req, holdfast.CodeConflict, "belongs to")
	})
	t.Run("a simulation makes no directory", func(t *testing.T) {
		req := toFiles(t, shop, root, strings.Replace(def, "out/a", "deep/out/a", 1))
		req.Execution, req.Fence, req.Simulate = 1020, 3, true
		if f := run(t, req).Flows[0]; f.Loaded == 0 {
			t.Errorf("got flow %+v", f)
		}
		if err := etl.New(etl.Config{}).Release(t.Context(), req); err != nil {
			t.Error(err)
		}
		if got := entries(t, root); got != "out" {
			t.Errorf("got %s, want out", got)
		}
		write(t, filepath.Join(root, "file"), "")
		req = toFiles(t, shop, root, strings.Replace(def, "out/a", "file/a", 1))
		req.Execution, req.Simulate = 1021, true
		fail(t, req, holdfast.CodeInvalid, "file")
		if left, err := filepath.Glob(filepath.Join(os.TempDir(), "holdfast-etl-simulated-*")); err != nil || len(left) > 0 {
			t.Errorf("directories are left: %q, %v", left, err)
		}
	})
	t.Run("outside", func(t *testing.T) {
		req := req
		req.Roots = []string{t.TempDir()}
		fail(t, req, holdfast.CodeForbidden, "etl_roots")
	})
}

// What counts as an error leaves the good version where it is.
func TestOutputEmpty(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2)")
	root := t.TempDir()
	req := toFiles(t, shop, root, "\nempty: error\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv, max_kept: 1}}]\n")
	run(t, req)
	shop.Exec(t, "", "DELETE FROM a")
	req.Execution = 1002
	fail(t, req, holdfast.CodeInvalid, "nothing", "emptied")
	if got := entries(t, filepath.Join(root, "a")); got != "v000000001" {
		t.Errorf("got %s, want the version with rows", got)
	}
}

// Who gives the directory's name to another place while a flow works makes it write
// there no more than before.
func TestOutputStaysBelowItsRoot(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	root, outside := t.TempDir(), t.TempDir()
	req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv}}]\n")
	var during string
	_, err := etl.New(etl.Config{Step: func(name string) {
		switch name {
		case "locked":
			if err := errors.Join(os.Rename(filepath.Join(root, "a"), filepath.Join(root, "moved")), os.Symlink(outside, filepath.Join(root, "a"))); err != nil {
				t.Error(err)
			}
		case "loaded":
			during = entries(t, outside)
		}
	}}).Run(t.Context(), req)
	if err != nil {
		t.Error(err)
	}
	if during != "" || entries(t, outside) != "" {
		t.Errorf("got %q outside, and %q at the end", during, entries(t, outside))
	}
	if got := entries(t, filepath.Join(root, "moved")); got != "v000000001" {
		t.Errorf("got %q, want the version", got)
	}
}

// TestOutputThawed freezes an execution before its rename, lets the next fence
// write the version, and thaws it.
func TestOutputThawed(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	for _, step := range []string{"locked", "loaded", "booked"} {
		t.Run(step, func(t *testing.T) {
			root := t.TempDir()
			req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv}}]\n")
			c := child{Shop: siteOf(shop, "shop"), DWH: siteOf(shop, "dwh"), Definition: req.Definition, Execution: 1001, Fence: 1, FreezeAt: step, Roots: req.Roots}
			frozen := c.start(t)
			for s := range frozen.steps {
				if s == step {
					break
				}
			}
			c.Fence, c.FreezeAt = 2, ""
			if out, err := c.start(t).wait(); err != nil {
				t.Errorf("the next fence: %v\n%s", err, out)
			}
			if err := frozen.thaw(); err == nil {
				t.Error("the thawed one succeeded")
			}
			if got := entries(t, filepath.Join(root, "a")); got != "v000000001" {
				t.Errorf("got %s, want one version", got)
			}
			if m, _ := versionOf(t, filepath.Join(root, "a/v000000001")); m["fence"] != 2.0 {
				t.Errorf("got the version of fence %v", m["fence"])
			}
		})
	}
}

// Parquet has no infinite dates and times, whoever writes it.
func TestOutputParquetInfinity(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	n := holdfast.ExecutionID(0)
	for _, c := range []struct{ value, want string }{
		{"date 'infinity'", "infinity is no date of Parquet"},
		{"timestamp '-infinity'", "infinity is no time of Parquet"},
		{"timestamptz 'infinity'", "infinity is no time of Parquet"},
		{"date '2026-01-31'", ""},
	} {
		for _, from := range []string{"a", "v"} {
			way := ""
			if from == "v" {
				way = "transform: [{name: v, in: engine, sql: \"select * from a\"}]\n"
			}
			req := toFiles(t, shop, t.TempDir(), "\nextract: [{name: a, connection: shop, query: \"select 1 as n, "+c.value+" as x\"}]\n"+way+"load: [{from: "+from+", connection: lake, output: {path: a, format: parquet}}]\n",
				testkit.Allow("holdfast-etl"))
			n++
			req.Execution = n
			if _, err := runEngine(t, req); c.want != "" {
				wantError(t, err, holdfast.CodeInvalid, c.want)
			} else if err != nil {
				t.Errorf("%s: %v", c.value, err)
			}
		}
	}
}

func TestOutputParquet(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", manyTypes)
	shop.Exec(t, "", orders(3000))
	shop.Exec(t, "", "INSERT INTO orders (id) VALUES (0); INSERT INTO orders (id, p, q, at, d) VALUES (-1, -12345.678901, -1e20, '0044-03-15 BC', '0044-03-15 BC')")
	shop.Exec(t, "", "CREATE TABLE back AS SELECT id, n, q::text, p, s, v, c, at, ts, d, tm::text, i::text, b, f, r, u, j, jb::text, raw, arr::text FROM orders WITH NO DATA")
	for i, way := range []string{"", "transform: [{name: b, in: engine, sql: \"select * from a\"}]\n"} {
		root := t.TempDir()
		from := "a"
		if way != "" {
			from = "b"
		}
		query := "select id, n, q, p, s, v, c, at, ts, d, tm, i, b, f, r, u, j, jb, raw, arr from orders"
		if way != "" { // DuckDB has no years before Christ here, and writes its own types
			query = "select id, n, p, s, v, at, ts, d, b, f, r, u from orders where id >= 0"
		}
		req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, query: \""+query+"\"}]\n"+way+"load: [{from: "+from+", connection: lake, output: {path: a, format: parquet}}]\n")
		req.Execution += holdfast.ExecutionID(i)
		if f := mustRunEngine(t, req).Flows[0]; f.Read < 3000 || f.Read != f.Loaded {
			t.Errorf("got flow %+v", f)
		}
		_, name := versionOf(t, filepath.Join(root, "a/v000000001"))
		// Read it back by the engine, which is not who wrote the first one.
		fields := "{name: id, type: bigint}, {name: n, type: integer}, {name: p, type: 'numeric(18,6)'}, {name: s, type: text}, {name: v, type: text}, {name: at, type: timestamptz}, " +
			"{name: ts, type: timestamp}, {name: d, type: date}, {name: b, type: boolean}, {name: f, type: double precision}, {name: r, type: real}, {name: u, type: uuid}"
		back := toFiles(t, shop, root, "\nextract: [{name: a, connection: lake, file: {path: "+strings.TrimPrefix(name, root+"/")+", format: parquet, fields: ["+fields+"]}}]\n"+
			"transform: [{name: b, in: engine, sql: \"select * from a where id >= 0\"}]\nload: [{from: b, connection: dwh, table: back, mode: replace}]\n")
		back.Execution += holdfast.ExecutionID(100 + i)
		mustRunEngine(t, back)
		const columns = "id, n, p, s, v, at, ts, d, b, f, r, u"
		same(t, shop, "SELECT "+columns+" FROM orders WHERE id >= 0", shop, "SELECT "+columns+" FROM back")
	}
	t.Run("what Parquet has no value for", func(t *testing.T) {
		root := t.TempDir()
		for i, query := range []string{"select 'infinity'::timestamptz as x", "select 'NaN'::numeric(10,2) as x", "select '-infinity'::date as x"} {
			req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, query: \""+query+"\"}]\nload: [{from: a, connection: lake, output: {path: a, format: parquet}}]\n")
			req.Execution += holdfast.ExecutionID(200 + i)
			fail(t, req, holdfast.CodeInvalid, "row 1, column x")
			if got := entries(t, filepath.Join(root, "a")); got != "" {
				t.Errorf("%s is left", got)
			}
		}
	})
}

// TestOutputReleased releases an execution that is frozen before or after it has
// begun to write, and thaws it: also when another one is writing by then.
func TestOutputReleased(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	for _, step := range []string{"locked", "loaded", "booked"} {
		root := t.TempDir()
		req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv}}]\n")
		req.Execution, req.Fence = 1001, 1
		c := child{Shop: siteOf(shop, "shop"), DWH: siteOf(shop, "dwh"), Definition: req.Definition, Execution: 1001, Fence: 1, FreezeAt: step, Roots: req.Roots}
		frozen := c.start(t)
		for s := range frozen.steps {
			if s == step {
				break
			}
		}
		if err := etl.New(etl.Config{}).Release(t.Context(), req); err != nil {
			t.Errorf("release: %v", err)
		}
		c.Execution, c.FreezeAt = 1002, "loaded"
		next := c.start(t)
		for s := range next.steps {
			if s == "loaded" {
				break
			}
		}
		if err := frozen.thaw(); err == nil {
			t.Errorf("%s: the thawed one succeeded", step)
		}
		if err := next.thaw(); err != nil {
			t.Errorf("%s: the next one: %v", step, err)
		}
		if got, want := entries(t, filepath.Join(root, "a")), "v000000001"; got != want {
			t.Errorf("%s: got %s, want %s", step, got, want)
		}
	}
}

// A counter that a person sets is kept, or refused: never taken and lost.
func TestOutputSetCounter(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 10)")
	root := t.TempDir()
	req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]\nload: [{from: a, connection: lake, output: {path: a, format: csv}}]\n")
	run(t, req)
	value := func() string {
		t.Helper()
		all, err := etl.New(etl.Config{}).Counters(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		return all[0].Value
	}
	for i, c := range []struct {
		step     string
		conflict bool
	}{{"locked", false}, {"loaded", true}, {"booked", true}, {"committed", false}} {
		req.Execution++
		shop.Exec(t, "", "INSERT INTO a VALUES ($1)", 11+i)
		var set error
		p := etl.New(etl.Config{Step: func(name string) {
			if name == c.step {
				set = etl.New(etl.Config{}).SetCounter(t.Context(), req, "a", "a", "3")
			}
		}})
		_, err := p.Run(t.Context(), req)
		switch {
		case c.conflict:
			wantError(t, set, holdfast.CodeConflict, "loading")
			if err != nil || value() != fmt.Sprintf(`{"column":"%d"}`, 11+i) {
				t.Errorf("%s: got counter %s, %v", c.step, value(), err)
			}
		case set != nil || value() != `{"column":"3"}`:
			t.Errorf("%s: got counter %s, %v", c.step, value(), set)
		case c.step == "locked": // the counter that it has begun with is no longer the one
			wantError(t, err, holdfast.CodeUnavailable, "changed meanwhile")
			req.Fence++
			if f := run(t, req).Flows[0]; f.Loaded != 8 {
				t.Errorf("got flow %+v, want the rows behind the counter", f)
			}
		case err != nil:
			t.Errorf("%s: %v", c.step, err)
		}
	}
}

// TestOutputTakenOver freezes an execution at each of its steps, with and without a
// release, lets another one or the next fence take over, and thaws it before or
// after the other has committed. The other's number may be the lower one.
func TestOutputTakenOver(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	number := 0
	for _, step := range []string{"claim", "locked", "loaded", "booked"} {
		for _, released := range []bool{false, true} {
			for _, other := range []child{{Execution: 1001, Fence: 2}, {Execution: 1000, Fence: 1}, {Execution: 1001, Identity: "again", Fence: 1}} {
				number++
				before := (number/2+number)%2 == 0
				t.Run(fmt.Sprintf("%s released %t by %d%s before %t", step, released, other.Execution, other.Identity, before), func(t *testing.T) {
					root := t.TempDir()
					req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv, max_kept: 1}}]\n")
					c := child{Shop: siteOf(shop, "shop"), DWH: siteOf(shop, "dwh"), Definition: req.Definition, Execution: 1001, Fence: 1, FreezeAt: step, Roots: req.Roots}
					frozen := c.start(t)
					frozen.until(step)
					if released {
						if err := etl.New(etl.Config{}).Release(t.Context(), req); err != nil {
							t.Error(err)
						}
					}
					c.Execution, c.Identity, c.Fence, c.FreezeAt = other.Execution, other.Identity, other.Fence, ""
					if before {
						c.FreezeAt = "booked"
					}
					next := c.start(t)
					if before {
						next.until("booked")
					} else if out, err := next.wait(); err != nil {
						t.Errorf("the other: %v\n%s", err, out)
					}
					if err := frozen.thaw(); err == nil || !strings.Contains(frozen.errs.String(), engine.ErrStale.Error()) {
						t.Errorf("the thawed one: got %v, %s; want %v", err, frozen.errs, engine.ErrStale)
					}
					if before {
						if err := next.thaw(); err != nil {
							t.Errorf("the other: %v\n%s", err, next.errs)
						}
					}
					if got := entries(t, filepath.Join(root, "a")); got != "v000000001" {
						t.Errorf("got %s, want one version", got)
					}
					if m, _ := versionOf(t, filepath.Join(root, "a/v000000001")); m["execution"] != float64(other.Execution) || m["fence"] != float64(other.Fence) {
						t.Errorf("got the version of execution %v, fence %v", m["execution"], m["fence"])
					}
				})
			}
		}
	}
}

// until returns when the process has come to the step.
func (p *process) until(step string) {
	for s := range p.steps {
		if s == step {
			return
		}
	}
}

// TestOutputClaimsDamaged finds claims that nobody can read, and goes on when they
// are removed as the error says.
func TestOutputClaimsDamaged(t *testing.T) {
	t.Parallel()
	shop := startServer(t)
	shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	root := t.TempDir()
	order := func(e holdfast.ExecutionID) engine.ETL {
		req := toFiles(t, shop, root, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv}}]\n")
		req.Execution = e
		return req
	}
	run(t, order(1001))
	all, err := filepath.Glob(filepath.Join(root, "a", ".claims-*", "claims.json"))
	if err != nil || len(all) == 0 {
		t.Fatalf("got the claims %q, %v", all, err)
	}
	for _, text := range []string{"", "{}", "{\"executions\": 1}", "nothing"} {
		for _, name := range all {
			write(t, name, text)
		}
		fail(t, order(1002), holdfast.CodeInvalid, "which execution may write", "and remove "+filepath.Dir(all[0]))
	}
	for _, name := range all {
		if err := os.RemoveAll(filepath.Dir(name)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, order(1002))
	if got := entries(t, filepath.Join(root, "a")); !strings.Contains(got, "v000000002") {
		t.Errorf("got %s, want a second version", got)
	}
}
