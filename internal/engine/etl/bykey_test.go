package etl_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func TestUpsert(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE a (id int, region text, v int, at timestamptz);
		INSERT INTO a SELECT g, 'r' || g % 3, g, 'epoch'::timestamptz + g * interval '1 second' FROM generate_series(1, 1000) AS g`)
	p.dwh.Exec(t, "", `CREATE TABLE a (region varchar(10), id bigint, v numeric, at timestamptz, kept text DEFAULT 'kept', UNIQUE (id, region));
		INSERT INTO a SELECT 'r' || g % 3, g, -1, 'epoch', 'old' FROM generate_series(500, 1500) AS g`)
	def := `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: at, tie: id}}]
load: [{from: a, connection: dwh, table: a, mode: upsert, key: [region, id]}]
batch: {rows: 300}
`
	req := p.order(t, def)
	if f := run(t, req).Flows[0]; f.Read != 1000 || f.Loaded != 1000 || f.Units != 4 || f.Deleted != 0 {
		t.Errorf("got flow %+v", f)
	}
	want := `SELECT id::bigint, region, v::numeric, CASE WHEN id < 500 THEN 'kept' ELSE 'old' END FROM a
		UNION ALL SELECT g, 'r' || g % 3, -1, 'old' FROM generate_series(1001, 1500) AS g`
	same(t, p.shop, want, p.dwh, "SELECT id, region, v, kept FROM a")

	t.Run("of rows with one key the newest wins", func(t *testing.T) {
		p.shop.Exec(t, "", `INSERT INTO a SELECT 7, 'r1', 100 - g, 'epoch'::timestamptz + (5000 - g) * interval '1 second' FROM generate_series(1, 50) AS g`)
		req := p.order(t, def, testkit.Expect("same key"))
		req.Execution = 1002
		res := run(t, req)
		if f := res.Flows[0]; f.Read != 50 || f.Loaded != 1 {
			t.Errorf("got flow %+v, want one row of fifty", f)
		}
		if len(res.Warnings) != 1 {
			t.Errorf("got warnings %q, want one", res.Warnings)
		}
		if got := p.dwh.Value(t, "", "SELECT v FROM a WHERE id = 7"); got != "99" {
			t.Errorf("got v %s, want that of the newest row, 99", got)
		}
	})
	t.Run("only the named columns are updated", func(t *testing.T) {
		p.shop.Exec(t, "", "CREATE TABLE b (id int, v int, w int); INSERT INTO b SELECT g, g, g FROM generate_series(1, 10) AS g")
		p.dwh.Exec(t, "", "CREATE TABLE b (id int PRIMARY KEY, v int, w int); INSERT INTO b SELECT g, 0, 0 FROM generate_series(6, 10) AS g")
		req := p.order(t, "\nextract: [{name: b, connection: shop, table: b}]\nload: [{from: b, connection: dwh, table: b, mode: upsert, key: [id], update: [w]}]\n")
		req.Job = 1002
		run(t, req)
		same(t, p.shop, "SELECT id, CASE WHEN id < 6 THEN v ELSE 0 END, w FROM b", p.dwh, "SELECT * FROM b")
	})
	t.Run("a key that is all there is", func(t *testing.T) {
		p.shop.Exec(t, "", "CREATE TABLE k (id int); INSERT INTO k SELECT g % 20 FROM generate_series(1, 100) AS g; INSERT INTO k VALUES (NULL), (NULL)")
		p.dwh.Exec(t, "", "CREATE TABLE k (id int UNIQUE); INSERT INTO k VALUES (3)")
		req := p.order(t, "\nextract: [{name: k, connection: shop, table: k}]\nload: [{from: k, connection: dwh, table: k, mode: upsert, key: [id]}]\n", testkit.Expect("same key"))
		req.Job = 1003
		run(t, req)
		same(t, p.shop, "SELECT DISTINCT id FROM k WHERE id IS NOT NULL UNION ALL SELECT * FROM k WHERE id IS NULL", p.dwh, "SELECT * FROM k")
	})
	t.Run("rows that the target leaves out are no duplicates", func(t *testing.T) {
		p.dwh.Exec(t, "", `CREATE TABLE always (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO always OVERRIDING SYSTEM VALUE VALUES (3);
			CREATE TABLE triggered (id int PRIMARY KEY, v int, w int); CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN CASE WHEN NEW.id % 2 = 1 THEN NEW END; END';
			CREATE TRIGGER odd BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION odd()`)
		for i, load := range []string{
			"load: [{from: one, connection: dwh, table: always, mode: upsert, key: [id]}]",
			"load: [{from: b, connection: dwh, table: triggered, mode: upsert, key: [id]}]",
			"transform: [{name: c, in: target, over: b, sql: \"select * from b\"}]\nload: [{from: c, connection: dwh, table: triggered, mode: upsert, key: [id]}]",
		} {
			extract := "{name: b, connection: shop, table: b}"
			if i == 0 {
				extract = "{name: one, connection: shop, query: 'select id from b'}"
			}
			req := p.order(t, "\nextract: ["+extract+"]\n"+load+"\n")
			req.Job = holdfast.JobID(1010 + i)
			if res := run(t, req); len(res.Warnings) > 0 || res.Flows[0].Loaded == 10 {
				t.Errorf("%s: got flow %+v and warnings %q", load, res.Flows[0], res.Warnings)
			}
		}
		p.shop.Exec(t, "", "INSERT INTO b VALUES (1, 0, 0), (1, 1, 1), (2, 0, 0)")
		req := p.order(t, "\nextract: [{name: b, connection: shop, table: b}]\nload: [{from: b, connection: dwh, table: triggered, mode: upsert, key: [id]}]\n", testkit.Expect("rows=3 .*same key"))
		req.Job = 1014
		run(t, req)
	})
	t.Run("without a unique index", func(t *testing.T) {
		p.dwh.Exec(t, "", "CREATE TABLE n (id int, v int, w int); CREATE UNIQUE INDEX ON n (id, v); CREATE UNIQUE INDEX ON n (id) WHERE v > 0; CREATE UNIQUE INDEX ON n ((id + 1))")
		req := p.order(t, "\nextract: [{name: b, connection: shop, table: b}]\nload: [{from: b, connection: dwh, table: n, mode: upsert, key: [id]}]\n")
		req.Job = 1004
		fail(t, req, holdfast.CodeInvalid, "unique index on (id)", `CREATE UNIQUE INDEX ON "public"."n" ("id")`)
	})
	p.nothingLeft(t)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, v text); INSERT INTO a SELECT g, 'new' FROM generate_series(1, 500) AS g; INSERT INTO a VALUES (NULL, 'x')")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int UNIQUE, v text); INSERT INTO a SELECT g, 'old' FROM generate_series(400, 1000) AS g; INSERT INTO a VALUES (NULL, 'y')")
	req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: merge, key: [id]}]\n")
	if f := run(t, req).Flows[0]; f.Loaded != 501 || f.Deleted != 501 {
		t.Errorf("got flow %+v", f)
	}
	same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
	t.Run("nothing arrives", func(t *testing.T) {
		p.shop.Exec(t, "", "DELETE FROM a")
		req := p.order(t, "\nempty: error\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: merge, key: [id]}]\n")
		req.Execution = 1002
		fail(t, req, holdfast.CodeInvalid, "emptied")
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM a"); got != "501" {
			t.Errorf("got %s rows, want 501", got)
		}
		req = p.order(t, "\nempty: warning\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: merge, key: [id]}]\n", testkit.Expect("nothing was read"))
		req.Execution = 1003
		if f := run(t, req).Flows[0]; f.Deleted != 501 {
			t.Errorf("got flow %+v", f)
		}
	})
}

func TestTargetSteps(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int, region text, v int); INSERT INTO a SELECT g, 'r' || g % 3, g FROM generate_series(1, 100) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE regions (region text, name text); INSERT INTO regions SELECT 'r' || g, 'Region ' || g FROM generate_series(0, 2) AS g; CREATE TABLE sums (name text UNIQUE, total numeric)")
	def := func(mode, assert string) string {
		return `
parameters: {least: {type: integer, default: 10}}
extract: [{name: a, connection: shop, table: a}]
transform:
  - {name: summed, in: target, over: a, sql: "select r.name, sum(a.v) as total from a join regions r using (region) where a.v >= :least group by 1 -- all"}
  - {name: check, in: target, over: summed, assert: "select count(*) from summed", ` + assert + `}
load: [{from: summed, connection: dwh, table: sums, ` + mode + `}]
`
	}
	want := "SELECT 'Region ' || right(region, 1), sum(v)::numeric FROM a WHERE v >= 10 GROUP BY 1"
	for i, mode := range []string{"mode: append", "mode: replace", "mode: upsert, key: [name]", "mode: merge, key: [name]"} {
		t.Run(mode, func(t *testing.T) {
			if mode == "mode: append" {
				p.dwh.Exec(t, "", "TRUNCATE sums")
			}
			req := p.order(t, def(mode, "expect: 3"))
			req.Execution += holdfast.ExecutionID(i)
			if f := run(t, req).Flows[0]; f.Read != 100 || f.Loaded != 3 {
				t.Errorf("got flow %+v", f)
			}
			same(t, p.shop, want, p.dwh, "SELECT * FROM sums")
		})
	}
	t.Run("an assertion fails", func(t *testing.T) {
		req := p.order(t, def("mode: replace", "expect: 4"))
		req.Execution = 2001
		fail(t, req, holdfast.CodeInvalid, "check", "got 3, expected 4")
		same(t, p.shop, want, p.dwh, "SELECT * FROM sums")
		req = p.order(t, def("mode: replace", "expect: 4, severity: warning"), testkit.Expect("assertion"))
		req.Execution = 2002
		if res := run(t, req); len(res.Warnings) != 1 {
			t.Errorf("got warnings %q, want one", res.Warnings)
		}
	})
	p.nothingLeft(t)
}

func TestMergeUsesNobodysOperators(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id varchar(9)); INSERT INTO a VALUES ('1')")
	p.dwh.Exec(t, "", `CREATE TABLE a (id varchar(9) PRIMARY KEY); INSERT INTO a VALUES ('1'), ('2'); CREATE TABLE hit (x text);
		CREATE FUNCTION own(varchar, varchar) RETURNS bool LANGUAGE sql AS 'INSERT INTO hit VALUES (current_user); SELECT false';
		CREATE OPERATOR public.= (leftarg = varchar, rightarg = varchar, function = own);
		CREATE FUNCTION own(oid, regclass) RETURNS bool LANGUAGE sql AS 'INSERT INTO hit VALUES (current_user); SELECT $1 = $2::oid';
		CREATE OPERATOR public.= (leftarg = oid, rightarg = regclass, function = own)`)
	f := run(t, p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: merge, key: [id]}]\n")).Flows[0]
	if hits := p.dwh.Value(t, "", "SELECT count(*) FROM hit"); hits != "0" || f.Deleted != 1 {
		t.Errorf("got flow %+v, and %s calls of a planted operator", f, hits)
	}
}

// A row whose new version is rejected keeps the one that it has.
func TestMergeWithRejects(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, s text); INSERT INTO a VALUES (1, '1'), (2, 'bad')")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, s int); INSERT INTO a VALUES (1, 0), (2, 7), (3, 9)")
	def := `
extract: [{name: a, connection: shop, table: a, on_reject: {max_rows: 5}}]
transform: [{name: x, over: a, in: rows, rows: [{cast: {name: s, type: integer}}]}]
load: [{from: x, connection: dwh, table: a, mode: merge, key: [id]}]
`
	res := run(t, p.order(t, def, testkit.Allow("rejected")))
	if got := p.dwh.Value(t, "", "SELECT string_agg(id || '=' || s, ' ' ORDER BY id) FROM a"); got != "1=1 2=7 3=9" {
		t.Errorf("got %s", got)
	}
	if len(res.Warnings) == 0 {
		t.Error("nobody is warned that nothing was deleted")
	}
	p.shop.Exec(t, "", "UPDATE a SET s = '8' WHERE id = 2")
	req := p.order(t, def)
	req.Execution++
	run(t, req)
	if got := p.dwh.Value(t, "", "SELECT string_agg(id || '=' || s, ' ' ORDER BY id) FROM a"); got != "1=1 2=8" {
		t.Errorf("got %s", got)
	}
}
