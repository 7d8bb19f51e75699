package etl_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// fromFiles asks for an execution of a definition that reads files.
func fromFiles(t testing.TB, dwh *testkit.Postgres, connection, definition string, log ...testkit.LogOption) engine.ETL {
	t.Helper()
	return engine.ETL{
		Installation: "here", Job: 1001, JobName: "test", Execution: 1001, Fence: 1,
		Definition: "apiVersion: holdfast/etl/v1\nname: test\nconnections: {in: " + connection + ", dwh: {site: dwh}}\n" + definition,
		Sites:      map[string]engine.Site{"dwh": siteOf(dwh, "dwh")},
		Report:     &enginetest.Report{}, Log: testkit.Logger(t, log...), Stop: make(chan struct{}),
	}
}

func write(t testing.TB, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCSV(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id bigint, s text, n numeric(10,2), at timestamptz)")
	root := t.TempDir()
	dir := filepath.Join(root, "drop")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "1.csv"), "n;id;s;at\n1.50;1;\"a;b\n\"\"c\"\"\";2026-01-01T00:00:00Z\n\\N;2;\"\\N\";2026-01-01 01:00:00+01\n")
	write(t, filepath.Join(dir, "2.csv"), "id;s;n;at;more\r\n3;;7;2026-02-01;x\r\n")
	write(t, filepath.Join(dir, ".3.csv"), "hidden")
	write(t, filepath.Join(dir, "3.txt"), "other")
	def := `
extract:
  - name: a
    connection: in
    file: {path: "drop/*.csv", format: csv, header: true, comma: ";", null_text: '\N', fields: [{name: id, type: bigint}, {name: s, type: text}, {name: n, type: "numeric(10,2)"}, {name: at, type: timestamptz}]}
    MORE
load: [{from: a, connection: dwh, table: a}]
`
	order := func(t *testing.T, execution holdfast.ExecutionID, more string, log ...testkit.LogOption) engine.ETL {
		t.Helper()
		req := fromFiles(t, dwh, "{directory: "+root+"}", strings.Replace(def, "MORE", more, 1), log...)
		req.Execution, req.Roots = execution, []string{root}
		return req
	}
	const rows = "SELECT string_agg(concat_ws('|', id, s, n, at AT TIME ZONE 'UTC'), '/' ORDER BY id) FROM a"
	want := "1|a;b\n\"c\"|1.50|2026-01-01 00:00:00/2|\\N|2026-01-01 00:00:00/3||7.00|2026-02-01 00:00:00"
	if f := run(t, order(t, 1, "")).Flows[0]; f.Read != 3 || f.Loaded != 3 {
		t.Errorf("got flow %+v", f)
	}
	if got := dwh.Value(t, "", rows); got != want {
		t.Errorf("got %q, want %q", got, want)
	}

	t.Run("by files", func(t *testing.T) {
		dwh.Exec(t, "", "TRUNCATE a")
		by := "incremental: {strategy: file}"
		run(t, order(t, 2, by))
		if f := run(t, order(t, 3, by)).Flows[0]; f.Read != 0 || f.Units != 0 {
			t.Errorf("nothing is new: got flow %+v", f)
		}
		write(t, filepath.Join(dir, "4.csv"), "id;s;n;at\n4;x;1;2026-01-01\n")
		if f := run(t, order(t, 4, by)).Flows[0]; f.Read != 1 {
			t.Errorf("got flow %+v, want the new file's row", f)
		}
		write(t, filepath.Join(dir, "4.csv"), "id;s;n;at\n4;x;1;2026-01-01\n5;x;1;2026-01-01\n")
		if f := run(t, order(t, 5, by, testkit.Expect("changed"))).Flows[0]; f.Read != 2 {
			t.Errorf("got flow %+v, want the changed file's rows", f)
		}
		if got := dwh.Value(t, "", "SELECT string_agg(id::text, ',' ORDER BY id) FROM a"); got != "1,2,3,4,4,5" {
			t.Errorf("got ids %s", got)
		}
		if err := os.Remove(filepath.Join(dir, "4.csv")); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("bad rows", func(t *testing.T) {
		dwh.Exec(t, "", "TRUNCATE a")
		write(t, filepath.Join(dir, "5.csv"), "id;s;n;at\n6;x;1;2026-01-01\nseven;x;1;2026-01-01\n8;x;1;2026-13-01\n9;x\n10;x;1;2026-01-01\n")
		fail(t, order(t, 6, ""), holdfast.CodeInvalid, "5.csv", "3", "id")
		if got := dwh.Value(t, "", "SELECT count(*) FROM a"); got != "0" {
			t.Errorf("got %s rows, want none", got)
		}
		res := run(t, order(t, 7, "on_reject: {max_rows: 3}", testkit.Expect("rejected")))
		if f := res.Flows[0]; f.Read != 8 || f.Loaded != 5 || f.Rejected != 3 {
			t.Errorf("got flow %+v", f)
		}
		got := fmt.Sprint(dwh.Rows(t, "", "SELECT line, column_name, reason LIKE '%5.csv%', raw FROM holdfast_etl.reject ORDER BY line"))
		if want := "[[3 id t seven;x;1;2026-01-01] [4 at t 8;x;1;2026-13-01] [5  t 9;x]]"; got != want {
			t.Errorf("got rejects %s, want %s", got, want)
		}
		if err := os.Remove(filepath.Join(dir, "5.csv")); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("outside", func(t *testing.T) {
		req := order(t, 8, "")
		req.Roots = []string{filepath.Join(root, "other"), dir}
		fail(t, req, holdfast.CodeForbidden, "etl_roots")
		outside := t.TempDir()
		write(t, filepath.Join(outside, "6.csv"), "id;s;n;at\n6;x;1;2026-01-01\n")
		for _, link := range []string{filepath.Join(outside, "6.csv"), "../../" + filepath.Base(outside) + "/6.csv"} {
			at := filepath.Join(dir, "6.csv")
			if err := os.Symlink(link, at); err != nil {
				t.Fatal(err)
			}
			fail(t, order(t, 9, ""), holdfast.CodeInvalid, "6.csv")
			if err := os.Remove(at); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(outside, filepath.Join(root, "link")); err != nil {
			t.Fatal(err)
		}
		req = order(t, 10, "")
		req.Definition = strings.Replace(req.Definition, "drop/*.csv", "link/*.csv", 1)
		fail(t, req, holdfast.CodeInvalid, "link")
		req.Definition = strings.Replace(req.Definition, "link/*.csv", "drop/7.csv", 1)
		fail(t, req, holdfast.CodeInvalid, "7.csv", "does not exist")
	})
}

// A path that matches nothing may be mistyped.
func TestNoFileMatches(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	root := t.TempDir()
	order := func(mode string, log ...testkit.LogOption) engine.ETL {
		req := fromFiles(t, dwh, "{directory: "+root+"}", `
extract: [{name: a, connection: in, file: {path: "*.cvs", format: csv, fields: [{name: id, type: integer}]}}]
load: [{from: a, connection: dwh, table: a, mode: `+mode+`}]
`, log...)
		req.Roots = []string{root}
		return req
	}
	fail(t, order("replace"), holdfast.CodeNotFound, "*.cvs", "emptied")
	written := order("append")
	written.Definition = strings.Replace(written.Definition, "connection: dwh, table: a, mode: append", "connection: in, output: {path: out, format: csv}", 1)
	fail(t, written, holdfast.CodeNotFound, "*.cvs", "emptied")
	if versions, err := filepath.Glob(filepath.Join(root, "out/v*")); err != nil || len(versions) > 0 {
		t.Errorf("got versions %q, %v", versions, err)
	}
	req := order("append", testkit.Allow("no file matches"))
	req.Execution = 1002
	if res := run(t, req); len(res.Warnings) == 0 || !strings.Contains(strings.Join(res.Warnings, "\n"), "no file matches") {
		t.Errorf("got warnings %q, want one of no file", res.Warnings)
	}
	if got := dwh.Value(t, "", "SELECT count(*) FROM a"); got != "1" {
		t.Errorf("got %s rows, want the one that was there", got)
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id bigint)")
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the other host was asked") }))
	defer other.Close()
	modified := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/data/a.csv":
			http.ServeContent(w, r, "a.csv", modified, strings.NewReader("id\n1\n2\n"))
		case "/data/moved.csv":
			http.Redirect(w, r, "/data/a.csv", http.StatusFound)
		case "/data/elsewhere.csv":
			http.Redirect(w, r, other.URL+"/a.csv", http.StatusFound)
		case "/data/streamed.csv":
			w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
			_, _ = w.Write([]byte("id\n1\n"))
			w.(http.Flusher).Flush() //nolint:forcetypeassert // the server's own
			_, _ = w.Write([]byte("2\n"))
		case "/data/timeless.csv":
			_, _ = w.Write([]byte("id\n1\n"))
		case "/data/busy.csv":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/data/short.csv":
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte("id\n1\n"))
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	order := func(execution holdfast.ExecutionID, file, more string) engine.ETL {
		req := fromFiles(t, dwh, "{url: '"+server.URL+"/data'}", `
extract: [{name: a, connection: in, file: {path: `+file+`, format: csv, header: true, fields: [{name: id, type: bigint}]`+more+`}]
load: [{from: a, connection: dwh, table: a, mode: replace}]
`)
		req.Execution = execution
		return req
	}
	for i, file := range []string{"a.csv", "moved.csv"} {
		if f := run(t, order(holdfast.ExecutionID(1+i), file, "}")).Flows[0]; f.Loaded != 2 {
			t.Errorf("%s: got flow %+v", file, f)
		}
	}
	fail(t, order(11, "elsewhere.csv", "}"), holdfast.CodeInvalid, "another host")
	if got := dwh.Value(t, "", "SELECT count(*) FROM a"); got != "2" {
		t.Errorf("got %s rows, want 2", got)
	}
	const byFile = "}, incremental: {strategy: file}"
	for i, want := range []int64{2, 0} {
		req := order(holdfast.ExecutionID(20+i), "streamed.csv", byFile)
		req.Definition = strings.Replace(req.Definition, "mode: replace", "mode: append", 1)
		if f := run(t, req).Flows[0]; f.Loaded != want {
			t.Errorf("streamed, time %d: got flow %+v, want %d rows", i, f, want)
		}
	}
	req := order(22, "timeless.csv", byFile)
	req.Definition = strings.Replace(req.Definition, "mode: replace", "mode: append", 1)
	fail(t, req, holdfast.CodeInvalid, "Last-Modified")
	fail(t, order(12, "busy.csv", "}"), holdfast.CodeUnavailable, "503")
	fail(t, order(13, "short.csv", "}"), holdfast.CodeUnavailable, "cut off")
	fail(t, order(14, "none.csv", "}"), holdfast.CodeInvalid, "404")
	fail(t, order(15, "a.csv", ", max_size: 5}"), holdfast.CodeInvalid, "larger than 5 bytes")
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "holdfast-etl-fetch-*")); err != nil || len(left) > 0 {
		t.Errorf("files are left: %q, %v", left, err)
	}
	if got := dwh.Value(t, "", "SELECT count(*) FROM a"); got != "4" {
		t.Errorf("got %s rows, want 4", got)
	}
}

func TestAllRejected(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (7)")
	root := t.TempDir()
	write(t, filepath.Join(root, "a.csv"), "x\ny\n")
	for i, mode := range []string{"mode: replace", "mode: merge, key: [id]"} {
		req := fromFiles(t, dwh, "{directory: "+root+"}", `
empty: error
extract: [{name: a, connection: in, file: {path: a.csv, format: csv, fields: [{name: id, type: integer}]}, on_reject: {}}]
load: [{from: a, connection: dwh, table: a, `+mode+`}]
`)
		req.Execution, req.Roots = holdfast.ExecutionID(1+i), []string{root}
		if i == 1 {
			req.Log = testkit.Logger(t, testkit.Expect("so the merge deletes none"))
		}
		fail(t, req, holdfast.CodeInvalid, "emptied", "rejected")
		if got := dwh.Value(t, "", "SELECT count(*) FROM a"); got != "1" {
			t.Errorf("%s: got %s rows, want the old one", mode, got)
		}
	}
}
