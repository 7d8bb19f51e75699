package baas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// Limits of a body.
const (
	maxBody     = 1 << 20 // bytes
	maxDepth    = 32      // the deepest documented request has 5
	bodyTimeout = 10 * time.Second
)

// Tree is the JSON object of a request, with exact keys and numbers.
type Tree map[string]any

// readTree reads the body of a request; an empty one is an empty object.
func readTree(w http.ResponseWriter, r *http.Request) (Tree, error) {
	// A connection without deadlines, as in tests, is fine.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err == nil { // else the server, which reads the rest before it answers, would wait for it
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge()
	case err != nil:
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the body did not arrive whole").WithHint("send the request again")
	}
	return ParseTree(b)
}

// ParseTree reads a JSON object. A key that stands twice is refused, because
// readers differ in which one counts.
func ParseTree(b []byte) (Tree, error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // some shells write a byte order mark
	if len(bytes.TrimSpace(b)) == 0 {
		return Tree{}, nil
	}
	if !utf8.Valid(b) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the body is not valid UTF-8").WithHint("send JSON in UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(b, &whole); err != nil {
		return nil, syntaxFault(b, err)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := parseValue(dec, "", 0)
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the body is not a JSON object").WithHint("send an object, such as {\"run_type\":\"FULL\"}")
	}
	return m, nil
}

// parseValue reads the next value. The syntax has been checked before.
func parseValue(dec *json.Decoder, path string, depth int) (any, error) {
	if depth > maxDepth {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the body is nested too deeply").WithHint("nest at most %d levels", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return nil, fmt.Errorf("read checked JSON: %w", err)
	}
	switch tok {
	case json.Delim('{'):
		return parseObject(dec, path, depth)
	case json.Delim('['):
		list := []any{}
		for dec.More() {
			v, err := parseValue(dec, fmt.Sprintf("%s[%d]", path, len(list)), depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = dec.Token()
		return list, err
	}
	return tok, nil
}

func parseObject(dec *json.Decoder, path string, depth int) (map[string]any, error) {
	m := map[string]any{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("read checked JSON: %w", err)
		}
		key, _ := tok.(string)
		at := join(path, key)
		if _, twice := m[key]; twice {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "the key %s stands twice", quote(at)).WithHint("give each key once")
		}
		if m[key], err = parseValue(dec, at, depth+1); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return m, err
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// quote shows something that came from outside in a message, not all of it when
// it is long.
func quote(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		return fmt.Sprintf("%q…", string(r[:most]))
	}
	return fmt.Sprintf("%q", s)
}

// syntaxFault says where JSON is broken, and names comments when they are the
// fault: a published sample has some.
func syntaxFault(b []byte, err error) error {
	var syntax *json.SyntaxError
	if !errors.As(err, &syntax) {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the body is not valid JSON")
	}
	at := min(max(int(syntax.Offset)-1, 0), len(b))
	line := 1 + bytes.Count(b[:at], []byte("\n"))
	column := at - bytes.LastIndexByte(b[:at], '\n')
	if rest := b[at:]; bytes.HasPrefix(rest, []byte("//")) || bytes.HasPrefix(rest, []byte("/*")) || bytes.HasPrefix(rest, []byte("#")) {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the body holds a comment at line %d, column %d: JSON has no comments", line, column).
			WithHint("remove the comments and send the request again")
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the body is not valid JSON: line %d, column %d", line, column).
		WithHint("check quotes, commas and brackets near that place")
}

// Merge applies a JSON merge patch (RFC 7396) to a document. Neither is changed.
func Merge(doc, patch map[string]any) map[string]any {
	out := make(map[string]any, len(doc)+len(patch))
	maps.Copy(out, doc)
	for k, v := range patch {
		switch p := v.(type) {
		case nil:
			delete(out, k)
		case map[string]any:
			old, _ := out[k].(map[string]any)
			out[k] = Merge(old, p)
		default:
			out[k] = v
		}
	}
	return out
}
