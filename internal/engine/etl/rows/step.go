package rows

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// hash replaces a column by the digest of its text.
func (c *compiler) hash(h definition.Hash) error {
	i, err := c.find(h.Column)
	if err != nil {
		return err
	}
	from := c.columns[i]
	k, ok := codecOf(from)
	if !ok {
		return noText(from)
	}
	digest := sha256.New()
	if h.Key != "" {
		key, err := c.parameter(h.Key)
		if err != nil {
			return err
		}
		if key == nil || *key == "" {
			return holdfast.Errorf(holdfast.CodeInvalid, "the key of the hash of %s is empty", h.Column).
				WithHint("give the parameter %s a value", h.Key)
		}
		digest = hmac.New(sha256.New, []byte(*key))
	}
	c.columns[i] = Column{Name: from.Name, OID: pgtype.TextOID, Type: "text"}
	c.change(i, c.slots[i], func(arena, value []byte) (_, result []byte, err error) {
		start := len(arena)
		if arena, err = k.text(arena, value); err != nil {
			return arena, nil, err
		}
		digest.Reset()
		digest.Write(arena[start:])
		arena = digest.Sum(arena[:start])
		end := len(arena)
		for _, b := range arena[start:end] {
			arena = append(arena, hexDigits[b>>4], hexDigits[b&15])
		}
		return arena, arena[end:], nil
	})
	return nil
}

// mask replaces all but the last characters of a text, and all of one that has no
// others.
func (c *compiler) mask(m definition.Mask) error {
	i, err := c.find(m.Column)
	if err != nil {
		return err
	}
	k, ok := codecOf(c.columns[i])
	if !ok || k.kind != textual {
		return holdfast.Errorf(holdfast.CodeInvalid, "column %s: only text can be masked, and not %s", m.Column, c.columns[i].Type).
			WithHint("cast the column to text first")
	}
	if m.Keep < 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "column %s: a mask keeps no fewer than 0 characters", m.Column)
	}
	c.change(i, c.slots[i], func(arena, value []byte) (_, result []byte, err error) {
		masked := utf8.RuneCount(value) - m.Keep
		if masked <= 0 {
			masked += m.Keep
		}
		start, rest := len(arena), value
		for range masked {
			_, n := utf8.DecodeRune(rest)
			rest = rest[n:]
			arena = append(arena, '*')
		}
		arena = append(arena, rest...)
		return arena, arena[start:], nil
	})
	return nil
}

// check adds an op that ends with a verdict for the rows that do not pass.
func (c *compiler) check(k definition.Check, otherwise verdict) error {
	i, err := c.find(k.Column)
	if err != nil {
		return err
	}
	passes, err := c.predicate(c.columns[i], k)
	if err != nil {
		return err
	}
	source := c.slots[i]
	failed := badRow{column: k.Column, reason: "the value does not pass the check " + shown(k)}
	c.add(func(r *row) verdict {
		if passes(r.values[source]) {
			return pass
		}
		r.bad = failed
		return otherwise
	})
	return nil
}

// shown writes a check as it stands in the definition; values of parameters are
// not told.
func shown(k definition.Check) string {
	switch {
	case k.Param != "":
		return k.Op + " :" + k.Param
	case k.Op == "in":
		return "in (" + strings.Join(k.Values, ", ") + ")"
	case len(k.Values) > 0:
		return k.Op + " " + k.Values[0]
	}
	return k.Op
}

// predicate returns whether a value passes.
func (c *compiler) predicate(col Column, k definition.Check) (func(v []byte) bool, error) {
	switch k.Op {
	case "is null":
		return func(v []byte) bool { return v == nil }, nil
	case "is not null":
		return func(v []byte) bool { return v != nil }, nil
	}
	codec, ok := codecOf(col)
	if !ok || codec.compare == nil {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s: values of the type %s cannot be compared here", col.Name, col.Type).
			WithHint("filter in a query, or compare numbers, text, booleans, dates, times or UUIDs")
	}
	values, err := c.operands(col, k)
	if err != nil {
		return nil, err
	}
	if k.Op == "in" {
		return func(v []byte) bool {
			return v != nil && slices.ContainsFunc(values, func(w []byte) bool { return codec.compare(v, w) == 0 })
		}, nil
	}
	accept, ok := operators[k.Op]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s: there is no comparison %q", col.Name, k.Op).
			WithHint("use =, <>, <, <=, >, >=, in, is null or is not null")
	}
	if len(values) == 0 { // a parameter that is NULL, to which nothing compares
		return func([]byte) bool { return false }, nil
	}
	value := values[0]
	if codec.kind == textual && k.Op == "=" && col.OID != pgtype.BPCharOID {
		return func(v []byte) bool { return v != nil && bytes.Equal(v, value) }, nil
	}
	return func(v []byte) bool { return v != nil && accept(codec.compare(v, value)) }, nil
}

// operators say which orders a comparison accepts.
var operators = map[string]func(order int) bool{
	"=":  func(order int) bool { return order == 0 },
	"<>": func(order int) bool { return order != 0 },
	"<":  func(order int) bool { return order < 0 },
	"<=": func(order int) bool { return order <= 0 },
	">":  func(order int) bool { return order > 0 },
	">=": func(order int) bool { return order >= 0 },
}

// operands returns the values that a check compares with; none for a parameter that
// is NULL.
func (c *compiler) operands(col Column, k definition.Check) ([][]byte, error) {
	texts := k.Values
	if k.Param != "" {
		v, err := c.parameter(k.Param)
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, nil
		}
		texts = []string{*v}
	}
	if len(texts) == 0 || len(texts) > 1 && k.Op != "in" {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s: the check %s has %d values", col.Name, k.Op, len(texts)).
			WithHint("in takes one or more values, the other comparisons take one")
	}
	var values [][]byte
	plain := col
	plain.Type = fmt.Sprintf("oid %d", col.OID) // a value to compare with has no limits of length or scale
	for _, t := range texts {
		v, err := encode(plain, t)
		if err != nil {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s: the value %q of the check %s is no %s", col.Name, t, k.Op, col.Type).
				WithHint("write it as text of the column's type")
		}
		values = append(values, v)
	}
	return values, nil
}
