package bmcetl

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// Limits of bodies, in bytes.
const (
	maxSmall    = 64 << 10 // documented for run and schedule as our decision
	maxDocument = 2 << 20  // a configuration with its definition and what nobody here reads
	maxDepth    = 32       // of objects and arrays inside each other
)

// byteOrderMark is what some editors and shells begin a text in UTF-8 with.
const byteOrderMark = "\ufeff"

// object is a JSON object whose members are not decoded yet.
type object map[string]json.RawMessage

// readBody reads at most limit bytes.
func readBody(c *call, limit int64) ([]byte, error) {
	if c.request.Body == nil {
		return nil, nil
	}
	b, err := io.ReadAll(http.MaxBytesReader(c.w, c.request.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, &failure{
			Status: http.StatusRequestEntityTooLarge, Message: "the body is too large",
			Hint: "send at most " + strconv.FormatInt(limit, 10) + " bytes",
		}
	case err != nil:
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the body did not arrive whole").WithHint("send the request again")
	}
	return b, nil
}

// object reads a body that is a JSON object, nothing, or null; the last two have
// no members. Whatever media type it says it has, JSON is taken.
func (h *handler) object(c *call, limit int64) (object, error) {
	b, err := readBody(c, limit)
	if err != nil {
		return nil, err
	}
	b = bytes.TrimPrefix(b, []byte(byteOrderMark))
	if len(bytes.TrimSpace(b)) == 0 {
		return object{}, nil
	}
	if err := wellFormed(b); err != nil {
		return nil, foreign(c, "JSON", "json", err)
	}
	o, err := asObject("the body", b)
	if err != nil {
		return nil, err
	}
	return o, nil
}

// foreign is the answer to a body that does not parse: 415 when it says that it is
// something else. form is the word that the media types of the right form end
// with.
func foreign(c *call, name, form string, cause error) error {
	declared := c.request.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(declared)
	if declared != "" && (err != nil || !strings.HasSuffix(media, form)) {
		return &failure{
			Status: http.StatusUnsupportedMediaType, Message: "the body is not " + name, Hint: "send " + name + ", with the Content-Type application/" + form, Err: cause,
		}
	}
	return holdfast.Wrap(holdfast.CodeInvalid, cause, "the body is not %s%s", name, because(cause)).WithHint("send a body that is well-formed, in UTF-8")
}

// because is the end of a message about what does not parse.
func because(cause error) string {
	if why, ok := errors.AsType[fault](cause); ok {
		return ": " + string(why)
	}
	return ""
}

// fault is what is wrong with a body, in words for its sender.
type fault string

// Error returns the fault.
func (f fault) Error() string { return string(f) }

// wellFormed checks that b is one JSON value in UTF-8, not too deep, without a name
// twice in one object: which of two values holds is for nobody to guess, and what
// stands for half a character would be kept as another one.
func wellFormed(b []byte) error {
	if i := notText(b); i >= 0 {
		return fault("it holds what is no character, at " + position(b, i))
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var open []map[string]bool // names so far of each object around; nil: an array
	key := false               // a name comes next
	for first := true; first || len(open) > 0; first = false {
		t, err := dec.Token()
		if err != nil {
			return broken(b, dec.InputOffset(), err)
		}
		if d, ok := t.(json.Delim); ok {
			switch d {
			case '{':
				open, key = append(open, map[string]bool{}), true
			case '[':
				open, key = append(open, nil), false
			default:
				open = open[:len(open)-1]
				key = len(open) > 0 && open[len(open)-1] != nil
			}
			if len(open) > maxDepth {
				return fault("it is nested too deep")
			}
			continue
		}
		if len(open) == 0 || open[len(open)-1] == nil {
			continue
		}
		if name, ok := t.(string); ok && key {
			if open[len(open)-1][name] {
				return fault("a name stands twice in one object")
			}
			open[len(open)-1][name] = true
		}
		key = !key
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return fault("something follows its end")
	}
	return nil
}

// broken says where a JSON value breaks off. offset is behind the last good token.
func broken(b []byte, offset int64, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fault("it ends too early")
	}
	text := "it cannot be read"
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		text = syntax.Error()
	}
	rest := b[min(offset, int64(len(b))):]
	at := len(b) - len(bytes.TrimLeft(rest, " \t\r\n,:"))
	return fault(text + ", at or after " + position(b, at))
}

// position is a place in a text, for people.
func position(b []byte, at int) string {
	before := b[:min(at, len(b))]
	line := bytes.Count(before, []byte{'\n'}) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column)
}

// notText returns where JSON first holds bytes that are not UTF-8, or an escaped half
// of a surrogate pair without its other half; -1: nowhere.
func notText(b []byte) int {
	for i := 0; i < len(b); {
		if b[i] == '\\' {
			first, n := escaped(b[i:])
			switch second, m := escaped(b[i+n:]); {
			case !utf16.IsSurrogate(first):
				i += n
			case m > 0 && utf16.DecodeRune(first, second) != utf8.RuneError:
				i += n + m
			default:
				return i
			}
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// escaped reads an escape sequence of JSON at the start of b: the number behind \u, or
// 0 for another one, and its length, which is 1 when b ends in it; 0: there is none.
func escaped(b []byte) (rune, int) {
	if len(b) == 0 || b[0] != '\\' {
		return 0, 0
	}
	if len(b) >= 6 && b[1] == 'u' {
		if n, err := strconv.ParseUint(string(b[2:6]), 16, 32); err == nil {
			return rune(n), 6
		}
	}
	return 0, min(2, len(b))
}

// asObject reads the members of a well-formed value that must be an object, or
// null. what names it in errors.
func asObject(what string, b json.RawMessage) (object, error) {
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is not a JSON object", what).WithHint("send an object in braces")
	}
	if o == nil {
		o = object{}
	}
	return o, nil
}

// text returns a member that is a string, or a number as its text. A missing one
// and null are empty.
func (o object) text(name string, required bool) (string, error) {
	s, ok := scalar(o[name])
	switch {
	case o[name] != nil && !ok && !isNull(o[name]):
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%s is not text", name).WithHint("send a string")
	case s == "" && required:
		return "", holdfast.Errorf(holdfast.CodeInvalid, "%s is missing", name).WithHint("send it in the body, as JSON")
	}
	return s, nil
}

// member returns a member that is an object; a missing one and null are empty.
func (o object) member(name string) (object, error) {
	if o[name] == nil {
		return object{}, nil
	}
	return asObject(name, o[name])
}

func (o object) names() []string { return slices.Sorted(maps.Keys(o)) }

func isNull(b json.RawMessage) bool { return string(bytes.TrimSpace(b)) == "null" }

// scalar returns a string, and a number or a boolean as its JSON text.
func scalar(b json.RawMessage) (string, bool) {
	b = bytes.TrimSpace(b)
	if len(b) == 0 || isNull(b) {
		return "", false
	}
	switch b[0] {
	case '{', '[':
		return "", false
	case '"':
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return "", false
		}
		return s, true
	}
	return string(b), true
}
