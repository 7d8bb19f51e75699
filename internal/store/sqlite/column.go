package sqlite

import (
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
)

// The types of this file wrap a pointer to a field and are both what a row is
// scanned into and what a parameter is read from, so that each kind of row lists
// its fields once.

// micros is a time as microseconds of UTC; the zero time is NULL.
type micros struct{ t *time.Time }

func (m micros) Value() (driver.Value, error) {
	if m.t.IsZero() {
		return nil, nil
	}
	return m.t.UnixMicro(), nil
}

func (m micros) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*m.t = time.Time{}
	case int64:
		*m.t = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("a time is a %T", v)
	}
	return nil
}

// comparableMicros is a time as microseconds of UTC; the zero time is 0, which is less
// than any other.
type comparableMicros struct{ t *time.Time }

func (m comparableMicros) Value() (driver.Value, error) {
	if m.t.IsZero() {
		return int64(0), nil
	}
	return m.t.UnixMicro(), nil
}

func (m comparableMicros) Scan(v any) error {
	if v == int64(0) {
		v = nil
	}
	return micros(m).Scan(v)
}

// span is a duration as microseconds.
type span struct{ d *time.Duration }

func (s span) Value() (driver.Value, error) { return s.d.Microseconds(), nil }

func (s span) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a duration is a %T", v)
	}
	*s.d = time.Duration(n) * time.Microsecond
	return nil
}

// id is a number that is NULL when it is zero.
type id[T ~int64] struct{ p *T }

func idOf[T ~int64](p *T) id[T] { return id[T]{p} }

func (i id[T]) Value() (driver.Value, error) {
	if *i.p == 0 {
		return nil, nil
	}
	return int64(*i.p), nil
}

func (i id[T]) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*i.p = 0
	case int64:
		*i.p = T(v)
	default:
		return fmt.Errorf("an id is a %T", v)
	}
	return nil
}

// bits is an unsigned number, whose bits are stored as a signed one.
type bits[T ~uint64] struct{ p *T }

func bitsOf[T ~uint64](p *T) bits[T] { return bits[T]{p} }

func (b bits[T]) Value() (driver.Value, error) { return int64(*b.p), nil }

func (b bits[T]) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a number is a %T", v)
	}
	*b.p = T(n)
	return nil
}

// list is a slice as a JSON array; an empty one is read as nil.
type list[T any] struct{ p *[]T }

func listOf[T any](p *[]T) list[T] { return list[T]{p} }

func (l list[T]) Value() (driver.Value, error) {
	if len(*l.p) == 0 {
		return "[]", nil
	}
	return marshal(*l.p)
}

func (l list[T]) Scan(v any) error {
	*l.p = nil
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("a list is a %T", v)
	}
	if s == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(s), l.p)
}

// document is a value as JSON.
type document[T any] struct{ p *T }

func documentOf[T any](p *T) document[T] { return document[T]{p} }

func (d document[T]) Value() (driver.Value, error) { return marshal(d.p) }

func (d document[T]) Scan(v any) error {
	var none T
	*d.p = none // of the row before
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("a document is a %T", v)
	}
	return json.Unmarshal([]byte(s), d.p)
}

// progress is how far an execution has come, as JSON. Every row of a history has
// one: what Value writes is read without the detour of a decoder.
type progress struct{ p *holdfast.Progress }

func (c progress) Value() (driver.Value, error) { return marshal(c.p) }

func (c progress) Scan(v any) error {
	s, ok := v.(string)
	if ok && c.plain(s) {
		return nil
	}
	return documentOf(c.p).Scan(v)
}

// plain reads what Value writes; false for anything else.
func (c progress) plain(s string) bool {
	var p holdfast.Progress
	rest, ok := strings.CutPrefix(s, `{"phase":"`)
	if !ok {
		return false
	}
	p.Phase, rest, ok = strings.Cut(rest, `"`)
	for i := range len(p.Phase) {
		if b := p.Phase[i]; b < ' ' || b == '\\' || b >= utf8.RuneSelf { // as JSON has it, or not at all
			return false
		}
	}
	for _, f := range []struct {
		key   string
		value *int64
	}{
		{`,"done_bytes":`, &p.DoneBytes},
		{`,"total_bytes":`, &p.TotalBytes},
		{`,"done_files":`, &p.DoneFiles},
		{`,"total_files":`, &p.TotalFiles},
		{`,"added_bytes":`, &p.AddedBytes},
	} {
		if rest, ok = strings.CutPrefix(rest, f.key); !ok {
			return false
		}
		n := 0
		for n < len(rest) && n < maxDigits && '0' <= rest[n] && rest[n] <= '9' {
			*f.value = *f.value*10 + int64(rest[n]-'0')
			n++
		}
		if n == 0 || n == maxDigits || n > 1 && rest[0] == '0' {
			return false
		}
		rest = rest[n:]
	}
	if !ok || rest != "}" {
		return false
	}
	*c.p = p
	return true
}

// maxDigits is how many digits a number may have that surely overflows nothing,
// and one.
const maxDigits = 19

// optional is a value that may be missing, as JSON or NULL.
type optional[T any] struct{ p **T }

func optionalOf[T any](p **T) optional[T] { return optional[T]{p} }

func (o optional[T]) Value() (driver.Value, error) {
	if *o.p == nil {
		return nil, nil
	}
	return marshal(*o.p)
}

func (o optional[T]) Scan(v any) error {
	*o.p = nil
	if v == nil {
		return nil
	}
	*o.p = new(T)
	return document[T]{*o.p}.Scan(v)
}

// spec is what an ETL does, as JSON without its definition, or NULL.
type spec struct{ p **holdfast.ETLSpec }

func (s spec) Value() (driver.Value, error) {
	if *s.p == nil {
		return nil, nil
	}
	short := **s.p
	short.Definition = ""
	return marshal(short)
}

func (s spec) Scan(v any) error { return optionalOf(s.p).Scan(v) }

// definition is that of an ETL, whose spec is scanned before it; without one it is
// NULL.
type definition struct{ p **holdfast.ETLSpec }

func (d definition) Value() (driver.Value, error) {
	if *d.p == nil {
		return nil, nil
	}
	return (*d.p).Definition, nil
}

func (d definition) Scan(v any) error {
	text, ok := v.(string)
	switch {
	case v == nil:
		return nil // of no ETL, or not asked for
	case !ok || *d.p == nil:
		return fmt.Errorf("a definition is a %T, or stands alone", v)
	}
	(*d.p).Definition = text
	return nil
}

// service is whether an execution is one of a service ETL, for the queue's indexes:
// it is read from what stands beside it.
type service struct{ p **holdfast.ETLRun }

func (s service) Value() (driver.Value, error) { return *s.p != nil && (*s.p).Service, nil }

func (service) Scan(any) error { return nil }

// annotations is a map of JSON values as JSON; nil is NULL.
type annotations struct{ p *map[string]json.RawMessage }

func (a annotations) Value() (driver.Value, error) {
	if *a.p == nil {
		return nil, nil
	}
	return marshal(*a.p)
}

func (a annotations) Scan(v any) error {
	*a.p = nil
	if v == nil {
		return nil
	}
	return document[map[string]json.RawMessage](a).Scan(v)
}

// raw is JSON as it is; nothing is NULL.
type raw struct{ p *json.RawMessage }

func (r raw) Value() (driver.Value, error) {
	if len(*r.p) == 0 {
		return nil, nil
	}
	if !json.Valid(*r.p) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "what should be JSON is not")
	}
	return string(*r.p), nil
}

func (r raw) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*r.p = nil
	case string:
		*r.p = json.RawMessage(v)
	default:
		return fmt.Errorf("JSON is a %T", v)
	}
	return nil
}

func marshal(v any) (driver.Value, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "what should be JSON is not")
	}
	return string(b), nil
}

// selected is a list of values for IN (SELECT value FROM json_each(?)).
func selected[T any](values []T) (string, error) {
	if len(values) == 0 {
		return "[]", nil // null would be a list of one NULL, which nothing is not in
	}
	b, err := json.Marshal(values)
	if err != nil {
		return "", fmt.Errorf("encode a list: %w", err)
	}
	return string(b), nil
}
