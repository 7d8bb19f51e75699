package duck_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

const copyEnd = "\xff\xff"

// row is a row of COPY in binary; nil is NULL.
func row(values ...any) string {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, 0xff, 0xff, 0xff, 0xff)
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
		default:
			var value bytes.Buffer
			_ = binary.Write(&value, binary.BigEndian, v)
			b = append(binary.BigEndian.AppendUint32(b, uint32(value.Len())), value.Bytes()...)
		}
	}
	return string(b)
}

func TestFeedBinary(t *testing.T) {
	c := start(t)
	columns := []duck.Column{column("Id", "bigint"), column("text", "text")}
	reset := func(t *testing.T) {
		t.Helper()
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("several copies, one after the other", func(t *testing.T) {
		defer reset(t)
		rows := copyBegin + row(int64(1), "short") + copyEnd + copyBegin + copyEnd + copyBegin + row(int64(2), nil) + row(nil, "a text of more than twelve bytes") + copyEnd
		feedAs(t, c, "r", duck.FormatBinary, true, rows, columns...)
		step(t, c, "s", `select *, length(text) as n from r order by "id"`, true)
		if got, want := drain(t, c, "s"), "\"1\",\"short\",\"5\"\n\"2\",,\n,\"a text of more than twelve bytes\",\"32\"\n"; strings.ReplaceAll(got, `"`, "") != strings.ReplaceAll(want, `"`, "") {
			t.Errorf("got %s, want %s", got, want)
		}
	})
	t.Run("a header with an extension", func(t *testing.T) {
		defer reset(t)
		feedAs(t, c, "r", duck.FormatBinary, false, copyBegin[:15]+"\x00\x00\x00\x02xx"+row(int64(1), "a")+copyEnd, columns...)
	})
	t.Run("no rows, and only some columns are read", func(t *testing.T) {
		defer reset(t)
		feedAs(t, c, "none", duck.FormatBinary, true, copyBegin+copyEnd, columns...)
		feedAs(t, c, "r", duck.FormatBinary, true, copyBegin+strings.Repeat(row(int64(7), "a"), 5000)+copyEnd, columns...)
		if got, err := c.Assert(t.Context(), "select count(*) || ',' || (select count(*) from none) from r"); err != nil || got != "5000,0" {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("texts of all lengths, and NULL among them", func(t *testing.T) {
		defer reset(t)
		var rows, want strings.Builder
		rows.WriteString(copyBegin)
		for i := range 10_000 {
			text := strings.Repeat("ü", i%17)
			if i%5 == 0 {
				rows.WriteString(row(int64(i), nil))
				continue
			}
			rows.WriteString(row(int64(i), text))
			want.WriteString(strconv.Itoa(i) + ":" + text + ";")
		}
		rows.WriteString(copyEnd)
		feedAs(t, c, "r", duck.FormatBinary, true, rows.String(), columns...)
		got, err := c.Assert(t.Context(), `select md5(string_agg(id || ':' || text, ';' order by id) || ';') = md5('`+want.String()+`') from r where text is not null`)
		if err != nil || got != "true" {
			t.Errorf("got %v, %v", got, err)
		}
	})
	t.Run("a relation that is read twice is kept", func(t *testing.T) {
		for as, rows := range map[duck.Format]string{
			duck.FormatBinary: copyBegin + strings.Repeat(row(int64(1), "a"), 3000) + row(int64(2), "b") + copyEnd,
			duck.FormatCopy:   strings.Repeat("1,a\n", 3000) + "2,b\n",
		} {
			for _, sql := range []string{"select count(*) from r a join r b on a.id >= b.id", "select 9003001 + a.id - 2 from r a where a.id > (select min(id) from r b) limit 1"} {
				feedAs(t, c, "r", as, true, rows, columns...)
				if got, err := c.Assert(t.Context(), sql); err != nil || got != strconv.Itoa(3000*3000+3001) {
					t.Errorf("%s of %s: got %v, %v", sql, as, got, err)
				}
				reset(t)
			}
		}
	})
	t.Run("SQL has no way to it", func(t *testing.T) {
		for _, sql := range []string{"select * from holdfast_feed(1)", "select * from holdfast_feed(null)", "select * from holdfast_feed()"} {
			if _, err := c.Step(t.Context(), "bad", sql, false); err == nil {
				t.Errorf("%s: no error", sql)
			}
		}
	})
}

// TestFeedRefusesRows gives the engine what no sound server sends, or what it has no
// value for.
func TestFeedRefusesRows(t *testing.T) {
	c := start(t)
	numeric := func(weight, sign uint16, digits ...uint16) string {
		b := binary.BigEndian.AppendUint16(nil, uint16(len(digits)))
		for _, v := range append([]uint16{weight, sign, 2}, digits...) {
			b = binary.BigEndian.AppendUint16(b, v)
		}
		return string(b)
	}
	good := copyBegin + row("x") + copyEnd
	for _, e := range []struct{ name, typ, rows, want string }{
		{"no trailer", "text", copyBegin + row("x"), "not all of them"},
		{"half a row", "text", copyBegin + row("x")[:5], "not all of them"},
		{"half a header", "text", copyBegin[:7], "not all of them"},
		{"CSV", "text", "\"a line\",\"and more of it\"\n", "COPY in binary"},
		{"something behind the end", "text", good + "x", "not all of them"},
		{"a flag that means another form", "text", copyBegin[:11] + "\x00\x01\x00\x00" + copyBegin[15:] + copyEnd, "another header"},
		{"a long extension", "text", copyBegin[:15] + "\x7f\x00\x00\x00", "too long"},
		{"two values", "text", copyBegin + row("x", "y") + copyEnd, "number of values"},
		{"a negative length", "text", copyBegin + "\x00\x01\xff\xff\xff\xfe" + copyEnd, "negative length"},
		{"a row of two gigabytes", "text", copyBegin + "\x00\x01\x7f\xff\xff\xff", "is longer than"},
		{"no UTF-8", "text", copyBegin + row("a\xff") + copyEnd, "not UTF-8"},
		{"half a character", "text", copyBegin + row("a text of more than twelve bytes \xc3") + copyEnd, "not UTF-8"},
		{"an integer that is short", "bigint", copyBegin + row(int32(1)) + copyEnd, "length of its type"},
		{"a jsonb of another version", "jsonb", copyBegin + row("\x02{}") + copyEnd, "unknown version"},
		{"a jsonb without one", "jsonb", copyBegin + row("") + copyEnd, "unknown version"},
		{"a date before Christ", "date", copyBegin + row(int32(-800_000)) + copyEnd, "before the year 1"},
		{"a date too late", "date", copyBegin + row(int32(2_000_000_000)) + copyEnd, "before the year 1"},
		{"a timestamp before Christ", "timestamp", copyBegin + row(int64(-70_000_000_000_000_000)) + copyEnd, "before the year 1"},
		{"a timestamp too late", "timestamptz", copyBegin + row(int64(math.MaxInt64-1)) + copyEnd, "before the year 1"},
		{"a time of another day", "time", copyBegin + row(int64(86_400_000_001)) + copyEnd, "no time of a day"},
		{"an infinite interval", "interval", copyBegin + row(string(bytes.Repeat([]byte{0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 1))+"\x7f\xff\xff\xff\x7f\xff\xff\xff") + copyEnd, "infinite interval"},
		{"NaN", "numeric(10,2)", copyBegin + row(numeric(0, 0xc000)) + copyEnd, "NaN or infinite"},
		{"a numeric of too many digits", "numeric(4,2)", copyBegin + row(numeric(0, 0, 100)) + copyEnd, "more digits"},
		{"a numeric of too many places", "numeric(10,2)", copyBegin + row(numeric(0xffff, 0, 1)) + copyEnd, "more digits"},
		{"a numeric that is huge", "numeric(38,0)", copyBegin + row(numeric(30000, 0, 1)) + copyEnd, "more digits"},
		{"a numeric of wrong digits", "numeric(10,2)", copyBegin + row(numeric(0, 0, 10000)) + copyEnd, "no numeric"},
		{"a numeric that is cut", "numeric(10,2)", copyBegin + row(numeric(0, 0, 1)[:9]) + copyEnd, "no numeric"},
	} {
		for _, streamed := range []bool{false, true} {
			f, err := c.Feed(t.Context(), "r", []duck.Column{column("v", e.typ)}, duck.FormatBinary, streamed)
			if err != nil {
				t.Fatal(err)
			}
			written := make(chan error, 1)
			write := func() {
				_, err := io.WriteString(f, e.rows)
				if closed := f.Close(); err == nil {
					err = closed
				}
				written <- err
			}
			if streamed {
				go write()
				_, err = c.Assert(t.Context(), "select max(v) from r")
				if fed := <-written; err == nil {
					err = fed
				}
			} else {
				write()
				err = <-written
			}
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), e.want) {
				t.Errorf("%s, streamed %t: got %v, want %q", e.name, streamed, err, e.want)
			}
			if err := c.Reset(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := c.Feed(t.Context(), "r", []duck.Column{column("v", "inet")}, duck.FormatBinary, false); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("a type without a decoder: got %v", err)
	}
}
