package rows_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

func column(t testing.TB, typ string) rows.Column {
	t.Helper()
	c, err := rows.NewColumn("v", typ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// convertOne runs one row from one format to the other; the reason is that of a
// reject.
func convertOne(t testing.TB, c rows.Column, data []byte, in, out rows.Format) (result []byte, reason string) {
	t.Helper()
	p, err := rows.Compile([]rows.Column{c}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := p.Run(bytes.NewReader(data), in, &b, out, nil, func(r rows.Reject) error { reason = r.Reason; return nil }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), reason
}

// DuckDB writes years before the first in its own way.
func TestYearsOfTheEngine(t *testing.T) {
	for _, c := range []struct{ typ, text, want string }{
		{"date", "0044-03-15 (BC)", "0044-03-15 BC"},
		{"timestamp", "0044-03-15 (BC) 12:00:00.5", "0044-03-15 12:00:00.5 BC"},
		{"timestamptz", "0044-03-15 (BC) 12:00:00+00", "0044-03-15 12:00:00+00 BC"},
	} {
		col := column(t, c.typ)
		value, reason := convertOne(t, col, []byte(c.text), rows.CSV{}, rows.Binary{})
		if reason != "" {
			t.Errorf("%s: %s", c.text, reason)
			continue
		}
		if got, _ := convertOne(t, col, value, rows.Binary{}, rows.CSV{}); strings.TrimSpace(string(got)) != c.want {
			t.Errorf("%s: got %s, want %s", c.text, got, c.want)
		}
	}
}

func TestValuesThatAreNone(t *testing.T) {
	for _, c := range []struct{ typ, text, want string }{
		{"int[]", "{1,2", "is no array"},
		{"int[]", "1,2", "is no array"},
		{"int[]", "{1,,2}", "is no array"},
		{"int[]", "{1,2}x", "is no array"},
		{"int[]", "{{1},{2,3}}", "is no array"},
		{"int[]", "{{1},2}", "is no array"},
		{"int[]", "{x}", "is no array"},
		{"int[]", "{{{{{{{1}}}}}}}", "is no array"},
		{"int[]", "[2:3]={1,2}", "is no array"},
		{"text[]", `{"a"b}`, "is no array"},
		{"text[]", `{a"b"}`, "is no array"},
		{"text[]", `{"a`, "is no array"},
		{"date", "0000-01-01", "is no date"},
		{"time", "25:00", "is no time"},
		{"time", "24:00:01", "is no time"},
		{"time", "10:30+02", "is no time"},
		{"interval", "1", "is no interval"},
		{"interval", "", "is no interval"},
		{"interval", "1 century", "is no interval"},
		{"interval", "1:2:3:4", "is no interval"},
		{"interval", "2147483647 years", "out of the range"},
		{"inet", "10.0.0.256", "is no network address"},
		{"inet", "10.0.0.1/33", "is no network address"},
		{"inet", "fe80::1%eth0", "is no network address"},
		{"cidr", "10.0.0.1/8", "bits behind its length"},
		{"bytea", `\x0`, "is no bytea"},
		{"bytea", `\x0g`, "is no bytea"},
		{"jsonb", "{", "is no JSON"},
		{"jsonb", `{"a":"\u0000"}`, "no character"},
		{"jsonb", `"\ud83d x"`, "no character"},
		{"jsonb", `"\ude00"`, "no character"},
		{"varbit", "2", "is no string of bits"},
	} {
		if _, reason := convertOne(t, column(t, c.typ), []byte(`"`+strings.ReplaceAll(c.text, `"`, `""`)+`"`), rows.CSV{}, rows.Binary{}); !strings.Contains(reason, c.want) {
			t.Errorf("%s %q: got %q, want a reject with %q", c.typ, c.text, reason, c.want)
		}
	}
}

func TestBoundsOfArraysAreWritten(t *testing.T) {
	_, conn := server(t)
	var in bytes.Buffer
	copyTo(t, conn, &in, "copy (select '[2:3][-1:0]={{1,2},{3,NULL}}'::int[]) to stdout (format binary)")
	got, reason := convertOne(t, column(t, "int[]"), in.Bytes(), rows.Binary{}, rows.CSV{Comma: ';'})
	if want := "[2:3][-1:0]={{1,2},{3,NULL}}\n"; string(got) != want {
		t.Errorf("got %q, %s, want %q", got, reason, want)
	}
}

var fuzzTypes = []string{
	"boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "numeric(10,2)", "text", "varchar(3)", "char(3)", "json", "jsonb", "date", "timestamp",
	"timestamptz", "timestamp(2)", "uuid", "bytea", "time", "time(1)", "interval", "inet", "cidr", "macaddr", "varbit", "oid", "int[]", "text[]", "numeric[]", "timestamptz[]", "bytea[]",
}

// FuzzValues reads values, and writes again what came out.
func FuzzValues(f *testing.F) {
	for i := range fuzzTypes {
		f.Add(uint8(i), []byte{0, 0, 0, 0, 0, 0, 0, 1})
		f.Add(uint8(i), []byte("{1,\"a b\",{NULL}}"))
		f.Add(uint8(i), []byte("2026-11-21 10:30:00.5+00"))
		f.Add(uint8(i), []byte("12345.6789e-3"))
	}
	f.Fuzz(func(t *testing.T, typ uint8, data []byte) {
		c := column(t, fuzzTypes[int(typ)%len(fuzzTypes)])
		quoted := fmt.Appendf(nil, "\"%s\"\n", bytes.ReplaceAll(data, []byte{'"'}, []byte(`""`)))
		for name, first := range map[string]func() ([]byte, string){
			"a value": func() ([]byte, string) {
				return convertOne(t, c, stream(t, [][]byte{append([]byte{}, data...)}), rows.Binary{}, rows.CSV{})
			},
			"a text": func() ([]byte, string) {
				value, reason := convertOne(t, c, quoted, rows.CSV{}, rows.Binary{})
				if reason != "" {
					return nil, reason
				}
				return convertOne(t, c, value, rows.Binary{}, rows.CSV{})
			},
		} {
			text, reason := first()
			if reason != "" || name == "a value" && strings.Contains(c.Type, "(") { // limits change values that no server would send
				continue
			}
			value, reason := convertOne(t, c, text, rows.CSV{}, rows.Binary{})
			if reason != "" {
				if name == "a text" {
					t.Errorf("%s: %q became %q, which is rejected: %s", c.Type, data, text, reason)
				}
				continue // a value that no server would send
			}
			again, reason := convertOne(t, c, value, rows.Binary{}, rows.CSV{})
			if reason != "" || !bytes.Equal(again, text) {
				t.Errorf("%s of %s %q: %q became %q (%s)", c.Type, name, data, text, again, reason)
			}
		}
	})
}
