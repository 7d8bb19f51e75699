package bind_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

func TestSingleSelectTakesReaders(t *testing.T) {
	for _, sql := range []string{
		"select 1",
		"-- what it is\nselect 1 -- done",
		"(select 1) union (select 2)",
		"with a as (select 1), b as materialized (select 2) select * from a, b",
		"VALUES (1, 2), (3, 4)",
		"table orders",
		"select ';', $$ ; into $$, a.into, 1 as into from t",
		"select max(update), sum(delete), insert, merge, 1 from t where update < 1",
		"select * from t for update",
		"select * from t for no key update of t",
		`select "update" x from t`,
		"select a[1 : 2], '{}'::int[] from t",
		"select {'a': [1, 2]}",
	} {
		if err := bind.SingleSelect(sql); err != nil {
			t.Errorf("%s: got %v, want none", sql, err)
		}
	}
}

func TestSingleSelectRefusesTheRest(t *testing.T) {
	for _, c := range []struct{ sql, want, hint string }{
		{"", "is empty", "SELECT"},
		{" -- nothing", "is empty", "SELECT"},
		{"delete from t", "no SELECT", "begins with"},
		{"insert into t select 1", "no SELECT", ""},
		{"explain select 1", "no SELECT", ""},
		{"((", "no SELECT", ""},
		{"'select'", "no SELECT", ""},
		{"select 1;", "one statement", "leave out the semicolon"},
		{"select 1; -- end", "one statement", "leave out the semicolon"},
		{"select 1; select 2", "one statement", "a step of each"},
		{"select 1; drop table t", "one statement", "a step of each"},
		{"select (1; 2)", "one statement", ""},
		{"select 1) to program 'sh' --", ") closes nothing", ""},
		{"select (1", "( is not closed", ""},
		{"select (1]", "] does not close the (", ""},
		{"select a[1)", ") does not close the [", ""},
		{"select * into t from u", "INTO makes a table", "load"},
		{"with a as (select 1) select * into t from a", "INTO", ""},
		{"with a as (delete from t returning *) select * from a", "DELETE changes tables", "double quotes"},
		{"with a as (insert into t values (1) returning *) select * from a", "INSERT changes tables", ""},
		{"with a as (update t set x = 1 returning *) select * from a", "UPDATE changes tables", ""},
		{"with a as materialized (update only t set x = 1 returning *) select * from a", "UPDATE changes tables", ""},
		{`with a as (/* */update"t"set x = 1 returning *) select * from a`, "UPDATE changes tables", ""},
		{"with a as (select 1) delete from t returning 1", "DELETE changes tables", ""},
		{"with a as (select 1) merge into t using a on true", "MERGE changes tables", ""},
		{"with recursive a as (select 1) cycle x set y using key update t set x = 1 returning 1", "UPDATE changes tables", ""},
		{"with a as (with b as (delete from t returning *) select * from b) select * from a", "DELETE changes tables", ""},
		{"select 'a", "not closed", ""},
	} {
		err := bind.SingleSelect(c.sql)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(holdfast.ErrorHint(err), c.hint) || holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v (%s), want an invalid one with %q and %q", c.sql, err, holdfast.ErrorHint(err), c.want, c.hint)
		}
	}
}
