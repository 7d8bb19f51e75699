package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
)

// An array is the number of its dimensions, whether it holds NULL, the type of its
// elements, length and lower bound of each dimension, and its elements with their
// lengths. Source: array_send in src/backend/utils/adt/arrayfuncs.c.
const (
	arrayHeader   = 12
	maxDimensions = 6
)

var errNoArray = errors.New(`is no array such as {1,NULL,"a b"} of its type`)

// array knows the values of arrays of one type of elements.
type array struct {
	oid     uint32
	element codec
}

// arrayOf returns the codec of arrays of a type, and false when its elements cannot
// become text here.
func arrayOf(oid uint32) (codec, bool) {
	element, ok := codecOf(Column{OID: oid})
	a := array{oid: oid, element: element}
	return codec{text: a.text, binary: a.binary}, ok
}

// dimensions reads the header of an array.
func (a array) dimensions(value []byte) (lengths, lower []int, elements []byte, err error) {
	if len(value) < arrayHeader {
		return nil, nil, nil, errLength
	}
	n := int(int32(binary.BigEndian.Uint32(value)))
	if n < 0 || n > maxDimensions || len(value) < arrayHeader+8*n || binary.BigEndian.Uint32(value[8:]) != a.oid {
		return nil, nil, nil, errNoArray
	}
	total := 1
	for i := range n {
		d := value[arrayHeader+8*i:]
		length := int(int32(binary.BigEndian.Uint32(d)))
		if total *= length; length < 1 || total > len(value)/4 { // each element has a length
			return nil, nil, nil, errNoArray
		}
		lengths = append(lengths, length)
		lower = append(lower, int(int32(binary.BigEndian.Uint32(d[4:]))))
	}
	return lengths, lower, value[arrayHeader+8*n:], nil
}

func (a array) text(dst, value []byte) ([]byte, error) {
	lengths, lower, rest, err := a.dimensions(value)
	if err != nil {
		return dst, err
	}
	if len(lengths) == 0 {
		return append(dst, "{}"...), nil
	}
	for i := range lower {
		if lower[i] != 1 {
			dst = appendBounds(dst, lengths, lower)
			break
		}
	}
	if dst, rest, err = a.level(dst, rest, lengths); err == nil && len(rest) > 0 {
		err = errNoArray
	}
	return dst, err
}

// appendBounds writes the bounds, when these are not from 1.
func appendBounds(dst []byte, lengths, lower []int) []byte {
	for i, l := range lower {
		dst = strconv.AppendInt(append(dst, '['), int64(l), 10)
		dst = strconv.AppendInt(append(dst, ':'), int64(l+lengths[i]-1), 10)
		dst = append(dst, ']')
	}
	return append(dst, '=')
}

// level writes what is between two braces, and returns the elements behind it.
func (a array) level(dst, rest []byte, lengths []int) (_, _ []byte, err error) {
	dst = append(dst, '{')
	for i := range lengths[0] {
		if i > 0 {
			dst = append(dst, ',')
		}
		if len(lengths) > 1 {
			dst, rest, err = a.level(dst, rest, lengths[1:])
		} else {
			dst, rest, err = a.one(dst, rest)
		}
		if err != nil {
			return dst, nil, err
		}
	}
	return append(dst, '}'), rest, nil
}

// one writes one element.
func (a array) one(dst, rest []byte) (_, _ []byte, err error) {
	if len(rest) < 4 {
		return dst, nil, errNoArray
	}
	size := int(int32(binary.BigEndian.Uint32(rest)))
	rest = rest[4:]
	if size == -1 {
		return append(dst, "NULL"...), rest, nil
	}
	if size < 0 || size > len(rest) {
		return dst, nil, errNoArray
	}
	start := len(dst)
	if dst, err = a.element.text(dst, rest[:size]); err != nil {
		return dst, nil, err
	}
	if text := dst[start:]; quotedInArray(text) {
		text = bytes.Clone(text)
		dst = append(dst[:start], '"')
		for _, c := range text {
			if c == '"' || c == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, c)
		}
		dst = append(dst, '"')
	}
	return dst, rest[size:], nil
}

// quotedInArray reports whether an element has to stand in quotes.
func quotedInArray(text []byte) bool {
	return len(text) == 0 || bytes.EqualFold(text, []byte("NULL")) || bytes.ContainsAny(text, "\"\\{}, \t\n\v\f\r")
}

// binary reads an array. Bounds that are not from 1 are not read.
func (a array) binary(dst, text []byte) ([]byte, error) {
	p := arrayParser{a: a, text: bytes.TrimSpace(text)}
	depth := 0
	for _, c := range p.text {
		if c == '{' {
			depth++
		} else if !isArraySpace(c) {
			break
		}
	}
	if depth == 0 || depth > maxDimensions {
		return dst, errNoArray
	}
	if bytes.Equal(p.text, []byte("{}")) {
		depth = 0
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, uint32(depth))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, a.oid)
	for range depth {
		dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 1)
	}
	if depth == 0 {
		return dst, nil
	}
	p.lengths = make([]int, depth)
	dst, err := p.level(dst, 0)
	if err != nil || p.pos != len(p.text) {
		return dst[:start], errNoArray
	}
	if p.null {
		dst[start+7] = 1
	}
	for i, n := range p.lengths {
		binary.BigEndian.PutUint32(dst[start+arrayHeader+8*i:], uint32(n))
	}
	return dst, nil
}

// arrayParser reads the text of an array.
type arrayParser struct {
	a       array
	text    []byte
	pos     int
	lengths []int // of each dimension; zero until its first end is seen
	null    bool
	scratch []byte
}

func isArraySpace(c byte) bool {
	return c == ' ' || c == '\t' || c == '\n' || c == '\v' || c == '\f' || c == '\r'
}

// space skips white space, and returns what follows; 0 at the end.
func (p *arrayParser) space() byte {
	for p.pos < len(p.text) && isArraySpace(p.text[p.pos]) {
		p.pos++
	}
	if p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

// level reads what is between two braces.
func (p *arrayParser) level(dst []byte, dimension int) (_ []byte, err error) {
	if p.space() != '{' {
		return dst, errNoArray
	}
	p.pos++
	for n := 1; ; n++ {
		if dimension+1 < len(p.lengths) {
			dst, err = p.level(dst, dimension+1)
		} else {
			dst, err = p.one(dst)
		}
		if err != nil {
			return dst, err
		}
		switch p.space() {
		case ',':
			p.pos++
		case '}':
			p.pos++
			if p.lengths[dimension] != 0 && p.lengths[dimension] != n {
				return dst, errNoArray
			}
			p.lengths[dimension] = n
			return dst, nil
		default:
			return dst, errNoArray
		}
	}
}

// one reads one element.
func (p *arrayParser) one(dst []byte) ([]byte, error) {
	inQuotes := p.space() == '"'
	if inQuotes {
		p.pos++
	}
	text, kept, closed := p.scratch[:0], 0, false
	for p.pos < len(p.text) && !closed {
		c := p.text[p.pos]
		switch {
		case inQuotes && c == '"':
			closed = true
		case !inQuotes && (c == ',' || c == '}'):
			p.pos--
			closed = true
		case !inQuotes && (c == '{' || c == '"'):
			return dst, errNoArray
		case c == '\\' && p.pos+1 < len(p.text):
			p.pos++
			text = append(text, p.text[p.pos])
			kept = len(text)
		default:
			if text = append(text, c); inQuotes || !isArraySpace(c) {
				kept = len(text)
			}
		}
		p.pos++
	}
	p.scratch = text
	if text = text[:kept]; !closed || len(text) == 0 && !inQuotes {
		return dst, errNoArray
	}
	if !inQuotes && bytes.EqualFold(text, []byte("NULL")) {
		p.null = true
		return append(dst, 0xff, 0xff, 0xff, 0xff), nil
	}
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, err := p.a.element.binary(dst, text)
	if err != nil {
		return dst, err
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst, nil
}
