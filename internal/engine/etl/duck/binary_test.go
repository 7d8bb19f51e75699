package duck_test

import (
	"io"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// copyBegin is what the manual's chapter on COPY says that a file begins with.
const copyBegin = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"

func TestDrainBinary(t *testing.T) {
	c := start(t)
	step(t, c, "r", "select 258::int as a, 'xyz' as b, null::bigint as c, -12345.0678::decimal(9,4) as d", false)
	d, err := c.DrainBinary(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(d)
	want := copyBegin + "\x00\x04" +
		"\x00\x00\x00\x04\x00\x00\x01\x02" +
		"\x00\x00\x00\x03xyz" +
		"\xff\xff\xff\xff" +
		"\x00\x00\x00\x0e\x00\x03\x00\x01\x40\x00\x00\x04\x00\x01\x09\x29\x02\xa6" + // 1 2345 . 0678
		"\xff\xff"
	if err != nil || string(got) != want {
		t.Errorf("got %x, %v,\nwant %x", got, err, want)
	}
	if d.Rows() != 1 {
		t.Errorf("%d rows were told", d.Rows())
	}

	t.Run("no rows", func(t *testing.T) {
		step(t, c, "none", "select 1 as a where false", true)
		d, err := c.DrainBinary(t.Context(), "none")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d); err != nil || string(got) != copyBegin+"\xff\xff" || d.Rows() != 0 {
			t.Errorf("got %x, %v, %d rows", got, err, d.Rows())
		}
	})
	t.Run("a streamed constant", func(t *testing.T) {
		step(t, c, "one", "select 7::smallint as a", true)
		d, err := c.DrainBinary(t.Context(), "one")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d); err != nil || string(got) != copyBegin+"\x00\x01\x00\x00\x00\x02\x00\x07\xff\xff" || d.Rows() != 1 {
			t.Errorf("got %x, %v, %d rows", got, err, d.Rows())
		}
	})
	t.Run("a type without binary form leaves as text", func(t *testing.T) {
		step(t, c, "i", "select interval 1 day as i", false)
		columns, err := c.Columns(t.Context(), "i")
		if err != nil || columns[0].Binary() {
			t.Errorf("got columns %v, %v: the caller must know", columns, err)
		}
	})
	t.Run("a fault in mid-stream", func(t *testing.T) {
		step(t, c, "f", "select case range when 99999 then error('no more') else range end as n from range(100000)", true)
		d, err := c.DrainBinary(t.Context(), "f")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(d); holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "no more") {
			t.Errorf("got error %v", err)
		}
	})
	t.Run("SQL has no way to it", func(t *testing.T) {
		step(t, c, "w", "select 1 as a", false)
		for _, sql := range []string{"select holdfast_sink(1, 2) as n", "select holdfast_sink(null) as n", "select holdfast_sink() as n"} {
			if _, err := c.Step(t.Context(), "bad", sql, false); err == nil {
				t.Errorf("%s: no error", sql)
			}
		}
		if got := drain(t, c, "w"); strings.TrimSpace(got) != `"1"` {
			t.Errorf("the engine does not live on: %q", got)
		}
	})
}
