package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// MaxMessage is the size of the largest message in bytes.
const MaxMessage = 1 << 20

// Limits of a message's parts, in bytes. What does not fit goes to the
// execution's log.
const (
	MaxDetail  = 16 << 10  // text for people
	MaxResult  = 512 << 10 // an engine's result
	MaxChunk   = 256 << 10 // a piece of a log
	maxRequest = 128       // id of an ask
	maxPath    = 4096
	maxText    = 1024
	maxSealed  = 512 << 10
)

// Message is one message. Validate checks everything that can be checked
// without knowing more than the message.
type Message interface {
	Validate() error
}

// Encode writes a message. CodeInvalid when it is not valid or too long.
func Encode(m Message) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	b, err := encode(m)
	if err != nil {
		return nil, fmt.Errorf("encode message: %w", err)
	}
	if len(b) > MaxMessage {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "a message of %d bytes is too long", len(b))
	}
	return b, nil
}

// encode writes JSON for programs: SQL is full of < and >, which would take six
// bytes each in JSON for a page.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// Decode reads a message that Encode wrote, or that somebody made up. Members
// that it does not know are left out: the other end may be newer.
func Decode[T any, M interface {
	*T
	Message
}](b []byte) (T, error) {
	var m T
	if len(b) > MaxMessage {
		return m, holdfast.Errorf(holdfast.CodeInvalid, "a message of %d bytes is too long", len(b))
	}
	if err := json.Unmarshal(b, &m); err != nil {
		var zero T
		return zero, holdfast.Wrap(holdfast.CodeInvalid, err, "the message is not valid")
	}
	if err := M(&m).Validate(); err != nil {
		var zero T
		return zero, err
	}
	return m, nil
}

// Failure is an error that crosses the wire: the words that the other end may
// see, without the cause.
type Failure struct {
	Code holdfast.Code `json:"code"`
	Msg  string        `json:"msg"`
	Hint string        `json:"hint,omitempty"`
}

// NewFailure returns what the other end may know of err; nil for nil.
func NewFailure(err error) *Failure {
	if err == nil {
		return nil
	}
	return &Failure{
		Code: holdfast.ErrorCode(err),
		Msg:  Clip(holdfast.ErrorMessage(err), maxText),
		Hint: Clip(holdfast.ErrorHint(err), maxText),
	}
}

// Err returns the failure as an error; nil for a nil failure.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	return &holdfast.Error{Code: f.Code, Msg: f.Msg, Hint: f.Hint}
}

func (f *Failure) validate() error {
	switch {
	case f == nil:
		return nil
	case f.Code == "" || len(f.Code) > 32:
		return holdfast.Errorf(holdfast.CodeInvalid, "a failure has no code")
	case len(f.Msg) > MaxDetail || len(f.Hint) > MaxDetail:
		return holdfast.Errorf(holdfast.CodeInvalid, "a failure's text is too long")
	}
	return nil
}

// Clip shortens text to at most limit bytes, on a character's edge, and says so.
func Clip(s string, limit int) string {
	const more = " …"
	if len(s) <= limit {
		return s
	}
	n := max(limit-len(more), 0)
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + more
}

// hexID checks an id of 64 hexadecimal digits.
func hexID(what, s string) error {
	if len(s) != 64 {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s %q is not an id of 64 hexadecimal digits", what, Clip(s, 80))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return holdfast.Errorf(holdfast.CodeInvalid, "%s %q is not an id of 64 hexadecimal digits", what, s)
		}
	}
	return nil
}

func positive[T ~int64](what string, n T) error {
	if n < 1 || int64(n) > holdfast.MaxID {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s %d is not an id", what, n)
	}
	return nil
}

func fenced(f holdfast.Fence) error {
	if f == 0 || f > holdfast.MaxID {
		return holdfast.Errorf(holdfast.CodeInvalid, "fence %d is out of range", f)
	}
	return nil
}

func short(what, s string, limit int) error {
	if len(s) > limit {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s has %d bytes, more than %d", what, len(s), limit)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
