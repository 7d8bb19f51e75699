package session

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// jsonLines makes CSV of objects that stand one a line. The engine's own reader takes
// every number for double precision, nested ones included, and so loses digits.
func jsonLines(w io.Writer, r io.Reader, columns []duck.Column, longest int64) error {
	out := bufio.NewWriterSize(w, pourBuffer)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, pourBuffer), int(longest))
	raw := make([]bool, len(columns))
	for i, c := range columns {
		name, _, _ := strings.Cut(strings.ToLower(c.Type), "(")
		raw[i] = name == "json" || name == "jsonb"
	}
	number := 0
	for lines.Scan() {
		number++
		line := lines.Bytes()
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		var object map[string]json.RawMessage
		err := json.Unmarshal(line, &object)
		if err == nil && (object == nil || !utf8.Valid(line)) {
			err = fmt.Errorf("it is no object in UTF-8")
		}
		if err != nil {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "line %d is no object", number).
				WithHint("a file of JSON has one object a line")
		}
		for i, c := range columns {
			if i > 0 {
				_ = out.WriteByte(',')
			}
			text, ok, err := jsonText(object[c.Name], raw[i])
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

// jsonText returns the text of a value: of a string what it says, of others as they
// are written, and nothing for null. Raw is a value of which JSON is wanted.
func jsonText(value json.RawMessage, raw bool) (text string, ok bool, err error) {
	switch {
	case len(value) == 0, string(value) == "null" && !raw:
		return "", false, nil
	case value[0] != '"' || raw:
		return string(value), true, nil
	}
	if err := json.Unmarshal(value, &text); err != nil {
		return "", false, err
	}
	// The decoder makes this character of half a pair of surrogates.
	if strings.ContainsRune(text, utf8.RuneError) && !bytes.ContainsRune(value, utf8.RuneError) && !bytes.Contains(bytes.ToLower(value), []byte(`\ufffd`)) {
		return "", false, fmt.Errorf("it has half a pair of surrogates")
	}
	return text, true, nil
}
