package etl_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// What ended with rejected rows named neither a table that has them nor a reason.
func TestRejectsAreNamed(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY)")
	root := t.TempDir()
	write(t, filepath.Join(root, "a.csv"), "1\nx\ny\n4\n")
	for i, c := range []struct {
		on, load string
		fails    []string
		warns    string
	}{
		{"{}", "table: a, mode: upsert, key: [id]", nil, `rows were rejected; flow: a; rows: 2; in: table holdfast_etl.reject; first: a.csv, line 2, column id: the value is no whole number`},
		{"{to: bad}", "table: a, mode: upsert, key: [id]", nil, `rows were rejected; flow: a; rows: 2; in: table "bad"; first: a.csv, line 2, column id: the value is no whole number`},
		{"{max_ratio: 0.1}", "table: a, mode: upsert, key: [id]", []string{"2 of 4 rows", "the first: a.csv, line 2, column id: the value is no whole number", "no reject table has these"}, ""},
		{"{max_rows: 1}", "table: a, mode: upsert, key: [id]", []string{"more than 1 rows", "the last: a.csv, line 3", "the first: a.csv, line 2, column id"}, ""},
	} {
		var options []testkit.LogOption
		if c.warns != "" {
			options = append(options, testkit.Expect("warning"))
		}
		req := fromFiles(t, dwh, "{directory: "+root+"}", `
extract: [{name: a, connection: in, file: {path: a.csv, format: csv, fields: [{name: id, type: integer}]}, on_reject: `+c.on+`}]
load: [{from: a, connection: dwh, `+c.load+`}]
`)
		req.Execution, req.Roots = holdfast.ExecutionID(1+i), []string{root}
		if c.warns == "" {
			fail(t, req, holdfast.CodeInvalid, c.fails...)
			continue
		}
		req.Log = testkit.Logger(t, options...)
		if got := run(t, req).Warnings; !slices.Equal(got, []string{c.warns}) {
			t.Errorf("got warnings %q, want %q", got, c.warns)
		}
	}
}
