package duck

import (
	"slices"
	"strconv"
	"strings"
)

// widenings are the engine's types of which every value is one of another, too, but for
// DECIMAL. Times without a zone are UTC's, as in the sessions of servers.
var widenings = map[string][]string{
	"SMALLINT":    {"TINYINT", "UTINYINT"},
	"INTEGER":     {"TINYINT", "UTINYINT", "SMALLINT", "USMALLINT"},
	"UINTEGER":    {"UTINYINT", "USMALLINT"},
	"BIGINT":      {"TINYINT", "UTINYINT", "SMALLINT", "USMALLINT", "INTEGER", "UINTEGER"},
	"FLOAT":       {"TINYINT", "UTINYINT", "SMALLINT", "USMALLINT"},
	"DOUBLE":      {"TINYINT", "UTINYINT", "SMALLINT", "USMALLINT", "INTEGER", "UINTEGER", "FLOAT"},
	"TIMESTAMP":   {"DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMPTZ"},
	"TIMESTAMPTZ": {"DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP"},
}

// digits are those of the widest number of the engine's integers.
var digits = map[string]int{
	"TINYINT": 3, "UTINYINT": 3, "SMALLINT": 5, "USMALLINT": 5, "INTEGER": 10, "UINTEGER": 10, "BIGINT": 19, "UBIGINT": 20,
}

// Fits reports whether each value of one of the engine's types is a value of a
// PostgreSQL type, so that a cast loses nothing and fails on nothing.
func Fits(duckdb, postgres string) bool {
	if duckdb == "TIMESTAMP WITH TIME ZONE" {
		duckdb = "TIMESTAMPTZ"
	}
	want := TypeOf(postgres).DuckDB
	if duckdb == want || want == text.DuckDB || slices.Contains(widenings[want], duckdb) {
		return duckdb != ""
	}
	width, scale, ok := decimalOf(want)
	if !ok {
		return false
	}
	if n, ok := digits[duckdb]; ok {
		return n <= width-scale
	}
	w, s, ok := decimalOf(duckdb)
	return ok && s <= scale && w-s <= width-scale
}

// decimalOf reads DECIMAL(width,scale).
func decimalOf(typ string) (width, scale int, ok bool) {
	inner, ok := strings.CutPrefix(strings.TrimSuffix(typ, ")"), "DECIMAL(")
	first, second, both := strings.Cut(inner, ",")
	width, err := strconv.Atoi(first)
	scale, err2 := strconv.Atoi(second)
	return width, scale, ok && both && err == nil && err2 == nil
}
