package definition

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Type is a type of PostgreSQL, as a field or a column has it.
type Type struct {
	Name      string // as format_type writes it, without modifiers: timestamp with time zone
	Modifiers []int  // of numeric(18,6): 18 and 6
	Array     bool
}

// modifiers says which modifiers a type takes.
type modifiers uint8

const (
	none      modifiers = iota
	length              // (n), 1 to 10,485,760
	bits                // (n), 1 to 83,886,080
	precision           // (p) or (p,s)
	seconds             // (p), 0 to 6
)

// pgTypes are the types of a field, by their names in lower case: those of
// PostgreSQL that package rows reads and writes. Source of the names: the
// PostgreSQL documentation, "Data Types", table 8.1, and "Range Types".
var pgTypes = map[string]struct {
	name string
	mods modifiers
}{
	"smallint": {"smallint", none}, "int2": {"smallint", none},
	"integer": {"integer", none}, "int": {"integer", none}, "int4": {"integer", none},
	"bigint": {"bigint", none}, "int8": {"bigint", none},
	"numeric": {"numeric", precision}, "decimal": {"numeric", precision},
	"real": {"real", none}, "float4": {"real", none},
	"double precision": {"double precision", none}, "float8": {"double precision", none}, "float": {"double precision", none},
	"boolean": {"boolean", none}, "bool": {"boolean", none},
	"text":    {"text", none},
	"varchar": {"character varying", length}, "character varying": {"character varying", length},
	"char": {"character", length}, "character": {"character", length}, "bpchar": {"character", length},
	"name":  {"name", none},
	"bytea": {"bytea", none},
	"date":  {"date", none},
	"time":  {"time without time zone", seconds}, "time without time zone": {"time without time zone", seconds},
	"timetz": {"time with time zone", seconds}, "time with time zone": {"time with time zone", seconds},
	"timestamp": {"timestamp without time zone", seconds}, "timestamp without time zone": {"timestamp without time zone", seconds},
	"timestamptz": {"timestamp with time zone", seconds}, "timestamp with time zone": {"timestamp with time zone", seconds},
	"interval": {"interval", seconds},
	"uuid":     {"uuid", none},
	"json":     {"json", none},
	"jsonb":    {"jsonb", none},
	"xml":      {"xml", none},
	"bit":      {"bit", bits}, "varbit": {"bit varying", bits}, "bit varying": {"bit varying", bits},
	"inet":      {"inet", none},
	"cidr":      {"cidr", none},
	"macaddr":   {"macaddr", none},
	"point":     {"point", none},
	"line":      {"line", none},
	"lseg":      {"lseg", none},
	"box":       {"box", none},
	"path":      {"path", none},
	"polygon":   {"polygon", none},
	"circle":    {"circle", none},
	"tsvector":  {"tsvector", none},
	"oid":       {"oid", none},
	"int4range": {"int4range", none}, "int8range": {"int8range", none}, "numrange": {"numrange", none},
	"tsrange": {"tsrange", none}, "tstzrange": {"tstzrange", none}, "daterange": {"daterange", none},
	"int4multirange": {"int4multirange", none}, "int8multirange": {"int8multirange", none}, "nummultirange": {"nummultirange", none},
	"tsmultirange": {"tsmultirange", none}, "tstzmultirange": {"tstzmultirange", none}, "datemultirange": {"datemultirange", none},
}

// ParseType reads a type: numeric(18,6), timestamp(3) with time zone, text[].
func ParseType(text string) (Type, error) {
	s := strings.ToLower(strings.Join(strings.Fields(text), " "))
	s, array := strings.CutSuffix(s, "[]")
	base, mods, err := cutModifiers(strings.TrimSpace(s))
	if err != nil {
		return Type{}, err
	}
	known, ok := pgTypes[base]
	if !ok {
		return Type{}, fmt.Errorf("is no type that is known here: %q; write one of PostgreSQL's, such as text, bigint, numeric(18,6), timestamptz or text[]; or text for any other, such as an enumeration, money and \"char\": the target reads it as its column's", shorten(text))
	}
	if err := checkModifiers(known.mods, mods); err != nil {
		return Type{}, err
	}
	switch {
	case known.mods == precision && len(mods) == 1:
		mods = append(mods, 0)
	case (base == "char" || base == "character") && len(mods) == 0:
		mods = []int{1} // as in SQL
	case base == "bpchar" && len(mods) == 0:
		known.name = base // of any length
	}
	if array && len(mods) > 0 {
		return Type{}, errors.New("is an array whose type has a length or a precision: leave that out, or write text[]")
	}
	return Type{known.name, mods, array}, nil
}

// cutModifiers takes (18,6) out of a type, which stands behind the first word in
// timestamp(3) with time zone.
func cutModifiers(s string) (base string, mods []int, err error) {
	before, rest, ok := strings.Cut(s, "(")
	if !ok {
		return s, nil, nil
	}
	inside, after, ok := strings.Cut(rest, ")")
	if !ok {
		return "", nil, errors.New("has a parenthesis that is not closed")
	}
	for m := range strings.SplitSeq(inside, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(m))
		if err != nil {
			return "", nil, fmt.Errorf("has a modifier that is no number: %q", shorten(m))
		}
		mods = append(mods, n)
	}
	base = strings.TrimSpace(before)
	if after = strings.TrimSpace(after); after != "" {
		base += " " + after
	}
	return base, mods, nil
}

func checkModifiers(takes modifiers, mods []int) error {
	if len(mods) == 0 {
		return nil
	}
	within := func(n, low, high int) bool { return n >= low && n <= high }
	switch takes {
	case none:
		return errors.New("takes no modifier in parentheses")
	case length:
		if len(mods) != 1 || !within(mods[0], 1, 10_485_760) {
			return errors.New("takes one length, from 1 to 10485760")
		}
	case bits:
		if len(mods) != 1 || !within(mods[0], 1, 83_886_080) {
			return errors.New("takes one length, from 1 to 83886080")
		}
	case precision:
		if len(mods) > 2 || !within(mods[0], 1, 1000) || len(mods) == 2 && !within(mods[1], 0, mods[0]) {
			return errors.New("takes a precision from 1 to 1000, and a scale from 0 to the precision")
		}
	case seconds:
		if len(mods) != 1 || !within(mods[0], 0, 6) {
			return errors.New("takes one precision, from 0 to 6")
		}
	}
	return nil
}

// String returns the type as PostgreSQL's format_type writes it.
func (t Type) String() string {
	s := t.Name
	if len(t.Modifiers) > 0 {
		parts := make([]string, len(t.Modifiers))
		for i, m := range t.Modifiers {
			parts[i] = strconv.Itoa(m)
		}
		mods := "(" + strings.Join(parts, ",") + ")"
		if word, rest, ok := strings.Cut(s, " with"); ok {
			s = word + mods + " with" + rest // timestamp(3) with time zone
		} else {
			s += mods
		}
	}
	if t.Array {
		s += "[]"
	}
	return s
}

// Equal reports whether t and u are the same type with the same modifiers.
func (t Type) Equal(u Type) bool {
	return t.Name == u.Name && t.Array == u.Array && slices.Equal(t.Modifiers, u.Modifiers)
}
