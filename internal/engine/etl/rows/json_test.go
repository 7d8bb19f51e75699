package rows_test

import (
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

func TestReadJSON(t *testing.T) {
	const in = `{"s": "a", "n": 1, "more": []}` + "\n\n" + `{"n": "2"}` + "\r\n" + `{"n": 3, "s": ""}` + "\n" +
		`{"n": 4` + "\n" + `[5]` + "\n" + `{"n": 1.5}` + "\n" + `{"n": 7, "s": "\ud800"}` + "\n" + `{"n": 8, "s": {"k": 1.10}}`
	want := []rows.Reject{
		{Line: 5, Reason: "the line is no object of JSON", Raw: `{"n": 4`},
		{Line: 6, Reason: "the line is no object of JSON", Raw: `[5]`},
		{Line: 7, Column: "n", Reason: "the value is no whole number", Raw: `{"n": 1.5}`},
		{Line: 8, Column: "s", Reason: "the text cannot be read", Raw: `{"n": 7, "s": "\ud800"}`},
	}
	for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in))} {
		p, err := rows.Compile(two, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		var got []rows.Reject
		err = p.Run(r, rows.JSON{}, &out, rows.CSV{}, nil, func(bad rows.Reject) error {
			got = append(got, bad)
			return nil
		})
		if text := "1,a\n2,\n3,\"\"\n8,\"{\"\"k\"\": 1.10}\"\n"; err != nil || out.String() != text {
			t.Errorf("got %q, %v, want %q", out.String(), err, text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%+v, want\n%+v", got, want)
		}
	}
}
