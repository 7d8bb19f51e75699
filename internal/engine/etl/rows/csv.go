package rows

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-backup/holdfast"
)

// CSV is the format of RFC 4180. Reading, lines end with LF or CR LF, a byte order
// mark is skipped, and so are empty lines where rows have several columns. Writing,
// lines end with LF, and what is not NULL but looks like it stands in quotes.
type CSV struct {
	Comma byte   // default: a comma
	Null  string // the unquoted text that means NULL
	// Header: the first line names the columns. Read, these may come in any order,
	// and columns that the program does not know are left out.
	Header bool
}

// maxLine bounds a row of CSV, in bytes: so much is read when a quote is not
// closed.
const maxLine = 64 << 20

var byteOrderMark = []byte("\xef\xbb\xbf")

func (c CSV) comma() byte {
	if c.Comma == 0 {
		return ','
	}
	return c.Comma
}

func (c CSV) reader(r io.Reader, columns []Column) (source, error) {
	s := &csvReader{
		w: window{r: r}, comma: c.comma(), null: []byte(c.Null), header: c.Header, columns: columns,
		values: make([][]byte, len(columns)), arena: make([]byte, 0, 4096), after: 1,
	}
	for i, col := range columns {
		d, ok := decoderOf(col)
		if !ok {
			return nil, noText(col)
		}
		s.decode = append(s.decode, d)
		s.place = append(s.place, i)
	}
	s.fields = len(columns)
	return s, nil
}

// noText is the error for a column whose values cannot be text.
func noText(c Column) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "column %s: values of the type %s cannot become text, or be read from it, here", c.Name, c.Type).
		WithHint("cast the column to text in the query, or leave it out")
}

// cell is where a field is in the bytes of its row.
type cell struct {
	start, end      int
	quoted, doubled bool // it stands in quotes; quotes in it are written twice
}

// csvReader is a source of CSV.
type csvReader struct {
	w       window
	comma   byte
	null    []byte
	header  bool
	columns []Column
	decode  []decoder
	place   []int // of a file's field: the column it goes to, or -1
	fields  int   // of each row
	started bool

	cells  []cell
	values [][]byte
	arena  []byte
	record []byte
	at     int64 // line where the record begins
	after  int64 // line behind it
}

func (s *csvReader) line() int64 { return s.at }
func (s *csvReader) raw() []byte { return s.record }

func (s *csvReader) next() ([][]byte, error) {
	if !s.started {
		if err := s.begin(); err != nil {
			return nil, err
		}
	}
	for {
		err := s.read()
		if s.fields > 1 && len(s.record) == 0 && err == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		return s.decodeRow()
	}
}

// begin skips the byte order mark and reads the header.
func (s *csvReader) begin() error {
	for len(s.w.rest()) < len(byteOrderMark) {
		if err := s.w.more(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
	}
	if bytes.HasPrefix(s.w.rest(), byteOrderMark) {
		s.w.pos += len(byteOrderMark)
	}
	s.started = true
	if !s.header {
		return nil
	}
	switch err := s.read(); {
	case errors.Is(err, io.EOF):
		return holdfast.Errorf(holdfast.CodeInvalid, "the CSV is empty, and its first line should name the columns").
			WithHint("whoever wrote the file may not have finished; a file without rows has a header, too")
	case err != nil:
		return holdfast.Errorf(holdfast.CodeInvalid, "the header of the CSV cannot be read: %s", err)
	}
	s.place, s.fields = s.place[:0], len(s.cells)
	found := make([]bool, len(s.columns))
	for _, c := range s.cells {
		name := string(s.text(c))
		at := -1
		for i, col := range s.columns {
			if col.Name == name {
				at = i
			}
		}
		if at >= 0 && found[at] {
			return holdfast.Errorf(holdfast.CodeInvalid, "the header of the CSV names the column %q twice", name)
		}
		if at >= 0 {
			found[at] = true
		}
		s.place = append(s.place, at)
	}
	for i, ok := range found {
		if !ok {
			return holdfast.Errorf(holdfast.CodeInvalid, "the header of the CSV does not name the column %q", s.columns[i].Name).
				WithHint("it names %s", clip(string(s.record), 200))
		}
	}
	return nil
}

// clip shortens what is shown.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// read finds the next record and its cells. A *badRow is behind a record that is
// none.
func (s *csvReader) read() error {
	s.at = s.after
	for {
		rest := s.w.rest()
		if len(rest) > maxLine {
			return holdfast.Errorf(holdfast.CodeInvalid, "the CSV's row in line %d is longer than 64 MiB", s.at).WithHint("look for a quote that is not closed")
		}
		n, err := s.split(rest, s.w.eof)
		if n > 0 {
			s.after += int64(bytes.Count(rest[:n], []byte{'\n'}))
			s.record = trimEnd(rest[:n])
			s.w.pos += n
			return err
		}
		if err := s.w.more(); errors.Is(err, io.EOF) && len(rest) > 0 {
			continue // the window knows now that this is the end
		} else if err != nil {
			return err
		}
	}
}

// trimEnd takes the end of the line off.
func trimEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte{'\n'})
	return bytes.TrimSuffix(b, []byte{'\r'})
}

// split finds the cells of the record that b begins with, and returns its length
// with the end of the line; 0 when b holds only a part of it, which cannot be at
// the end of the file.
func (s *csvReader) split(b []byte, eof bool) (int, error) {
	s.cells = s.cells[:0]
	pos := 0
	for {
		var c cell
		var reason string
		if pos < len(b) && b[pos] == '"' {
			c, pos, reason = s.quoted(b, pos)
		} else {
			c, pos, reason = s.plain(b, pos)
		}
		if reason != "" {
			return s.skip(b, pos, eof, reason)
		}
		s.cells = append(s.cells, c)
		switch {
		case pos == len(b):
			if !eof {
				return 0, nil
			}
			if c.quoted && c.end == pos { // the quote is not closed
				return pos, &badRow{reason: "a quote is not closed"}
			}
			return pos, nil
		case b[pos] == s.comma:
			pos++
		case b[pos] == '\n':
			return pos + 1, nil
		default: // CR before LF
			return pos + 2, nil
		}
	}
}

// plain reads a field without quotes, and returns where it ends: at a comma, at the
// end of the line, or of b.
func (s *csvReader) plain(b []byte, pos int) (cell, int, string) {
	start := pos
	for ; pos < len(b); pos++ {
		switch b[pos] {
		case s.comma, '\n':
			return cell{start: start, end: pos}, pos, ""
		case '"':
			return cell{}, pos, "a quote stands within a field without quotes"
		case '\r':
			if pos+1 == len(b) {
				return cell{start: start, end: pos}, len(b), "" // what follows is not known yet, or there is nothing
			}
			if b[pos+1] == '\n' {
				return cell{start: start, end: pos}, pos, ""
			}
			return cell{}, pos, "a carriage return stands within a field without quotes"
		}
	}
	return cell{start: start, end: pos}, pos, ""
}

// quoted reads a field in quotes, of which the first is at pos. A field whose end
// is not in b ends at the end of b.
func (s *csvReader) quoted(b []byte, pos int) (cell, int, string) {
	c := cell{start: pos + 1, quoted: true}
	for pos++; ; {
		n := bytes.IndexByte(b[pos:], '"')
		if n < 0 {
			c.end = len(b)
			return c, len(b), ""
		}
		pos += n
		if pos+1 < len(b) && b[pos+1] == '"' {
			c.doubled = true
			pos += 2
			continue
		}
		c.end = pos
		pos++
		switch {
		case pos == len(b), b[pos] == s.comma, b[pos] == '\n':
			return c, pos, ""
		case b[pos] == '\r' && pos+1 == len(b):
			return c, len(b), ""
		case b[pos] == '\r' && b[pos+1] == '\n':
			return c, pos, ""
		}
		return c, pos, "something follows the end of a field in quotes"
	}
}

// skip ends a record that cannot be read at the end of its line.
func (s *csvReader) skip(b []byte, pos int, eof bool, reason string) (int, error) {
	if n := bytes.IndexByte(b[pos:], '\n'); n >= 0 {
		return pos + n + 1, &badRow{reason: reason}
	}
	if eof {
		return len(b), &badRow{reason: reason}
	}
	return 0, nil
}

// text returns what a cell says.
func (s *csvReader) text(c cell) []byte {
	b := s.record[c.start:c.end]
	if !c.doubled {
		return b
	}
	start := len(s.arena)
	for i := 0; i < len(b); i++ {
		s.arena = append(s.arena, b[i])
		if b[i] == '"' {
			i++
		}
	}
	return s.arena[start:]
}

// decodeRow makes values of the cells.
func (s *csvReader) decodeRow() ([][]byte, error) {
	if len(s.cells) != s.fields {
		return nil, &badRow{reason: fmt.Sprintf("the row has %d columns, and not %d", len(s.cells), s.fields)}
	}
	s.arena = s.arena[:0]
	for i, c := range s.cells {
		at := s.place[i]
		if at < 0 {
			continue
		}
		if !c.quoted && bytes.Equal(s.record[c.start:c.end], s.null) {
			s.values[at] = nil
			continue
		}
		text := s.text(c)
		start := len(s.arena)
		var err error
		if s.arena, err = s.decode[at](s.arena, text); err != nil {
			return nil, &badRow{column: s.columns[at].Name, reason: "the value " + err.Error()}
		}
		s.values[at] = s.arena[start:]
	}
	return s.values, nil
}

func (c CSV) writer(w io.Writer, columns []Column) (sink, error) {
	s := &csvWriter{buffer: newBuffer(w), comma: c.comma(), null: []byte(c.Null), single: len(columns) == 1}
	for _, col := range columns {
		k, ok := codecOf(col)
		if !ok {
			return nil, noText(col)
		}
		s.columns = append(s.columns, col.Name)
		s.text = append(s.text, k.text)
	}
	if c.Header {
		for i, name := range s.columns {
			s.field(i, []byte(name))
		}
		s.row = append(s.row, '\n')
	}
	return s, nil
}

// csvWriter is a sink of CSV.
type csvWriter struct {
	buffer
	comma   byte
	null    []byte
	single  bool // one column: an empty line would be taken for none
	columns []string
	text    []func(dst, value []byte) ([]byte, error)
	row     []byte
	scratch []byte
}

func (s *csvWriter) write(values [][]byte) (err error) {
	for i, v := range values {
		if v == nil {
			if i > 0 {
				s.row = append(s.row, s.comma)
			}
			s.row = append(s.row, s.null...)
			continue
		}
		if s.scratch, err = s.text[i](s.scratch[:0], v); err != nil {
			s.row = s.row[:0]
			return &badRow{column: s.columns[i], reason: "the value " + err.Error()}
		}
		s.field(i, s.scratch)
	}
	s.row = append(s.row, '\n')
	return s.flushRow()
}

// field writes one field, in quotes when it needs them.
func (s *csvWriter) field(i int, text []byte) {
	if i > 0 {
		s.row = append(s.row, s.comma)
	}
	if !s.needsQuotes(text) {
		s.row = append(s.row, text...)
		return
	}
	s.row = append(s.row, '"')
	for _, c := range text {
		if c == '"' {
			s.row = append(s.row, '"')
		}
		s.row = append(s.row, c)
	}
	s.row = append(s.row, '"')
}

func (s *csvWriter) needsQuotes(text []byte) bool {
	if len(text) == 0 || bytes.Equal(text, s.null) || s.single && string(text) == `\.` {
		return true
	}
	for _, c := range text {
		if c == s.comma || c == '"' || c == '\n' || c == '\r' {
			return true
		}
	}
	return false
}

func (s *csvWriter) flushRow() error {
	if err := s.reserve(len(s.row)); err != nil {
		return err
	}
	s.buf = append(s.buf, s.row...)
	s.row = s.row[:0]
	return nil
}

func (s *csvWriter) close() error {
	if err := s.flushRow(); err != nil { // a header without rows
		return err
	}
	return s.flush()
}
