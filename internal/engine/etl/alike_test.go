package etl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestFilesAreReadAlike reads values that readers like to bend, from files of every
// format, with and without a step in the engine, with and without on_reject: what is
// no value of its type is an error or a rejected row, and never another value. In one
// file with others, a zone's name would shift the times behind it.
func TestFilesAreReadAlike(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	root := t.TempDir()
	cases := []struct{ typ, bad, good, want string }{
		{"timestamptz", "2026-07-05 10:00:00 America/New_York", "2026-07-05 10:00:00", "2026-07-05 10:00:00+00"},
		{"date", "2026-01-05 garbage", "2026-01-05", "2026-01-05"},
		{"date", "2026-01-05 23:00:00", "2026-01-05", "2026-01-05"},
		{"integer", "1.7", "17", "17"},
		{"integer", "0x10", " +007 ", "7"},
		{"bigint", "1_000", "1000", "1000"},
		{"numeric(10,2)", "1_000", "1000.005", "1000.01"},
		{"numeric(10,2)", "NaN", "-0.01", "-0.01"},
		{"timestamp", "2026-13-05 10:00:00", "2026-01-05 10:00:00.1234567", "2026-01-05 10:00:00.123457"},
		{"time", "10:00:00x", "24:00:00", "24:00:00"},
		{"boolean", "maybe", "t", "t"},
		{"interval", "1 fortnight", "-1 days +02:03:00", "-1 days +02:03:00"},
		{"uuid", "x", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	}
	// The text of Parquet is written by the engine, from a CSV of text.
	parquet := func(t *testing.T, i int, bad, good string) {
		t.Helper()
		write(t, filepath.Join(root, "raw", fmt.Sprintf("%d.csv", i)), fmt.Sprintf("1,%s\n2,%s\n3,%s\n", good, bad, good))
		req := toFiles(t, dwh, root, fmt.Sprintf(`
extract: [{name: f, connection: lake, file: {path: raw/%d.csv, format: csv, fields: [{name: id, type: integer}, {name: v, type: text}]}}]
load: [{from: f, connection: lake, output: {path: p%d, format: parquet, max_kept: 1}}]
`, i, i))
		req.Job, req.Execution = holdfast.JobID(5000+i), holdfast.ExecutionID(5000+i)
		mustRunEngine(t, req)
	}
	if err := os.Mkdir(filepath.Join(root, "raw"), 0o700); err != nil {
		t.Fatal(err)
	}
	execution := 0
	for i, c := range cases {
		write(t, filepath.Join(root, fmt.Sprintf("%d.csv", i)), fmt.Sprintf("1,%s\n2,%s\n3,%s\n", c.good, c.bad, c.good))
		write(t, filepath.Join(root, fmt.Sprintf("%d.json", i)), fmt.Sprintf("{\"id\":1,\"v\":%q}\n{\"id\":2,\"v\":%q}\n{\"id\":3,\"v\":%q}\n", c.good, c.bad, c.good))
		parquet(t, i, c.bad, c.good)
		dwh.Exec(t, "", fmt.Sprintf("CREATE TABLE t%d (id int, v %s)", i, c.typ))
		for _, path := range []string{fmt.Sprintf("%d.csv", i), fmt.Sprintf("%d.json", i), fmt.Sprintf("p%d/v000000001/rows.parquet", i)} {
			for _, step := range []string{"", "transform: [{name: s, in: engine, sql: select * from f}]"} {
				for _, reject := range []string{"", ", on_reject: {}"} {
					from := "f"
					if step != "" {
						from = "s"
					}
					format := strings.TrimPrefix(filepath.Ext(path), ".")
					req := toFiles(t, dwh, root, fmt.Sprintf(`
extract: [{name: f, connection: lake, file: {path: %s, format: %s, fields: [{name: id, type: integer}, {name: v, type: "%s"}]}%s}]
%s
load: [{from: %s, connection: dwh, table: t%d, mode: replace}]
`, path, format, c.typ, reject, step, from, i), testkit.Allow(""))
					execution++
					req.Job, req.Execution = holdfast.JobID(6000+execution), holdfast.ExecutionID(6000+execution)
					what := fmt.Sprintf("%s %q in %s, step %q, reject %q", c.typ, c.bad, path, step, reject)
					// PostgreSQL has a NaN among numerics, and the engine has none.
					taken := c.bad == "NaN" && step == "" && format != "parquet"
					res, err := runEngine(t, req)
					if reject == "" && !taken {
						if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
							t.Errorf("%s: got %+v, %v, want an error", what, res.Flows, err)
						}
						continue
					}
					if err != nil {
						t.Errorf("%s: %v", what, err)
						continue
					}
					want := "1 " + c.want + "; 3 " + c.want
					if taken {
						want = "1 " + c.want + "; 2 " + c.bad + "; 3 " + c.want
					}
					if got := dwh.Value(t, "", fmt.Sprintf("SELECT string_agg(concat_ws(' ', id, v), '; ' ORDER BY id) FROM t%d", i)); got != want {
						t.Errorf("%s: got %s, want %s", what, got, want)
					}
				}
			}
		}
	}
}

// TestFieldsThatOnlyTheTargetKnows has types whose values are not read here: they
// travel as text.
func TestFieldsThatOnlyTheTargetKnows(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int, p point, r int4range, x xml)")
	root := t.TempDir()
	write(t, filepath.Join(root, "a.csv"), "1,\"(1,2)\",\"[1,5)\",<a/>\n")
	write(t, filepath.Join(root, "a.json"), `{"id": 1, "p": "(1,2)", "r": "[1,5)", "x": "<a/>"}`+"\n")
	const fields = "fields: [{name: id, type: integer}, {name: p, type: point}, {name: r, type: int4range}, {name: x, type: xml}]"
	for i, format := range []string{"csv", "json"} {
		for k, step := range []string{"", "transform: [{name: s, in: engine, sql: select * from f}]"} {
			from := "f"
			if step != "" {
				from = "s"
			}
			req := toFiles(t, dwh, root, fmt.Sprintf("\nextract: [{name: f, connection: lake, file: {path: a.%s, format: %s, %s}}]\n%s\nload: [{from: %s, connection: dwh, table: a, mode: replace}]\n", format, format, fields, step, from))
			req.Job, req.Execution = holdfast.JobID(10*i+k+1), holdfast.ExecutionID(10*i+k+1)
			mustRunEngine(t, req)
			if got := dwh.Value(t, "", "SELECT concat_ws(' ', id, p, r, x) FROM a"); got != "1 (1,2) [1,5) <a/>" {
				t.Errorf("%s %s: got %s", format, step, got)
			}
		}
	}
}
