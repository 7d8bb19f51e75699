package definition_test

import (
	"encoding"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

func TestParseType(t *testing.T) {
	for text, want := range map[string]string{
		"text":                          "text",
		"INT":                           "integer",
		"int8 [ ]":                      "",
		"text[]":                        "text[]",
		"numeric ( 18 , 6 )":            "numeric(18,6)",
		"decimal(5)":                    "numeric(5,0)",
		"numeric(5,-2)":                 "",
		"numeric(5,2)[]":                "",
		"char":                          "character(1)",
		"char(3)":                       "character(3)",
		"bpchar":                        "bpchar",
		"bpchar(3)":                     "character(3)",
		"float":                         "double precision",
		"varchar(20)":                   "character varying(20)",
		"character  varying":            "character varying",
		"timestamp(3)":                  "timestamp(3) without time zone",
		"timestamptz":                   "timestamp with time zone",
		"timestamp (0) with time zone":  "timestamp(0) with time zone",
		"time(6) without time zone":     "time(6) without time zone",
		"bit varying(8)":                "bit varying(8)",
		"interval(3)":                   "interval(3)",
		"double precision":              "double precision",
		"tstzrange":                     "tstzrange",
		"numeric(0)":                    "",
		"numeric(1,2,3)":                "",
		"numeric(1001)":                 "",
		"varchar()":                     "",
		"varchar(x)":                    "",
		"varchar(20":                    "",
		"timestamp(7)":                  "",
		"text(1)":                       "",
		"text[][]":                      "",
		"my_enum":                       "",
		"":                              "",
		"text; drop table x":            "",
		"timestamp with time zone(3) x": "",
	} {
		got, err := definition.ParseType(text)
		switch {
		case want == "" && err == nil:
			t.Errorf("ParseType(%q) = %s", text, got)
		case want != "" && (err != nil || got.String() != want):
			t.Errorf("ParseType(%q) = %s, %v, want %s", text, got, err, want)
		case want != "":
			if again, err := definition.ParseType(got.String()); err != nil || !again.Equal(got) {
				t.Errorf("ParseType(%q) = %s, %v", got.String(), again, err)
			}
		}
	}
}

// What a definition may name, package rows takes, and calls the same.
func TestTypesOfRows(t *testing.T) {
	for _, name := range definition.TypeNames() {
		for _, typ := range []string{name, name + "(3)", name + "(3,2)", name + "[]"} {
			want, err := definition.ParseType(typ)
			if err != nil {
				continue
			}
			got, err := rows.NewColumn("x", typ)
			if err != nil || !want.Array && got.Type != want.String() {
				t.Errorf("%s is %s here, and there %q, %v", typ, want, got.Type, err)
			}
		}
	}
}

func TestParseTable(t *testing.T) {
	for text, want := range map[string]string{
		"orders":           `"orders"`,
		"mart.Orders":      `"mart"."Orders"`,
		`"a.b"."c""d"`:     `"a.b"."c""d"`,
		`mart."day total"`: `"mart"."day total"`,
		"a.b.c":            "",
		"a.":               "",
		".a":               "",
		"":                 "",
		"a b":              "",
		`"a`:               "",
		`"a"b`:             "",
		`""`:               "",
		"a;drop table b":   "",
		"e\u00e9":          "\"e\u00e9\"",
		"a\xff":            "",
		"abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij1234": "",
	} {
		got, err := definition.ParseTable(text)
		if want == "" && err == nil || want != "" && (err != nil || got.SQL() != want) {
			t.Errorf("ParseTable(%q) = %s, %v, want %s", text, got.SQL(), err, want)
		}
	}
}

func TestScalars(t *testing.T) {
	for text, want := range map[string]definition.Duration{
		"90s": definition.Duration(90 * time.Second), "1h": definition.Duration(time.Hour), "0s": 0, "1h30m": definition.Duration(90 * time.Minute), "100ms": definition.Duration(100 * time.Millisecond),
	} {
		var got, again definition.Duration
		roundTrip(t, text, &got, &again)
		if got != want || again != want {
			t.Errorf("%q is %v, and written again %v, want %v", text, got, again, want)
		}
	}
}

func roundTrip(t *testing.T, text string, v interface {
	encoding.TextUnmarshaler
	encoding.TextMarshaler
}, again encoding.TextUnmarshaler,
) {
	t.Helper()
	if err := v.UnmarshalText([]byte(text)); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	b, err := v.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if err := again.UnmarshalText(b); err != nil {
		t.Fatalf("%q, written again: %v", b, err)
	}
}
