package bind_test

import (
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

func TestEngine(t *testing.T) {
	declared := map[string]string{"min": "CAST($min AS BIGINT)", "who": "CAST($who AS VARCHAR)"}
	for _, c := range []struct {
		name, sql, want string
		used            []string
	}{
		{"none", "select 1", "select 1", nil},
		{"some, one twice", "select $min, $who where x > $min", "select CAST($min AS BIGINT), CAST($who AS VARCHAR) where x > CAST($min AS BIGINT)", []string{"min", "who"}},
		{"not in a string, an identifier or a comment", `select '$min', "$min", $$ $min $$ -- $min`, `select '$min', "$min", $$ $min $$ -- $min`, nil},
	} {
		got, used, err := bind.Engine(c.sql, declared)
		if err != nil || got != c.want || !slices.Equal(used, c.used) {
			t.Errorf("%s: got %q, %q, %v; want %q, %q", c.name, got, used, err, c.want, c.used)
		}
	}
	for _, sql := range []string{"select $other", "select $1", "select ?", "select '"} {
		if got, _, err := bind.Engine(sql, declared); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %q, %v; want an error with code invalid", sql, got, err)
		}
	}
}
