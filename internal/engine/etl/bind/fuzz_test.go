package bind

import (
	"slices"
	"testing"
)

// shape is what a rewriting must not change: kinds and texts of the tokens, with
// each parameter's place told from what stands in it.
func shape(sql string, tokens []token) []string {
	var all []string
	for _, t := range tokens {
		all = append(all, sql[t.start:t.end])
	}
	return all
}

func FuzzPostgres(f *testing.F) {
	for _, s := range []string{
		"select :a, ':b', \":c\", $$:d$$ -- :e\n/* :f /* */ */ from t where x::int = :a",
		"select E'\\':a' -- x\n'\\'' , U&'x', B'1', 1.5e3, a[1 : 2], b := :a",
		"with x as (delete from t returning *) select * into y from x;",
		":a:a::a:=a", "$a$:a$a$:a", "E''''", "'a'\n'b'", "1.:a", "..:a", "a$$b$$", "-:a--", "/:a*/", "{'a':$a}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		_ = SingleSelect(sql)
		_, _ = EngineParameters(sql)
		names, err := Parameters(sql)
		if err != nil {
			return
		}
		declared, values := map[string]string{}, map[string]*string{}
		for i, n := range names {
			declared[n] = "numeric"
			if i%2 == 0 {
				values[n] = &n
			}
		}
		got, err := Postgres(sql, declared, values)
		if err != nil {
			return
		}
		before, err := scan(sql)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, tok := range before {
			piece := sql[tok.start:tok.end]
			if tok.kind != parameter {
				want = append(want, piece)
				continue
			}
			e, err := expression(piece[1:], declared, values)
			if err != nil {
				t.Fatal(err)
			}
			inner, err := scan(e)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, shape(e, inner)...)
		}
		after, err := scan(got)
		if err != nil {
			t.Fatalf("%q became %q: %v", sql, got, err)
		}
		if s := shape(got, after); !slices.Equal(s, want) {
			t.Errorf("%q became %q:\ngot  %q\nwant %q", sql, got, s, want)
		}
	})
}
