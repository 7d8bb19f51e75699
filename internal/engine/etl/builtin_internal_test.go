package etl

import (
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func TestBuiltInNames(t *testing.T) {
	t.Parallel()
	conn := testkit.StartPostgres(t, testkit.PostgresOptions{}).Connect(t)
	name := func(oid uint32, mod int32) string {
		t.Helper()
		var want string
		if err := conn.QueryRow(t.Context(), "SELECT format_type($1, $2)", oid, mod).Scan(&want); err != nil {
			t.Fatal(err)
		}
		return want
	}
	for oid := range builtIns {
		if got, _ := builtInName(oid, -1); got != name(oid, -1) {
			t.Errorf("type %d: got %s, want %s", oid, got, name(oid, -1))
		}
	}
	for oid := range arrays {
		if got, _ := builtInName(oid, -1); got != name(oid, -1) {
			t.Errorf("type %d: got %s, want %s", oid, got, name(oid, -1))
		}
	}
	for _, typ := range []string{
		"numeric(10,2)", "numeric(1000,0)", "numeric(3,-2)", "numeric(2,5)", "varchar(7)", "char(3)", "char", "bit(5)", "bit varying(9)", "time(0)", "time(3) with time zone",
		"timestamp(6)", "timestamptz(0)", "interval(2)", "interval", "numeric(10,2)[]", "varchar(7)[]", "timestamptz(3)[]", "bit(4)[]",
	} {
		d, err := conn.Prepare(t.Context(), "", "SELECT NULL::"+typ)
		if err != nil {
			t.Fatal(err)
		}
		f := d.Fields[0]
		if got, want := first(builtInName(f.DataTypeOID, f.TypeModifier)), name(f.DataTypeOID, f.TypeModifier); got != want {
			t.Errorf("%s: got %s, want %s", typ, got, want)
		}
	}
	// What the list lacks goes as text.
	rows, err := conn.Query(t.Context(), `SELECT oid, typname::text FROM pg_type WHERE oid < 10000 AND typtype IN ('b', 'r', 'm') AND typsend <> 0
		AND typelem NOT IN (SELECT oid FROM pg_type WHERE typtype IN ('c', 'p'))`)
	if err != nil {
		t.Fatal(err)
	}
	var oid uint32
	var typ string
	lacks := []string{"gtsvector", "_gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"}
	_, err = pgx.ForEachRow(rows, []any{&oid, &typ}, func() error {
		if _, ok := builtInName(oid, -1); !ok && !slices.Contains(lacks, typ) {
			t.Errorf("the list lacks %s", typ)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func first(s string, _ bool) string { return s }
