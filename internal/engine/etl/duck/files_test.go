package duck_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// file writes a file and opens it for reading.
func file(t *testing.T, content string) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, name)
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// create makes an empty file to write to.
func create(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// parquet writes the rows of a SELECT to a file, and opens it.
func parquet(t *testing.T, c *duck.Client, sql string) *os.File {
	t.Helper()
	out := create(t)
	step(t, c, "to_write", sql, true)
	if _, err := c.WriteParquet(t.Context(), "to_write", out); err != nil {
		t.Fatal(err)
	}
	if err := c.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	return open(t, out.Name())
}

// TestFits goes through every pair of types: what fits comes out as the value that it
// was, and what does not is refused.
func TestFits(t *testing.T) {
	c := start(t)
	values := map[string]string{ // of the engine's types, at their extremes
		"BOOLEAN": "true", "TINYINT": "-128", "UTINYINT": "255", "SMALLINT": "-32768", "USMALLINT": "65535", "INTEGER": "-2147483648",
		"UINTEGER": "4294967295", "BIGINT": "-9223372036854775808", "UBIGINT": "18446744073709551615", "FLOAT": "0.1", "DOUBLE": "0.1",
		"DECIMAL(5,2)": "999.99", "DECIMAL(38,0)": "99999999999999999999999999999999999999", "VARCHAR": "'2026-01-05 garbage'", "DATE": "'0044-03-15 (BC)'",
		"TIME": "'24:00:00'", "TIMESTAMP": "'2026-01-05 10:11:12.123456'", "TIMESTAMP_S": "'2026-01-05 10:11:12'", "TIMESTAMP_MS": "'2026-01-05 10:11:12.123'",
		"TIMESTAMP_NS": "'2026-01-05 10:11:12.123456789'", "TIMESTAMP WITH TIME ZONE": "'2026-01-05 10:11:12.123456+00'", "UUID": "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
	}
	for own, value := range values {
		file := parquet(t, c, "select ("+value+")::"+own+" as v")
		types, err := c.Describe(t.Context(), duck.Source{Files: []*os.File{file}})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"boolean", "smallint", "integer", "oid", "bigint", "real", "double precision", "numeric(5,2)", "numeric(6,3)", "numeric(38,0)", "numeric(22,2)",
			"date", "time", "timestamp", "timestamptz", "uuid", "text",
		} {
			fits := duck.Fits(types["v"], want)
			_, err := c.Read(t.Context(), "r", duck.Source{Columns: []duck.Column{column("v", want)}, Files: []*os.File{file}}, false)
			if (err == nil) != fits {
				t.Errorf("%s as %s: fits is %t, and reading it says %v", types["v"], want, fits, err)
			}
			if fits {
				same := fmt.Sprintf("select v = (%s)::%s from r", value, own)
				if want == "text" {
					same = "select v is not null from r"
				}
				if got, err := c.Assert(t.Context(), same); err != nil || got != "true" {
					t.Errorf("%s as %s: got %s, %v", types["v"], want, got, err)
				}
			}
			if err := c.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDescribe(t *testing.T) {
	c := start(t)
	one, same, other, fewer := parquet(t, c, "select 1::int as i, 'x' as v"), parquet(t, c, "select 'y' as v, 2::int as i"), parquet(t, c, "select '1.7' as i, 'x' as v"), parquet(t, c, "select 1::int as i")
	got, err := c.Describe(t.Context(), duck.Source{Files: []*os.File{one, same}})
	if err != nil || len(got) != 2 || got["i"] != "INTEGER" || got["v"] != "VARCHAR" {
		t.Errorf("got %v, %v", got, err)
	}
	var many []*os.File
	for range duck.MaxFiles {
		many = append(many, one)
	}
	for name, files := range map[string][]*os.File{"another type": {one, other}, "a column less": {one, fewer}, "behind many": append(many, other)} {
		if _, err := c.Describe(t.Context(), duck.Source{Files: files}); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(fmt.Sprint(err), "column i") && !strings.Contains(fmt.Sprint(err), "column v") {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := c.Read(t.Context(), "r", duck.Source{Columns: []duck.Column{column("i", "integer")}, Files: files}, false); name != "a column less" && holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: read, %v", name, err)
		}
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWritesFiles(t *testing.T) {
	c := start(t)
	const all = `select 1::bigint as id, 1.25::decimal(18,2) as price, 'a"b,
c' as name, timestamptz '2026-01-02 03:04:05.123456+00' as at, 170141183460469231731687303715884105::hugeint as wide,
interval '1 month -2 days 00:00:00.000001' as span, '\x00\xFF'::blob as raw, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as key, date '2026-01-02' as day, null::text as none, '' as empty`
	step(t, c, "r", all, true)
	csv := create(t)
	if n, err := c.WriteCSV(t.Context(), "r", csv); err != nil || n != 1 {
		t.Fatalf("got %d rows, %v", n, err)
	}
	got, err := os.ReadFile(csv.Name())
	const row = "1,1.25,\"a\"\"b,\nc\",2026-01-02 03:04:05.123456+00,170141183460469231731687303715884105,1 month -2 days 00:00:00.000001,\\x00ff,a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,2026-01-02,,\"\"\n"
	if want := "id,price,name,at,wide,span,raw,\"key\",day,none,empty\n" + row; err != nil || strings.ReplaceAll(string(got), `"key"`, "key") != strings.ReplaceAll(want, `"key"`, "key") {
		t.Errorf("got  %q, %v\nwant %q", got, err, want)
	}
	file := create(t)
	if n, err := c.WriteParquet(t.Context(), "r", file); err != nil || n != 1 {
		t.Fatalf("got %d rows, %v", n, err)
	}
	columns, err := c.Columns(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	types, err := c.Describe(t.Context(), duck.Source{Files: []*os.File{open(t, file.Name())}})
	if err != nil {
		t.Fatal(err)
	}
	for i, column := range columns {
		if !duck.Fits(types[column.Name], column.Type) { // what Parquet has no type for
			columns[i].Type = "text"
		}
	}
	for _, streamed := range []bool{true, false} {
		name := fmt.Sprintf("p%t", streamed)
		if _, err := c.Read(t.Context(), name, duck.Source{Columns: columns, Files: []*os.File{open(t, file.Name())}}, streamed); err != nil {
			t.Fatal(err)
		}
		if got := drain(t, c, name); got != row {
			t.Errorf("Parquet comes back as %q\nwant %q", got, row)
		}
	}
	slices.Reverse(columns)
	if _, err := c.Read(t.Context(), "q", duck.Source{Columns: columns, Files: []*os.File{open(t, file.Name())}}, true); err != nil {
		t.Fatal(err)
	}
	if got := drain(t, c, "q"); !strings.HasPrefix(got, `"",,2026-01-02,`) {
		t.Errorf("by name, in another order: %q", got)
	}
}

func TestManyFiles(t *testing.T) {
	c := start(t)
	s := duck.Source{Columns: []duck.Column{column("i", "integer")}}
	file := parquet(t, c, "select 7::int as i")
	const count = 3*duck.MaxFiles + 5
	for range count {
		s.Files = append(s.Files, file)
	}
	for range 3 { // places are given back
		if n, err := c.Read(t.Context(), "r", s, true); err != nil || n != count {
			t.Fatalf("got %d rows, %v; want %d", n, err, count)
		}
		if got, err := c.Assert(t.Context(), "select sum(i) from r"); err != nil || got != fmt.Sprint(7*count) {
			t.Errorf("got %s, %v", got, err)
		}
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	c := start(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	good := parquet(t, c, "select 1::int as id, 'x' as v")
	for _, e := range []struct {
		name   string
		source duck.Source
		want   string
	}{
		{"a pipe", duck.Source{Files: []*os.File{r}}, "is no file"},
		{"nothing", duck.Source{}, "at least one file"},
		{"no Parquet", duck.Source{Files: []*os.File{file(t, "PAR1 no PAR1")}, Names: []string{"a.parquet"}}, "a.parquet: Invalid Input Error: Footer length error in file 'a.parquet'"},
		{"no such column", duck.Source{Files: []*os.File{good}, Columns: []duck.Column{column("w", "text")}}, "no column w"},
		{"another type", duck.Source{Files: []*os.File{good}, Columns: []duck.Column{column("v", "integer")}}, "is VARCHAR in"},
	} {
		if e.source.Columns == nil {
			e.source.Columns = []duck.Column{column("id", "integer"), column("v", "text")}
		}
		_, err := c.Read(t.Context(), "r", e.source, false)
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(e.want)) {
			t.Errorf("%s: got %v, want %s", e.name, err, e.want)
		}
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
