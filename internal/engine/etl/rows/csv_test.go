package rows_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// two are columns for most tests of CSV.
var two = []rows.Column{{Name: "n", OID: 23, Type: "integer"}, {Name: "s", OID: 25, Type: "text"}}

// readCSV reads CSV into the columns, and returns the rows as our CSV, and the
// rejects.
func readCSV(t testing.TB, columns []rows.Column, format rows.CSV, r io.Reader) (string, []rows.Reject, error) {
	t.Helper()
	p, err := rows.Compile(columns, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var rejects []rows.Reject
	err = p.Run(r, format, &out, rows.CSV{Null: "∅"}, nil, func(r rows.Reject) error {
		rejects = append(rejects, r)
		return nil
	})
	return out.String(), rejects, err
}

func TestCSVIsRead(t *testing.T) {
	for _, c := range []struct {
		name, in string
		format   rows.CSV
		want     string
	}{
		{"plain", "1,a\n2,b\n", rows.CSV{}, "1,a\n2,b\n"},
		{"nothing", "", rows.CSV{}, ""},
		{"the last line does not end", "1,a\n2,b", rows.CSV{}, "1,a\n2,b\n"},
		{"the last field is empty", "1,", rows.CSV{}, "1,∅\n"},
		{"CR LF", "1,a\r\n2,\"b\"\r\n", rows.CSV{}, "1,a\n2,b\n"},
		{"CR at the end", "1,a\r\n2,b\r", rows.CSV{}, "1,a\n2,b\n"},
		{"a byte order mark", "\xef\xbb\xbf1,a\n", rows.CSV{}, "1,a\n"},
		{"empty lines", "\n1,a\n\n\r\n2,b\n\n", rows.CSV{}, "1,a\n2,b\n"},
		{"quotes", "1,\"a,\"\"b\"\"\r\nc\"\n", rows.CSV{}, "1,\"a,\"\"b\"\"\r\nc\"\n"},
		{"only quotes", "1,\"\"\"\"\n", rows.CSV{}, "1,\"\"\"\"\n"},
		{"quotes at the end", "1,\"a\"", rows.CSV{}, "1,a\n"},
		{"NULL and empty", ",\"\"\n", rows.CSV{}, "∅,\"\"\n"},
		{"NULL is a word", "NULL,NULL\n1,\"NULL\"\n2,\n", rows.CSV{Null: "NULL"}, "∅,∅\n1,NULL\n2,\"\"\n"},
		{"another comma", "1;\"a;b\"\n", rows.CSV{Comma: ';'}, "1,a;b\n"},
		{"tabs", "1\ta,b\n", rows.CSV{Comma: '\t'}, "1,\"a,b\"\n"},
		{"a header", "n,s\n1,a\n", rows.CSV{Header: true}, "1,a\n"},
		{"a header in another order, with others", "x,\"s\",y,n\n?,a,?,1\n", rows.CSV{Header: true}, "1,a\n"},
		{"a header behind a mark, and nothing else", "\xef\xbb\xbfn,s", rows.CSV{Header: true}, ""},
		{"spaces are kept in text, and not in numbers", " 1 , a \n", rows.CSV{}, "1, a \n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(c.in), "byte by byte": iotest.OneByteReader(strings.NewReader(c.in)),
				"with the end": iotest.DataErrReader(strings.NewReader(c.in)),
			} {
				got, rejects, err := readCSV(t, two, c.format, r)
				if err != nil || len(rejects) > 0 || got != c.want {
					t.Errorf("%s: got %q, %v, %v, want %q", name, got, rejects, err, c.want)
				}
			}
		})
	}
}

func TestOneColumnOfCSVMayBeEmpty(t *testing.T) {
	got, rejects, err := readCSV(t, two[1:], rows.CSV{}, strings.NewReader("a\n\n\"\"\nb\n"))
	if want := "a\n∅\n\"\"\nb\n"; err != nil || len(rejects) > 0 || got != want {
		t.Errorf("got %q, %v, %v, want %q", got, rejects, err, want)
	}
}

func TestBadRowsOfCSVAreRejects(t *testing.T) {
	in := "1,a\n" + // 1
		"x,b\n" + // 2
		"3\n" + // 3
		"4,a,\n" + // 4
		"5,\"a\nb\n\"\n" + // 5 to 7
		"99999999999,c\n" + // 8
		"9,a\"b\n" + // 9
		"10,\"a\"b\n" + // 10
		"11,a\rb\n" + // 11
		"12,\xff\n" + // 12
		"13,\"z\x00\"\n" + // 13
		"14,\"ok\"\n" + // 14
		"15,\"never,\nclosed\n" // 15
	want := []rows.Reject{
		{Line: 2, Column: "n", Reason: "the value is no whole number", Raw: "x,b"},
		{Line: 3, Reason: "the row has 1 columns, and not 2", Raw: "3"},
		{Line: 4, Reason: "the row has 3 columns, and not 2", Raw: "4,a,"},
		{Line: 8, Column: "n", Reason: "the value is out of the range of its type", Raw: "99999999999,c"},
		{Line: 9, Reason: "a quote stands within a field without quotes", Raw: "9,a\"b"},
		{Line: 10, Reason: "something follows the end of a field in quotes", Raw: "10,\"a\"b"},
		{Line: 11, Reason: "a carriage return stands within a field without quotes", Raw: "11,a\rb"},
		{Line: 12, Column: "s", Reason: "the value is not UTF-8", Raw: "12,\ufffd"},
		{Line: 13, Column: "s", Reason: "the value has a zero byte", Raw: "13,\"z\ufffd\""},
		{Line: 15, Reason: "a quote is not closed", Raw: "15,\"never,\nclosed"},
	}
	for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
		got, rejects, err := readCSV(t, two, rows.CSV{}, r)
		if err != nil || got != "1,a\n5,\"a\nb\n\"\n14,ok\n" {
			t.Errorf("got %q, %v", got, err)
		}
		if !slices.Equal(rejects, want) {
			t.Errorf("got\n%+v, want\n%+v", rejects, want)
		}
	}
}

func TestWithoutRejectsTheFirstBadRowIsAnError(t *testing.T) {
	p, err := rows.Compile(two, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = p.Run(strings.NewReader("1,a\nx,b\n"), rows.CSV{}, io.Discard, rows.Binary{}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "row 2: column n: the value is no whole number") {
		t.Errorf("got %v", err)
	}
}

func TestAHeaderThatDoesNotFit(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"n,t\n1,a\n", `does not name the column "s"`},
		{"n,s,n\n1,a,2\n", `names the column "n" twice`},
		{"", "is empty"},
		{"\ufeff", "is empty"},
		{"\"n\"x,s\n", "cannot be read"},
	} {
		if _, _, err := readCSV(t, two, rows.CSV{Header: true}, strings.NewReader(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want an error with %q", c.in, err, c.want)
		}
	}
}

func TestALongRejectIsCut(t *testing.T) {
	_, rejects, err := readCSV(t, two, rows.CSV{}, strings.NewReader("x,"+strings.Repeat("ö", rows.MaxRaw)+"\n"))
	if err != nil || len(rejects) != 1 || len(rejects[0].Raw) > rows.MaxRaw || !strings.HasSuffix(rejects[0].Raw, "ö…") {
		t.Errorf("got %d rejects, %v", len(rejects), err)
	}
}

func TestAQuoteThatIsNotClosedIsNotReadForever(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("1,\""), zeros{})
	if _, _, err := readCSV(t, two, rows.CSV{}, endless); err == nil || !strings.Contains(err.Error(), "longer than 64 MiB") {
		t.Errorf("got %v", err)
	}
}

// zeros is a file without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// FuzzCSV compares with encoding/csv what both read, and reads what was written.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{"a,b\n", "\"a\"\"b\",\"\"\r\nc,d", "a\n\nb,c,d\n", "\"\n", "a\"b,c\n", "\"a\"b\n", "\r\n\r", "\xef\xbb\xbfa,b"} {
		f.Add([]byte(s))
	}
	columns := []rows.Column{{Name: "a", OID: 25, Type: "text"}, {Name: "b", OID: 25, Type: "text"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		read := func(in []byte, cut func(io.Reader) io.Reader) (string, int) {
			p, err := rows.Compile(columns, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			rejects := 0
			err = p.Run(cut(bytes.NewReader(in)), rows.CSV{Null: "∅"}, &out, rows.CSV{Null: "∅"}, nil, func(rows.Reject) error { rejects++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			return out.String(), rejects
		}
		whole := func(r io.Reader) io.Reader { return r }
		once, rejects := read(data, whole)
		if cut, n := read(data, iotest.OneByteReader); cut != once || n != rejects {
			t.Errorf("%q: read byte by byte it is %q, %d rejects, and else %q, %d rejects", data, cut, n, once, rejects)
		}
		if again, n := read([]byte(once), whole); again != once || n != 0 {
			t.Errorf("%q came back as %q, %d rejects", once, again, n)
		}
		if rejects > 0 || bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) || bytes.Contains(data, []byte("∅")) || bytes.Contains(data, []byte("\r")) {
			return // encoding/csv leaves CR out of quoted fields
		}
		theirs, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		if err != nil {
			if !errors.Is(err, csv.ErrFieldCount) {
				t.Errorf("%q was read, and encoding/csv says %v", data, err)
			}
			return
		}
		ours, err := csv.NewReader(strings.NewReader(once)).ReadAll()
		if err != nil || !slices.EqualFunc(ours, theirs, slices.Equal) {
			t.Errorf("%q: got %q, %v, want %q", data, ours, err, theirs)
		}
	})
}
