package rows_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// texty are further texts, most of which are values of something else.
var texty = []string{
	"0", "1", "-1", " 42 ", "+7", "1.5", "-1.5", "2.5", "0.4", "1e3", "1e-3", ".5", "5.", "1e", "e1", "", "-", "+", "1 2", "0x1F", "1_000", "NaN", "-NaN", "inf", "-Infinity", "+Infinity",
	"true", "f", "YES", "n", "on", "of", "o", "off", "tr", "truest", "2026-11-21", "2026-02-29", "2024-02-29", "2026-13-01", "2026-11-21 10:30", "2026-11-21T10:30:00.1234567Z",
	"2026-11-21 10:30:00+05:30", "2026-11-21 24:00:00", "2026-11-21 10:30:60", "2026-11-21 23:59:59.9999999", "infinity", "0044-03-15 BC", "9223372036854775808", "-9223372036854775808", "99999999999999999999999",
	"8A0E2F8C41A54F0B9E6E111111111111", "{8a0e2f8c-41a5-4f0b-9e6e-111111111111}", "8a0e-2f8c-41a5-4f0b-9e6e-1111-1111-1111", "8a0e2f8c-41a5-4f0b-9e6e-11111111111", "123456.789", "-0.005", "0.005", "99999.995", "0.00000000001", "abc", "abc  ", "größe",
	`{"a":1}`, `[1`, "null", "3.4028236e38", "1e400", "1e-400",
}

// TestCastsAreTheServers compares each cast with the server's own: the same value,
// or a reject where the server fails. What is stricter here is listed.
func TestCastsAreTheServers(t *testing.T) {
	_, conn := server(t)
	extra := func(typ string, more ...string) []string { return append(slices.Clone(samples[typ]), more...) }
	values := map[string][]string{
		"text": texty, "varchar": {"a", "12", "true"}, "bpchar(4)": {"a", "12  ", "1.5"},
		"bool": samples["bool"], "int2": samples["int2"], "int4": extra("int4", "1", "100000", "32768"), "int8": extra("int8", "2147483648", "1"),
		"float4": extra("float4", "1.5", "2.5", "-0.5", "123456789"), "float8": extra("float8", "1.5", "2.5", "-2.5", "0.5", "1e18", "9.3e18", "1e300", "123456.789", "1e-300"),
		"numeric": extra("numeric", "0.5", "-0.5", "1.4999", "2147483647.5", "9223372036854775807.4", "99999.995", "32767.49999", "1e20"),
		"date":    samples["date"], "timestamp": extra("timestamp", "1999-12-31 12:00:00", "2026-11-21 10:30:00.123456", "2026-11-21 10:30:00.55"), "timestamptz": samples["timestamptz"],
		"uuid": samples["uuid"], "json": {`{"a": 1}`, "null"}, "jsonb": samples["jsonb"],
	}
	to := []string{
		"text", "character varying(3)", "character(3)", "boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(7,2)", "numeric(4,4)",
		"date", "timestamp without time zone", "timestamp with time zone", "timestamp(1) without time zone", "uuid", "json", "jsonb",
	}
	for from := range values {
		for _, typ := range to {
			t.Run(from+" to "+typ, func(t *testing.T) { compareCast(t, conn, from, typ, values[from]) })
		}
	}
}

func compareCast(t *testing.T, conn *pgx.Conn, from, to string, values []string) {
	t.Helper()
	col, err := rows.NewColumn("v", from)
	if err != nil {
		t.Fatal(err)
	}
	p, err := rows.Compile([]rows.Column{col}, shaped(definition.RowStep{Cast: &definition.Field{Name: "v", Type: to}}), nil)
	castable := texts(t, conn, fmt.Sprintf(`select exists (select from pg_cast where castsource = '%s'::regtype and casttarget = '%s'::regtype) or '%s'::regtype = '%s'::regtype
		or '%s'::regtype in ('text', 'varchar', 'bpchar') or '%s'::regtype in ('text', 'varchar', 'bpchar')`, from, to, from, to, from, to))[0] == "true"
	if err != nil {
		// Numbers in JSON are left to the server.
		left := strings.HasPrefix(from, "json") && !strings.HasPrefix(to, "json")
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid || castable && !left {
			t.Errorf("got %v, and the server casts it", err)
		}
		return
	}
	exec(t, conn, "drop table if exists target; create temp table target (v "+to+")")
	for _, v := range values {
		var got string
		in := texts(t, conn, fmt.Sprintf("select quote_literal(%s::%s)", quoteOne(v), from))[0]
		var stream, out bytes.Buffer
		copyTo(t, conn, &stream, fmt.Sprintf("copy (select %s::%s) to stdout (format binary)", in, from))
		reason := ""
		err := p.Run(&stream, rows.Binary{}, &out, rows.Binary{}, nil, func(r rows.Reject) error { reason = r.Reason; return nil })
		if err != nil {
			t.Fatal(err)
		}
		exec(t, conn, "delete from target")
		if _, err := conn.PgConn().CopyFrom(t.Context(), &out, "copy target from stdin (format binary)"); err != nil {
			t.Errorf("%q: the server does not take what came out: %v", v, err)
			continue
		}
		if got = "reject"; reason == "" {
			got = texts(t, conn, "select v from target")[0]
		}
		want, err := theirs(t, conn, in, from, to)
		if err != nil {
			want = "reject"
		}
		if got != want && !stricter(from, to, v, got, want) {
			t.Errorf("%q: got %q (%s), want %q (%v)", v, got, reason, want, err)
		}
	}
}

func quoteOne(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// theirs is the server's own cast. Text that is cut is an error, as it is when a
// table is loaded.
func theirs(t *testing.T, conn *pgx.Conn, literal, from, to string) (string, error) {
	t.Helper()
	sql := fmt.Sprintf("insert into target select %s::%s::%s returning v::text", literal, from, strings.TrimSuffix(strings.TrimSuffix(to, "(3)"), "character varying"))
	if strings.Contains(to, "(3)") {
		sql = fmt.Sprintf("insert into target select %s::%s::text returning v::text", literal, from)
	}
	r, err := conn.Query(t.Context(), sql, pgx.QueryExecModeExec)
	if err != nil {
		return "", err
	}
	all, err := pgx.CollectRows(r, pgx.RowTo[string])
	if err != nil {
		return "", err
	}
	return all[0], nil
}

// stricter reports whether a reject here is a value that a server reads: dates and
// times that are not ISO 8601, zones where the type has none, and floats as C has
// them.
func stricter(from, to, v, got, want string) bool {
	if want == "294277-01-01 00:00:00" { // a server rounds to it, and does not receive it
		return true
	}
	if from != "text" || got != "reject" || want == "reject" {
		return false
	}
	switch to {
	case "real", "double precision":
		return v == "0x1F" || v == "-NaN"
	case "date":
		return strings.Contains(v, ":") || strings.HasPrefix(v, "+") || len(v) > 0 && v[0] != '2'
	case "timestamp without time zone", "timestamp(1) without time zone", "timestamp with time zone":
		return strings.ContainsAny(v, "Z+") || len(v) > 0 && v[0] != '2'
	}
	return false
}
