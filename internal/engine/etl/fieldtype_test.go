package etl_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// Fields of types that are not read here passed as sound, and failed, or were no types.
func TestFieldsThatTravelAsText(t *testing.T) {
	t.Parallel()
	dwh := startServer(t)
	dwh.Exec(t, "", `CREATE TYPE mood AS ENUM ('good', 'bad')`)
	root := t.TempDir()
	values := []struct{ name, field, column, value string }{
		{"a", "int4range", "", "[1,5)"},
		{"b", "timetz", "", "10:00:00+02"},
		{"c", "time(0) with time zone", "", "11:00:00+00"},
		{"d", "int4multirange", "", "{[1,2),[4,5)}"},
		{"e", "datemultirange", "", "{[2026-01-01,2026-01-02)}"},
		{"f", "tsvector", "", "'a' 'b'"},
		{"g", "point", "", "(1,2)"},
		{"h", "xml", "", "<a/>"},
		{"i", "path", "", "[(0,0),(1,1)]"},
		{"j", "text", "money", "$1.00"},
		{"k", "text", "mood", "bad"},
		{"l", "text", `"char"`, "x"},
	}
	var fields, columns, csv []string
	for _, v := range values {
		column := v.column
		if column == "" {
			column = v.field
		}
		fields = append(fields, `{name: `+v.name+`, type: "`+v.field+`"}`)
		columns = append(columns, v.name+" "+column)
		csv = append(csv, `"`+v.value+`"`)
	}
	dwh.Exec(t, "", "CREATE TABLE a ("+strings.Join(columns, ", ")+")")
	write(t, filepath.Join(root, "a.csv"), strings.Join(csv, ",")+"\n")
	req := fromFiles(t, dwh, "{directory: "+root+"}", `
extract: [{name: a, connection: in, file: {path: a.csv, format: csv, fields: [`+strings.Join(fields, ", ")+`]}, on_reject: {}}]
load: [{from: a, connection: dwh, table: a}]
`)
	req.Roots = []string{root}
	run(t, req)
	for _, v := range values {
		if got := dwh.Value(t, "", "SELECT "+v.name+"::text FROM a"); got != v.value {
			t.Errorf("%s: got %s, want %s", v.field, got, v.value)
		}
	}
}
