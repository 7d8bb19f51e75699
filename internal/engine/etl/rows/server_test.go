package rows_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// samples are values of each base type that a server can send and receive. The test
// below fails when the catalogue has one more.
var samples = map[string][]string{
	"bool":           {"t", "f"},
	"bytea":          {`\x`, `\x00ff10`},
	"\"char\"":       {"a", ""},
	"name":           {"", "größe"},
	"int8":           {"0", "-1", "9223372036854775807", "-9223372036854775808"},
	"int2":           {"0", "-32768", "32767"},
	"int4":           {"0", "-2147483648", "2147483647", "42"},
	"text":           {"", " ", `\N`, "a,b", `a"b`, "line\nfeed\r\n", "\ttab", "🦆", `\.`, `\`, "NULL", strings.Repeat("long", 70_000)},
	"oid":            {"0", "4294967295"},
	"tid":            {"(0,1)", "(4294967295,65535)"},
	"xid":            {"0", "4294967295"},
	"cid":            {"0", "4294967295"},
	"json":           {`{"a": [1, null, "x"]}`, "null", ` {"kept" :  1}`},
	"xml":            {"<a>b</a>"},
	"xid8":           {"0", "18446744073709551615"},
	"point":          {"(1,2)", "(-0.5,1e+100)"},
	"lseg":           {"[(1,2),(3,4)]"},
	"path":           {"((1,2),(3,4))", "[(1,2),(3,4)]"},
	"box":            {"(3,4),(1,2)"},
	"polygon":        {"((1,2),(3,4),(5,6))"},
	"line":           {"{1,2,3}"},
	"float4":         {"0", "-0", "1.1", "1e+06", "999999", "1e-05", "0.0001", "NaN", "Infinity", "-Infinity", "3.4028235e+38", "1e-45", "16777216"},
	"float8":         {"0", "-0", "0.1", "1e+15", "999999999999999.9", "123456789012345.67", "1e-05", "0.0001", "NaN", "Infinity", "-Infinity", "1.7976931348623157e+308", "5e-324", "0.30000000000000004"},
	"unknown":        {"", "x"},
	"circle":         {"<(1,2),3>"},
	"money":          {"$1.50", "-$1,000.00"},
	"macaddr":        {"08:00:2b:01:02:03"},
	"inet":           {"10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32", "10.1.2.3/24"},
	"cidr":           {"10.0.0.0/8", "2001:db8::/32", "10.0.0.1/32"},
	"macaddr8":       {"08:00:2b:01:02:03:04:05"},
	"bpchar":         {"", "a", "a b"},
	"varchar":        {"", "a ", "größe"},
	"date":           {"2026-11-21", "2000-01-01", "1999-12-31", "1969-07-20", "4714-11-24 BC", "0001-01-01", "0001-12-31 BC", "0044-03-15 BC", "5874897-12-31", "infinity", "-infinity", "2024-02-29", "1900-03-01", "10000-01-01"},
	"time":           {"00:00:00", "24:00:00", "23:59:59.999999", "10:30:00.5"},
	"timestamp":      {"2026-11-21 10:30:00", "2000-01-01 00:00:00.000001", "1999-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59.999999", "infinity", "-infinity", "0044-03-15 12:00:00.5 BC"},
	"timestamptz":    {"2026-11-21 10:30:00+00", "1999-12-31 23:59:59.5+00", "4714-11-24 00:00:00+00 BC", "294276-12-31 23:59:59.999999+00", "infinity", "-infinity"},
	"interval":       {"00:00:00", "1 day", "1 year 2 mons 3 days 04:05:06.789", "-1 days", "-00:00:01", "1 mon -1 days", "178000000 years"},
	"timetz":         {"10:30:00+02", "00:00:00-15:59", "24:00:00+00"},
	"bit":            {"0", "1"},
	"varbit":         {"", "0", "1010101011"},
	"numeric":        {"0", "0.00", "1", "-1", "1.50", "10000", "9999", "12345.6789", "0.0001", "0.00001", "-0.00000000012", "1e-100", "123456789012345678901234567890.123456789", "1e100", "NaN", "Infinity", "-Infinity", "100000000", "0.1000", "99999999.99999999", "1e131071", "1e-16383"},
	"refcursor":      {"", "c"},
	"regprocedure":   {"-", "abs(integer)"},
	"regproc":        {"-", "pg_sleep"},
	"regoper":        {"0"},
	"regoperator":    {"0"},
	"regclass":       {"pg_class"},
	"regcollation":   {"-"},
	"regtype":        {"-", "integer"},
	"regrole":        {"-"},
	"regnamespace":   {"-", "pg_catalog"},
	"regconfig":      {"-", "english"},
	"regdictionary":  {"-", "simple"},
	"uuid":           {"8a0e2f8c-41a5-4f0b-9e6e-111111111111", "00000000-0000-0000-0000-000000000000"},
	"pg_lsn":         {"0/0", "FFFFFFFF/FFFFFFFF"},
	"tsvector":       {"", "'a':1A 'b':2,3"},
	"tsquery":        {"", "'a' & !'b' <2> 'c':*A"},
	"jsonb":          {`{"a": [1, null, "x"]}`, "null", "1.50"},
	"jsonpath":       {`$."a"[*]?(@ > 1)`},
	"txid_snapshot":  {"1:1:", "10:20:11,12"},
	"pg_snapshot":    {"1:1:", "10:20:11,12"},
	"_int4":          {"{}", "{1,NULL,-3}", "{{1,2},{3,4}}", "{{{1},{2}},{{3},{4}}}"},
	"_text":          {"{}", `{"",NULL,"NULL","a,b","\"q\"","\\"," x"}`},
	"_numeric":       {"{1.50,NaN,NULL}"},
	"_timestamptz":   {`{"2026-11-21 10:30:00+00"}`},
	"_bool":          {"{t,f}"},
	"_uuid":          {"{8a0e2f8c-41a5-4f0b-9e6e-111111111111}"},
	"_int8":          {"{9223372036854775807}"},
	"_int2":          {"{1,-1}"},
	"_varchar":       {"{a,\"b c\"}"},
	"int4range":      {"empty", "[1,5)", "(,)", "[1,)"},
	"int8range":      {"[1,5)", "(,5)"},
	"numrange":       {"[1.5,2.5]", "(,1)"},
	"daterange":      {"[2026-01-01,2026-02-01)", "[2026-01-01,)"},
	"tsrange":        {`["2026-01-01 00:00:00","2026-02-01 00:00:00")`},
	"tstzrange":      {`["2026-01-01 00:00:00+00",)`},
	"int4multirange": {"{}", "{[1,5),[7,9)}"},
}

// notSamples are base types that cannot be written in SQL, or hold nothing of a
// user's.
var notSamples = []string{
	"pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary",
	"gtsvector", "aclitem", "int2vector", "oidvector",
}

// server starts a server and returns a session of it that writes text as rows does.
func server(t testing.TB) (*testkit.Postgres, *pgx.Conn) {
	t.Helper()
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Conf: map[string]string{"fsync": "off"}})
	conn := pg.Connect(t)
	exec(t, conn, "set timezone = 'UTC'")
	return pg, conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
}

// texts returns the one column of a query, as text; null is "<null>".
func texts(t testing.TB, conn *pgx.Conn, sql string) []string {
	t.Helper()
	r, err := conn.Query(t.Context(), "select coalesce(q::text, '<null>') from ("+sql+") as s(q)", pgx.QueryExecModeExec)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(r, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%.200s: %v", sql, err)
	}
	return all
}

func quoteAll(values []string) string {
	q := make([]string, len(values))
	for i, v := range values {
		q[i] = "('" + strings.ReplaceAll(v, "'", "''") + "')"
	}
	return strings.Join(q, ", ")
}

// sampleTable makes a table with the samples of a type and NULL, in order.
func sampleTable(t testing.TB, conn *pgx.Conn, typ string) rows.Column {
	t.Helper()
	exec(t, conn, fmt.Sprintf(`drop table if exists sample; create table sample (n int generated always as identity, v %s);
		insert into sample (v) select v::%s from (values %s) as s(v); insert into sample (v) values (null)`, typ, typ, quoteAll(samples[typ])))
	d, err := conn.Prepare(t.Context(), "", "select v from sample")
	if err != nil {
		t.Fatal(err)
	}
	oid := d.Fields[0].DataTypeOID
	name := texts(t, conn, fmt.Sprintf("select format_type(%d, -1)", oid))[0]
	return rows.Column{Name: "v", OID: oid, Type: name}
}

func TestEveryBaseTypePassesBothWays(t *testing.T) {
	_, conn := server(t)
	known := append(slices.Clone(notSamples), "cstring", "char")
	for typ := range samples {
		known = append(known, strings.Trim(typ, `"`))
	}
	for _, typ := range texts(t, conn, `select typname from pg_type where typtype = 'b' and typcategory <> 'A' and typsend <> 0 and typreceive <> 0
		and typnamespace = 'pg_catalog'::regnamespace order by oid`) {
		if !slices.Contains(known, typ) {
			t.Errorf("the type %s of this server has no sample", typ)
		}
	}
	for typ := range samples {
		t.Run(typ, func(t *testing.T) {
			if typ == "unknown" {
				return // a column cannot have it; a query's can, which servers make text
			}
			col := sampleTable(t, conn, typ)
			exec(t, conn, "drop table if exists copy; create table copy (n int generated always as identity, v "+typ+")")
			p, err := rows.Compile([]rows.Column{col}, shaped(definition.RowStep{Rename: &definition.Rename{Column: "v", To: "w"}}), nil)
			if err != nil {
				t.Fatal(err)
			}
			var stream, passed bytes.Buffer
			if _, err := conn.PgConn().CopyTo(t.Context(), &stream, "copy (select v from sample order by n) to stdout (format binary)"); err != nil {
				t.Fatal(err)
			}
			if err := p.Run(&stream, rows.Binary{}, &passed, rows.Binary{}, nil, nil); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.PgConn().CopyFrom(t.Context(), &passed, "copy copy (v) from stdin (format binary)"); err != nil {
				t.Fatal(err)
			}
			want := texts(t, conn, "select v from sample order by n")
			if got := texts(t, conn, "select v from copy order by n"); !slices.Equal(got, want) {
				t.Errorf("got %.300q, want %.300q", got, want)
			}
		})
	}
}

// textTypes are the types of samples that become text here, and are read from it.
var textTypes = []string{
	"bool", "bytea", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bpchar", "name", "json", "jsonb",
	"date", "timestamp", "timestamptz", "uuid", "time", "interval", "inet", "cidr", "_int2", "_int4", "_int8", "_text", "_varchar", "_bool", "_uuid", "_numeric", "_timestamptz", "macaddr", "bit", "varbit", "oid",
}

// TestTextIsTheServers writes each type as CSV and compares with the server's own,
// and reads what the server wrote.
func TestTextIsTheServers(t *testing.T) {
	_, conn := server(t)
	for _, typ := range textTypes {
		t.Run(typ, func(t *testing.T) {
			col := sampleTable(t, conn, typ)
			p, err := rows.Compile([]rows.Column{col}, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			var theirs, ours, stream, back bytes.Buffer
			copyTo(t, conn, &theirs, "copy (select v from sample order by n) to stdout (format csv)")
			copyTo(t, conn, &stream, "copy (select v from sample order by n) to stdout (format binary)")
			if err := p.Run(&stream, rows.Binary{}, &ours, rows.CSV{}, nil, nil); err != nil {
				t.Fatal(err)
			}
			if a, b := lines(ours.String()), lines(theirs.String()); !slices.Equal(a, b) {
				t.Errorf("got %.400q, want %.400q", a, b)
			}
			if err := p.Run(&theirs, rows.CSV{}, &back, rows.Binary{}, nil, nil); err != nil {
				t.Fatal(err)
			}
			exec(t, conn, "drop table if exists copy; create table copy (n int generated always as identity, v "+typ+")")
			if _, err := conn.PgConn().CopyFrom(t.Context(), &back, "copy copy (v) from stdin (format binary)"); err != nil {
				t.Fatal(err)
			}
			want := texts(t, conn, "select v from sample order by n")
			if got := texts(t, conn, "select v from copy order by n"); !slices.Equal(got, want) {
				t.Errorf("what the server wrote as text was read as %.400q, want %.400q", got, want)
			}
		})
	}
}

func lines(s string) []string { return strings.SplitAfter(s, "\n") }

func copyTo(t testing.TB, conn *pgx.Conn, w io.Writer, sql string) {
	t.Helper()
	if _, err := conn.PgConn().CopyTo(context.WithoutCancel(t.Context()), w, sql); err != nil {
		t.Fatal(err)
	}
}
