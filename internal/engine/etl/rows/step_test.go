package rows_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// people are columns for the tests of steps.
var people = []rows.Column{
	{Name: "id", OID: 20, Type: "bigint"},
	{Name: "name", OID: 25, Type: "text"},
	{Name: "born", OID: 1082, Type: "date"},
	{Name: "salary", OID: 1700, Type: "numeric(10,2)"},
}

const peopleCSV = "1,Ada,1815-12-10,10.50\n2,Grace,1906-12-09,7.00\n3,,,\n"

// shaped is a transform of steps.
func shaped(steps ...definition.RowStep) []definition.RowTransform {
	return []definition.RowTransform{{Name: "shaped", Steps: steps}}
}

// apply runs steps over CSV and returns CSV with a header, and the rejects.
func apply(t testing.TB, columns []rows.Column, steps []definition.RowStep, params map[string]*string, in string) (string, []rows.Reject) {
	t.Helper()
	p, err := rows.Compile(columns, shaped(steps...), params)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var rejects []rows.Reject
	err = p.Run(strings.NewReader(in), rows.CSV{}, &out, rows.CSV{Header: true}, nil, func(r rows.Reject) error {
		rejects = append(rejects, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), rejects
}

func TestSteps(t *testing.T) {
	sum := func(s string) string { h := sha256.Sum256([]byte(s)); return hex.EncodeToString(h[:]) }
	mac := func(s string) string {
		h := hmac.New(sha256.New, []byte("secret"))
		h.Write([]byte(s))
		return hex.EncodeToString(h.Sum(nil))
	}
	drop := func(names ...string) definition.RowStep { return definition.RowStep{Drop: names} }
	only := drop("born", "salary")
	filter := func(column, op string, values ...string) []definition.RowStep {
		return []definition.RowStep{{Filter: &definition.Check{Column: column, Op: op, Values: values}}, drop("name", "born", "salary")}
	}
	for _, c := range []struct {
		name  string
		steps []definition.RowStep
		want  string
	}{
		{"none", nil, "id,name,born,salary\n" + peopleCSV},
		{"rename", []definition.RowStep{{Rename: &definition.Rename{Column: "name", To: "first"}}, only}, "id,first\n1,Ada\n2,Grace\n3,\n"},
		{"rename to itself", []definition.RowStep{{Rename: &definition.Rename{Column: "id", To: "id"}}, only}, "id,name\n1,Ada\n2,Grace\n3,\n"},
		{"swap names", []definition.RowStep{
			{Rename: &definition.Rename{Column: "id", To: "x"}},
			{Rename: &definition.Rename{Column: "name", To: "id"}},
			{Rename: &definition.Rename{Column: "x", To: "name"}},
			only,
		}, "name,id\n1,Ada\n2,Grace\n3,\n"},
		{"drop", []definition.RowStep{drop("id"), drop("born", "salary")}, "name\nAda\nGrace\n\n"},
		{"cast", []definition.RowStep{{Cast: &definition.Field{Name: "salary", Type: "integer"}}, drop("name", "born")}, "id,salary\n1,11\n2,7\n3,\n"},
		{"cast twice", []definition.RowStep{
			{Cast: &definition.Field{Name: "salary", Type: "integer"}},
			{Cast: &definition.Field{Name: "salary", Type: "text"}},
			{Mask: &definition.Mask{Column: "salary", Keep: 1}},
			drop("name", "born"),
		}, "id,salary\n1,*1\n2,*\n3,\n"},
		{"constant", []definition.RowStep{only, {Constant: &definition.Constant{Column: "k", Type: "date", Value: new("2026-11-21")}}}, "id,name,k\n1,Ada,2026-11-21\n2,Grace,2026-11-21\n3,,2026-11-21\n"},
		{"constants of parameters, empty and NULL", []definition.RowStep{
			drop("name", "born", "salary"),
			{Constant: &definition.Constant{Column: "a", Type: "text", Value: new("")}},
			{Constant: &definition.Constant{Column: "b", Type: "text"}},
			{Constant: &definition.Constant{Column: "c", Type: "integer", Param: "seven"}},
			{Constant: &definition.Constant{Column: "d", Type: "integer", Param: "null"}},
		}, "id,a,b,c,d\n1,\"\",,7,\n2,\"\",,7,\n3,\"\",,7,\n"},
		{"a constant is cast in each row", []definition.RowStep{
			drop("name", "born", "salary"), {Constant: &definition.Constant{Column: "c", Type: "integer", Param: "seven"}}, {Cast: &definition.Field{Name: "c", Type: "text"}},
		}, "id,c\n1,7\n2,7\n3,7\n"},
		{"hash", []definition.RowStep{{Hash: &definition.Hash{Column: "name"}}, only}, "id,name\n1," + sum("Ada") + "\n2," + sum("Grace") + "\n3,\n"},
		{"hash with a key", []definition.RowStep{{Hash: &definition.Hash{Column: "name", Key: "key"}}, only}, "id,name\n1," + mac("Ada") + "\n2," + mac("Grace") + "\n3,\n"},
		{"hash of the text", []definition.RowStep{{Hash: &definition.Hash{Column: "born"}}, drop("name", "salary")}, "id,born\n1," + sum("1815-12-10") + "\n2," + sum("1906-12-09") + "\n3,\n"},
		{"mask", []definition.RowStep{{Mask: &definition.Mask{Column: "name", Keep: 2}}, only}, "id,name\n1,*da\n2,***ce\n3,\n"},
		{"mask what is short", []definition.RowStep{{Mask: &definition.Mask{Column: "name", Keep: 3}}, only}, "id,name\n1,***\n2,**ace\n3,\n"},
		{"mask all", []definition.RowStep{{Mask: &definition.Mask{Column: "name"}}, only}, "id,name\n1,***\n2,*****\n3,\n"},
		{"=", filter("name", "=", "Ada"), "id\n1\n"},
		{"<>", filter("name", "<>", "Ada"), "id\n2\n"},
		{"<", filter("salary", "<", "10.5"), "id\n2\n"},
		{"<=", filter("salary", "<=", "10.500"), "id\n1\n2\n"},
		{">", filter("born", ">", "1815-12-10"), "id\n2\n"},
		{">=", filter("id", ">=", "2"), "id\n2\n3\n"},
		{"in", filter("id", "in", "3", "1"), "id\n1\n3\n"},
		{"is null", filter("name", "is null"), "id\n3\n"},
		{"is not null", filter("name", "is not null"), "id\n1\n2\n"},
		{"a parameter", []definition.RowStep{{Filter: &definition.Check{Column: "id", Op: "<", Param: "seven"}}, only}, "id,name\n1,Ada\n2,Grace\n3,\n"},
		{"a parameter that is NULL", []definition.RowStep{{Filter: &definition.Check{Column: "id", Op: "<>", Param: "null"}}, only}, "id,name\n"},
		{"a filter sees what the steps before it made", []definition.RowStep{
			{Mask: &definition.Mask{Column: "name", Keep: 2}}, {Filter: &definition.Check{Column: "name", Op: "=", Values: []string{"*da"}}}, only,
		}, "id,name\n1,*da\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			params := map[string]*string{"seven": new("7"), "null": nil, "key": new("secret")}
			got, rejects := apply(t, people, c.steps, params, peopleCSV)
			if got != c.want || len(rejects) > 0 {
				t.Errorf("got %q, %v, want %q", got, rejects, c.want)
			}
		})
	}
}

func TestStepsReject(t *testing.T) {
	steps := []definition.RowStep{
		{Mask: &definition.Mask{Column: "name", Keep: 1}},
		{Reject: &definition.Check{Column: "salary", Op: ">", Values: []string{"8"}}},
	}
	got, rejects := apply(t, people, steps, nil, peopleCSV)
	want := []rows.Reject{
		{Line: 2, Column: "salary", Reason: "transform shaped, step 2 (reject): the value does not pass the check > 8", Raw: "2,Grace,1906-12-09,7.00"},
		{Line: 3, Column: "salary", Reason: "transform shaped, step 2 (reject): the value does not pass the check > 8", Raw: "3,,,"},
	}
	if got != "id,name,born,salary\n1,**a,1815-12-10,10.50\n" || !slices.Equal(rejects, want) {
		t.Errorf("got %q and %+v, want %+v", got, rejects, want)
	}
}

// Each transform counts the rows that come to it, and an error names the step that it
// comes from.
func TestTransformsCountTheirRows(t *testing.T) {
	transforms := []definition.RowTransform{
		{Name: "paid", Steps: []definition.RowStep{
			{Reject: &definition.Check{Column: "salary", Op: "is not null"}}, {Filter: &definition.Check{Column: "id", Op: "<", Values: []string{"9"}}},
		}},
		{Name: "renamed", Steps: []definition.RowStep{{Rename: &definition.Rename{Column: "name", To: "first"}}}},
		{Name: "numbered", Steps: []definition.RowStep{{Drop: []string{"born"}}, {Cast: &definition.Field{Name: "first", Type: "integer"}}}},
	}
	compile := func() *rows.Program {
		t.Helper()
		p, err := rows.Compile(people, transforms, nil)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	in := "1,Ada,,10\n2,7,,\n3,8,,1\n9,9,,1\n" + "x,9,,1\n"
	first, second := compile(), compile()
	second.CountInto(first.Counts())
	for _, p := range []*rows.Program{first, second} {
		if err := p.Run(strings.NewReader(in), rows.CSV{}, io.Discard, rows.CSV{}, nil, func(rows.Reject) error { return nil }); err != nil {
			t.Fatal(err)
		}
	}
	want := []rows.TransformCounts{{Name: "paid", In: 8, Filtered: 2, Rejected: 2}, {Name: "renamed", In: 4}, {Name: "numbered", In: 4, Rejected: 2}}
	if got := first.Counts(); !slices.Equal(got, want) || got[0].Out() != 4 || got[2].Out() != 2 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for in, want := range map[string]string{
		"1,Ada,,10\n": "row 1: transform numbered, step 2 (cast): column first: the value is no whole number",
		"2,7,,\n":     "row 1: transform paid, step 1 (reject): column salary: the value does not pass the check is not null",
		"x,7,,\n":     "row 1: column id: the value is no whole number",
	} {
		err := compile().Run(strings.NewReader(in), rows.CSV{}, io.Discard, rows.CSV{}, nil, nil)
		if got := holdfast.ErrorMessage(err); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	transforms[2].Steps[1].Cast.Name = "name"
	_, err := rows.Compile(people, transforms, nil)
	if got, want := holdfast.ErrorMessage(err), "transform numbered, step 2 (cast): there is no column name"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestARejectOfTuplesShowsTheRowAsItCame(t *testing.T) {
	odd := rows.Column{Name: "odd", OID: 600, Type: "point"}
	columns := []rows.Column{label, {Name: "n", OID: 23, Type: "integer"}, odd}
	in := stream(t, [][]byte{[]byte("it is \"8\""), nil, {1, 2}}, [][]byte{[]byte("9"), {0, 0, 0, 5}, nil})
	p, err := rows.Compile(columns, shaped(definition.RowStep{Cast: &definition.Field{Name: "label", Type: "integer"}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []rows.Reject
	var n rows.Counters
	if err := p.Run(bytes.NewReader(in), rows.Binary{}, io.Discard, rows.Binary{}, &n, func(r rows.Reject) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []rows.Reject{{Line: 1, Column: "label", Reason: "transform shaped, step 1 (cast): the value is no whole number", Raw: `{"label": "it is \"8\"", "n": null, "odd": "\\x0102"}`}}
	if !slices.Equal(got, want) || n.Read.Load() != 2 || n.Rejected.Load() != 1 || n.Written.Load() != 1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStepsThatCannotBe(t *testing.T) {
	odd := append(slices.Clone(people), rows.Column{Name: "odd", OID: 600, Type: "point"}, rows.Column{Name: "doc", OID: 3802, Type: "jsonb"})
	check := func(column, op, param string, values ...string) definition.RowStep {
		return definition.RowStep{Filter: &definition.Check{Column: column, Op: op, Param: param, Values: values}}
	}
	for _, c := range []struct {
		step definition.RowStep
		want string
	}{
		{definition.RowStep{}, "transform shaped, step 1 (empty): the step is empty"},
		{definition.RowStep{Drop: []string{"x"}}, "there is no column x"},
		{definition.RowStep{Rename: &definition.Rename{Column: "x", To: "y"}}, "transform shaped, step 1 (rename): there is no column x"},
		{definition.RowStep{Rename: &definition.Rename{Column: "id", To: "name"}}, "there is a column name already"},
		{definition.RowStep{Cast: &definition.Field{Name: "x", Type: "text"}}, "there is no column x"},
		{definition.RowStep{Cast: &definition.Field{Name: "id", Type: "money"}}, `no type "money"`},
		{definition.RowStep{Cast: &definition.Field{Name: "id", Type: "text(5)"}}, "limits that its type does not take"},
		{definition.RowStep{Cast: &definition.Field{Name: "id", Type: "numeric(2,3)"}}, "limits that its type does not take"},
		{definition.RowStep{Cast: &definition.Field{Name: "id", Type: "numeric(a)"}}, "limits that are no numbers"},
		{definition.RowStep{Cast: &definition.Field{Name: "id", Type: "numeric("}}, "has no end"},
		{definition.RowStep{Cast: &definition.Field{Name: "id", Type: "uuid"}}, "cannot be cast from bigint to uuid"},
		{definition.RowStep{Cast: &definition.Field{Name: "odd", Type: "text"}}, "cannot be cast from point to text"},
		{definition.RowStep{Constant: &definition.Constant{Column: "id", Type: "text"}}, "there is a column id already"},
		{definition.RowStep{Constant: &definition.Constant{Column: "k", Type: "nothing"}}, `no type "nothing"`},
		{definition.RowStep{Constant: &definition.Constant{Column: "k", Type: "integer", Value: new("x")}}, "is no whole number"},
		{definition.RowStep{Constant: &definition.Constant{Column: "k", Type: "integer", Param: "x"}}, "there is no parameter x"},
		{definition.RowStep{Hash: &definition.Hash{Column: "x"}}, "there is no column x"},
		{definition.RowStep{Hash: &definition.Hash{Column: "odd"}}, "cannot become text"},
		{definition.RowStep{Hash: &definition.Hash{Column: "id", Key: "x"}}, "there is no parameter x"},
		{definition.RowStep{Hash: &definition.Hash{Column: "id", Key: "null"}}, "the key of the hash of id is empty"},
		{definition.RowStep{Mask: &definition.Mask{Column: "id", Keep: 1}}, "only text can be masked, and not bigint"},
		{definition.RowStep{Mask: &definition.Mask{Column: "name", Keep: -1}}, "keeps no fewer than 0"},
		{check("x", "=", "", "1"), "there is no column x"},
		{check("id", "=", "", "x"), `the value "x" of the check = is no bigint`},
		{check("id", "~", "", "1"), `no comparison "~"`},
		{check("id", "=", ""), "has 0 values"},
		{check("id", "=", "", "1", "2"), "has 2 values"},
		{check("id", "in", ""), "has 0 values"},
		{check("id", "=", "x"), "there is no parameter x"},
		{check("odd", "=", "", "(1,2)"), "cannot be compared"},
		{check("doc", "=", "", "{}"), "cannot be compared"},
	} {
		_, err := rows.Compile(odd, shaped(c.step), map[string]*string{"null": nil})
		if err == nil || !strings.Contains(err.Error(), c.want) || holdfast.ErrorCode(err) != holdfast.CodeInvalid || holdfast.ErrorHint(err) == "" && !strings.Contains(c.want, "limits that its") && !strings.Contains(c.want, "fewer") {
			t.Errorf("%+v: got %v (%s), want an invalid one with %q and a hint", c.step, err, holdfast.ErrorHint(err), c.want)
		}
	}
}

func TestIntoATargetsTypes(t *testing.T) {
	p, err := rows.Compile(people, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Changes() {
		t.Error("a program without steps changes rows")
	}
	target := []rows.Column{
		{Name: "a", OID: 23, Type: "integer"},
		{Name: "b", OID: 1043, Type: "character varying(3)"},
		{Name: "c", OID: 1184, Type: "timestamp with time zone"},
		{Name: "d", OID: 1700, Type: "numeric(3,1)"},
	}
	if err := p.Into(target[:3]); err == nil || !strings.Contains(err.Error(), "4 columns, and the target takes 3") {
		t.Errorf("got %v", err)
	}
	if err := p.Into([]rows.Column{target[0], target[1], target[2], {Name: "d", OID: 2950, Type: "uuid"}}); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("got %v, want an invalid one", err)
	}
	if p, err = rows.Compile(people, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := p.Into(target); err != nil {
		t.Fatal(err)
	}
	if !p.Changes() {
		t.Error("a program with casts does not change rows")
	}
	var out bytes.Buffer
	var rejects []string
	in := peopleCSV + "4,Ada,1815-12-10,100.00\n99999999999,Ada,1815-12-10,1.00\n"
	err = p.Run(strings.NewReader(in), rows.CSV{}, &out, rows.CSV{Header: true}, nil, func(r rows.Reject) error {
		rejects = append(rejects, fmt.Sprint(r.Line, r.Column, r.Reason))
		return nil
	})
	wantRejects := []string{"2namethe value is longer than its type allows", "4salarythe value is out of the range of its type", "5idthe value is out of the range of its type"}
	want := "id,name,born,salary\n1,Ada,1815-12-10 00:00:00+00,10.5\n3,,,\n"
	if err != nil || out.String() != want || !slices.Equal(rejects, wantRejects) {
		t.Errorf("got %q, %q, %v, want %q, %q", out.String(), rejects, err, want, wantRejects)
	}
}

func TestTypesThatAreNotBuiltIn(t *testing.T) {
	enum := rows.Column{Name: "mood", OID: 16400, Type: "mood", Textual: true}
	hstore := rows.Column{Name: "h", OID: 16500, Type: "hstore"}
	array := rows.Column{Name: "m", OID: 16401, Type: "mood[]"}
	text := rows.Column{Name: "t", OID: 25, Type: "text"}
	other := func(c rows.Column) rows.Column { c.OID += 100; return c }
	for _, c := range []struct {
		name     string
		from, to rows.Column
		ok       bool
	}{
		{"an enum of another server", enum, other(enum), true},
		{"text into an enum", text, enum, true},
		{"an enum into text", enum, text, true},
		{"a type of the same name", hstore, other(hstore), true},
		{"its array tells a number", array, other(array), false},
		{"text into a type that is not text", text, hstore, false},
		{"types of other names", hstore, other(rows.Column{Name: "h", OID: 16500, Type: "ltree"}), false},
	} {
		p, err := rows.Compile([]rows.Column{c.from}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Into([]rows.Column{c.to}); (err == nil) != c.ok {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}

func TestNewColumnNamesTypesAsServersDo(t *testing.T) {
	_, conn := server(t)
	for _, typ := range []string{
		"int", "INTEGER", "bigint", "smallint", "real", "double  precision", "float", "decimal(10, 2)", "numeric", "numeric(5)", "numeric(18,6)", "boolean", "text",
		"varchar", "varchar(20)", "character varying(3)", "char", "char(4)", "character(2)", "bpchar", "date", "timestamp", "timestamp(3)", "timestamptz", "timestamptz(2)",
		"timestamp(1) with time zone", "timestamp without time zone", "time", "time(2)", "uuid", "json", "jsonb", "bytea", "inet", "interval", "int[]", "text[]", "numeric[]", "pg_catalog.int4", "varbit(3)", "bit varying",
	} {
		c, err := rows.NewColumn("c", typ)
		if err != nil {
			t.Error(err)
			continue
		}
		exec(t, conn, "drop table if exists x; create table x (c "+typ+")")
		want := texts(t, conn, "select atttypid::text || ' ' || format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'x'::regclass and attname = 'c'")[0]
		if got := fmt.Sprint(c.OID, " ", c.Type); got != want {
			t.Errorf("%s: got %s, want %s", typ, got, want)
		}
	}
}

// TestChecksAreTheServers compares each comparison of two values with the server's.
func TestChecksAreTheServers(t *testing.T) {
	_, conn := server(t)
	exec(t, conn, "create table pairs (a text, b text)")
	for _, typ := range []string{"bool", "int2", "int4", "int8", "float4", "float8", "numeric", "date", "timestamp", "timestamptz", "uuid", "text", "varchar", "bpchar"} {
		t.Run(typ, func(t *testing.T) {
			all := slices.DeleteFunc(slices.Clone(samples[typ]), func(s string) bool { return len(s) > 1000 })
			col := sampleTable(t, conn, typ)
			collate := ""
			if strings.Contains("text varchar bpchar", typ) {
				collate = ` collate "C"`
			}
			for _, op := range []string{"=", "<>", "<", "<=", ">", ">="} {
				for _, v := range all {
					p, err := rows.Compile([]rows.Column{col}, shaped(definition.RowStep{Filter: &definition.Check{Column: "v", Op: op, Values: []string{v}}}), nil)
					if err != nil {
						t.Fatal(err)
					}
					var in, got, want bytes.Buffer
					copyTo(t, conn, &in, "copy (select v from sample order by n) to stdout (format binary)")
					if err := p.Run(&in, rows.Binary{}, &got, rows.Binary{}, nil, nil); err != nil {
						t.Fatal(err)
					}
					copyTo(t, conn, &want, fmt.Sprintf("copy (select v from sample where v%s %s %s::%s order by n) to stdout (format binary)", collate, op, quoteOne(v), typ))
					if !bytes.Equal(got.Bytes(), want.Bytes()) {
						t.Errorf("%s %q: got %q, want %q", op, v, got.Bytes(), want.Bytes())
					}
				}
			}
		})
	}
}

// TestAnyStepsKeepTheRowsInOrder runs random steps against a plain model.
func TestAnyStepsKeepTheRowsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type modelRow = map[string]*string
		names := []string{"a", "b", "c"}
		var columns []rows.Column
		for _, n := range names {
			columns = append(columns, rows.Column{Name: n, OID: 25, Type: "text"})
		}
		value := rapid.Custom(func(t *rapid.T) *string {
			if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
				return nil
			}
			s := rapid.StringOfN(rapid.RuneFrom([]rune("ab1ö🦆")), 0, 4, -1).Draw(t, "text")
			return &s
		})
		var model []modelRow
		var data [][][]byte
		for range rapid.IntRange(0, 6).Draw(t, "rows") {
			m, raw := modelRow{}, [][]byte{}
			for _, n := range names {
				m[n] = value.Draw(t, n)
				if m[n] == nil {
					raw = append(raw, nil)
				} else {
					raw = append(raw, append([]byte{}, *m[n]...))
				}
			}
			model, data = append(model, m), append(data, raw)
		}
		var steps []definition.RowStep
		rejected := 0
		for i := range rapid.IntRange(0, 6).Draw(t, "steps") {
			if len(names) == 0 {
				break
			}
			at := rapid.IntRange(0, len(names)-1).Draw(t, "column")
			n := names[at]
			keep := func(pass func(v *string) bool) int {
				before := len(model)
				model = slices.DeleteFunc(model, func(m modelRow) bool { return !pass(m[n]) })
				return before - len(model)
			}
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				to := fmt.Sprint("r", i)
				steps = append(steps, definition.RowStep{Rename: &definition.Rename{Column: n, To: to}})
				for _, m := range model {
					m[to] = m[n]
				}
				names[at] = to
			case 1:
				steps = append(steps, definition.RowStep{Drop: []string{n}})
				names = slices.Delete(slices.Clone(names), at, at+1)
			case 2:
				k, v := fmt.Sprint("k", i), value.Draw(t, "constant")
				steps = append(steps, definition.RowStep{Constant: &definition.Constant{Column: k, Type: "text", Value: v}})
				for _, m := range model {
					m[k] = v
				}
				names = append(slices.Clone(names), k)
			case 3:
				k := rapid.IntRange(0, 3).Draw(t, "keep")
				steps = append(steps, definition.RowStep{Mask: &definition.Mask{Column: n, Keep: k}})
				for _, m := range model {
					if v := m[n]; v != nil {
						r := []rune(*v)
						masked := len(r) - k
						if masked <= 0 {
							masked = len(r)
						}
						for j := range masked {
							r[j] = '*'
						}
						m[n] = new(string(r))
					}
				}
			case 4:
				v := rapid.StringOfN(rapid.RuneFrom([]rune("ab1ö")), 0, 3, -1).Draw(t, "least")
				steps = append(steps, definition.RowStep{Filter: &definition.Check{Column: n, Op: ">=", Values: []string{v}}})
				keep(func(s *string) bool { return s != nil && *s >= v })
			case 5:
				steps = append(steps, definition.RowStep{Reject: &definition.Check{Column: n, Op: "is not null"}})
				rejected += keep(func(s *string) bool { return s != nil })
			}
		}
		p, err := rows.Compile(columns, shaped(steps...), nil)
		if err != nil {
			t.Fatal(err)
		}
		var in, out bytes.Buffer
		w := rows.NewWriter(&in)
		for _, r := range data {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var n rows.Counters
		if err := p.Run(&in, rows.Binary{}, &out, rows.Binary{}, &n, func(rows.Reject) error { return nil }); err != nil {
			t.Fatal(err)
		}
		got, err := readAll(rows.NewReader(&out, len(names)))
		if err != nil {
			t.Fatal(err)
		}
		var want [][][]byte
		for _, m := range model {
			row := [][]byte{}
			for _, name := range names {
				if v := m[name]; v == nil {
					row = append(row, nil)
				} else {
					row = append(row, []byte(*v))
				}
			}
			want = append(want, row)
		}
		if !equalRows(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
		counted := fmt.Sprint(n.Read.Load(), n.Written.Load(), n.Rejected.Load(), n.Filtered.Load())
		if c := fmt.Sprint(len(data), len(want), rejected, len(data)-len(want)-rejected); counted != c {
			t.Fatalf("counted %s, want %s", counted, c)
		}
	})
}
