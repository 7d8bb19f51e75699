package session

import (
	"bufio"
	"bytes"
	"io"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/jsonline"
)

// jsonLines makes CSV of objects that stand one a line. The engine's own reader takes
// every number for double precision, nested ones included, and so loses digits.
func jsonLines(w io.Writer, r io.Reader, columns []duck.Column, longest int64) error {
	out := bufio.NewWriterSize(w, pourBuffer)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, pourBuffer), int(longest))
	raw := make([]bool, len(columns))
	for i, c := range columns {
		raw[i] = jsonline.IsJSON(c.Type)
	}
	number := 0
	for lines.Scan() {
		number++
		line := lines.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		object, err := jsonline.Object(line)
		if err != nil {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "line %d is no object", number).
				WithHint("a file of JSON has one object a line")
		}
		for i, c := range columns {
			if i > 0 {
				_ = out.WriteByte(',')
			}
			text, ok, err := jsonline.Text(object[c.Name], raw[i])
			if err != nil {
				return holdfast.Wrap(holdfast.CodeInvalid, err, "line %d: the text of %s cannot be read", number, c.Name)
			}
			if ok {
				_ = out.WriteByte('"')
				_, _ = out.WriteString(strings.ReplaceAll(text, `"`, `""`))
				_ = out.WriteByte('"')
			}
		}
		if err := out.WriteByte('\n'); err != nil {
			return err // a writer keeps its first error
		}
	}
	if err := lines.Err(); err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "it cannot be read behind line %d", number).
			WithHint("a line has at most %d bytes here: a part of resources.memory", longest)
	}
	return out.Flush()
}
