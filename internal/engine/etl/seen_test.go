package etl_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/testkit"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// byFiles asks for an execution that loads files into table a, each once.
func byFiles(t *testing.T, dwh *testkit.Postgres, root, pattern string, log ...testkit.LogOption) engine.ETL {
	t.Helper()
	req := fromFiles(t, dwh, "{directory: "+root+"}", `
extract: [{name: a, connection: in, file: {path: "`+pattern+`", format: csv, header: false, fields: [{name: id, type: integer}]}, incremental: {strategy: file}}]
load: [{from: a, connection: dwh, table: a}]
`, log...)
	req.Roots = []string{root}
	return req
}

// listOf is a counter of so many files, as f000000.csv and so on.
func listOf(root string, n int, at time.Time) string {
	var s strings.Builder
	for i := range n {
		name := fmt.Sprintf("f%06d.csv", i)
		size := int64(1)
		if info, err := os.Stat(filepath.Join(root, name)); err == nil {
			size = info.Size()
		}
		fmt.Fprintf(&s, `,{"path":%q,"size":%d,"mtime":%q}`, name, size, at.Format(time.RFC3339Nano))
	}
	return "[" + strings.TrimPrefix(s.String(), ",") + "]"
}

// setBooks writes a counter that no person may write.
func setBooks(t *testing.T, dwh *testkit.Postgres, value string) {
	t.Helper()
	dwh.Exec(t, "", "UPDATE holdfast_etl.counter SET value = $1", value)
}

// A counter forgets no file that is there, however many there are.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int)")
	root, at := t.TempDir(), time.Now().Add(-24*time.Hour).UTC().Truncate(time.Second)
	put := func(i int) {
		t.Helper()
		name := filepath.Join(root, fmt.Sprintf("f%06d.csv", i))
		write(t, name, fmt.Sprintln(i))
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	const many = 10_005
	put(0)
	req := byFiles(t, dwh, root, "f*.csv")
	run(t, req)
	for i := range many {
		put(i)
	}
	setBooks(t, dwh, listOf(root, many, at))
	for i := range 2 {
		put(many + i)
		req.Execution++
		if f := run(t, req).Flows[0]; f.Loaded != 1 {
			t.Errorf("got flow %+v, want the new file's row", f)
		}
	}
	t.Run("their counter is told in short", func(t *testing.T) {
		all, err := etl.New(etl.Config{}).Counters(t.Context(), req)
		if err != nil || len(all) != 1 || !strings.Contains(all[0].Value, "10007 files") {
			t.Fatalf("got %.200v, %v", all, err)
		}
		if _, err := wire.Encode(&wire.Answer{Counters: []wire.FlowCounter{wire.FlowCounter(all[0])}}); err != nil {
			t.Error(err)
		}
		wantError(t, etl.New(etl.Config{}).SetCounter(t.Context(), req, all[0].Flow, "a", all[0].Value), holdfast.CodeInvalid, "no list of files")
	})
	t.Run("those that are gone are forgotten in the end", func(t *testing.T) {
		setBooks(t, dwh, strings.ReplaceAll(listOf(root, 2*many, at), `"path":"f`, `"path":"gone`))
		req := byFiles(t, dwh, root, "f00000[0-3].csv")
		req.Execution = 2001
		run(t, req)
		if got := dwh.Value(t, "", "SELECT json_array_length(value::json) FROM holdfast_etl.counter"); got != "10004" {
			t.Errorf("the counter has %s files, want 10000 that are gone and 4", got)
		}
	})
	t.Run("more than a counter holds", func(t *testing.T) {
		root, deep := t.TempDir(), strings.Repeat(strings.Repeat("x", 250)+"/", 14)
		if err := os.MkdirAll(filepath.Join(root, deep), 0o700); err != nil {
			t.Fatal(err)
		}
		for i := range 2500 {
			write(t, filepath.Join(root, deep, fmt.Sprint(i)), "1\n")
		}
		before := dwh.Value(t, "", "SELECT count(*) FROM a")
		req := byFiles(t, dwh, root, deep+"*")
		req.Execution = 3001
		fail(t, req, holdfast.CodeInvalid, "so many files")
		if got := dwh.Value(t, "", "SELECT count(*) FROM a"); got != before {
			t.Errorf("got %s rows, want %s", got, before)
		}
	})
}

// A person writes times with the offset of his own clock.
func TestSeenOffset(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", "CREATE TABLE a (id int)")
	root := t.TempDir()
	write(t, filepath.Join(root, "f.csv"), "1\n")
	info, err := os.Stat(filepath.Join(root, "f.csv"))
	if err != nil {
		t.Fatal(err)
	}
	req := byFiles(t, dwh, root, "f.csv")
	value := `[{"path":"f.csv","size":2,"mtime":"` + info.ModTime().In(time.FixedZone("", 3600)).Format(time.RFC3339Nano) + `"}]`
	if err := etl.New(etl.Config{}).SetCounter(t.Context(), req, "a", "a", value); err != nil {
		t.Fatal(err)
	}
	if f := run(t, req).Flows[0]; f.Loaded != 0 {
		t.Errorf("got flow %+v, want nothing: the counter has the file", f)
	}
}
