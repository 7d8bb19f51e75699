package session

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/duckdb/duckdb-go/v2/mapping"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// target is a vector that values are written to. Its memory is the engine's.
type target struct {
	vector mapping.Vector
	data   unsafe.Pointer
	valid  *uint64 // nil: nothing is NULL so far
}

func newTarget(v mapping.Vector) *target { return &target{vector: v, data: mapping.VectorGetData(v)} }

// null makes value i NULL.
func (t *target) null(i int) {
	if t.valid == nil {
		mapping.VectorEnsureValidityWritable(t.vector)
		t.valid = (*uint64)(mapping.VectorGetValidity(t.vector))
	}
	word := (*uint64)(unsafe.Add(unsafe.Pointer(t.valid), i>>6*8))
	*word &^= 1 << (i & 63)
}

// decoder writes a column of a batch to a vector. Its error says what is wrong with a
// value, without it.
type decoder func(b *batch, column int, into *target) error

// decoderOf returns what reads a PostgreSQL type; see [duck.Type].
func decoderOf(postgres string) (decoder, error) {
	t := duck.TypeOf(postgres)
	switch t.Wire {
	case duck.WireText:
		return texts(func(dst, value []byte) ([]byte, error) { return append(dst, value...), nil }), nil
	case duck.WireJSONB:
		return texts(func(dst, value []byte) ([]byte, error) {
			if len(value) == 0 || value[0] != jsonbVersion {
				return dst, errors.New("is a jsonb of an unknown version")
			}
			return append(dst, value[1:]...), nil
		}), nil
	case duck.WireBytea:
		return texts(func(dst, value []byte) ([]byte, error) { return hex.AppendEncode(append(dst, `\x`...), value), nil }), nil
	case duck.WireOwn:
		if d := ownDecoder(t.DuckDB); d != nil {
			return within(duck.Bound(postgres), d), nil
		}
	case duck.WireNone:
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "values of the type %s are not read in binary here", postgres)
}

// jsonbVersion begins a binary jsonb; the JSON follows.
const jsonbVersion = 1

// within looks first whether the engine has the values.
func within(bound func([]byte) error, d decoder) decoder {
	if bound == nil {
		return d
	}
	return func(b *batch, column int, into *target) error {
		for i := range b.rows {
			if value, ok := b.value(i, column); ok {
				if err := bound(value); err != nil {
					return err
				}
			}
		}
		return d(b, column, into)
	}
}

// ownDecoder decodes values that are within the bounds of a type of the engine's.
func ownDecoder(typ string) decoder {
	switch typ {
	case "BOOLEAN":
		return fixed(1, func(v []byte) (uint8, error) { return min(v[0], 1), nil })
	case "SMALLINT":
		return fixed(2, func(v []byte) (uint16, error) { return binary.BigEndian.Uint16(v), nil })
	case "INTEGER", "UINTEGER", "FLOAT":
		return fixed(4, func(v []byte) (uint32, error) { return binary.BigEndian.Uint32(v), nil })
	case "BIGINT", "DOUBLE", "TIME":
		return fixed(8, func(v []byte) (uint64, error) { return binary.BigEndian.Uint64(v), nil })
	case "DATE":
		return fixed(4, decodeDate)
	case "TIMESTAMP", "TIMESTAMPTZ":
		return fixed(8, decodeTimestamp)
	case "INTERVAL":
		return fixed(16, decodeInterval)
	case "UUID":
		return fixed(16, func(v []byte) (hugeint, error) {
			return hugeint{lower: binary.BigEndian.Uint64(v[8:]), upper: binary.BigEndian.Uint64(v) ^ 1<<63}, nil
		})
	}
	width, scale, ok := parseDecimal(typ)
	switch {
	case !ok:
		return nil
	case width <= 4:
		return decimals[int16](width, scale)
	case width <= 9:
		return decimals[int32](width, scale)
	case width <= 18:
		return decimals[int64](width, scale)
	}
	return decimals[hugeint](width, scale)
}

// logicalType is a type of the engine's that [duck.TypeOf] names.
func logicalType(typ string) mapping.LogicalType {
	if width, scale, ok := parseDecimal(typ); ok {
		return mapping.CreateDecimalType(uint8(width), uint8(scale))
	}
	return mapping.CreateLogicalType(logicalTypes[typ])
}

var logicalTypes = map[string]mapping.Type{
	"BOOLEAN": mapping.TypeBoolean, "SMALLINT": mapping.TypeSmallInt, "INTEGER": mapping.TypeInteger, "UINTEGER": mapping.TypeUInteger,
	"BIGINT": mapping.TypeBigInt, "FLOAT": mapping.TypeFloat, "DOUBLE": mapping.TypeDouble, "DATE": mapping.TypeDate, "TIME": mapping.TypeTime,
	"TIMESTAMP": mapping.TypeTimestamp, "TIMESTAMPTZ": mapping.TypeTimestampTZ, "INTERVAL": mapping.TypeInterval, "UUID": mapping.TypeUUID,
	"VARCHAR": mapping.TypeVarchar,
}

// fixed decodes a type whose values have one length.
func fixed[T any](size int, decode func([]byte) (T, error)) decoder {
	return func(b *batch, column int, into *target) error {
		out := unsafe.Slice((*T)(into.data), b.rows)
		for i := range out {
			value, ok := b.value(i, column)
			if !ok {
				into.null(i)
				continue
			}
			if len(value) != size {
				return errLength
			}
			var err error
			if out[i], err = decode(value); err != nil {
				return err
			}
		}
		return nil
	}
}

var errLength = errors.New("does not have the length of its type")

// The infinities of both are the largest number, and here its negative, and there the
// smallest.
func decodeDate(v []byte) (int32, error) {
	switch days := int32(binary.BigEndian.Uint32(v)); days {
	case math.MaxInt32:
		return math.MaxInt32, nil
	case math.MinInt32:
		return -math.MaxInt32, nil
	default:
		return days + epochDays, nil
	}
}

func decodeTimestamp(v []byte) (int64, error) {
	switch micros := int64(binary.BigEndian.Uint64(v)); micros {
	case math.MaxInt64:
		return math.MaxInt64, nil
	case math.MinInt64:
		return -math.MaxInt64, nil
	default:
		return micros + epochMicros, nil
	}
}

// interval is how the engine stores one.
type interval struct {
	months, days int32
	micros       int64
}

func decodeInterval(v []byte) (interval, error) {
	return interval{
		micros: int64(binary.BigEndian.Uint64(v)), days: int32(binary.BigEndian.Uint32(v[8:])), months: int32(binary.BigEndian.Uint32(v[12:])),
	}, nil
}

// decimals decodes numeric.
func decimals[T int16 | int32 | int64 | hugeint](width, scale int) decoder {
	limit := power(width)
	return func(b *batch, column int, into *target) error {
		for i := range b.rows {
			value, ok := b.value(i, column)
			if !ok {
				into.null(i)
				continue
			}
			h, negative, err := unscaled(value, scale, limit)
			if err != nil {
				return fmt.Errorf("%w: numeric(%d,%d)", err, width, scale)
			}
			if negative {
				h = h.negated()
			}
			switch out := any(unsafe.Slice((*T)(into.data), b.rows)).(type) {
			case []int16:
				out[i] = int16(h.lower)
			case []int32:
				out[i] = int32(h.lower)
			case []int64:
				out[i] = int64(h.lower)
			case []hugeint:
				out[i] = h
			}
		}
		return nil
	}
}

var (
	errNumeric = errors.New("is no numeric as a server sends them")
	errTooWide = errors.New("has more digits than its type")
)

// unscaled reads a binary numeric as a number of units of the last place. Its header
// counts groups of four digits, says which power of 10000 the first is of, the sign,
// and how many digits are shown behind the point.
func unscaled(v []byte, scale int, limit hugeint) (h hugeint, negative bool, err error) {
	if len(v) < 8 {
		return h, false, errNumeric
	}
	groups, weight := int(binary.BigEndian.Uint16(v)), int(int16(binary.BigEndian.Uint16(v[2:])))
	negative = binary.BigEndian.Uint16(v[4:]) != 0
	if len(v) != 8+2*groups {
		return h, false, errNumeric
	}
	fraction := 0 // digits behind the point that h has
	for i := range groups {
		digits := uint64(binary.BigEndian.Uint16(v[8+2*i:]))
		if digits > 9999 {
			return h, false, errNumeric
		}
		take := 4
		if power := weight - i; power < 0 {
			behind := -4 * (power + 1) // digits between the point and the group
			if take = min(max(scale-behind, 0), 4); take < 4 {
				if digits%tens[4-take] != 0 {
					return h, false, errTooWide
				}
				digits /= tens[4-take]
			}
			fraction = min(behind+4, scale)
		}
		if h, err = h.shifted(take, digits, limit); err != nil {
			return h, false, err
		}
	}
	for power := weight - groups; power >= 0 && h != (hugeint{}); power-- { // zeros before the point that are not sent
		if h, err = h.shifted(4, 0, limit); err != nil {
			return h, false, err
		}
	}
	for ; fraction < scale && h != (hugeint{}); fraction++ {
		if h, err = h.shifted(1, 0, limit); err != nil {
			return h, false, err
		}
	}
	return h, negative, nil
}

// tens are powers of ten.
var tens = [...]uint64{1, 10, 100, 1000, 10000}

// power returns ten to the power of n, up to 38.
func power(n int) hugeint {
	h := hugeint{lower: 1}
	for range n {
		upper, lower := bits.Mul64(h.lower, 10)
		h = hugeint{lower: lower, upper: h.upper*10 + upper}
	}
	return h
}

// shifted appends decimal digits to a number that is to stay below limit.
func (h hugeint) shifted(n int, digits uint64, limit hugeint) (hugeint, error) {
	over, upper := bits.Mul64(h.upper, tens[n])
	carry, lower := bits.Mul64(h.lower, tens[n])
	lower, c := bits.Add64(lower, digits, 0)
	upper, c = bits.Add64(upper, carry, c)
	if over != 0 || c != 0 || upper > limit.upper || upper == limit.upper && lower >= limit.lower {
		return h, errTooWide
	}
	return hugeint{lower: lower, upper: upper}, nil
}

// heaps hold the long texts of a column of a batch.
var heaps = sync.Pool{New: func() any { return new([]byte) }}

// texts decodes what the engine stores as text, of which form appends the value. All
// long ones go to the engine at once, as one text in the place of the first: its
// memory is the vector's as long as that lives, and the others are parts of it.
func texts(form func(dst, value []byte) ([]byte, error)) decoder {
	return func(b *batch, column int, into *target) (err error) {
		kept := heaps.Get().(*[]byte)
		heap := (*kept)[:0]
		defer func() {
			if *kept = heap; cap(heap) <= maxKept {
				heaps.Put(kept)
			}
		}()
		out := unsafe.Slice((*blob)(into.data), b.rows)
		for i := range out {
			value, ok := b.value(i, column)
			if !ok {
				into.null(i)
				out[i] = blob{}
				continue
			}
			at := len(heap)
			if heap, err = form(heap, value); err != nil {
				return err
			}
			text := heap[at:]
			if !utf8.Valid(text) {
				return errors.New("is not UTF-8")
			}
			if out[i].begin(text); len(text) <= blobInlined {
				heap = heap[:at]
			}
		}
		if len(heap) == 0 {
			return nil
		}
		first := out[0]
		mapping.VectorAssignStringElementLen(into.vector, 0, heap)
		where := out[0].where
		if int(out[0].length) != len(heap) {
			return errors.New("finds no place in the engine")
		}
		out[0] = first
		for i := range out {
			if out[i].length > blobInlined {
				out[i].where = where
				where = (*byte)(unsafe.Add(unsafe.Pointer(where), out[i].length))
			}
		}
		return nil
	}
}
