package duck_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// What SQL of a definition must not reach: files, networks, settings, extensions, and
// the state of other executions. None of it is a statement of a step, or else the
// engine's own lock refuses it.
func TestSandbox(t *testing.T) {
	dir := t.TempDir()
	c := startWith(t, duck.Config{Memory: 256 * mib, Temp: 1 << 30, Threads: 1, TempDir: dir})
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("1,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	feed(t, c, "r", false, "1,1\n", numberColumns...)
	for _, sql := range []string{
		"select * from read_text('/etc/passwd')",
		"select * from read_blob('/etc/passwd')",
		"select * from read_csv('/etc/passwd')",
		"select * from '/etc/passwd'",
		"select * from read_csv('" + outside + "')",
		"select * from read_csv('/dev/fd/../../etc/passwd')",
		"select * from read_text('/proc/self/environ')",
		"select * from read_text('/proc/self/fd/0')",
		"select * from read_text('/dev/fd/3')",
		"select * from read_text('/dev/stdin')",
		"select * from glob('/etc/*')",
		"select * from sniff_csv('/etc/passwd')",
		"select * from read_parquet('https://localhost/x.parquet')",
		"select * from read_json('s3://bucket/x.json')",
		"select * from parquet_metadata('/etc/passwd')",
		"select * from duckdb_secrets()",
		"select * from sqlite_scan('" + outside + "', 'x')",
		"select * from query('copy (select 1) to ''" + outside + "''')",
		"select getenv('HOME')",
		"copy (select 1) to '" + outside + "'",
		"copy r to '" + outside + "'",
		"attach '" + outside + "' as x",
		"install httpfs",
		"load httpfs",
		"set memory_limit = '100GB'",
		"set global threads = 100",
		"reset lock_configuration",
		"pragma threads = 100",
		"call enable_logging()",
		"create table x as select 1",
		"insert into r values (1, 1)",
		"delete from r",
		"drop table r",
		"update r set i = 2",
		"export database '" + dir + "'",
		"select 1; drop table r",
		"select 1) to '" + outside + "' (format csv); select (2",
		"select 1; ",
		"with x as (delete from r returning *) select * from x",
		"explain analyze select 1",
		"",
		"--",
	} {
		for _, streamed := range []bool{true, false} {
			_, err := c.Step(t.Context(), "s", sql, streamed)
			if err == nil {
				_, _, err = c.Rows(t.Context(), "s", 1)
			}
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				t.Errorf("%s, streamed %t: got %v, want an error with code invalid", sql, streamed, err)
			}
			if err != nil && strings.Contains(err.Error(), "root:") {
				t.Errorf("%s: the error shows what was read: %v", sql, err)
			}
		}
		if _, err := c.Assert(t.Context(), sql); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("assert %s: got %v, want an error with code invalid", sql, err)
		}
	}
	if got, err := os.ReadFile(outside); err != nil || string(got) != "1,2\n" {
		t.Errorf("the file outside holds %q, %v", got, err)
	}
	if n, err := c.Assert(t.Context(), "select count(*) || ' ' || sum(i) from r"); err != nil || n != "1 1" {
		t.Errorf("the relation holds %s, %v", n, err)
	}
	// What the environment of the worker holds is not the child's.
	t.Setenv("HOLDFAST_TEST_SECRET", "hush")
	other := start(t)
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(other.Pid()), "environ"))
	if err != nil || strings.Contains(string(environ), "hush") || strings.Contains(string(environ), "PATH=") {
		t.Errorf("the child's environment is %q, %v", environ, err)
	}
}

// Errors are for the author of a definition: without the statement that was made
// around theirs, and without rows.
func TestErrorsAreReadable(t *testing.T) {
	c := start(t)
	feed(t, c, "orders", false, "1,secret name\n", column("id", "bigint"), column("name", "text"))
	for _, e := range []struct{ sql, want string }{
		{"select idd from orders", `Binder Error: Referenced column "idd" not found in FROM clause! Candidate bindings: "id"`},
		{"select * from order_s", "Catalog Error: Table with name order_s does not exist!"},
		{"select name::integer from orders", "Conversion Error: Could not convert string 'secret name' to INT32"},
		{"select $nobody from orders", "SQL, line 1, column 8: the definition declares no parameter nobody"},
		{"selec 1", "SQL, line 1, column 1: this is no SELECT"},
		{"select id +* 2 from orders", "Catalog Error: Scalar Function with name +* does not exist!"},
		{"select 1 from orders where", "Parser Error: syntax error at or near"},
		{"select error('no good')", "Invalid Input Error: no good"},
	} {
		_, err := c.Step(t.Context(), "s", e.sql, false)
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.HasPrefix(holdfast.ErrorMessage(err), e.want) {
			t.Errorf("%s:\n got %v\nwant %s", e.sql, err, e.want)
		}
		if err != nil && (strings.Contains(err.Error(), "LINE ") || strings.Contains(err.Error(), "CREATE TABLE")) {
			t.Errorf("%s: the error shows our statement: %v", e.sql, err)
		}
	}
	f, err := c.Feed(t.Context(), "r", []duck.Column{column("id", "bigint"), column("at", "timestamptz"), column("name", "text")}, duck.FormatCopy, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("1,2026-01-01 00:00:00+00,a\nx,2026-01-01 00:00:00+00,secret name\n")); err != nil {
		t.Fatal(err)
	}
	err = f.Close()
	if got, want := holdfast.ErrorMessage(err), `Conversion Error: CSV Error on Line: 2 Error when converting column "id" of r. Could not convert string "x" to 'BIGINT'`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, name := range []string{"orders", "ORDERS"} {
		if _, err := c.Step(t.Context(), name, "select 1", true); !strings.Contains(holdfast.ErrorMessage(err), "already") {
			t.Errorf("a second relation %s: got %v", name, err)
		}
	}
	if _, err := c.Columns(t.Context(), "nobody"); holdfast.ErrorMessage(err) != "there is no relation nobody" {
		t.Errorf("got %v", err)
	}
}

func TestLongRows(t *testing.T) {
	c := start(t) // of 256 MiB
	for _, e := range []struct {
		mib  int
		fits bool
	}{{12, true}, {20, false}} {
		f, err := c.Feed(t.Context(), "r", []duck.Column{column("a", "integer"), column("b", "text"), column("c", "text")}, duck.FormatCopy, true)
		if err != nil {
			t.Fatal(err)
		}
		value := strings.Repeat("x,\"\"\n", e.mib*mib/5)
		fed := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < 5 && err == nil; i++ {
				_, err = f.Write([]byte("1,\"" + value + "\",y\n"))
			}
			fed <- errors.Join(err, f.Close())
		}()
		counts, err := c.Counts(t.Context(), "r")
		switch {
		case e.fits && (err != nil || counts.Rows != 5):
			t.Errorf("rows of %d MiB: got %+v, %v", e.mib, counts, err)
		case !e.fits && (holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), "resources.memory")):
			t.Errorf("rows of %d MiB: got %+v, %v (hint %q); want that they are too long", e.mib, counts, err, holdfast.ErrorHint(err))
		}
		if err := <-fed; (err == nil) != e.fits {
			t.Errorf("rows of %d MiB: the feed says %v", e.mib, err)
		}
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
