package session

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"unsafe"

	"github.com/holdfast-backup/holdfast"
)

// The binary form of PostgreSQL's COPY. Source: the chapter on COPY in its manual,
// and the send functions of its types in src/backend/utils/adt.
var (
	copyBegin = append([]byte("PGCOPY\n\xff\r\n\x00"), 0, 0, 0, 0, 0, 0, 0, 0)
	copyEnd   = []byte{0xff, 0xff}
)

const (
	epochDays   = 10957                          // from 1970-01-01 to 2000-01-01, PostgreSQL's zero
	epochMicros = epochDays * 24 * 60 * 60 * 1e6 // the same, as a timestamp counts
)

// vector is the values of a column in a chunk. The engine owns the memory: it is good
// until the callback that was given it returns.
type vector struct {
	data  unsafe.Pointer
	valid []uint64 // a bit for each value that is not NULL; nil: all
	n     int
}

func (v vector) null(i int) bool { return v.valid != nil && v.valid[i>>6]&(1<<(i&63)) == 0 }

// values are a vector's, as the engine stores its type.
func values[T any](v vector) []T { return unsafe.Slice((*T)(v.data), v.n) }

// encoder appends value i of a vector, which is not NULL, in the binary form that its
// PostgreSQL type has.
type encoder func(dst []byte, v vector, i int) ([]byte, error)

// hugeint is how the engine stores 128 bits.
type hugeint struct{ lower, upper uint64 }

// blob is how the engine stores bytes: so many, and the first twelve themselves, or
// four of them and where all are.
type blob struct {
	length uint32
	first  [4]byte
	where  *byte
}

const blobInlined = 12

// bytes returns the bytes of a value in place.
func (b *blob) bytes() []byte {
	if b.length <= blobInlined {
		return unsafe.Slice(&b.first[0], b.length)
	}
	return unsafe.Slice(b.where, b.length)
}

// begin makes a blob of a text; where a long one is remains to be said.
func (b *blob) begin(text []byte) {
	*b = blob{length: uint32(len(text))}
	if len(text) <= blobInlined {
		copy(unsafe.Slice(&b.first[0], blobInlined), text)
		return
	}
	copy(b.first[:], text)
}

// encoderOf returns what encodes a type of the engine's, by the name that DESCRIBE
// gives it.
func encoderOf(typ string) (encoder, error) {
	switch typ {
	case "BOOLEAN":
		return func(dst []byte, v vector, i int) ([]byte, error) { return append(dst, values[uint8](v)[i]&1), nil }, nil
	case "TINYINT":
		return integer[int8](2), nil
	case "UTINYINT":
		return integer[uint8](2), nil
	case "SMALLINT":
		return integer[int16](2), nil
	case "USMALLINT":
		return integer[uint16](4), nil
	case "INTEGER":
		return integer[int32](4), nil
	case "UINTEGER":
		return integer[uint32](8), nil
	case "BIGINT":
		return integer[int64](8), nil
	case "UBIGINT":
		return func(dst []byte, v vector, i int) ([]byte, error) {
			return appendNumeric(dst, false, hugeint{lower: values[uint64](v)[i]}, 0), nil
		}, nil
	case "HUGEINT":
		return decimal[hugeint](0), nil
	case "UHUGEINT":
		return func(dst []byte, v vector, i int) ([]byte, error) {
			return appendNumeric(dst, false, values[hugeint](v)[i], 0), nil
		}, nil
	case "FLOAT":
		return func(dst []byte, v vector, i int) ([]byte, error) {
			return binary.BigEndian.AppendUint32(dst, values[uint32](v)[i]), nil
		}, nil
	case "DOUBLE":
		return func(dst []byte, v vector, i int) ([]byte, error) {
			return binary.BigEndian.AppendUint64(dst, values[uint64](v)[i]), nil
		}, nil
	case "VARCHAR", "JSON", "BLOB":
		return func(dst []byte, v vector, i int) ([]byte, error) {
			return append(dst, values[blob](v)[i].bytes()...), nil
		}, nil
	case "UUID":
		return func(dst []byte, v vector, i int) ([]byte, error) {
			u := values[hugeint](v)[i]
			dst = binary.BigEndian.AppendUint64(dst, u.upper^(1<<63)) // stored so that it sorts as text does
			return binary.BigEndian.AppendUint64(dst, u.lower), nil
		}, nil
	case "DATE":
		return encodeDate, nil
	case "TIMESTAMP", "TIMESTAMP WITH TIME ZONE":
		return encodeTimestamp, nil
	}
	width, scale, ok := parseDecimal(typ)
	switch {
	case !ok:
	case width <= 4:
		return decimal[int16](scale), nil
	case width <= 9:
		return decimal[int32](scale), nil
	case width <= 18:
		return decimal[int64](scale), nil
	default:
		return decimal[hugeint](scale), nil
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "values of the type %s have no binary form here", typ)
}

// parseDecimal reads DECIMAL(width,scale).
func parseDecimal(typ string) (width, scale int, ok bool) {
	inner, ok := strings.CutPrefix(strings.TrimSuffix(typ, ")"), "DECIMAL(")
	first, second, both := strings.Cut(inner, ",")
	width, err := strconv.Atoi(first)
	if !ok || !both || err != nil {
		return 0, 0, false
	}
	scale, err = strconv.Atoi(second)
	return width, scale, err == nil && width >= 1 && width <= 38 && scale >= 0 && scale <= width
}

// integer encodes an integer in so many bytes.
func integer[T int8 | uint8 | int16 | uint16 | int32 | uint32 | int64](size int) encoder {
	return func(dst []byte, v vector, i int) ([]byte, error) {
		n := uint64(int64(values[T](v)[i]))
		switch size {
		case 2:
			return binary.BigEndian.AppendUint16(dst, uint16(n)), nil
		case 4:
			return binary.BigEndian.AppendUint32(dst, uint32(n)), nil
		}
		return binary.BigEndian.AppendUint64(dst, n), nil
	}
}

// The engine's infinities are the largest number and its negative; PostgreSQL's are
// the largest and the smallest.
func encodeDate(dst []byte, v vector, i int) ([]byte, error) {
	days := int64(values[int32](v)[i])
	switch days {
	case math.MaxInt32:
	case -math.MaxInt32:
		days = math.MinInt32
	default:
		if days -= epochDays; days <= math.MinInt32 {
			return dst, holdfast.Errorf(holdfast.CodeInvalid, "a date is before all that PostgreSQL knows")
		}
	}
	return binary.BigEndian.AppendUint32(dst, uint32(int32(days))), nil
}

func encodeTimestamp(dst []byte, v vector, i int) ([]byte, error) {
	micros := values[int64](v)[i]
	switch {
	case micros == math.MaxInt64:
	case micros == -math.MaxInt64:
		micros = math.MinInt64
	case micros <= math.MinInt64+epochMicros:
		return dst, holdfast.Errorf(holdfast.CodeInvalid, "a timestamp is before all that PostgreSQL knows")
	default:
		micros -= epochMicros
	}
	return binary.BigEndian.AppendUint64(dst, uint64(micros)), nil
}

// decimal encodes a number with so many digits behind the point.
func decimal[T int16 | int32 | int64 | hugeint](scale int) encoder {
	return func(dst []byte, v vector, i int) ([]byte, error) {
		var h hugeint
		switch n := any(values[T](v)[i]).(type) {
		case int16:
			h = extended(int64(n))
		case int32:
			h = extended(int64(n))
		case int64:
			h = extended(n)
		case hugeint:
			h = n
		}
		negative := int64(h.upper) < 0
		if negative {
			h = h.negated()
		}
		return appendNumeric(dst, negative, h, scale), nil
	}
}

func extended(n int64) hugeint { return hugeint{lower: uint64(n), upper: uint64(n >> 63)} }

// negated is -h, in two's complement.
func (h hugeint) negated() hugeint {
	lower, borrow := bits.Sub64(0, h.lower, 0)
	upper, _ := bits.Sub64(0, h.upper, borrow)
	return hugeint{lower: lower, upper: upper}
}

// divide returns h/by and the rest.
func (h hugeint) divide(by uint64) (hugeint, uint64) {
	if h.upper == 0 {
		return hugeint{lower: h.lower / by}, h.lower % by
	}
	upper, rest := h.upper/by, h.upper%by
	lower, rest := bits.Div64(rest, h.lower, by)
	return hugeint{lower, upper}, rest
}

// maxGroups are enough for 128 bits: 39 digits, of which the point may split a group.
const maxGroups = 11

// appendNumeric appends a numeric: groups of four decimal digits, of which the first
// counts 10000 to the power of weight.
func appendNumeric(dst []byte, negative bool, h hugeint, scale int) []byte {
	var groups [maxGroups]uint16 // the last comes first
	n := 0
	if odd := scale % 4; odd > 0 { // the last group is filled up with zeros
		var rest uint64
		h, rest = h.divide([...]uint64{1, 10, 100, 1000}[odd])
		groups[n] = uint16(rest * [...]uint64{1, 1000, 100, 10}[odd])
		n++
	}
	fraction := (scale + 3) / 4
	for h != (hugeint{}) {
		var rest uint64
		h, rest = h.divide(10000)
		groups[n] = uint16(rest)
		n++
	}
	weight := n - 1 - fraction
	first := 0
	for first < n && groups[first] == 0 { // zeros at the end
		first++
	}
	for n > first && groups[n-1] == 0 { // the group of a small fraction
		n--
		weight--
	}
	var sign uint16
	if negative {
		sign = 0x4000
	}
	if n == first {
		weight, sign = 0, 0
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(n-first))
	dst = binary.BigEndian.AppendUint16(dst, uint16(int16(weight)))
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = binary.BigEndian.AppendUint16(dst, uint16(scale))
	for i := n - 1; i >= first; i-- {
		dst = binary.BigEndian.AppendUint16(dst, groups[i])
	}
	return dst
}

// maxField is the longest value of a row, in bytes.
const maxField = math.MaxInt32

// appendRow appends row i of some columns.
func appendRow(dst []byte, columns []vector, encoders []encoder, i int) ([]byte, error) {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(columns)))
	for k, c := range columns {
		if c.null(i) {
			dst = append(dst, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		at := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		var err error
		if dst, err = encoders[k](dst, c, i); err != nil {
			return dst, err
		}
		size := len(dst) - at - 4
		if size > maxField {
			return dst, holdfast.Errorf(holdfast.CodeInvalid, "a value of %d bytes is longer than PostgreSQL takes", size)
		}
		binary.BigEndian.PutUint32(dst[at:], uint32(size))
	}
	return dst, nil
}
