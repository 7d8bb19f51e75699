package duck_test

import (
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

func TestTypeOf(t *testing.T) {
	for postgres, want := range map[string]string{
		"integer": "INTEGER", "int4": "INTEGER", "INT": "INTEGER", "pg_catalog.int8": "BIGINT", "double precision": "DOUBLE", "double  precision": "DOUBLE",
		"numeric": "VARCHAR", "numeric(12,2)": "DECIMAL(12,2)", "numeric( 12 , 2 )": "DECIMAL(12,2)", "decimal(7)": "DECIMAL(7,0)", "numeric(38,38)": "DECIMAL(38,38)",
		"numeric(39,0)": "VARCHAR", "numeric(5,-2)": "VARCHAR", "numeric(2,5)": "VARCHAR", "numeric(x)": "VARCHAR", "numeric(5,2)[]": "VARCHAR",
		"timestamp": "TIMESTAMP", "timestamp(3) without time zone": "TIMESTAMP", "timestamp(0) with time zone": "TIMESTAMPTZ", "timestamptz(6)": "TIMESTAMPTZ",
		"time(3) without time zone": "TIME", "time with time zone": "VARCHAR", "interval": "INTERVAL", "interval(3)": "INTERVAL", "interval year to month": "VARCHAR",
		"character varying(20)": "VARCHAR", "text[]": "VARCHAR", "integer[]": "VARCHAR", `"Mood"`: "VARCHAR", "public.mood": "VARCHAR", "": "VARCHAR", "(": "VARCHAR", "uuid": "UUID",
	} {
		if got := duck.TypeOf(postgres).DuckDB; got != want {
			t.Errorf("%s: got %s, want %s", postgres, got, want)
		}
	}
}

func TestResultOf(t *testing.T) {
	for duckdb, want := range map[string][2]string{
		"BIGINT":            {"bigint", `"c"`},
		"DECIMAL(18,3)":     {"numeric(18,3)", `"c"`},
		"TIMESTAMP":         {"timestamp without time zone", `"c"`},
		"BLOB":              {"bytea", `'\x' || lower(hex("c"))`},
		"INTEGER[]":         {"json", `to_json("c")`},
		"DECIMAL(18,3)[3]":  {"json", `to_json("c")`},
		"STRUCT(a INTEGER)": {"json", `to_json("c")`},
		"ENUM('a', 'b')":    {"text", `"c"`},
		"GEOMETRY":          {"text", `CAST("c" AS VARCHAR)`},
	} {
		postgres, expression := duck.ResultOf(duckdb, `"c"`)
		if postgres != want[0] || expression != want[1] {
			t.Errorf("%s: got %s, %s; want %q", duckdb, postgres, expression, want)
		}
	}
}

// TestBinary goes by every type on the way out, so that a new one is thought of.
func TestBinary(t *testing.T) {
	asText := []string{"numeric", "time without time zone", "time with time zone", "interval", "bit varying"}
	for _, r := range duck.Results() {
		typ := r.Postgres
		if r.DuckDB == "DECIMAL" {
			typ = "numeric(18,2)"
		}
		if got, want := (duck.Column{Type: typ}).Binary(), !slices.Contains(asText, typ); got != want {
			t.Errorf("%s, of %s: got %t, want %t", typ, r.DuckDB, got, want)
		}
	}
}
