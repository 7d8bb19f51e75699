package bind_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// nasty are values that want to be SQL.
var nasty = []string{
	"", " ", "x'; drop table orders; --", `\'; drop table orders; --`, "'", "''", `\`, `\\`, `"`, "$$", "$1", ":a", ";", "--", "/*",
	"line\nfeed\r\n", "tab\t", "🦆 größe", "0 or 1=1", "null", "NULL", "n", "v", "%s", "\x01", strings.Repeat("long ", 100_000), "\u00a0",
}

// query runs rewritten SQL as extracts do: COPY in a transaction with the settings.
func query(t *testing.T, conn *pgx.Conn, sql string, declared map[string]string, values map[string]*string) (string, error) {
	t.Helper()
	if err := bind.SingleSelect(sql); err != nil {
		t.Fatal(err)
	}
	rewritten, err := bind.Postgres(sql, declared, values)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // there is nothing to keep
	for _, s := range bind.Settings(values) {
		if _, err := tx.Exec(t.Context(), "select pg_catalog.set_config($1, $2, true)", s[0], s[1]); err != nil {
			return "", err
		}
	}
	var out bytes.Buffer
	_, err = conn.PgConn().CopyTo(t.Context(), &out, "COPY (\n"+rewritten+"\n) TO STDOUT (FORMAT csv, NULL '<null>')")
	return strings.TrimSuffix(out.String(), "\n"), err
}

func TestValuesStayValuesOnAServer(t *testing.T) {
	conn := testkit.StartPostgres(t, testkit.PostgresOptions{}).Connect(t)
	if _, err := conn.Exec(t.Context(), "create table orders as select i as id, i::text as name from generate_series(1, 10) i"); err != nil {
		t.Fatal(err)
	}
	// The server's own setting reads backslashes as escapes; ours must win.
	if _, err := conn.Exec(t.Context(), "set standard_conforming_strings = off"); err != nil {
		t.Fatal(err)
	}
	declared := map[string]string{"a": "text", "A": "text", "n": "numeric"}
	other := "other"
	for _, v := range nasty {
		values := map[string]*string{"a": &v, "A": &other}
		got, err := query(t, conn, `select encode(convert_to(:a, 'UTF8'), 'hex'), :A, :n is null, '\', ':a', "name" -- :a`+"\nfrom orders where id = 7", declared, values)
		want := hex.EncodeToString([]byte(v)) + `,other,t,\,:a,7`
		if err != nil || got != want {
			t.Errorf("%.40q: got %.80s, %v, want %.80s", v, got, err, want)
		}
	}
	for _, v := range nasty {
		got, err := query(t, conn, "select :n from orders", declared, map[string]*string{"n": &v})
		if pe, ok := errors.AsType[*pgconn.PgError](err); !ok || pe.Code != "22P02" {
			t.Errorf("%.40q as a number: got %s, %v, want a value that is no number", v, got, err)
		}
	}
	if got, err := query(t, conn, "select count(*) from orders", declared, nil); err != nil || got != "10" {
		t.Errorf("got %s orders, %v, want 10", got, err)
	}
}

func TestEachTypeOfParameterIsBound(t *testing.T) {
	conn := testkit.StartPostgres(t, testkit.PostgresOptions{}).Connect(t)
	if _, err := conn.Exec(t.Context(), "set timezone = 'UTC'"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ declared, value, typ, want string }{
		{"text", "a b", "text", "a b"},
		{"integer", "-7", "integer", "-7"},
		{"bigint", "9000000000", "bigint", "9000000000"},
		{"numeric", "1.50", "numeric", "1.50"},
		{"boolean", "yes", "boolean", "true"},
		{"date", "2026-11-21", "date", "2026-11-21"},
		{"timestamptz", "2026-11-21T10:00:00Z", "timestamp with time zone", "2026-11-21 10:00:00+00"},
		{"uuid", "8A0E2F8C-41A5-4F0B-9E6E-111111111111", "uuid", "8a0e2f8c-41a5-4f0b-9e6e-111111111111"},
	} {
		const sql = "select pg_typeof(:p)::text || '|' || coalesce(:p::text, 'null')"
		declared := map[string]string{"p": c.declared}
		got, err := query(t, conn, sql, declared, map[string]*string{"p": &c.value})
		if want := c.typ + "|" + c.want; err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", c.declared, got, err, want)
		}
		got, err = query(t, conn, sql, declared, map[string]*string{"p": nil})
		if want := c.typ + "|null"; err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", c.declared, got, err, want)
		}
	}
}

// The planner must see through the setting: an index, and the right number of rows.
func TestThePlannerKnowsTheValue(t *testing.T) {
	conn := testkit.StartPostgres(t, testkit.PostgresOptions{}).Connect(t)
	for _, sql := range []string{
		"create table orders as select i as id, i / 100.0 as price from generate_series(1, 100000) i",
		"create index on orders (price)", "analyze orders",
	} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	least := "995"
	values := map[string]*string{"min": &least}
	sql, err := bind.Postgres("explain (format text) select * from orders where price >= :min", map[string]string{"min": "numeric"}, values)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // there is nothing to keep
	for _, s := range bind.Settings(values) {
		if _, err := tx.Exec(t.Context(), "select pg_catalog.set_config($1, $2, true)", s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := tx.Query(t.Context(), sql)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	var estimate int
	_, after, _ := strings.Cut(plan[0], " rows=")
	if _, err := fmt.Sscan(after, &estimate); err != nil {
		t.Fatalf("%q: %v", plan, err)
	}
	if !strings.Contains(plan[0], "Index") || estimate < 300 || estimate > 800 { // there are 501
		t.Errorf("got the plan %q, want an index and about 501 rows", plan)
	}
}
