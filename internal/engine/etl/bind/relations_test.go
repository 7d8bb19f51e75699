package bind_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

func TestRelations(t *testing.T) {
	for _, c := range []struct {
		name, sql string
		want      []string
		repeats   bool
	}{
		{"one", "select * from orders", []string{"orders"}, false},
		{"an alias", "select o.id from orders o where o.id > 1", []string{"orders"}, false},
		{"columns of the same name are not read", "select orders, customers as orders from a where orders = 1 group by orders", []string{"a"}, false},
		{"case", `select * from Orders join "Orders" x on true`, []string{"orders", "Orders"}, false},
		{"joins", "select * from a join b on a.x = b.x left join c using (x), d cross join e", []string{"a", "b", "c", "d", "e"}, false},
		{"joins in parentheses", "select * from (a join b on (a.x = b.x)) join ((c)) on true", []string{"a", "b", "c"}, false},
		{"a subquery", "select * from (select x from a, b) s, c where x in (select x from d)", []string{"a", "b", "c", "d"}, false},
		{"a query in parentheses", "(select * from a) union all (select * from b)", []string{"a", "b"}, false},
		{"twice", "select * from a union all select * from a", []string{"a", "a"}, false},
		{"functions", "select extract(year from day), trim(both x from y) from a, generate_series(b, c) g", []string{"a"}, false},
		{"distinct", "select x is distinct from y, count(distinct z) from a where u is not distinct from v", []string{"a"}, false},
		{"a schema", "select * from main.a join memory.main.b on true", []string{".a", ".b"}, false},
		{"a schema before a name of WITH", "with a as (select 1) select * from a, main.a", []string{".a"}, false},
		{"lateral", "select * from a, lateral (select * from b where b.x = a.x) l", []string{"a", "b"}, false},
		{"with", "with x as (select * from a), y (c, d) as materialized (select * from x) select * from y", []string{"a"}, false},
		{"with a name that is a relation's", "with a as (select * from a where true) select * from a", []string{"a"}, false},
		{"a name of WITH used twice", "with x as (select * from a) select * from x p join x q on p.i = q.i", []string{"a"}, true},
		{"a name of WITH outside of its query", "select * from (with b as (select 1) select * from b) s join b on true", []string{"b"}, false},
		{"recursive", "with recursive x as (select * from a union all select x.* from x join b on true) select * from x", []string{"a", "b"}, true},
		{"types with time zone", "select cast(x as timestamp with time zone), b from a", []string{"a"}, false},
		{"strings and comments", "select 'from b' /* from c */ from a -- from d", []string{"a"}, false},
		{"from first", "from a select x, y", []string{"a"}, false},
		{"table", "select * from (table a) t", []string{"a"}, false},
		{"pivot", "select * from (pivot a on x using sum(y))", []string{"a"}, true},
		{"a pivot behind a relation", "select * from a pivot (sum(y) for x in (1, 2))", []string{"a"}, true},
		{"order by inside an aggregate", "select string_agg(x, ',' order by y), z from a order by b, c", []string{"a"}, false},
		{"a list in a function in FROM", "select * from a, unnest([b, c]) u, d", []string{"a", "d"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, repeats, err := bind.Relations(c.sql)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range all {
				if got = append(got, r.Name); r.Qualified {
					got[len(got)-1] = "." + r.Name
				}
			}
			if !slices.Equal(got, c.want) || repeats != c.repeats {
				t.Errorf("Relations(%q) = %q, %v, want %q, %v", c.sql, got, repeats, c.want, c.repeats)
			}
		})
	}
}

// Names of relations are parts of the SQL, whatever it is.
func FuzzRelations(f *testing.F) {
	for _, s := range []string{
		"with recursive a(b) as (select 1 from c), d as materialized (select * from a) select * from d, \"E\".f x join (g) on extract(h from i) = 1",
		"from a select (table b) union (pivot c on d)", "select )) from a, [b, {c}] from d", "with a, b as", "((((select from", "from", "with", ",",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		all, _, err := bind.Relations(sql)
		if err != nil {
			return
		}
		text := strings.ToLower(strings.ReplaceAll(sql, `""`, `"`))
		for _, r := range all {
			if !strings.Contains(text, strings.ToLower(strings.ReplaceAll(r.Name, `""`, `"`))) {
				t.Fatalf("%q reads %q, which is not in it", sql, r.Name)
			}
		}
	})
}
