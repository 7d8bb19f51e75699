package duck_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// nasty are texts that have gone wrong somewhere, each as a value of SQL.
var nasty = []string{
	`''`, `null`, `'\N'`, `E'\\N'`, `'NULL'`, `'"'`, `'""'`, `'a"b'`, `','`, `' '`, `' a '`, `'''' `, `E'a\nb'`, `E'\n'`, `E'\r'`, `E'a\r\nb'`, `E'\t'`,
	`'\'`, `'\.'`, `'\\'`, `'😀 ünï'`, `E'\u200b'`, `E'\ufeffx'`, `'{1,2}'`, `'#x'`, `E'"\n"'`, `E',\n,'`, `repeat('x', 100000)`, `repeat(E'"\n', 1000)`, `'true'`, `'1'`,
}

// ownTypes are values that pass through the engine without a change of their text,
// by the PostgreSQL type they have.
var ownTypes = map[string][]string{
	"boolean":                    {"true", "false"},
	"smallint":                   {"-32768", "32767"},
	"integer":                    {"-2147483648", "2147483647"},
	"bigint":                     {"-9223372036854775808", "9223372036854775807"},
	"oid":                        {"0", "4294967295"},
	"real":                       {"'NaN'", "'Infinity'", "'-Infinity'", "3.4028235e+38", "1.1754944e-38", "0.1", "'-0'"},
	"double precision":           {"'NaN'", "'Infinity'", "'-Infinity'", "1.7976931348623157e+308", "2.2250738585072014e-308", "0.1", "0.30000000000000004", "'-0'"},
	"numeric(5,0)":               {"99999", "-99999"},
	"numeric(38,9)":              {"99999999999999999999999999999.999999999", "-0.000000001"},
	"numeric(38,38)":             {"0.99999999999999999999999999999999999999"},
	"numeric(40,2)":              {"99999999999999999999999999999999999999.99"},
	"numeric(5,-2)":              {"1234500"},
	"numeric":                    {"1e-100", "123456789012345678901234567890123456789012345.5", "'NaN'", "'Infinity'"},
	"date":                       {"'2026-02-28'", "'0001-01-01'", "'294246-12-31'", "'infinity'", "'-infinity'"},
	"time":                       {"'00:00'", "'23:59:59.999999'", "'24:00'"},
	"time with time zone":        {"'23:59:59.999999+15:59'", "'24:00-12'"},
	"timestamp":                  {"'2026-02-28 10:11:12.123456'", "'0001-01-01'", "'infinity'", "'-infinity'", "'294246-12-31 23:59:59.999999'"},
	"timestamp with time zone":   {"'2026-02-28 10:11:12.123456+00'", "'2026-07-01 00:00:00+02'", "'infinity'", "'-infinity'", "'0001-01-01 00:00+00'"},
	"interval":                   {"'1 year 2 mons 3 days 04:05:06.789012'", "'-1 days +02:03:00'", "'-1 year -2 mons'", "'00:00:00.000001'", "'0'", "'178000000 years'"},
	"uuid":                       {"'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"},
	"text":                       nasty,
	"character varying(20)":      {"'abc'", "''"},
	"character(6)":               {"'abc'", "''"},
	`"char"`:                     {"'a'"},
	"name":                       {"'a_name'"},
	"json":                       {`'{"b":  1, "a": [1,2], "b": null}'`, `'"x"'`, "'null'", "'1e400'"},
	"jsonb":                      {`'{"a": 12345678901234567890.123456789, "b": "\"\n"}'`},
	"bytea":                      {`'\x'`, `'\x00ff0a22'`},
	"bit(3)":                     {"B'101'"},
	"bit varying":                {"B'1'", "B''"},
	"inet":                       {"'192.168.0.1/24'", "'::1'"},
	"cidr":                       {"'10.0.0.0/8'"},
	"macaddr":                    {"'08:00:2b:01:02:03'"},
	"money":                      {"'1234.50'"},
	"xml":                        {`'<a b="c">d</a>'`},
	"point":                      {"'(1,2)'"},
	"tsvector":                   {"'a:1 b:2'"},
	"pg_lsn":                     {"'16/B374D848'"},
	"integer[]":                  {"'{1,NULL,3}'", "'{}'", "'[2:3]={1,2}'"},
	"text[]":                     {`'{"a,b","c\"d",NULL,"NULL",""}'`},
	"timestamp with time zone[]": {`'{"2026-02-28 10:11:12+00"}'`},
	"numeric(10,2)[]":            {"'{1.50}'"},
	"int4range":                  {"'[1,5)'", "'empty'"},
	"tstzrange":                  {"'[2026-01-01 00:00+00,)'"},
	"int4multirange":             {"'{[1,2),[5,7)}'"},
	"mood":                       {"'sad'", "'very happy'"},
	"pair":                       {`'(1,"a,b")'`, "'(,)'"},
	"positive":                   {"7"},
}

// tables makes a table for each type, with a key and a NULL, and one to come back to.
func tables(t *testing.T, conn *pgx.Conn) []string {
	t.Helper()
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{
		"create type mood as enum ('sad', 'very happy')", "create type pair as (a integer, b text)", "create domain positive as integer check (value > 0)",
		"set timezone = 'UTC'", "set datestyle = 'ISO, YMD'", "set intervalstyle = 'postgres'", "set extra_float_digits = 1",
	} {
		exec(sql)
	}
	var all []string
	for typ, values := range ownTypes {
		table := fmt.Sprintf("t%d", len(all))
		exec(fmt.Sprintf("create table %s (k integer, v %s)", table, typ))
		exec(fmt.Sprintf("create table %s_back (k integer, v %s)", table, typ))
		for i, v := range append(values, "null") {
			exec(fmt.Sprintf("insert into %s values (%d, %s)", table, i, v))
		}
		all = append(all, table)
	}
	return all
}

func TestEveryTypeComesBack(t *testing.T) {
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{})
	conn := pg.Connect(t)
	c := start(t)
	all := tables(t, conn)
	for _, streamed := range []bool{false, true} {
		for _, columns := range []string{"k, v", "v"} { // a lonely column looks different
			for _, table := range all {
				for _, as := range []duck.Format{duck.FormatCopy, duck.FormatBinary} {
					if err := passThrough(t, conn, c, table, columns, as, streamed); err != nil {
						t.Errorf("%s of %s, as %s, streamed %t: %v", columns, table, as, streamed, err)
					}
				}
			}
		}
	}
}

// passThrough copies a table through the engine into its twin, and compares them.
func passThrough(t *testing.T, conn *pgx.Conn, c *duck.Client, table, columns string, as duck.Format, streamed bool) error {
	t.Helper()
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "truncate "+table+"_back"); err != nil {
		return err
	}
	var all []duck.Column
	rows, err := conn.Query(ctx, "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = $1::regclass and attnum > 0 and attname = any($2)",
		table, strings.Split(columns, ", "))
	if err != nil {
		return err
	}
	for rows.Next() {
		var column duck.Column
		if err := rows.Scan(&column.Name, &column.Type); err != nil {
			return err
		}
		all = append(all, column)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	typ := all[len(all)-1].Type
	format := "csv"
	if as == duck.FormatBinary {
		if !duck.Binary(typ) {
			return nil
		}
		format = "binary"
	}
	var sent bytes.Buffer
	if _, err := conn.PgConn().CopyTo(ctx, &sent, fmt.Sprintf("copy (select %s from %s order by k) to stdout (format %s)", columns, table, format)); err != nil {
		return err
	}
	feedAs(t, c, table, as, streamed, sent.String(), all...)
	d, err := c.Drain(ctx, table)
	if err != nil {
		return err
	}
	if _, err := conn.PgConn().CopyFrom(ctx, d, fmt.Sprintf("copy %s_back (%s) from stdin (format csv)", table, columns)); err != nil {
		return fmt.Errorf("%s: %w", typ, err)
	}
	if err := c.Reset(ctx); err != nil {
		return err
	}
	texts := func(name string) (string, error) {
		var text string
		err := conn.QueryRow(ctx, fmt.Sprintf(`select string_agg(case when v is null then 'NULL' else length(v::text) || ':' || v::text end, E'\n' order by v::text) from %s`, name)).Scan(&text)
		return text, err
	}
	want, err := texts(table)
	if err != nil {
		return err
	}
	got, err := texts(table + "_back")
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%s: got %.300s\nwant %.300s", typ, got, want)
	}
	return nil
}

// A reader that makes NULL of what it cannot read loses data without a word: 1.5.5
// does with TIMESTAMPTZ.
func TestGarbageIsNeverNull(t *testing.T) {
	c := start(t)
	for _, m := range duck.Types() {
		typ := m.Postgres[0]
		if m.DuckDB == "VARCHAR" {
			continue
		}
		if typ == "numeric" {
			typ = "numeric(10,2)"
		}
		for _, garbage := range []string{"garbage", `""`, "0044-03-15 BC", "0044-03-15 00:00:00 BC", "0044-03-15 00:00:00+00 BC", "2026-01-02x", "1x"} {
			f, err := c.Feed(t.Context(), "r", []duck.Column{column("a", "integer"), column("b", typ)}, duck.FormatCopy, false)
			if err != nil {
				t.Fatal(err)
			}
			_, err = io.WriteString(f, "1,"+garbage+"\n")
			if closed := f.Close(); err == nil {
				err = closed
			}
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				var counts duck.Counts
				if counts, err = c.Counts(t.Context(), "r"); err != nil {
					t.Fatal(err)
				}
				t.Errorf("%s takes %q: %+v", typ, garbage, counts)
			}
			if err := c.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Results of the engine's own types arrive in PostgreSQL with their values.
func TestResultsArrive(t *testing.T) {
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{})
	conn := pg.Connect(t)
	c := start(t)
	for _, e := range []struct{ sql, typ, want string }{
		{"1::tinyint", "smallint", "1"},
		{"255::utinyint", "smallint", "255"},
		{"65535::usmallint", "integer", "65535"},
		{"4294967295::uinteger", "bigint", "4294967295"},
		{"18446744073709551615::ubigint", "numeric(20,0)", "18446744073709551615"},
		{"170141183460469231731687303715884105727::hugeint", "numeric(39,0)", "170141183460469231731687303715884105727"},
		{"340282366920938463463374607431768211455::uhugeint", "numeric(39,0)", "340282366920938463463374607431768211455"},
		{"sum(3::bigint)", "numeric(39,0)", "3"},
		{"1.50::decimal(18,2) * 3", "numeric(18,2)", "4.50"},
		{"'abc'", "text", "abc"},
		{"'{\"a\": 1}'::json", "json", `{"a": 1}`},
		{"'\\x00\\xFFa'::blob", "bytea", `\x00ff61`},
		{"[1, null, 3]", "json", "[1,null,3]"},
		{"{'a': 1, 'b': [true]}", "json", `{"a":1,"b":[true]}`},
		{"map {'k': 1.5}", "json", `{"k":1.5}`},
		{"'101'::bit", "bit varying", "101"},
		{"'x'::enum ('x', 'y')", "text", "x"},
		{"timestamp_s '2026-01-02 03:04:05'", "timestamp without time zone", "2026-01-02 03:04:05"},
		{"timestamp_ms '2026-01-02 03:04:05.678'", "timestamp without time zone", "2026-01-02 03:04:05.678"},
		{"timestamp_ns '2026-01-02 03:04:05.123456789'", "text", "2026-01-02 03:04:05.123456789"},
		{"timestamptz '2026-01-02 03:04:05.5+02'", "timestamp with time zone", "2026-01-02 01:04:05.5+00"},
		{"timetz '03:04:05+02'", "time with time zone", "03:04:05+02"},
		{"interval 14 months", "interval", "1 year 2 mons"},
		{"date '0044-03-15 (BC)'", "date", "0044-03-15 BC"},
	} {
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		step(t, c, "r", "select "+e.sql+" as v", false)
		columns, err := c.Columns(t.Context(), "r")
		if err != nil || len(columns) != 1 || columns[0] != column("v", e.typ) {
			t.Errorf("%s: got the columns %v, %v; want v %s", e.sql, columns, err, e.typ)
			continue
		}
		d, err := c.Drain(t.Context(), "r")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := arrive(t.Context(), conn, columns[0].Type, d); err != nil || got != e.want {
			t.Errorf("%s: got %q, %v; want %q", e.sql, got, err, e.want)
		}
	}
}

// arrive copies one value into a column of its type, and returns its text.
func arrive(ctx context.Context, conn *pgx.Conn, typ string, rows io.Reader) (string, error) {
	if _, err := conn.Exec(ctx, "set timezone = 'UTC'; drop table if exists r; create table r (v "+typ+")"); err != nil {
		return "", err
	}
	if _, err := conn.PgConn().CopyFrom(ctx, rows, "copy r from stdin (format csv)"); err != nil {
		return "", err
	}
	var text string
	err := conn.QueryRow(ctx, "select v::text from r").Scan(&text)
	return text, err
}

// The text that we make of a timestamptz is the engine's own.
func TestTextOfTimestamptz(t *testing.T) {
	t.Parallel()
	c := start(t)
	_, text := duck.ResultOf("TIMESTAMP WITH TIME ZONE", "v")
	const values = `select v from (select make_timestamptz((random() * 4e17)::bigint - 100_000_000_000_000_000) as v from range(100_000)
		union all select make_timestamptz(i * 100_000) from range(-50, 50) as r (i)
		union all from (values ('infinity'::timestamptz), ('-infinity'::timestamptz), (null), ('epoch'::timestamptz),
			('290000-12-31 23:59:59+00'::timestamptz), ('9999-12-31 23:59:59.999999+00'::timestamptz), ('10000-01-01 00:00:00+00'::timestamptz),
			('0001-01-01 00:00:00+00'::timestamptz), ('0044-03-15 (BC) 12:00:00.5+00'::timestamptz)))`
	for _, sql := range []string{
		"select coalesce(string_agg(" + text + " || ' and not ' || cast(v as varchar), ', '), 'none') from (" + values + ") where " + text + " is distinct from cast(v as varchar)",
		"select case when count(*) > 100_000 then 'none' end from (" + values + ")",
	} {
		if got, err := c.Assert(t.Context(), sql); err != nil || got != "none" {
			t.Errorf("got other texts: %.500s, %v", got, err)
		}
	}
}
