package duck

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Type is how values of a PostgreSQL type stand in the engine.
type Type struct {
	DuckDB string // type of the column, as SQL
	// Copied makes a value of the text of PostgreSQL's COPY: SQL with %s for the text.
	// When empty, the engine's reader reads the type by itself, and fails on what it
	// cannot read.
	Copied string
	// Wire is how the engine reads the type's values in PostgreSQL's binary form.
	Wire Wire
}

// Wire is a binary form in which servers send values.
type Wire uint8

// The forms.
const (
	WireNone  Wire = iota // it is not read here: such values travel as text
	WireOwn               // that of the engine's own type
	WireText              // text
	WireJSONB             // text behind the number of a version
	WireBytea             // bytes, which are hexadecimal text in the engine
)

// Binary reports whether the engine reads values of a PostgreSQL type in binary.
func Binary(postgres string) bool { return TypeOf(postgres).Wire != WireNone }

// Mapping is a row of the table of types on the way in.
type Mapping struct {
	Postgres []string // names; the first is the usual one
	Type
	Note string
}

// text is the engine's type for what travels as PostgreSQL's text.
var text = Type{DuckDB: "VARCHAR"}

// sent is text that servers send in a binary form that the engine reads.
func sent(w Wire) Type { return Type{DuckDB: text.DuckDB, Wire: w} }

// What the engine's reader would do in silence, and the expressions that keep it from
// that (DuckDB 1.5.5).
const (
	// It makes NULL of a timestamptz that it cannot read; a cast fails.
	castTimestamptz = "CAST(%s AS TIMESTAMPTZ)"
	// It ignores what follows a date, as the BC of 0044-03-15 BC.
	castDate = "CAST(CAST(%s AS TIMESTAMP) AS DATE)"
	// It knows no plus sign in an interval, which PostgreSQL writes behind a minus.
	castInterval = "CAST(replace(%s, '+', '') AS INTERVAL)"
)

// own is a type that servers send in its binary form.
func own(duckdb string) Type { return Type{DuckDB: duckdb, Wire: WireOwn} }

// mappings is the table of types on the way in. What it does not name is text, too.
var mappings = []Mapping{
	{Postgres: []string{"boolean", "bool"}, Type: own("BOOLEAN")},
	{Postgres: []string{"smallint", "int2", "smallserial"}, Type: own("SMALLINT")},
	{Postgres: []string{"integer", "int", "int4", "serial"}, Type: own("INTEGER")},
	{Postgres: []string{"bigint", "int8", "bigserial"}, Type: own("BIGINT")},
	{Postgres: []string{"oid"}, Type: own("UINTEGER")},
	{Postgres: []string{"real", "float4"}, Type: own("FLOAT"), Note: "NaN and infinities included"},
	{Postgres: []string{"double precision", "float8", "float"}, Type: own("DOUBLE"), Note: "NaN and infinities included"},
	{
		Postgres: []string{"numeric", "decimal", "dec"}, Type: Type{DuckDB: "DECIMAL(p, s)"},
		Note: "numeric(p, s) up to 38 digits; NaN and infinities are errors. Without precision, with more digits or with a scale outside of 0 to p it is VARCHAR, as text: cast it in the extract's query",
	},
	{
		Postgres: []string{"date"}, Type: Type{DuckDB: "DATE", Copied: castDate, Wire: WireOwn},
		Note: "infinities included; years before Christ and above 294246 are errors.",
	},
	{Postgres: []string{"time", "time without time zone"}, Type: own("TIME"), Note: "24:00 included"},
	{
		Postgres: []string{"timestamp", "timestamp without time zone"}, Type: own("TIMESTAMP"),
		Note: "infinities included; years before Christ are errors",
	},
	{
		Postgres: []string{"timestamp with time zone", "timestamptz"}, Type: Type{DuckDB: "TIMESTAMPTZ", Copied: castTimestamptz, Wire: WireOwn},
		Note: "infinities included; years before Christ are errors. SQL sees it in UTC",
	},
	{
		Postgres: []string{"interval"}, Type: Type{DuckDB: "INTERVAL", Copied: castInterval, Wire: WireOwn},
		Note: "in PostgreSQL's own style; infinities are errors",
	},
	{Postgres: []string{"uuid"}, Type: own("UUID")},
	{Postgres: []string{"text"}, Type: sent(WireText)},
	{Postgres: []string{"character varying", "varchar"}, Type: sent(WireText)},
	{Postgres: []string{"character", "char", "bpchar"}, Type: sent(WireText), Note: "with the spaces that fill it up"},
	{Postgres: []string{"json"}, Type: sent(WireText), Note: "the engine's JSON functions take it"},
	{Postgres: []string{"jsonb"}, Type: sent(WireJSONB), Note: "the engine's JSON functions take it"},
	{Postgres: []string{"bytea"}, Type: sent(WireBytea), Note: `as hexadecimal text, \x0102: from_hex(substr(b, 3)) makes bytes of it`},
	{Postgres: []string{"time with time zone", "timetz"}, Type: text},
	{Postgres: []string{"name"}, Type: sent(WireText)},
	{Postgres: []string{"money"}, Type: text, Note: "refused, since as text 9 would be more than 10: cast it to numeric(p, s) in the extract's query, or in a step in the source"},
	{Postgres: []string{"xml", "bit", "bit varying", "inet", "cidr", "macaddr", "point", "tsvector", "pg_lsn"}, Type: text},
	{Postgres: []string{"arrays, ranges, enumerations, composites, domains and any other type"}, Type: text, Note: "in PostgreSQL's own text form"},
}

// Types returns the table of types on the way in, for documentation.
func Types() []Mapping {
	all := slices.Clone(mappings)
	for i := range all {
		all[i].Postgres = slices.Clone(all[i].Postgres)
	}
	return all
}

// TypeOf returns how a PostgreSQL type, as format_type writes it or as a definition
// names it, stands in the engine. An unknown type travels as text, which is always
// without loss.
func TypeOf(postgres string) Type {
	name, mods := splitType(postgres)
	if name == "numeric" || name == "decimal" || name == "dec" {
		return decimal(mods)
	}
	for _, m := range mappings {
		if slices.Contains(m.Postgres, name) {
			return m.Type
		}
	}
	return text
}

// NumberAsText reports whether values of a PostgreSQL type are numbers, and stand in
// the engine as text: as such 9 is more than 10.
func NumberAsText(postgres string) bool {
	name, _ := splitType(postgres)
	switch name {
	case "numeric", "decimal", "dec", "money":
		return TypeOf(postgres).DuckDB == text.DuckDB
	}
	return false
}

// splitType takes a type apart: its name in lower case, with single spaces and
// without its schema when that is pg_catalog, and what stands between its
// parentheses. An array's name keeps its brackets.
func splitType(postgres string) (name, mods string) {
	name = strings.ToLower(postgres)
	if before, rest, ok := strings.Cut(name, "("); ok {
		inner, after, _ := strings.Cut(rest, ")")
		name, mods = before+" "+after, strings.TrimSpace(inner)
	}
	name = strings.Join(strings.Fields(name), " ")
	return strings.TrimPrefix(name, "pg_catalog."), mods
}

// maxDigits is DECIMAL's limit.
const maxDigits = 38

// decimal returns the engine's type for numeric with these modifiers.
func decimal(mods string) Type {
	precision, scale, _ := strings.Cut(mods, ",")
	p, err := strconv.Atoi(strings.TrimSpace(precision))
	if err != nil {
		return text
	}
	s := 0
	if scale != "" {
		if s, err = strconv.Atoi(strings.TrimSpace(scale)); err != nil {
			return text
		}
	}
	if p < 1 || p > maxDigits || s < 0 || s > p {
		return text
	}
	return Type{DuckDB: fmt.Sprintf("DECIMAL(%d,%d)", p, s), Wire: WireOwn}
}

// Result is a row of the table of types on the way out.
type Result struct {
	DuckDB   string
	Postgres string
	Note     string
	// Expression makes the text of a value that PostgreSQL reads, of the column that
	// stands for %s; empty where the engine's own text will do.
	Expression string
}

// textOfTimestamptz is what the engine's cast returns in UTC, without the calendar of
// ICU, which takes three times as long (DuckDB 1.5.5).
const textOfTimestamptz = "CASE WHEN isfinite(%s) THEN CAST(make_timestamp(epoch_us(%[1]s)) AS VARCHAR) || '+00' ELSE CAST(%[1]s AS VARCHAR) END"

var results = []Result{
	{DuckDB: "BOOLEAN", Postgres: "boolean"},
	{DuckDB: "TINYINT", Postgres: "smallint"},
	{DuckDB: "SMALLINT", Postgres: "smallint"},
	{DuckDB: "INTEGER", Postgres: "integer"},
	{DuckDB: "BIGINT", Postgres: "bigint"},
	{DuckDB: "UTINYINT", Postgres: "smallint"},
	{DuckDB: "USMALLINT", Postgres: "integer"},
	{DuckDB: "UINTEGER", Postgres: "bigint"},
	{DuckDB: "UBIGINT", Postgres: "numeric(20,0)"},
	{DuckDB: "HUGEINT", Postgres: "numeric(39,0)", Note: "what sum() of integers returns"},
	{DuckDB: "UHUGEINT", Postgres: "numeric(39,0)"},
	{DuckDB: "BIGNUM", Postgres: "numeric"},
	{DuckDB: "DECIMAL", Postgres: "numeric", Note: "with its precision and scale"},
	{DuckDB: "FLOAT", Postgres: "real"},
	{DuckDB: "DOUBLE", Postgres: "double precision"},
	{DuckDB: "VARCHAR", Postgres: "text"},
	{DuckDB: "JSON", Postgres: "json"},
	{DuckDB: "UUID", Postgres: "uuid"},
	{DuckDB: "DATE", Postgres: "date"},
	{DuckDB: "TIME", Postgres: "time without time zone"},
	{DuckDB: "TIME WITH TIME ZONE", Postgres: "time with time zone"},
	{DuckDB: "TIMESTAMP", Postgres: "timestamp without time zone"},
	{DuckDB: "TIMESTAMP_S", Postgres: "timestamp without time zone"},
	{DuckDB: "TIMESTAMP_MS", Postgres: "timestamp without time zone"},
	{DuckDB: "TIMESTAMP_NS", Postgres: "text", Note: "PostgreSQL has no nanoseconds: cast it to TIMESTAMP"},
	{DuckDB: "TIMESTAMP WITH TIME ZONE", Postgres: "timestamp with time zone", Expression: textOfTimestamptz},
	{DuckDB: "INTERVAL", Postgres: "interval"},
	{DuckDB: "BLOB", Postgres: "bytea", Expression: `'\x' || lower(hex(%s))`},
	{DuckDB: "BIT", Postgres: "bit varying"},
	{DuckDB: "ENUM", Postgres: "text"},
	{DuckDB: "LIST, ARRAY, STRUCT, MAP, UNION, VARIANT", Postgres: "json", Expression: "to_json(%s)", Note: "for a PostgreSQL array make its text: '{' || array_to_string(list, ',') || '}'"},
	{DuckDB: "any other type", Postgres: "text", Expression: "CAST(%s AS VARCHAR)"},
}

// Binary reports whether a column of a result can leave the engine in binary.
func (c Column) Binary() bool {
	switch c.Type {
	case "boolean", "smallint", "integer", "bigint", "real", "double precision", "text", "json", "uuid", "bytea", "date",
		"timestamp without time zone", "timestamp with time zone":
		return true
	}
	return strings.HasPrefix(c.Type, "numeric(")
}

// Results returns the table of types on the way out, for documentation.
func Results() []Result { return slices.Clone(results) }

// ResultOf returns the PostgreSQL type for a column of the engine's type, and the
// expression of the column, whose SQL is given, that PostgreSQL reads as such.
func ResultOf(duckdb, column string) (postgres, expression string) {
	name, mods, parameterized := strings.Cut(duckdb, "(")
	r := results[len(results)-1]
	switch {
	case strings.HasSuffix(duckdb, "]"), slices.Contains([]string{"STRUCT", "MAP", "UNION", "VARIANT"}, name):
		r = results[len(results)-2]
	case name == "DECIMAL" && parameterized:
		return "numeric(" + strings.TrimSuffix(mods, ")") + ")", column
	default:
		for _, c := range results {
			if c.DuckDB == name {
				r = c
				break
			}
		}
	}
	if r.Expression == "" {
		return r.Postgres, column
	}
	return r.Postgres, strings.NewReplacer("%s", column, "%[1]s", column).Replace(r.Expression)
}
