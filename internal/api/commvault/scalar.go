package commvault

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// placeholder is the text that the published request bodies print for every
// value that is a text.
const placeholder = "string"

// maxDepth bounds how deeply a body may be nested; the deepest documented one has
// 10 levels.
const maxDepth = 32

var errBody = errors.New("the body is not what it should be")

// decode reads a JSON object into v, whose keys match without regard to letter
// case. A key that stands twice, however spelled, is refused, because readers
// differ in which one counts.
func decode(body []byte, v any) error {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) // some shells write a byte order mark
	if !utf8.Valid(body) || !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return errBody
	}
	if err := json.Unmarshal(body, v); err != nil {
		return errors.Join(errBody, err)
	}
	return sound(body)
}

// sound checks the depth and the keys of a valid JSON text.
func sound(body []byte) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	type frame struct {
		keys map[string]bool // nil in an array
		key  bool            // a key comes next
	}
	stack := []frame{{}}
	for {
		tok, err := dec.Token()
		if err != nil {
			return nil //nolint:nilerr // the text is valid, so this is its end
		}
		top := &stack[len(stack)-1]
		if tok == json.Delim('}') || tok == json.Delim(']') {
			stack = stack[:len(stack)-1]
			continue
		}
		if top.keys != nil && top.key {
			key, _ := tok.(string)
			key = fold(key)
			if top.keys[key] {
				return errBody
			}
			top.keys[key], top.key = true, false
			continue
		}
		top.key = true
		switch tok {
		case json.Delim('{'):
			stack = append(stack, frame{keys: map[string]bool{}, key: true})
		case json.Delim('['):
			stack = append(stack, frame{})
		}
		if len(stack) > maxDepth {
			return errBody
		}
	}
}

// fold gives all spellings of a key that encoding/json takes for the same one
// spelling: it also takes ſ for s, and the sign of kelvin for k.
func fold(key string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, key)
}

// number is an id: a JSON number, or its text. 0, -1, null, the empty text and
// the placeholder mean that none is given.
type number struct{ n int64 }

func (n number) given() bool { return n.n != 0 && n.n != -1 }

// UnmarshalJSON reads a number or its text. One that is too large becomes one
// that no entity has.
func (n *number) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	if err != nil {
		return err
	}
	n.n = 0
	if s = strings.TrimSpace(s); s == "" || s == placeholder {
		return nil
	}
	n.n, err = strconv.ParseInt(s, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		n.n, err = math.MaxInt64, nil
	}
	return err
}

// MarshalJSON writes the number.
func (n number) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, n.n, 10), nil }

// code is a number or a word from a list, however spelled: a number is kept as
// its digits, a word in capitals without what parts it, so that "Synthetic full"
// is SYNTHETICFULL. It is empty when none is given: for 0, -1, null, the empty
// text and the placeholder.
type code string

// UnmarshalJSON reads a number, its text, or a word.
func (c *code) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	*c = codeOf(s)
	return err
}

func codeOf(s string) code {
	s = strings.TrimSpace(s)
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		s = strconv.FormatInt(n, 10)
	}
	switch {
	case s == "0", s == "-1", s == placeholder:
		return ""
	case strings.ContainsAny(s, "0123456789"):
		return code(strings.ToUpper(s))
	}
	return code(strings.ToUpper(strings.NewReplacer(" ", "", "_", "", "-", "").Replace(s)))
}

// MarshalJSON writes a number as one, and a word as text.
func (c code) MarshalJSON() ([]byte, error) {
	if n, err := strconv.ParseInt(string(c), 10, 64); err == nil {
		return strconv.AppendInt(nil, n, 10), nil
	}
	return json.Marshal(string(c))
}

// text is a text; a number is read as its digits.
type text string

// UnmarshalJSON reads a text or a number.
func (t *text) UnmarshalJSON(b []byte) error {
	s, err := scalar(b)
	*t = text(strings.TrimSpace(s))
	return err
}

func (t text) unlessPlaceholder() text {
	if t == placeholder {
		return ""
	}
	return t
}

// flag is true, false, or not given.
type flag struct{ given, on bool }

// UnmarshalJSON reads a truth value, its text, 0 or 1.
func (f *flag) UnmarshalJSON(b []byte) error {
	if string(b) == "true" || string(b) == "false" {
		*f = flag{given: true, on: string(b) == "true"}
		return nil
	}
	s, err := scalar(b)
	if err == nil {
		*f, err = flagOf(s)
	}
	return err
}

// flagOf reads the text of a truth value, as JSON and queries have it.
func flagOf(s string) (flag, error) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "", placeholder:
		return flag{}, nil
	case "true", "1":
		return flag{given: true, on: true}, nil
	case "false", "0":
		return flag{given: true}, nil
	}
	return flag{}, errBody
}

// MarshalJSON writes the truth value.
func (f flag) MarshalJSON() ([]byte, error) { return strconv.AppendBool(nil, f.on), nil }

// scalar returns a text, or the digits of a number; null is the empty text.
func scalar(b []byte) (string, error) {
	switch {
	case string(b) == "null":
		return "", nil
	case len(b) > 0 && b[0] == '"':
		var s string
		err := json.Unmarshal(b, &s)
		return s, err
	}
	s := string(b)
	if _, err := strconv.ParseInt(s, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		return s, nil
	}
	f, err := strconv.ParseFloat(s, 64) // 3.0 and 1e3 are whole numbers, too
	if err != nil || f != math.Trunc(f) || math.Abs(f) > holdfast.MaxID {
		return "", errBody
	}
	return strconv.FormatInt(int64(f), 10), nil
}
