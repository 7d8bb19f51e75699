package etl_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// runEngine does an execution with the transform process.
func runEngine(t testing.TB, req engine.ETL) (engine.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	res, err := etl.New(etl.Config{DuckBinary: ducktest.Binary(t), TempDir: dir}).Run(ctx, req)
	if left, gerr := filepath.Glob(filepath.Join(dir, "*")); gerr != nil || len(left) > 0 {
		t.Errorf("files are left: %q, %v", left, gerr)
	}
	return res, err
}

func mustRunEngine(t testing.TB, req engine.ETL) engine.Result {
	t.Helper()
	res, err := runEngine(t, req)
	if err != nil {
		t.Fatalf("run: %v (hint: %s)", err, holdfast.ErrorHint(err))
	}
	return res
}

// What the engine writes as text, when its rows keep their order, and what it writes as
// binary are the same values.
func TestValuesOfTheEngine(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	columns := "id int, b bool, i int8, f float8, g float4, n numeric(38,6), t text, u uuid, d date, s timestamp, z timestamptz, y bytea, j jsonb"
	p.dwh.Exec(t, "", "CREATE TABLE text ("+columns+"); CREATE TABLE bin ("+columns+")")
	const row = "select id, null::boolean as b, null::bigint as i, null::double as f, null::float as g, null::decimal(38,6) as n, null::varchar as t, null::uuid as u, null::date as d, " +
		"null::timestamp as s, null::timestamptz as z, null::blob as y, null::json as j from a union all by name "
	const values = row + `select 2 as id, true as b, -9223372036854775808 as i, 'nan'::double as f, '-inf'::float as g, 12345678901234567890123456789012.123456::decimal(38,6) as n, ` +
		`'a, "b"' as t, '8a0e2f8c-41a5-4f0b-9e6e-111111111111'::uuid as u, date '0044-03-15 (BC)' as d, '0044-03-15 (BC) 12:00:00.5'::timestamp as s, ` +
		`'0044-03-15 (BC) 12:00:00.5+00'::timestamptz as z, '\x00\xFF'::blob as y, '{}'::json as j ` +
		`union all by name select 3 as id, false as b, 'inf'::double as f, 1e-45::float as g, -0.000001::decimal(38,6) as n, '' as t, 'infinity'::date as d, ` +
		`'-infinity'::timestamp as s, 'infinity'::timestamptz as z, ''::blob as y ` +
		`union all by name select 4 as id, 1e300::double as f, 0.1::float as g, date '10000-12-31' as d, '9999-12-31 23:59:59.999999'::timestamp as s, '1969-12-31 23:59:59.999999+00'::timestamptz as z`
	for i, table := range []string{"text", "bin"} {
		sql := values
		if table == "text" {
			sql = "select * from (" + sql + ") order by id"
		}
		req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\ntransform:\n  - name: v\n    in: engine\n    sql: |\n      "+
			sql+"\nload: [{from: v, connection: dwh, table: "+table+"}]\n")
		req.Execution += holdfast.ExecutionID(i)
		mustRunEngine(t, req)
	}
	same(t, p.dwh, "SELECT * FROM text", p.dwh, "SELECT * FROM bin")
	got := fmt.Sprint(p.dwh.Rows(t, "", "SELECT id, b, i, f, g, n, t, u, d, s, z, y, j FROM text WHERE id > 1 ORDER BY id"))
	const want = `[[2 t -9223372036854775808 NaN -Infinity 12345678901234567890123456789012.123456 a, "b" 8a0e2f8c-41a5-4f0b-9e6e-111111111111 0044-03-15 BC 0044-03-15 12:00:00.5 BC 0044-03-15 12:00:00.5+00 BC \x00ff {}]` +
		` [3 f  Infinity 1e-45 -0.000001   infinity -infinity infinity \x ] [4   1e+300 0.1    10000-12-31 9999-12-31 23:59:59.999999 1969-12-31 23:59:59.999999+00  ]]`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A role's settings change nothing of what the server reads.
func TestValuesWithoutArrayNulls(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, t text[]); INSERT INTO a VALUES (1, ARRAY['x', NULL, 'NULL'])")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, t text[]); ALTER ROLE CURRENT_USER SET array_nulls = off")
	mustRunEngine(t, p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\ntransform: [{name: v, in: engine, sql: \"select * from a\"}]\nload: [{from: v, connection: dwh, table: a, mode: upsert, key: [id]}]\n"))
	if got := p.dwh.Value(t, "", "SELECT t[2] IS NULL AND t[3] = 'NULL' FROM a"); got != "t" {
		t.Errorf("got %q", p.dwh.Rows(t, "", "SELECT t, t[2] IS NULL FROM a"))
	}
}

func TestEngine(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", `CREATE TABLE orders (id int PRIMARY KEY, customer int, sku text, qty int, price numeric(10,2), at timestamptz);
		INSERT INTO orders SELECT g, g % 50, CASE g % 9 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'sku "' || g END, g % 5, g * 0.25, 'epoch'::timestamptz + g * interval '1 second' FROM generate_series(1, 20000) AS g;
		CREATE TABLE customers (id int, region text, tags int[]); INSERT INTO customers SELECT g, CASE g % 4 WHEN 0 THEN NULL ELSE 'r' || g % 3 END, ARRAY[g, NULL] FROM generate_series(0, 40) AS g`)
	p.dwh.Exec(t, "", `CREATE TABLE facts (id bigint PRIMARY KEY, region text, sku text, total numeric(14,4), at timestamptz, tags int[]);
		CREATE TABLE sums (region text, n bigint, total numeric)`)
	def := func(more string) string {
		return `
parameters: {least: {type: integer, default: 1}}
extract:
  - {name: orders, connection: shop, table: orders` + more + `}
  - {name: customers, connection: shop, table: customers}
transform:
  - {name: picked, in: source, over: orders, sql: "select * from orders where qty >= :least"}
  - {name: facts, in: engine, sql: "select o.id, c.region, upper(o.sku) as sku, o.qty * o.price as total, o.at, c.tags from picked o join customers c on c.id = o.customer where o.qty >= $least"}
  - {name: sums, in: engine, sql: "select region, count(*) as n, sum(total) as total from facts group by region"}
  - {name: none_negative, in: engine, assert: "select count(*) from facts where total < 0", expect: 0}
load:
  - {from: facts, connection: dwh, table: facts, mode: upsert, key: [id]}
  - {from: sums, connection: dwh, table: sums, mode: replace}
`
	}
	facts := "SELECT o.id::bigint, c.region, upper(o.sku), (o.qty * o.price)::numeric(14,4), o.at, c.tags FROM orders o JOIN customers c ON c.id = o.customer WHERE o.qty >= 1"
	res := mustRunEngine(t, p.order(t, def("")))
	same(t, p.shop, facts, p.dwh, "SELECT * FROM facts")
	same(t, p.dwh, "SELECT region, count(*), trim_scale(sum(total)) FROM facts GROUP BY 1", p.dwh, "SELECT region, n, trim_scale(total) FROM sums")
	if f := res.Flows[0]; f.Read != 16041 {
		t.Errorf("got flow %+v, want 16000 orders and 41 customers read", f)
	}
	p.nothingLeft(t)

	t.Run("incremental, in units", func(t *testing.T) {
		p.dwh.Exec(t, "", "TRUNCATE facts")
		req := p.order(t, def(", incremental: {strategy: column, column: id}")+"batch: {rows: 7000}\n")
		req.Definition = strings.Replace(req.Definition, "  - {from: sums, connection: dwh, table: sums, mode: replace}\n", "", 1)
		req.Execution = 1002
		if f := mustRunEngine(t, req).Flows[0]; f.Units != 3 {
			t.Errorf("got flow %+v, want three units", f)
		}
		same(t, p.shop, facts, p.dwh, "SELECT * FROM facts")
		p.shop.Exec(t, "", "INSERT INTO orders VALUES (20001, 1, 'new', 2, 1.5, now())")
		req.Execution = 1003
		if f := mustRunEngine(t, req).Flows[0]; f.Loaded != 1 {
			t.Errorf("got flow %+v, want the new row", f)
		}
		same(t, p.shop, facts, p.dwh, "SELECT * FROM facts")
	})
	t.Run("an assertion fails", func(t *testing.T) {
		p.shop.Exec(t, "", "INSERT INTO orders VALUES (20002, 1, 'bad', 2, -1.5, now())")
		req := p.order(t, def(""))
		req.Execution = 1004
		_, err := runEngine(t, req)
		wantError(t, err, holdfast.CodeInvalid, "none_negative", "got 1, expected 0")
		if got := p.dwh.Value(t, "", "SELECT count(*) FROM facts WHERE id = 20002"); got != "0" {
			t.Error("the row was loaded")
		}
	})
	t.Run("row steps before the engine", func(t *testing.T) {
		req := p.order(t, `
extract: [{name: orders, connection: shop, query: "select * from orders where id <= 1000"}]
transform:
  - {name: cut, in: rows, over: orders, rows: [{mask: {column: sku, keep: 1}}, {drop: [at, customer]}, {reject: {column: sku, op: is not null}}]}
  - {name: total, in: engine, sql: "select id, sku, qty * price as total from cut"}
load: [{from: total, connection: dwh, table: facts, mode: replace}]
`, testkit.Expect("rejected"))
		req.Execution = 1005
		if f := mustRunEngine(t, req).Flows[0]; f.Read != 1000 || f.Rejected != 111 || f.Loaded != 889 {
			t.Errorf("got flow %+v", f)
		}
		same(t, p.shop, "SELECT id::bigint, CASE sku WHEN '' THEN '' ELSE repeat('*', length(sku) - 1) || right(sku, 1) END, (qty * price)::numeric(14,4) FROM orders WHERE id <= 1000 AND sku IS NOT NULL",
			p.dwh, "SELECT id, sku, total FROM facts")
	})
	t.Run("killed while it computes", func(t *testing.T) {
		req := p.order(t, strings.Replace(def(""), "select region, count(*)", "select region, count(*) + (select count(*) from range(100000000000) a) * 0", 1), testkit.Allow("holdfast-etl"))
		req.Execution = 1006
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := fmt.Errorf("killed: %w", engine.ErrWish)
		time.AfterFunc(2*time.Second, func() { cancel(cause) })
		begin := time.Now()
		_, err := etl.New(etl.Config{DuckBinary: ducktest.Binary(t), TempDir: t.TempDir()}).Run(ctx, req)
		if err == nil || time.Since(begin) > 15*time.Second {
			t.Errorf("got %v after %s", err, time.Since(begin))
		}
		p.nothingLeft(t)
	})
	t.Run("no process", func(t *testing.T) {
		req := p.order(t, def(""))
		req.Execution = 1007
		fail(t, req, holdfast.CodeUnavailable, "holdfast-etl")
	})
}

// Numbers that the engine has as text would sort and compare as such.
func TestEngineTakesNoNumbersAsText(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE sales (amt numeric); INSERT INTO sales VALUES (9), (10), (100.5)")
	p.dwh.Exec(t, "", "CREATE TABLE most (amt numeric)")
	def := func(query string) string {
		return `
extract: [{name: s, connection: shop, query: "` + query + `"}]
transform: [{name: most, in: engine, sql: "select max(amt) as amt from s"}]
load: [{from: most, connection: dwh, table: most}]
`
	}
	_, err := runEngine(t, p.order(t, def("select amt from sales")))
	wantError(t, err, holdfast.CodeInvalid, "amt", "text")
	_, err = runEngine(t, p.order(t, def("select amt::numeric(40,2) as amt from sales")))
	wantError(t, err, holdfast.CodeInvalid, "numeric(40,2)")
	_, err = runEngine(t, p.order(t, def("select amt::text::money as amt from sales")))
	wantError(t, err, holdfast.CodeInvalid, "money")
	req := p.order(t, def("select amt::numeric(20,2) as amt from sales"))
	req.Execution = 1002
	mustRunEngine(t, req)
	if got := p.dwh.Value(t, "", "SELECT amt FROM most"); got != "100.50" {
		t.Errorf("got %s as the most, want 100.50", got)
	}
}

func TestEngineReadsFiles(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id bigint, s text, n numeric(10,2)); CREATE TABLE b (k text, n bigint)")
	root := t.TempDir()
	write(t, filepath.Join(root, "a.json"), `{"id": 1, "s": "x\n\"y\"", "n": 1.25}`+"\n"+`{"n": null, "id": 2, "more": true}`+"\n")
	write(t, filepath.Join(root, "b.csv"), "k,id\nb,1\nb,2\nc,2\n")
	fields := "fields: [{name: id, type: bigint}, {name: s, type: text}, {name: n, type: 'numeric(10,2)'}]"
	for i, c := range []struct{ name, definition, sql, want string }{
		{
			"JSON as it is", `
extract: [{name: a, connection: in, file: {path: a.json, format: json, ` + fields + `}}]
load: [{from: a, connection: dwh, table: a}]
`, "SELECT string_agg(concat_ws('|', id, s, n), '/' ORDER BY id) FROM a", "1|x\n\"y\"|1.25/2",
		},
		{
			"JSON with row steps", `
extract: [{name: a, connection: in, file: {path: a.json, format: json, ` + fields + `}}]
transform: [{name: r, in: rows, over: a, rows: [{filter: {column: n, op: is not null}}, {constant: {column: s2, type: text, value: "k"}}, {drop: [s]}, {rename: {column: s2, to: s}}]}]
load: [{from: r, connection: dwh, table: a, mode: replace}]
`, "SELECT string_agg(concat_ws('|', id, s, n), '/' ORDER BY id) FROM a", "1|k|1.25",
		},
		{
			"CSV joined to JSON", `
extract:
  - {name: a, connection: in, file: {path: a.json, format: json, ` + fields + `}}
  - {name: b, connection: in, file: {path: "b.csv", format: csv, header: true, fields: [{name: id, type: bigint}, {name: k, type: text}]}}
transform: [{name: j, in: engine, sql: "select b.k, count(*) as n from a join b using (id) group by 1"}]
load: [{from: j, connection: dwh, table: b}]
`, "SELECT string_agg(concat_ws('|', k, n), '/' ORDER BY k) FROM b", "b|2/c|1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := fromFiles(t, dwh, "{directory: "+root+"}", c.definition)
			req.Execution, req.Roots = holdfast.ExecutionID(1+i), []string{root}
			mustRunEngine(t, req)
			if got := dwh.Value(t, "", c.sql); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// The text that the engine writes becomes binary on its way, where it may; a target
// with other types takes the text itself.
func TestEngineValues(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	const columns = `(n int, b bool, s smallint, i int, l bigint, f float8, r real, d numeric(38,10), x text, v varchar(20), u uuid, dt date,
		ts timestamp, tz timestamptz, raw bytea, j json, jb jsonb)`
	p.shop.Exec(t, "", "CREATE TABLE vals "+columns+`; INSERT INTO vals VALUES
		(1, true, -32768, -2147483648, -9223372036854775808, 'NaN', 'NaN', 0, '', '', '00000000-0000-0000-0000-000000000000', 'infinity',
			'infinity', '-infinity', '', 'null', '{}'),
		(2, false, 32767, 2147483647, 9223372036854775807, 'Infinity', '-Infinity', -9999999999999999999999999999.9999999999, E'a,"b"\n\\.\r\t', 'ünï ',
			'ffffffff-ffff-ffff-ffff-ffffffffffff', '0001-01-01', '0001-01-01', '0001-01-01 00:00:00+00', '\x00ff225c0a', '{"a" : [1, "x\"y"]}', '[null, 1.50]'),
		(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
		(4, true, 0, 0, 0, 1e-300, 1e-37, 0.0000000001, 'NULL', '\N', gen_random_uuid(), '12345-06-07', '294246-12-31 23:59:59.999999',
			'294246-01-01 00:00:00.000001+00', '\xdeadbeef', '" "', '" "'),
		(5, true, 1, 1, 1, 0.1, 0.1, 12345678.9, ' x ', 'x', gen_random_uuid(), '9999-12-31', '1969-12-31 23:59:59.999999', '2026-03-29 01:30:00+00', '\x20', '1', '1')`)
	p.dwh.Exec(t, "", "CREATE TABLE typed "+columns+`; CREATE TABLE other (n bigint, s numeric, i bigint, l numeric, x json)`)
	mustRunEngine(t, p.order(t, `
extract: [{name: vals, connection: shop, table: vals}]
transform: [{name: typed, in: engine, sql: "select * from vals"}]
load: [{from: typed, connection: dwh, table: typed}]
`))
	same(t, p.shop, "SELECT * FROM vals", p.dwh, "SELECT * FROM typed")
	req := p.order(t, `
extract: [{name: vals, connection: shop, table: vals}]
transform: [{name: other, in: engine, sql: "select n, s, i, l, x from vals where n in (4, 5)"}]
load: [{from: other, connection: dwh, table: other}]
`)
	req.Execution++
	p.shop.Exec(t, "", `UPDATE vals SET x = '{"a": 1}'`)
	mustRunEngine(t, req)
	same(t, p.shop, "SELECT n::bigint, s::numeric, i::bigint, l::numeric, x::json::text FROM vals WHERE n IN (4, 5)", p.dwh, "SELECT n, s, i, l, x::text FROM other")
}

// Rows leave the engine in binary, or as CSV when their order matters: both say the same.
func TestEngineBinary(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	columns := []struct{ name, sql, typ string }{
		{"n", "i", "bigint"},
		{"flag", "case i % 3 when 0 then null else i % 2 = 0 end", "boolean"},
		{"tiny", "cast(i % 256 - 128 as tinyint)", "smallint"},
		{"utiny", "cast(i % 256 as utinyint)", "smallint"},
		{"small", "cast(i * 3 - 32768 as smallint)", "smallint"},
		{"usmall", "cast(65535 - i as usmallint)", "integer"},
		{"int", "cast(i * 200000 - 2147483648 as integer)", "integer"},
		{"uint", "cast(4294967295 - i as uinteger)", "bigint"},
		{"ubig", "cast(18446744073709551615 - cast(i as hugeint) * 1000000000000001 as ubigint)", "numeric(20,0)"},
		{"huge", "(cast(i as hugeint) - 3000) * 50000000000000000000000000000000000", "numeric"},
		{"uhuge", "cast(340282366920938463463374607431768211455 as uhugeint) - cast(i as uhugeint)", "numeric(39,0)"},
		{"d4", "cast((i - 3000) / 100 as decimal(4,2))", "numeric(4,2)"},
		{"d9", "cast((i - 3000) / 1000 as decimal(9,5))", "numeric(12,6)"},
		{"d18", "cast((i - 3000) * 1000 as decimal(18,4))", "numeric"},
		{"d38", "cast((i - 3000) as decimal(38,19)) * 333333333333", "numeric"},
		{"dsmall", "cast(i as decimal(18,0)) / 1000", "double precision"},
		{"d1", "cast(i % 10 as decimal(1,0))", "integer"},
		{"dfrac", "cast((i - 3000) / 1e9 as decimal(38,38))", "numeric(38,38)"},
		{"f", "cast(i as float) / 7", "real"},
		{"d", "case i % 5 when 0 then 'nan'::double when 1 then '-inf'::double else exp(i - 500) end", "double precision"},
		{"txt", "case i % 4 when 0 then null when 1 then '' when 2 then repeat('x', (i % 40)::int) else 'é\"' || chr(10) || i end", "text"},
		{"short", "case i % 2 when 0 then 'a' || i else '' end", "varchar(20)"},
		{"blb", "case i % 3 when 0 then ''::blob when 1 then '\\x00\\xFF'::blob else repeat('y', (i % 30)::int)::blob end", "bytea"},
		{"u", "md5(i::varchar)::uuid", "uuid"},
		{"day", "case i % 50 when 0 then 'infinity'::date when 1 then '-infinity'::date else date '1600-02-28' + (i * 97)::int end", "date"},
		{"ts", "case i % 50 when 0 then 'infinity'::timestamp when 1 then '-infinity'::timestamp else timestamp '1600-02-28' + interval (i * 7777777) second + interval 1 microsecond end", "timestamp"},
		{"tz", "timestamptz '1969-12-31 23:59:59.999999+00' + interval (i) second", "timestamptz"},
		{"tss", "cast(timestamp '2026-01-01' + interval (i) second as timestamp_s)", "timestamp"},
		{"tsm", "cast(timestamp '2026-01-01 00:00:00.123' + interval (i) second as timestamp_ms)", "timestamp"},
		{"tsn", "cast(timestamp '2026-01-01 00:00:00.123456' as timestamp_ns)", "text"},
		{"en", "cast(case i % 2 when 0 then 'on' else 'off' end as enum('on', 'off'))", "text"},
		{"li", "[i, null, 7]", "json"},
		{"js", "json_object('a', i)", "json"},
	}
	var defs, selects []string
	for _, c := range columns {
		defs = append(defs, c.name+" "+c.typ)
		selects = append(selects, c.sql+" as "+c.name)
	}
	p.shop.Exec(t, "", "CREATE TABLE numbers AS SELECT g::bigint AS i FROM generate_series(0, 5999) AS g")
	for i, table := range []string{"binary_rows", "csv_rows"} {
		p.dwh.Exec(t, "", "CREATE TABLE "+table+" ("+strings.Join(defs, ", ")+")")
		req := p.order(t, `
extract: [{name: numbers, connection: shop, table: numbers}]
transform:
  - name: computed
    in: engine
    sql: |
      select `+strings.Join(selects, ",\n        ")+" from numbers"+[]string{"", " order by i"}[i]+`
load: [{from: computed, connection: dwh, table: `+table+`}]
`)
		req.Execution += holdfast.ExecutionID(i)
		if f := mustRunEngine(t, req).Flows[0]; f.Loaded != 6000 {
			t.Errorf("%s: %d rows were loaded", table, f.Loaded)
		}
	}
	for _, c := range columns { // one by one: a difference has a name
		same(t, p.dwh, "SELECT n, "+c.name+"::text FROM csv_rows", p.dwh, "SELECT n, "+c.name+"::text FROM binary_rows")
	}
}
