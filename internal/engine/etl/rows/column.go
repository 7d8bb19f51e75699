package rows

import (
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
)

// Column is a column of rows.
type Column struct {
	Name string
	OID  uint32 // of the type, in the server that the rows come from or go to
	Type string // as format_type writes it: numeric(18,6), character varying(20)
	// Textual is true for a type that is not built in and whose binary form is its
	// text, as enums have it and citext. Of built-in types it is known.
	Textual bool
}

// firstUserOID is the first that a server gives to types that are not built in:
// these differ between databases. Source: FirstNormalObjectId in
// src/include/access/transam.h.
const firstUserOID = 16384

// aliases are SQL's names for types that are called otherwise in a server.
var aliases = map[string]string{
	"integer": "int4", "int": "int4", "bigint": "int8", "smallint": "int2", "real": "float4", "double precision": "float8",
	"float": "float8", "decimal": "numeric", "boolean": "bool", "character varying": "varchar", "character": "bpchar", "char": "bpchar",
	"timestamp without time zone": "timestamp", "timestamp with time zone": "timestamptz", "time without time zone": "time",
	"time with time zone": "timetz", "bit varying": "varbit",
}

// formatted is what format_type calls them.
var formatted = map[uint32]string{
	pgtype.Int4OID: "integer", pgtype.Int8OID: "bigint", pgtype.Int2OID: "smallint", pgtype.Float4OID: "real",
	pgtype.Float8OID: "double precision", pgtype.BoolOID: "boolean", pgtype.VarcharOID: "character varying", pgtype.BPCharOID: "character",
	pgtype.TimestampOID: "timestamp without time zone", pgtype.TimestamptzOID: "timestamp with time zone",
	pgtype.TimeOID: "time without time zone", pgtype.TimetzOID: "time with time zone", pgtype.VarbitOID: "bit varying",
}

// unmapped are types of which package pgtype knows no values. Source: oid and
// array_type_oid in src/include/catalog/pg_type.dat.
var unmapped = map[string]uint32{
	"timetz": pgtype.TimetzOID, "_timetz": 1270,
	"_int4multirange": 6150, "_nummultirange": 6151, "_tsmultirange": 6152, "_tstzmultirange": 6153, "_datemultirange": 6155, "_int8multirange": 6157,
}

// oidOf returns the number of a built-in type.
func oidOf(types *pgtype.Map, name string) (uint32, bool) {
	if t, ok := types.TypeForName(name); ok {
		return t.OID, true
	}
	oid, ok := unmapped[name]
	return oid, ok
}

// NewColumn returns a column with a built-in type that is named as in SQL:
// numeric(18,6), text, timestamp with time zone, integer[]. Errors have the code
// invalid.
func NewColumn(name, typ string) (Column, error) {
	base, mod, err := parseType(typ)
	if err != nil {
		return Column{}, holdfast.Errorf(holdfast.CodeInvalid, "column %s: %s", name, holdfast.ErrorMessage(err)).WithHint("%s", holdfast.ErrorHint(err))
	}
	types := pgtype.NewMap()
	oid, ok := oidOf(types, base)
	element, array := strings.CutPrefix(base, "_")
	shown, okShown := oidOf(types, element)
	if !ok || !okShown {
		return Column{}, holdfast.Errorf(holdfast.CodeInvalid, "column %s: there is no type %q here", name, typ).
			WithHint("use a built-in type of PostgreSQL, such as text, bigint, numeric(18,6), timestamptz or jsonb")
	}
	c := Column{Name: name, OID: oid, Type: element}
	if f, ok := formatted[shown]; ok && (mod.set || shown != pgtype.BPCharOID) {
		c.Type = f
	}
	if !mod.takes(oid) {
		return Column{}, holdfast.Errorf(holdfast.CodeInvalid, "column %s: %q has limits that its type does not take", name, typ)
	}
	if c.Type = mod.in(c.Type); array {
		c.Type += "[]"
	}
	return c, nil
}

// modifier is what stands between parentheses behind a type: a length, or a
// precision and a scale.
type modifier struct {
	set          bool
	first, scale int
}

// takes reports whether a type may have the modifier.
func (m modifier) takes(oid uint32) bool {
	if !m.set {
		return true
	}
	switch oid {
	case pgtype.NumericOID:
		return m.first >= 1 && m.first <= 1000 && m.scale >= 0 && m.scale <= m.first
	case pgtype.VarcharOID, pgtype.BPCharOID, pgtype.BitOID, pgtype.VarbitOID:
		return m.first >= 1 && m.scale == 0
	case pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.TimeOID, pgtype.TimetzOID, pgtype.IntervalOID:
		return m.first >= 0 && m.first <= 6 && m.scale == 0
	}
	return false
}

// in writes the modifier where format_type does: behind the first word, or two.
func (m modifier) in(typ string) string {
	if !m.set {
		return typ
	}
	text := "(" + strconv.Itoa(m.first) + ")"
	if m.scale > 0 || typ == "numeric" {
		text = "(" + strconv.Itoa(m.first) + "," + strconv.Itoa(m.scale) + ")"
	}
	if before, after, ok := strings.Cut(typ, " with"); ok {
		return before + text + " with" + after
	}
	return typ + text
}

// parseType cuts a type into the name that pgtype knows and its modifier.
func parseType(typ string) (string, modifier, error) {
	t := strings.ToLower(strings.TrimSpace(typ))
	t = strings.TrimPrefix(t, "pg_catalog.")
	t, array := strings.CutSuffix(t, "[]")
	var mod modifier
	if open := strings.IndexByte(t, '('); open >= 0 {
		end := strings.IndexByte(t, ')')
		if end < open {
			return "", mod, holdfast.Errorf(holdfast.CodeInvalid, "the type %q has no end", typ).WithHint("write it as in SQL: numeric(18,6)")
		}
		first, scale, both := strings.Cut(t[open+1:end], ",")
		n, err := strconv.Atoi(strings.TrimSpace(first))
		if err == nil && both {
			mod.scale, err = strconv.Atoi(strings.TrimSpace(scale))
		}
		if err != nil {
			return "", mod, holdfast.Errorf(holdfast.CodeInvalid, "the type %q has limits that are no numbers", typ).WithHint("write it as in SQL: numeric(18,6)")
		}
		mod.set, mod.first = true, n
		t = t[:open] + t[end+1:]
	}
	t = strings.Join(strings.Fields(t), " ")
	if a, ok := aliases[t]; ok {
		t = a
	}
	if t == "bpchar" && !mod.set && !strings.Contains(typ, "bpchar") {
		mod = modifier{set: true, first: 1} // SQL's character alone is one character
	}
	if array {
		t = "_" + t
		if mod.set {
			return "", mod, holdfast.Errorf(holdfast.CodeInvalid, "the array type %q has limits", typ).WithHint("leave out what is between the parentheses")
		}
	}
	return t, mod, nil
}
