package rows_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// stream is a stream of rows as a server sends it.
func stream(t testing.TB, all ...[][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := rows.NewWriter(&b)
	for _, values := range all {
		if err := w.Write(values); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// readAll reads rows until they end, and copies their values.
func readAll(r *rows.Reader) ([][][]byte, error) {
	var all [][][]byte
	for {
		values, err := r.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		row := make([][]byte, len(values))
		for i, v := range values {
			row[i] = bytes.Clone(v)
		}
		all = append(all, row)
	}
}

func equalRows(a, b [][][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if len(a[i]) != len(b[i]) {
			return false
		}
		for j := range a[i] {
			if (a[i][j] == nil) != (b[i][j] == nil) || !bytes.Equal(a[i][j], b[i][j]) {
				return false
			}
		}
	}
	return true
}

func TestTuplesComeBackHoweverTheyAreCut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(0, 5).Draw(t, "columns")
		value := rapid.Custom(func(t *rapid.T) []byte {
			switch rapid.IntRange(0, 9).Draw(t, "kind") {
			case 0:
				return nil
			case 1:
				return bytes.Repeat([]byte{7}, rapid.IntRange(100_000, 700_000).Draw(t, "size"))
			}
			return append([]byte{}, rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "value")...)
		})
		var want [][][]byte
		for range rapid.IntRange(0, 20).Draw(t, "rows") {
			want = append(want, rapid.SliceOfN(value, columns, columns).Draw(t, "row"))
		}
		var b bytes.Buffer
		w := rows.NewWriter(&b)
		for _, r := range want {
			if err := w.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var r io.Reader = &b
		if rapid.Bool().Draw(t, "half") {
			r = iotest.HalfReader(r)
		}
		if rapid.Bool().Draw(t, "last") {
			r = iotest.DataErrReader(r)
		}
		got, err := readAll(rows.NewReader(r, columns))
		if err != nil || !equalRows(got, want) {
			t.Fatalf("got %d rows, %v, want %d", len(got), err, len(want))
		}
	})
}

func TestReaderTrustsNothing(t *testing.T) {
	good := stream(t, [][]byte{[]byte("a"), nil}, [][]byte{[]byte("b"), {}})
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	const header = 19
	huge := binary.BigEndian.AppendUint32(append(bytes.Clone(good[:header]), 0, 2), 1<<30)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"no signature", change(0, 'X'), "do not begin as COPY's binary format does"},
		{"text", []byte("1\tone\n2\ttwo\n3\tthree\n"), "do not begin as COPY's binary format does"},
		{"OIDs", change(11, 0, 1, 0, 0), "come with OIDs"},
		{"unknown flags", change(11, 0, 2, 0, 0), "unknown flags 0x20000"},
		{"a long extension", change(15, 0x7f, 0xff, 0xff, 0xff), "bytes more than it should"},
		{"other columns", change(header, 0, 3), "row 1 of the binary rows has 3 columns, and not 2"},
		{"a negative count", change(header, 0xff, 0xfe), "has -2 columns"},
		{"a negative length", change(header+2, 0xff, 0xff, 0xff, 0xfe), "has a value of -2 bytes"},
		{"a huge length", change(header+2, 0x7f, 0xff, 0xff, 0xff), "has a value of 2147483647 bytes"},
		{"a huge length that does not come", huge, "unexpected EOF"},
		{"something behind the end", append(bytes.Clone(good), 'x'), "comes after the end of the rows"},
		{"rows behind the end", append(bytes.Clone(good), good[header:]...), "comes after the end of the rows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := readAll(rows.NewReader(bytes.NewReader(c.data), 2))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) && holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				t.Errorf("got the code %s, want invalid", holdfast.ErrorCode(err))
			}
		})
	}
	for n := range good {
		if got, err := readAll(rows.NewReader(bytes.NewReader(good[:n]), 2)); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > 2 {
			t.Errorf("cut after %d of %d bytes: got %d rows, %v, want an unexpected end", n, len(good), len(got), err)
		}
	}
	extended := append(change(15, 0, 0, 0, 3)[:header:header], append([]byte("ext"), good[header:]...)...)
	if got, err := readAll(rows.NewReader(bytes.NewReader(extended), 2)); err != nil || len(got) != 2 {
		t.Errorf("a short extension is skipped: got %d rows, %v", len(got), err)
	}
	broken := errors.New("broken")
	if _, err := readAll(rows.NewReader(io.MultiReader(bytes.NewReader(good[:30]), iotest.ErrReader(broken)), 2)); !errors.Is(err, broken) {
		t.Errorf("got %v, want the reader's error", err)
	}
}

func FuzzReader(f *testing.F) {
	good := stream(f, [][]byte{[]byte("a"), nil}, [][]byte{[]byte("b"), {}})
	f.Add(good, 2)
	f.Add(good[:25], 2)
	f.Add(append(bytes.Clone(good), good...), 2)
	f.Fuzz(func(t *testing.T, data []byte, columns int) {
		if columns < 0 || columns > 2000 {
			return
		}
		got, err := readAll(rows.NewReader(bytes.NewReader(data), columns))
		if err != nil {
			return
		}
		if again, err := readAll(rows.NewReader(bytes.NewReader(stream(t, got...)), columns)); err != nil || !equalRows(again, got) {
			t.Errorf("%d rows came back as %d, %v", len(got), len(again), err)
		}
	})
}
