package etl_test

import (
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestUnknownProperties gives properties that no parameter names: they are noted, and
// change nothing unless the definition says so.
func TestUnknownProperties(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	const definition = `
extract: [{name: a, connection: shop, table: a}]
load: [{from: a, connection: dwh, table: a}]
`
	for text, warned := range map[string]bool{"": false, "unknown_properties: ignore\n": false, "unknown_properties: warn\n": true} {
		var options []testkit.LogOption
		if warned {
			options = append(options, testkit.Expect("no parameter names"))
		}
		req := p.order(t, "\n"+text+definition, options...)
		req.Properties = map[string]string{"general.log.level": "5", "additional.property": "x"}
		p.dwh.Exec(t, "", "DROP SCHEMA IF EXISTS holdfast_etl CASCADE")
		res := run(t, req)
		if len(res.Warnings) > 0 != warned || !slices.Equal(res.Ignored, []string{"additional.property", "general.log.level"}) {
			t.Errorf("%q: got warnings %q, ignored %q", text, res.Warnings, res.Ignored)
		}
	}
}
