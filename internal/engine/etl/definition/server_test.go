package definition_test

import (
	"os"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// A server takes what is folded: steps with WITH and comments of their own, around
// what is new only.
func TestQueryOnAServer(t *testing.T) {
	text, err := os.ReadFile("testdata/orders.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d, err := definition.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	p, err := d.Plan(definition.Source{{"min_price": "2"}}, now)
	if err != nil {
		t.Fatal(err)
	}
	conn := testkit.StartPostgres(t, testkit.PostgresOptions{}).Connect(t)
	const data = `create table orders as select i as id, 1 as customer_id, 'a' as sku, i % 4 as qty, i::numeric as price,
		case when i = 7 then 'cancelled' else 'sent' end as status, now() as updated_at from generate_series(1, 10) i`
	if _, err := conn.Exec(t.Context(), data); err != nil {
		t.Fatal(err)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(t.Context()) //nolint:errcheck // there is nothing to keep
	for _, s := range bind.Settings(p.Parameters) {
		if _, err := tx.Exec(t.Context(), "select pg_catalog.set_config($1, $2, true)", s[0], s[1]); err != nil {
			t.Fatal(err)
		}
	}
	in := p.Flows[0].Inputs[0]
	sql, err := bind.Postgres(in.Query("select * from (\n"+in.Base+"\n) as q where id > 3"), map[string]string{"min_price": "numeric", "skip_status": "text"}, p.Parameters)
	if err != nil {
		t.Fatal(err)
	}
	var ids []int32
	if err := tx.QueryRow(t.Context(), "select coalesce(array_agg(id order by id), '{}') from (\n"+sql+"\n) as q").Scan(&ids); err != nil {
		t.Fatalf("%v: %s", err, sql)
	}
	if got, want := asJSON(ids), "[5,6,9,10]"; got != want { // 4 and 8 have no qty, 7 is cancelled
		t.Errorf("got %s, want %s", got, want)
	}
}

// A server reads the texts of parameters as Bind means them.
func TestValuesOnAServer(t *testing.T) {
	conn := testkit.StartPostgres(t, testkit.PostgresOptions{}).Connect(t)
	for _, c := range []struct{ typ, given, want string }{
		{"integer", "-007", "-7"},
		{"bigint", "-9223372036854775808", "-9223372036854775808"},
		{"numeric", "1e-3", "0.001"},
		{"numeric", "-0.10", "-0.10"},
		{"boolean", "True", "true"},
		{"date", "yesterday", "2026-02-28"},
		{"date", "infinity", "infinity"},
		{"timestamptz", "now", "2026-03-01 12:30:00+00"},
		{"timestamptz", "2026-03-01T00:00:00.000001-11:30", "2026-03-01 11:30:00.000001+00"},
		{"timestamptz", "-infinity", "-infinity"},
		{"uuid", "123E4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
	} {
		d := withParameters(t, "parameters: {p: {type: "+c.typ+"}}\n")
		values, _, err := d.Bind(definition.Source{{"p": c.given}}, now)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := conn.QueryRow(t.Context(), "select set_config('timezone', 'UTC', false)").Scan(&got); err != nil {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), "select cast($1::text as "+c.typ+")::text", *values["p"]).Scan(&got); err != nil || got != c.want {
			t.Errorf("%s %q is %q, %v, want %q", c.typ, c.given, got, err, c.want)
		}
	}
}
