package rows

import (
	"bytes"
	"errors"
	"io"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/jsonline"
)

// JSON is one object a line, of which columns are read by their names. It is not
// written.
type JSON struct{}

func (JSON) reader(r io.Reader, columns []Column) (source, error) {
	s := &jsonReader{w: window{r: r}, columns: columns, values: make([][]byte, len(columns)), arena: make([]byte, 0, 4096)}
	for _, col := range columns {
		d, ok := decoderOf(col)
		if !ok {
			return nil, noText(col)
		}
		s.decode = append(s.decode, d)
		s.json = append(s.json, jsonline.IsJSON(col.Type))
	}
	return s, nil
}

func (JSON) writer(io.Writer, []Column) (sink, error) {
	return nil, errors.New("rows are not written as JSON")
}

// jsonReader is a source of JSON.
type jsonReader struct {
	w       window
	columns []Column
	decode  []decoder
	json    []bool // of a column, whose values are JSON
	values  [][]byte
	arena   []byte
	record  []byte
	at      int64
}

func (s *jsonReader) line() int64 { return s.at }
func (s *jsonReader) raw() []byte { return s.record }

func (s *jsonReader) next() ([][]byte, error) {
	for {
		if err := s.read(); err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(s.record)) > 0 {
			return s.decodeRow()
		}
	}
}

// read finds the next line.
func (s *jsonReader) read() error {
	s.at++
	for {
		rest := s.w.rest()
		n := bytes.IndexByte(rest, '\n') + 1
		if n == 0 && s.w.eof {
			n = len(rest)
		}
		if n > 0 {
			s.record = trimEnd(rest[:n])
			s.w.pos += n
			return nil
		}
		if len(rest) > maxLine {
			return holdfast.Errorf(holdfast.CodeInvalid, "line %d of the JSON is longer than 64 MiB", s.at).WithHint("a file of JSON has one object a line")
		}
		if err := s.w.more(); errors.Is(err, io.EOF) && len(rest) > 0 {
			continue // the window knows now that this is the end
		} else if err != nil {
			return err
		}
	}
}

// decodeRow makes values of the line.
func (s *jsonReader) decodeRow() ([][]byte, error) {
	object, err := jsonline.Object(s.record)
	if err != nil {
		return nil, &badRow{reason: "the line is no object of JSON"}
	}
	s.arena = s.arena[:0]
	for i, c := range s.columns {
		text, ok, err := jsonline.Text(object[c.Name], s.json[i])
		if err != nil {
			return nil, &badRow{column: c.Name, reason: "the text cannot be read"}
		}
		s.values[i] = nil
		if !ok {
			continue
		}
		start := len(s.arena)
		if s.arena, err = s.decode[i](s.arena, []byte(text)); err != nil {
			return nil, &badRow{column: c.Name, reason: "the value " + err.Error()}
		}
		s.values[i] = s.arena[start:]
	}
	return s.values, nil
}
