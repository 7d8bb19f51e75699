package etl

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
)

// TestDirect says which way rows of the engine take: what could go in binary, and
// quietly went as text, would only be slower, and no other test would see it.
func TestDirect(t *testing.T) {
	of := func(name string, oid uint32) column {
		typ, _ := builtInName(oid, -1)
		return column{name: name, oid: oid, typ: typ, full: typ}
	}
	const (
		untouched = "binary, untouched"
		converted = "binary, converted"
		parsed    = "text, made binary"
		asText    = "text"
	)
	for _, c := range []struct {
		name     string
		from, to uint32
		binary   bool // the engine can send these columns so
		want     string
	}{
		{"the same type", pgtype.Int8OID, pgtype.Int8OID, true, untouched},
		{"a wider type", pgtype.Int4OID, pgtype.Int8OID, true, converted},
		{"a text that stands for another type", pgtype.TextOID, pgtype.UUIDOID, true, asText},
		{"a text", pgtype.TextOID, pgtype.VarcharOID, true, converted},
		{"a type that the engine does not send in binary", pgtype.IntervalOID, pgtype.IntervalOID, false, asText},
		{"rows in their order", pgtype.Int8OID, pgtype.Int8OID, false, parsed},
	} {
		fd := feed{columns: []column{of("a", c.from)}, format: csv, binary: c.binary}
		w, ok := direct(&target{columns: []column{of("a", c.to)}}, mapping{columns: []string{"a"}, readable: true}, fd)
		got := asText
		switch {
		case !ok:
			got = "none"
		case w.format == binary && w.sent == binary && w.program == nil:
			got = untouched
		case w.format == binary && w.sent == binary:
			got = converted
		case w.format == binary && w.sent == csv && w.program != nil:
			got = parsed
		}
		if got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
