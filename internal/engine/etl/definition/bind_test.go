package definition_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

func withParameters(t interface {
	Helper()
	Fatal(args ...any)
}, yaml string,
) *definition.Definition {
	t.Helper()
	d, err := definition.Parse([]byte(plain + yaml))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBindTypes(t *testing.T) {
	for _, c := range []struct{ typ, given, want string }{
		{"text", "", ""},
		{"text", "'; drop table x; --", "'; drop table x; --"},
		{"integer", "-2147483648", "-2147483648"},
		{"integer", "007", "7"},
		{"bigint", "9223372036854775807", "9223372036854775807"},
		{"numeric", "-0.10", "-0.10"},
		{"numeric", "1e-3", "1e-3"},
		{"boolean", "TRUE", "true"},
		{"date", "2024-02-29", "2024-02-29"},
		{"date", "today", "2026-03-01"},
		{"date", "yesterday", "2026-02-28"},
		{"date", "tomorrow", "2026-03-02"},
		{"date", "-infinity", "-infinity"},
		{"timestamptz", "2026-03-01T00:00:00.5+02:00", "2026-02-28T22:00:00.5Z"},
		{"timestamptz", "2026-03-01 00:00:00Z", "2026-03-01T00:00:00Z"},
		{"timestamptz", "now", "2026-03-01T12:30:00Z"},
		{"timestamptz", "today", "2026-03-01T00:00:00Z"},
		{"timestamptz", "infinity", "infinity"},
		{"uuid", "123E4567-E89B-12D3-A456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
	} {
		d := withParameters(t, "parameters: {p: {type: "+c.typ+"}}\n")
		values, _, err := d.Bind(definition.Source{{"p": c.given}}, now)
		if err != nil || values["p"] == nil || *values["p"] != c.want {
			t.Errorf("%s %q: %v, %v, want %q", c.typ, c.given, values["p"], err, c.want)
		}
	}
}

func TestBindRefuses(t *testing.T) {
	for _, c := range []struct{ typ, given string }{
		{"text", "a\x00b"},
		{"text", "\xff"},
		{"integer", ""},
		{"integer", "+1"},
		{"integer", " 1"},
		{"integer", "1.0"},
		{"integer", "2147483649"},
		{"integer", "1_000"},
		{"integer", "0x10"},
		{"bigint", "9223372036854775809"},
		{"numeric", "NaN"},
		{"numeric", "1,5"},
		{"numeric", "1."},
		{"numeric", "0 or 1=1"},
		{"numeric", strings.Repeat("1", 1001)},
		{"boolean", "1"},
		{"date", "2026-02-29"},
		{"date", "2026-1-1"},
		{"date", "0000-01-01"},
		{"date", "now"},
		{"timestamptz", "2026-01-01"},
		{"timestamptz", "2026-01-01T00:00:00"},
		{"timestamptz", "2026-01-01T00:00:00.0000001Z"},
		{"uuid", "123e4567e89b12d3a456426614174000"},
	} {
		d := withParameters(t, "parameters: {p: {type: "+c.typ+", property: additional.p}}\n")
		_, _, err := d.Bind(definition.Source{{"additional.p": c.given}}, now)
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorMessage(err), `property "additional.p"`) {
			t.Errorf("%s %q: %v", c.typ, c.given, err)
		}
		if len(c.given) > 3 && strings.Contains(err.Error(), c.given) {
			t.Errorf("%s %q: the error tells the value: %v", c.typ, c.given, err)
		}
	}
}

func TestBindUnknown(t *testing.T) {
	given := definition.Source{{"p": "1", "b": "x", "simulation.mode": "true"}, {"a": "y"}}
	for policy, want := range map[string]string{
		"ignore": "",
		"warn":   "",
		"reject": `property "a" is that of no parameter, and the definition rejects such; property "b" is that of no parameter, and the definition rejects such`,
	} {
		d := withParameters(t, "parameters: {p: {type: integer}}\nunknown_properties: "+policy+"\n")
		_, ignored, err := d.Bind(given, now)
		if !slices.Equal(ignored, []string{"a", "b"}) {
			t.Errorf("%s: ignored is %q", policy, ignored)
		}
		if want == "" && err != nil || want != "" && holdfast.ErrorMessage(err) != want {
			t.Errorf("%s: %v, want %s", policy, err, want)
		}
	}
}

func TestBindRequired(t *testing.T) {
	d := withParameters(t, "parameters: {p: {type: integer, required: true}, q: {type: text, enum: [a, b]}, r: {type: date}}\n")
	_, _, err := d.Bind(definition.Source{{"q": "c"}}, now)
	const want = `property "p", for the parameter p, is missing, and has to be given; property "q", for the parameter q, is none of the values that are allowed: a, b`
	if got := holdfast.ErrorMessage(err); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	values, _, err := d.Bind(definition.Source{{"p": "1", "q": "b"}}, now)
	if err != nil || *values["p"] != "1" || *values["q"] != "b" || values["r"] != nil || len(values) != 3 {
		t.Errorf("values are %v, %v", values, err)
	}
}

// The last mapping that has a property gives it; a property that none has is the
// default.
func TestBindPrecedence(t *testing.T) {
	d := withParameters(t, "parameters: {a: {type: text, default: of a}, b: {type: text, property: x.b}, c: {type: text, default: of c}}\nunknown_properties: ignore\n")
	properties := map[string]string{"a": "a", "b": "x.b", "c": "c"}
	defaults := map[string]*string{"a": new("of a"), "b": nil, "c": new("of c")}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "x.b", "c", "d", "simulation.mode"})
		src := definition.Source(rapid.SliceOfN(rapid.MapOfN(name, rapid.StringMatching(`[a-z]{0,3}`), 0, 6), 0, 4).Draw(t, "source"))
		values, ignored, err := d.Bind(src, now)
		if err != nil {
			t.Fatal(err)
		}
		merged := map[string]string{}
		for _, m := range src {
			maps.Copy(merged, m)
		}
		for parameter, property := range properties {
			want := defaults[parameter]
			if v, ok := merged[property]; ok {
				want = &v
			}
			if got := values[parameter]; (got == nil) != (want == nil) || got != nil && *got != *want {
				t.Fatalf("%s is %v, want %v, of %v", parameter, got, want, src)
			}
		}
		for _, unknown := range []string{"b", "d"} {
			if _, given := merged[unknown]; slices.Contains(ignored, unknown) != given {
				t.Fatalf("ignored are %q, of %v", ignored, src)
			}
		}
		if slices.Contains(ignored, "simulation.mode") {
			t.Fatalf("ignored are %q", ignored)
		}
	})
}
