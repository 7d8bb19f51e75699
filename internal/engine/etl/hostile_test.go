package etl_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// What the target's server says that its types are called is no SQL for the source.
func TestHostileTypeName(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE orders (id int); INSERT INTO orders VALUES (1), (2);
		CREATE TABLE salaries (id int, who text); INSERT INTO salaries SELECT g, 'x' FROM generate_series(900, 905) AS g`)
	p.dwh.Exec(t, "", `CREATE TABLE orders (id text);
		CREATE OR REPLACE FUNCTION pg_catalog.format_type(oid, integer) RETURNS text LANGUAGE sql STABLE
			AS $$ SELECT CASE $1 WHEN 25 THEN 'text from salaries q union select null' WHEN 23 THEN 'integer' ELSE 'x' END $$`)
	run(t, p.order(t, "\nextract: [{name: a, connection: shop, table: orders}]\nload: [{from: a, connection: dwh, table: orders}]\n"))
	if got := p.dwh.Value(t, "", "SELECT string_agg(id, ',' ORDER BY id) FROM orders"); got != "1,2" {
		t.Errorf("got %s, want the rows of the extract and no others", got)
	}
}

// own gives a server, in its schema public, an operator of somebody's own for each
// pair of types for which the server has none, and aggregates over plain types. Each
// is an error.
func own(t *testing.T, p *testkit.Postgres) {
	t.Helper()
	p.Exec(t, "", `DO $do$
		DECLARE types text[] := '{oid,regclass,int2,int4,int8,text,varchar,bpchar,name,"\"char\"",bool,timestamptz,timestamp,date,interval,numeric,jsonb,text[],int2[],int8[],oid[],name[]}';
			l text; r text; o text;
		BEGIN
			FOREACH l IN ARRAY types LOOP
				EXECUTE format('CREATE FUNCTION public.own_state(bigint, %1$s) RETURNS bigint LANGUAGE plpgsql AS $f$ BEGIN RAISE ''count of %1$s''; END $f$;
					CREATE AGGREGATE public.count(%1$s) (SFUNC = own_state, STYPE = bigint, INITCOND = 0)', l);
				FOREACH r IN ARRAY types LOOP
					EXECUTE format('CREATE FUNCTION public.own(%1$s, %2$s) RETURNS bool LANGUAGE plpgsql AS $f$ BEGIN RAISE ''operator on %1$s and %2$s''; END $f$', l, r);
					FOREACH o IN ARRAY '{=,<>,<,<=,>,>=,||,-,+,~~,->>}'::text[] LOOP
						IF NOT EXISTS (SELECT FROM pg_operator WHERE oprname = o AND oprleft = l::regtype AND oprright = r::regtype) THEN
							EXECUTE format('CREATE OPERATOR public.%1$s (LEFTARG = %2$s, RIGHTARG = %3$s, FUNCTION = public.own)', o, l, r);
						END IF;
					END LOOP;
				END LOOP;
			END LOOP;
		END $do$`)
}

func TestHostileOperators(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE a (code varchar PRIMARY KEY, id int, at timestamp, name text);
		INSERT INTO a SELECT 'c' || lpad(g::text, 6, '0'), g, '2020-01-01', 'n' FROM generate_series(1, 100) AS g`)
	p.dwh.Exec(t, "", `CREATE TABLE a (code varchar PRIMARY KEY, id int, at timestamp, name text); CREATE TABLE u (LIKE a INCLUDING ALL);
		CREATE TABLE m (code varchar UNIQUE NULLS NOT DISTINCT, id int, at timestamp, name text);
		CREATE TABLE r (LIKE a INCLUDING ALL); GRANT SELECT ON r TO PUBLIC; COMMENT ON TABLE r IS 'it''s';
		CREATE TABLE e (LIKE a INCLUDING ALL); CREATE VIEW v AS SELECT * FROM e; CREATE TABLE s (code varchar, n bigint)`)
	own(t, p.shop)
	own(t, p.dwh)
	def := `
extract:
  - {name: a, connection: shop, table: a, incremental: {strategy: column, column: code}}
  - {name: b, connection: shop, query: "select * from a", incremental: {strategy: column, column: at, tie: code, lag: 10m}}
  - {name: c, connection: shop, table: a}
transform:
  - {name: x, in: target, over: c, sql: "select code, 1::bigint as n from c"}
load:
  - {name: append, from: a, connection: dwh, table: a}
  - {name: upsert, from: b, connection: dwh, table: u, mode: upsert, key: [code]}
  - {name: merge, from: c, connection: dwh, table: m, mode: merge, key: [code]}
  - {name: swap, from: c, connection: dwh, table: r, mode: replace}
  - {name: empty, from: c, connection: dwh, table: e, mode: replace}
  - {name: step, from: x, connection: dwh, table: s, mode: replace}
`
	for i := range 2 {
		req := p.order(t, def)
		req.Execution += holdfast.ExecutionID(i)
		req.Fence = 2
		run(t, req)
		for _, table := range []string{"a", "u", "m", "r", "e"} {
			same(t, p.shop, `SELECT code::text, id FROM a`, p.dwh, "SELECT code::text, id FROM "+table)
		}
		p.shop.Exec(t, "", fmt.Sprintf("INSERT INTO a VALUES ('d%d', %d, '2020-01-02', 'n')", i, 1000+i))
		p.shop.Exec(t, "", "DELETE FROM a WHERE id OPERATOR(pg_catalog.<) 0")
	}
}

// Somebody else's schema holdfast_etl would act with our rights.
func TestForeignBooks(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ sql, want string }{
		"of another role": {"SET ROLE eve; CREATE SCHEMA holdfast_etl; GRANT ALL ON SCHEMA holdfast_etl TO PUBLIC", "belongs to the role eve"},
		"tables of another role": {`CREATE SCHEMA holdfast_etl; GRANT ALL ON SCHEMA holdfast_etl TO PUBLIC; SET ROLE eve;
			CREATE TABLE holdfast_etl.execution (installation text)`, "execution belongs to the role eve"},
		"trigger": {`CREATE SCHEMA holdfast_etl; CREATE TABLE holdfast_etl.flow (installation text);
			CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE TRIGGER f BEFORE INSERT ON holdfast_etl.flow FOR EACH ROW EXECUTE FUNCTION f()`, "flow is no plain table"},
		"view":         {"CREATE SCHEMA holdfast_etl; CREATE VIEW holdfast_etl.counter AS SELECT 1 AS one", "counter is no plain table"},
		"row security": {"CREATE SCHEMA holdfast_etl; CREATE TABLE holdfast_etl.flow (f text); ALTER TABLE holdfast_etl.flow ENABLE ROW LEVEL SECURITY", "flow is no plain table"},
	}
	p := startPair(t)
	p.dwh.Exec(t, "", "CREATE TABLE a (id int); CREATE ROLE eve LOGIN; GRANT CREATE ON DATABASE postgres TO eve")
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p.dwh.Exec(t, "", tt.sql)
			fail(t, p.order(t, "\nextract: [{name: a, connection: shop, query: select 1 as id}]\nload: [{from: a, connection: dwh, table: a}]\n"), holdfast.CodeForbidden, tt.want, "ALTER SCHEMA holdfast_etl OWNER TO")
			p.dwh.Exec(t, "", "DROP SCHEMA holdfast_etl CASCADE; DROP FUNCTION IF EXISTS f()")
		})
	}
}

// Books of an earlier release get what they lack, and a superuser may have made them.
func TestOlderBooks(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 10)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int); CREATE ROLE loader LOGIN; GRANT INSERT ON a TO loader")
	def := "\nextract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]\nload: [{from: a, connection: dwh, table: a}]\n"
	run(t, p.order(t, def))
	p.dwh.Exec(t, "", `ALTER TABLE holdfast_etl.counter DROP COLUMN basis; ALTER TABLE holdfast_etl.flow DROP COLUMN identity;
		ALTER TABLE holdfast_etl.execution DROP COLUMN identity, ADD CONSTRAINT execution_pkey PRIMARY KEY (installation, job, execution); UPDATE holdfast_etl.counter SET value = '5'; TRUNCATE a`)

	// Whoever does not own them is told what to run.
	req := p.order(t, def)
	req.Execution++
	site := req.Sites["dwh"]
	site.Server.User = "loader"
	req.Sites["dwh"] = site
	p.dwh.Exec(t, "", `GRANT USAGE ON SCHEMA holdfast_etl TO loader; GRANT ALL ON ALL TABLES IN SCHEMA holdfast_etl TO loader; REVOKE TRIGGER ON ALL TABLES IN SCHEMA holdfast_etl FROM loader`)
	fail(t, req, holdfast.CodeForbidden, "ADD COLUMN IF NOT EXISTS basis text", "ADD COLUMN IF NOT EXISTS identity text")

	// What is known by its number alone goes on where it was; another with its number begins.
	owner := p.order(t, def)
	owner.Fence++
	run(t, owner)
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != "0" {
		t.Errorf("got %s rows of an execution that was complete", got)
	}
	owner.Identity, owner.Fence = "another", 1
	run(t, owner)
	if got := p.dwh.Value(t, "", "SELECT min(id) FROM a"); got != "6" {
		t.Errorf("got rows from %s, want those behind the counter", got)
	}
	if got := p.dwh.Value(t, "", "SELECT basis FROM holdfast_etl.counter"); got != `"public"."a" by "id" from "a"` {
		t.Errorf("got the basis %s", got)
	}
	p.shop.Exec(t, "", "INSERT INTO a VALUES (11)")
	req.Execution++
	run(t, req)
	if got := p.dwh.Value(t, "", "SELECT max(id) FROM a"); got != "11" {
		t.Errorf("got rows up to %s, want 11", got)
	}
}

func TestRefusedTargets(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", `CREATE UNLOGGED TABLE u (id int); CREATE TABLE a (id int); CREATE VIEW v AS SELECT * FROM a;
		CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw; CREATE FOREIGN TABLE f (id int) SERVER files OPTIONS (filename '/dev/null');
		CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10) SERVER files OPTIONS (filename '/dev/null');
		CREATE TABLE q (id int) PARTITION BY RANGE (id); CREATE UNLOGGED TABLE q1 PARTITION OF q FOR VALUES FROM (0) TO (10)`)
	counting := ", incremental: {strategy: column, column: id}"
	tests := map[string]struct{ incremental, table, mode, want string }{
		"unlogged":               {counting, "u", "append", "ALTER TABLE u SET LOGGED"},
		"unlogged, replaced":     {"", "u", "replace", ""},
		"unlogged partition":     {counting, "q", "append", "ALTER TABLE q1 SET LOGGED"},
		"view":                   {"", "v", "append", "no plain or partitioned table"},
		"foreign table":          {"", "f", "append", "no plain or partitioned table"},
		"foreign partition":      {"", "p", "append", "partition p1 of public.p is a foreign table"},
		"there is no such table": {"", "none", "append", "no table none"},
	}
	execution := holdfast.ExecutionID(1001)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req := p.order(t, "\nextract: [{name: a, connection: shop, table: a"+tt.incremental+"}]\nload: [{from: a, connection: dwh, table: "+tt.table+", mode: "+tt.mode+"}]\n")
			req.Execution, execution = execution, execution+1
			if tt.want == "" {
				run(t, req)
				return
			}
			fail(t, req, holdfast.CodeInvalid, tt.want)
		})
	}
}

// Tables that inherit from a target keep their rows when it is replaced.
func TestReplaceOnly(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 10)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (77); CREATE TABLE archive (by text) INHERITS (a); INSERT INTO archive SELECT g, 'x' FROM generate_series(1, 500) AS g")
	run(t, p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: replace}]\n"))
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM ONLY a")
	if got := p.dwh.Value(t, "", "SELECT count(*) FROM archive"); got != "500" {
		t.Errorf("got %s rows in the table that inherits, want 500", got)
	}
}

func TestTargetRights(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", `CREATE ROLE "Mr Load" LOGIN; CREATE SCHEMA mart; CREATE TABLE mart.a (id int PRIMARY KEY); CREATE SCHEMA holdfast_etl; ALTER SCHEMA holdfast_etl OWNER TO "Mr Load"`)
	for i, tt := range []struct{ mode, want string }{
		{"append", `GRANT USAGE ON SCHEMA "mart" TO "Mr Load"; GRANT INSERT ON TABLE "mart"."a" TO "Mr Load"`},
		{"replace", `GRANT TRUNCATE ON TABLE "mart"."a" TO "Mr Load"`},
		{"upsert, key: [id]", `GRANT SELECT, UPDATE ON TABLE "mart"."a" TO "Mr Load"`},
		{"merge, key: [id]", `GRANT DELETE ON TABLE "mart"."a" TO "Mr Load"`},
	} {
		req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: mart.a, mode: "+strings.Replace(tt.mode, "mode: ", "", 1)+"}]\n")
		req.Execution += holdfast.ExecutionID(i)
		site := req.Sites["dwh"]
		site.Server.User = "Mr Load"
		req.Sites["dwh"] = site
		if i == 1 {
			p.dwh.Exec(t, "", `GRANT USAGE ON SCHEMA mart TO "Mr Load"`)
		}
		fail(t, req, holdfast.CodeForbidden, tt.want)
		p.dwh.Exec(t, "", tt.want)
		req.Fence++
		run(t, req)
		p.dwh.Exec(t, "", "TRUNCATE mart.a")
	}
}

func TestSourceRights(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE ROLE "Mr Read" LOGIN; CREATE SCHEMA sales; CREATE TABLE sales."Orders" (id int); CREATE TABLE o (id int)`)
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	tests := []struct {
		extract string
		code    holdfast.Code
		want    []string
	}{
		{"table: sales.Orders", holdfast.CodeForbidden, []string{"extract a, site shop, database postgres", `GRANT USAGE ON SCHEMA "sales" TO "Mr Read"; GRANT SELECT ON TABLE "sales"."Orders" TO "Mr Read"`}},
		{`query: select id from sales."Orders"`, holdfast.CodeForbidden, []string{`GRANT USAGE ON SCHEMA "sales" TO "Mr Read"`}},
		{"query: select id from o", holdfast.CodeForbidden, []string{`GRANT SELECT ON TABLE "o" TO "Mr Read"`}},
		{"query: select id from O2", holdfast.CodeInvalid, []string{`relation "o2" does not exist`, "search_path"}},
	}
	for i, tt := range tests {
		req := p.order(t, "\nextract: [{name: a, connection: shop, "+tt.extract+"}]\nload: [{from: a, connection: dwh, table: a}]\n")
		req.Execution += holdfast.ExecutionID(i)
		site := req.Sites["shop"]
		site.Server.User = "Mr Read"
		req.Sites["shop"] = site
		fail(t, req, tt.code, tt.want...)
	}
}
