package definition

import (
	"bytes"
	"encoding/json"
	"sort"
	"unicode/utf8"
)

// isJSON reports whether text is one JSON object. JSON has rules that YAML's
// parser does not share, for tabs and for characters written as two escapes.
func isJSON(text []byte) bool {
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{' && json.Valid(text)
}

// jsonReader builds the node of a text that isJSON has seen.
type jsonReader struct {
	collector
	text    []byte
	newline []int // offsets of the line ends
	decoder *json.Decoder
}

func readJSON(text []byte) (*node, []Fault) {
	r := &jsonReader{text: text, decoder: json.NewDecoder(bytes.NewReader(text))}
	r.decoder.UseNumber()
	for i, c := range text {
		if c == '\n' {
			r.newline = append(r.newline, i)
		}
	}
	n := r.value(1)
	return n, r.faults
}

// place returns where the next token begins.
func (r *jsonReader) place() place {
	at := int(r.decoder.InputOffset())
	for at < len(r.text) && bytes.IndexByte([]byte(" \t\r\n,:"), r.text[at]) >= 0 {
		at++
	}
	line := sort.SearchInts(r.newline, at)
	start := 0
	if line > 0 {
		start = r.newline[line-1] + 1
	}
	return place{line + 1, utf8.RuneCount(r.text[start:at]) + 1}
}

// value reads one value; nil when the text was refused, or ended.
func (r *jsonReader) value(depth int) *node {
	n := &node{place: r.place()}
	if !r.enter(n.place, depth) {
		return nil
	}
	token, err := r.decoder.Token()
	if err != nil {
		r.fault(n.place, "this is no JSON: %v", err)
		return nil
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '[' {
			return r.list(n, depth)
		}
		return r.mapping(n, depth)
	case string:
		n.kind, n.text = kindText, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBoolean, "false"
		if t {
			n.text = "true"
		}
	default: // null
	}
	return n
}

func (r *jsonReader) list(n *node, depth int) *node {
	n.kind = kindList
	for r.decoder.More() {
		v := r.value(depth + 1)
		if v == nil {
			return nil
		}
		n.items = append(n.items, v)
	}
	return r.closed(n)
}

func (r *jsonReader) mapping(n *node, depth int) *node {
	n.kind = kindMapping
	seen := map[string]place{}
	for r.decoder.More() {
		at := r.place()
		token, err := r.decoder.Token()
		key, ok := token.(string)
		if err != nil || !ok {
			r.fault(at, "this is no key")
			return nil
		}
		v := r.value(depth + 1)
		if v == nil {
			return nil
		}
		if !r.duplicate(seen, key, at) {
			n.entries = append(n.entries, entry{at, key, v})
		}
	}
	return r.closed(n)
}

// closed reads the end of a list or mapping.
func (r *jsonReader) closed(n *node) *node {
	if _, err := r.decoder.Token(); err != nil {
		r.fault(n.place, "this is no JSON: %v", err)
		return nil
	}
	return n
}
