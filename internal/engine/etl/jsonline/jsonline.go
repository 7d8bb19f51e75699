// Package jsonline reads files that have one JSON object a line.
package jsonline

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

// Object reads a line.
func Object(line []byte) (map[string]json.RawMessage, error) {
	var object map[string]json.RawMessage
	err := json.Unmarshal(line, &object)
	if err == nil && (object == nil || !utf8.Valid(line)) {
		err = errors.New("it is no object in UTF-8")
	}
	return object, err
}

// IsJSON reports whether a column of this PostgreSQL type takes values as JSON.
func IsJSON(postgres string) bool {
	name, _, _ := strings.Cut(strings.ToLower(postgres), "(")
	return name == "json" || name == "jsonb"
}

// Text returns the text of a value: of a string what it says, of others as they are
// written, and nothing for null. Raw is a value of which JSON is wanted.
func Text(value json.RawMessage, raw bool) (text string, ok bool, err error) {
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
		return "", false, errors.New("it has half a pair of surrogates")
	}
	return text, true, nil
}
