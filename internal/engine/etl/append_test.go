package etl_test

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// manyTypes has a column of most kinds of values, and awkward ones in them.
const manyTypes = `CREATE TABLE orders (id bigint, n int, q numeric, p numeric(18,6), s text, v varchar(20), c char(5), at timestamptz, ts timestamp,
	d date, tm time, i interval, b bool, f float8, r real, u uuid, j json, jb jsonb, raw bytea, arr int[], texts text[], ip inet, x xml, rng int4range)`

const manyRows = `INSERT INTO orders SELECT g, g %% 97, g / 7.0, g * 1.25, CASE g %% 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'a\tb\nc\\N"''' ELSE 'ü€𝄞 ' || g END,
	'v' || g, 'c', 'epoch'::timestamptz + g * interval '1 day 1 microsecond', 'epoch'::timestamp + g * interval '1 hour', 'epoch'::date + g, '23:59:59.999999',
	g * interval '1 month 2 days 3 seconds', g %% 2 = 0, CASE g %% 4 WHEN 0 THEN 'NaN' WHEN 1 THEN 'Infinity' ELSE g / 3.0 END, g / 3.0, md5(g::text)::uuid,
	json_build_object('a', g), jsonb_build_array(g, 'x'), decode(md5(g::text), 'hex'), ARRAY[g, NULL, -g], ARRAY['', NULL, 'a,b'],
	'10.0.0.1', '<a/>', int4range(g, g + 10) FROM generate_series(1, %d) AS g`

func orders(rows int) string { return fmt.Sprintf(manyRows, rows) }

const appendAll = `
extract: [{name: orders, connection: shop, table: public.orders}]
load: [{from: orders, connection: dwh, table: public.orders, mode: append}]
`

func TestAppend(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", manyTypes)
	p.shop.Exec(t, "", orders(5000))
	p.dwh.Exec(t, "", manyTypes)

	res := run(t, p.order(t, appendAll))
	same(t, p.shop, "SELECT * FROM orders", p.dwh, "SELECT * FROM orders")
	if f := res.Flows[0]; f.Read != 5000 || f.Loaded != 5000 || f.Units != 1 || f.Target != "site dwh, table public.orders" {
		t.Errorf("got flow %+v", f)
	}
	p.nothingLeft(t)

	t.Run("the same execution does not load again", func(t *testing.T) {
		req := p.order(t, appendAll)
		req.Fence = 2
		if res := run(t, req); res.Flows[0].Loaded != 5000 {
			t.Errorf("got flow %+v, want what the first fence has loaded", res.Flows[0])
		}
		same(t, p.shop, "SELECT * FROM orders", p.dwh, "SELECT * FROM orders")
	})
	t.Run("an older fence is stale", func(t *testing.T) {
		fail(t, p.order(t, appendAll), holdfast.CodeInternal)
	})
	t.Run("another execution loads again, whatever its number", func(t *testing.T) {
		req := p.order(t, appendAll)
		req.Execution = 900
		run(t, req)
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM orders"); got != "10000" {
			t.Errorf("got %s rows, want 10000", got)
		}
		req.Execution, req.Fence = 1001, 3
		fail(t, req, holdfast.CodeInternal) // it has been followed by another
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM orders"); got != "10000" {
			t.Errorf("got %s rows, want 10000", got)
		}
	})
}

func TestAppendCastsAndRefuses(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN small AS int CHECK (value < 100);
		CREATE TABLE a (id int, n int, m mood, s small, at timestamp, "Odd ""name" text);
		INSERT INTO a SELECT g, g, CASE g % 2 WHEN 0 THEN 'sad'::mood ELSE 'ok' END, g, 'epoch'::timestamp + g * interval '1 second', 'x' || g FROM generate_series(1, 50) AS g`)
	p.dwh.Exec(t, "", `CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE SCHEMA mart;
		CREATE TABLE mart.a (id bigint PRIMARY KEY, n numeric(10,2), m mood, s text, at timestamptz, "Odd ""name" varchar(10), k smallint, l smallint, more int DEFAULT 7, twice int GENERATED ALWAYS AS (more * 2) STORED)`)
	load := func(query string) string {
		return "\nextract: [{name: a, connection: shop, query: '" + query + "'}]\nload: [{from: a, connection: dwh, table: mart.a}]\n"
	}
	run(t, p.order(t, load("select * from a -- a comment ends it")))
	same(t, p.shop, `SELECT id::bigint, n::numeric(10,2), m::text, s::text, at::timestamptz, "Odd ""name", 7 AS more, 14 AS twice FROM a`,
		p.dwh, `SELECT id, n, m::text, s, at, "Odd ""name", more, twice FROM mart.a`)
	for i, c := range []struct {
		name, query string
		words       []string
	}{
		{"a column that the target lacks", "select 1 as id, 2 as colour", []string{`column "colour"`, "mart.a", "more"}},
		{"a generated column", "select 1 as id, 2 as twice", []string{`"twice"`, "generates"}},
		{"a type that cannot be assigned", "select now() as id", []string{"id"}},
		{"two columns with one name", "select 1 as id, 2 as id", []string{`"id"`}},
		{"a key that is there", "select 1 as id", []string{"duplicate key"}},
		{"a text that is too long", "select 99 as id, repeat(''x'', 20) as \"Odd \"\"name\"", []string{"too long"}},
		{"a number that is too large", "select 98 as id, 70000 as k, now() as at", []string{"flow a", "extract a", "out of range", "mart.a", "k to smallint"}},
		{"a number that is too large for one of two", "select 98 as id, 70000 as k, 70000::bigint as l", []string{"k to smallint, l to smallint"}},
		{"a table that is not there", "select * from nothing", []string{"nothing"}},
		{"no column at all", "select from a", []string{"column"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := p.order(t, load(c.query))
			req.Execution += holdfast.ExecutionID(i + 1)
			fail(t, req, holdfast.CodeInvalid, c.words...)
			if got := p.dwh.Value(t, "", "SELECT count(*) FROM mart.a"); got != "50" {
				t.Errorf("got %s rows, want 50", got)
			}
		})
	}
	p.nothingLeft(t)
}

func TestAppendInjection(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, status text); INSERT INTO a VALUES (1, 'x'), (2, 'y''; drop table a; --'), (3, '0 or 1=1')")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int, status text)")
	def := `
parameters: {status: {type: text}, least: {type: numeric, default: "0"}}
extract: [{name: a, connection: shop, query: "select * from a where status = :status and id >= :least"}]
load: [{from: a, connection: dwh, table: a}]
`
	for i, c := range []struct{ value, want string }{
		{"y'; drop table a; --", "2"}, {"0 or 1=1", "3"}, {"' or true --", ""}, {"$1", ""}, {`\'`, ""},
	} {
		p.dwh.Exec(t, "", "TRUNCATE a")
		req := p.order(t, def)
		req.Execution += holdfast.ExecutionID(i)
		req.Properties = map[string]string{"status": c.value}
		run(t, req)
		if got := p.dwh.Value(t, "", "SELECT coalesce(string_agg(id::text, ','), '') FROM a"); got != c.want {
			t.Errorf("status %q: got ids %s, want %s", c.value, got, c.want)
		}
	}
	req := p.order(t, def)
	req.Execution += 100
	req.Properties = map[string]string{"status": "x", "least": "0 or 1=1"}
	fail(t, req, holdfast.CodeInvalid, "least")
	if got := p.shop.Value(t, "", "SELECT count(*) FROM a"); got != "3" {
		t.Errorf("got %s rows in the source, want 3", got)
	}
}

func TestAppendSimulated(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", manyTypes)
	p.shop.Exec(t, "", orders(100))
	p.dwh.Exec(t, "", manyTypes)
	req := p.order(t, appendAll)
	req.Simulate = true
	res := run(t, req)
	if f := res.Flows[0]; f.Read != 100 || f.Loaded != 100 || f.Units != 0 {
		t.Errorf("got flow %+v, want 100 rows and no unit", f)
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM orders"); got != "0" {
		t.Errorf("got %s rows, want none", got)
	}
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM pg_namespace WHERE nspname = 'holdfast_etl'"); got != "0" {
		t.Error("the simulation has left its schema")
	}
	p.nothingLeft(t)
	run(t, p.order(t, appendAll)) // nothing of it stands in the way
	same(t, p.shop, "SELECT * FROM orders", p.dwh, "SELECT * FROM orders")
}

func TestAppendWithoutRights(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int); CREATE ROLE loader LOGIN; GRANT SELECT, INSERT ON a TO loader")
	req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a}]\n")
	dwh := req.Sites["dwh"]
	dwh.Server.User = "loader"
	req.Sites["dwh"] = dwh
	fail(t, req, holdfast.CodeForbidden, "holdfast_etl", `ALTER SCHEMA holdfast_etl OWNER TO "loader"`)
	p.dwh.Exec(t, "", `CREATE SCHEMA IF NOT EXISTS holdfast_etl; ALTER SCHEMA holdfast_etl OWNER TO "loader";`)
	run(t, req)
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
}

// TestSourceWritesNoSQL reads from a server that lies about the name of a type.
func TestSourceWritesNoSQL(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE a (id int); INSERT INTO a VALUES (1); SET allow_system_table_mods = on; UPDATE pg_proc SET proname = 'format_it' WHERE oid = 1081;
		CREATE FUNCTION pg_catalog.format_type(oid, int) RETURNS text LANGUAGE sql AS 'SELECT ''int); CREATE TABLE planted (id int); --''::text'`)
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	run(t, p.order(t, `
extract: [{name: a, connection: shop, table: a}]
transform: [{name: b, in: target, over: a, sql: "select * from a"}]
load: [{from: b, connection: dwh, table: a}]
`)) // nobody asks it
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
	if got := p.dwh.Value(t, "", "SELECT to_regclass('planted') IS NULL"); got != "t" {
		t.Error("the source has made a table in the target")
	}
}
