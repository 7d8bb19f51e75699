package bind_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

func TestParametersAreFoundWhereTheyAre(t *testing.T) {
	for _, c := range []struct {
		name, sql string
		want      []string
	}{
		{"none", "select 1", nil},
		{"each once, in order", "select :b, :a, :b", []string{"b", "a"}},
		{"joined to what is around", "select(:a)+:b,:c", []string{"a", "b", "c"}},
		{"behind an operator", "select 1=:a, 2>=:b", []string{"a", "b"}},
		{"a cast is none", "select '1'::int, x::text", nil},
		{"but may be cast", "select :a::int", []string{"a"}},
		{"a named argument is none", "select f(a := 1, b=>:v)", []string{"v"}},
		{"not in a string", "select ':a', E'\\':b', U&':c', $$:d$$, $x$ $$ :e $y$ $x$, N':f', B':g'", nil},
		{"not behind the end of a string that escapes", `select E'it\'s :a', 'it''s :b', :c`, []string{"c"}},
		{"a backslash is plain in a plain string", `select '\', :a`, []string{"a"}},
		{"a string goes on, on the next line", "select E'a' -- :x\n ':b\\'', :c", []string{"c"}},
		{"but not on the same", "select E'a' '\\', :c", []string{"c"}},
		{"not in an identifier", `select ":a", "x"":b"`, nil},
		{"not in a comment", "select 1 -- :a\n, :b /* :c /* :d */ :e */", []string{"b"}},
		{"a comment ends an operator", "select 1 +-- :a\n :b */* :c */ 2", []string{"b"}},
		{"a slice with a space", "select a[1 : b], a[2:3]", nil},
		{"a word with a dollar is no string", "select a$b$c, :d, e$b$", []string{"d"}},
		{"a string begins behind a number", "select 1$a$ :b $a$", nil},
		{"numbers", "select 1.5e-3, .5, 1., 0x1F, 1_000, a[1..2], :b", []string{"b"}},
		{"case stays", "select :Ab, :aB", []string{"Ab", "aB"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := bind.Parameters(c.sql)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: got %q, %v, want %q", c.sql, got, err, c.want)
			}
		})
	}
}

func TestSQLThatCannotBeCutIsRefused(t *testing.T) {
	for _, c := range []struct{ name, sql, want string }{
		{"string", "select\n 'a", "line 2, column 2: this string is not closed"},
		{"escaped end", `select E'a\'`, "this string is not closed"},
		{"dollar string", "select $x$ $$", "this string is not closed"},
		{"identifier", `select "a""`, "this identifier is not closed"},
		{"empty identifier", `select ""`, "cannot be empty"},
		{"comment", "select 1 /* /* */", "this comment is not closed"},
		{"coded identifier", `select U&"\0061"`, "not read here"},
		{"joined number", "select 1E'\\''", "joined to this number"},
		{"no number", "select 0x", "no digits"},
		{"dollar", "select $ 1", "a dollar sign has no meaning"},
		{"foreign name", "select :größe", "of ASCII"},
		{"name with a dollar", "select :a$b$ c", "of ASCII"},
		{"invisible space", "select\u00a0E'\\''", "U+00A0"},
		{"NUL", "select 1\x00", "not valid UTF-8"},
		{"bytes", "select '\xff'", "not valid UTF-8"},
		{"control character", "select \x01", "no meaning in SQL"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := bind.Parameters(c.sql)
			if err == nil || !strings.Contains(err.Error(), c.want) || holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				t.Errorf("%q: got %v, want an invalid one with %q", c.sql, err, c.want)
			}
		})
	}
}

func TestPostgresReadsSettings(t *testing.T) {
	a := "1"
	declared := map[string]string{"a": "numeric", "B": "text", "n": "date", "odd": "money"}
	values := map[string]*string{"a": &a, "B": &a, "n": nil}
	for _, c := range []struct{ sql, want string }{
		{
			"select ':a', :a, x::int -- :a",
			"select ':a', (pg_catalog.current_setting('holdfast.p_a')::pg_catalog.numeric), x::int -- :a",
		},
		{"select :B", "select (pg_catalog.current_setting('holdfast.p_$b')::pg_catalog.text)"},
		{"select :n", "select (null::pg_catalog.date)"},
		{"select 1", "select 1"},
	} {
		got, err := bind.Postgres(c.sql, declared, values)
		if err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.sql, got, err, c.want)
		}
	}
	for _, c := range []struct{ sql, want string }{
		{"select 1,\n:b", "SQL, line 2, column 1: the definition declares no parameter b"},
		{"select :odd", `cannot have the type "money"`},
		{"select $1", "$1 is not a parameter here"},
		{"select $a", "$a is not a parameter here"},
		{"select '", "not closed"},
	} {
		got, err := bind.Postgres(c.sql, declared, values)
		if err == nil || !strings.Contains(err.Error(), c.want) || holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %q, %v, want an error with %q", c.sql, got, err, c.want)
		}
	}
}

func TestSettingsOfNamesThatDifferByCaseDiffer(t *testing.T) {
	a, b := "1", "2"
	want := [][2]string{{"standard_conforming_strings", "on"}, {"holdfast.p_$x", "1"}, {"holdfast.p_x", "2"}}
	if got := bind.Settings(map[string]*string{"X": &a, "x": &b, "none": nil}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEngineParameters(t *testing.T) {
	got, err := bind.EngineParameters("select $b, $a, $$ $c $$, $t$ $d $t$, {'x':$b}, '$e', x->'$.f'")
	if want := []string{"b", "a"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	for _, sql := range []string{"select $1", "select ?", "select a = ?"} {
		if got, err := bind.EngineParameters(sql); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %q, %v, want an invalid one", sql, got, err)
		}
	}
}
