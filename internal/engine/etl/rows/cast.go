package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
)

// decoder makes a binary value of text and appends it to dst.
type decoder = func(dst, text []byte) ([]byte, error)

// modifierOf returns the modifier of a column's type; none when there is none that
// is known here.
func modifierOf(c Column) modifier {
	_, mod, err := parseType(c.Type)
	if err != nil || !mod.takes(c.OID) {
		return modifier{}
	}
	return mod
}

// decoderOf returns how text becomes a value of a column, within the limits of its
// type: numbers are rounded to their scale and times to their precision, text that
// is too long is refused.
func decoderOf(c Column) (decoder, bool) {
	k, ok := codecOf(c)
	if !ok {
		return nil, false
	}
	mod := modifierOf(c)
	if !mod.set {
		return k.binary, true
	}
	switch c.OID {
	case pgtype.NumericOID:
		return numericWithin(mod), true
	case pgtype.TimestampOID, pgtype.TimestamptzOID:
		return timestampWithin(mod, c.OID == pgtype.TimestamptzOID), true
	case pgtype.TimeOID:
		return binaryOfTime(mod), true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		return func(dst, text []byte) ([]byte, error) {
			text, err := textWithin(mod, text)
			if err != nil {
				return dst, err
			}
			return binaryOfText(dst, text)
		}, true
	}
	return k.binary, true // the server looks at the limits of the others
}

// textWithin refuses text with too many characters; spaces at its end are cut off,
// as servers do.
func textWithin(mod modifier, text []byte) ([]byte, error) {
	if len(text) <= mod.first || utf8.RuneCount(text) <= mod.first {
		return text, nil
	}
	short := bytes.TrimRight(text, " ")
	n := utf8.RuneCount(short)
	if n > mod.first {
		return text, errors.New("is longer than its type allows")
	}
	return text[:len(short)+mod.first-n], nil
}

// converter makes a value of one type of a value of another. It may append to the
// arena, and returns it with the result, which may be the value or a part of it.
type converter func(arena, value []byte) (_, result []byte, err error)

// appending returns a converter of a function that appends the result.
func appending(fn func(dst, value []byte) ([]byte, error)) converter {
	return func(arena, value []byte) (_, result []byte, err error) {
		start := len(arena)
		arena, err = fn(arena, value)
		if err != nil {
			return arena, nil, err
		}
		return arena, arena[start:], nil
	}
}

// convert returns how values of one column become values of another, and nil when
// their bytes are the same. What is not cast here is an error.
func convert(from, to Column) (converter, error) {
	if same(from, to) {
		return nil, nil
	}
	f, okFrom := codecOf(from)
	t, okTo := codecOf(to)
	decode, _ := decoderOf(to)
	switch {
	case !okFrom || !okTo:
	case t.kind == textual:
		return toText(from, to, f), nil
	case f.kind == textual:
		return appending(decode), nil
	case f.kind == exact && t.kind == exact:
		return rescale(modifierOf(to), decode), nil
	case f.kind == whole && t.kind == whole:
		return appending(resizeInt(sizeOf(from), sizeOf(to))), nil
	case f.kind == whole && (t.kind == inexact || t.kind == exact),
		f.kind == exact && t.kind == inexact,
		f.kind == document && t.kind == document:
		return through(f.text, decode), nil
	case f.kind == exact && t.kind == whole:
		return appending(roundNumeric(sizeOf(to))), nil
	case f.kind == inexact && (t.kind == whole || t.kind == inexact):
		return appending(convertFloat(t.kind, sizeOf(to))), nil
	case f.kind == inexact && t.kind == exact:
		return through(textOfDigits, decode), nil
	case from.OID == pgtype.BoolOID && to.OID == pgtype.Int4OID, from.OID == pgtype.Int4OID && to.OID == pgtype.BoolOID:
		return appending(convertTruth(sizeOf(to))), nil
	case f.kind == moment && t.kind == moment:
		return appending(convertMoment(to)), nil
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "column %s: rows cannot be cast from %s to %s on their way", from.Name, from.Type, to.Type).
		WithHint("cast the column in a query, where the server does it")
}

// same reports whether each value of one column is one of the other, byte by byte.
func same(from, to Column) bool {
	builtIn := from.OID < firstUserOID && to.OID < firstUserOID
	if modifierOf(to).set && from.Type != to.Type {
		return false
	}
	if builtIn {
		return from.OID == to.OID
	}
	if from.Textual && to.Textual {
		return true
	}
	// Arrays tell the number of their elements' type, which differs between servers.
	return from.OID >= firstUserOID && to.OID >= firstUserOID && from.Type == to.Type && !strings.HasSuffix(from.Type, "[]")
}

// sizeOf returns the length of values of a type that has one, in bytes.
func sizeOf(c Column) int {
	switch c.OID {
	case pgtype.BoolOID:
		return 1
	case pgtype.Int2OID:
		return 2
	case pgtype.Int4OID, pgtype.Float4OID, pgtype.DateOID:
		return 4
	}
	return 8
}

// resizeInt returns how an integer of one size becomes one of another.
func resizeInt(from, to int) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		n, _ := intOf(value)
		switch {
		case len(value) != from:
			return dst, errLength
		case !fits(n, to):
			return dst, errIntRange
		}
		return appendInt(dst, n, to), nil
	}
}

// through converts by way of the text.
func through(text func(dst, value []byte) ([]byte, error), decode decoder) converter {
	return func(arena, value []byte) (_, result []byte, err error) {
		start := len(arena)
		if arena, err = text(arena, value); err != nil {
			return arena, nil, err
		}
		end := len(arena)
		if arena, err = decode(arena, arena[start:end]); err != nil {
			return arena, nil, err
		}
		return arena, arena[end:], nil
	}
}

// toText converts to text as a cast does in SQL, which for two types is not what
// their output is.
func toText(from, to Column, f codec) converter {
	text := f.text
	switch {
	case from.OID == pgtype.BoolOID:
		text = func(dst, value []byte) ([]byte, error) {
			if len(value) != 1 {
				return dst, errLength
			}
			return strconv.AppendBool(dst, value[0] != 0), nil
		}
	case from.OID == pgtype.BPCharOID:
		text = func(dst, value []byte) ([]byte, error) { return asIs(dst, bytes.TrimRight(value, " ")) }
	case f.kind == textual && !modifierOf(to).set:
		return func(arena, value []byte) (_, result []byte, err error) { return arena, value, nil }
	}
	mod := modifierOf(to)
	return func(arena, value []byte) (_, result []byte, err error) {
		start := len(arena)
		if arena, err = text(arena, value); err != nil {
			return arena, nil, err
		}
		result = arena[start:]
		if mod.set {
			result, err = textWithin(mod, result)
		}
		return arena, result, err
	}
}

// rescale brings a numeric within its limits. Most are, and stay as they are: the
// server adds zeros behind the point.
func rescale(mod modifier, decode decoder) converter {
	slow := through(textOfNumeric, decode)
	return func(arena, value []byte) (_, result []byte, err error) {
		weight, sign, scale, _, ok := numericOf(value)
		if ok && (sign == signPlus || sign == signMinus) && (!mod.set || scale <= mod.scale && 4*(weight+1) <= mod.first-mod.scale) {
			return arena, value, nil
		}
		return slow(arena, value)
	}
}

// roundNumeric returns how a numeric becomes an integer: halves away from zero.
func roundNumeric(size int) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		var text, digits [80]byte
		t, err := textOfNumeric(text[:0], value)
		if err != nil {
			return dst, err
		}
		d, err := parseDecimal(t, digits[:0])
		if err != nil {
			return dst, err
		}
		n, ok := d.int()
		if !ok || !fits(n, size) {
			return dst, errIntRange
		}
		return appendInt(dst, n, size), nil
	}
}

// convertFloat returns how a float becomes an integer, halves to the even one, or a
// float of another size.
func convertFloat(to family, size int) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		f, ok := floatOf(value)
		if !ok {
			return dst, errLength
		}
		if to == inexact {
			if size == 4 && !math.IsInf(f, 0) && (math.IsInf(float64(float32(f)), 0) || f != 0 && float32(f) == 0) {
				return dst, errIntRange
			}
			return appendFloatBits(dst, f, size), nil
		}
		f = math.RoundToEven(f)
		if !(f >= -1<<63 && f < 1<<63) || !fits(int64(f), size) { // NaN is not in between
			return dst, errIntRange
		}
		return appendInt(dst, int64(f), size), nil
	}
}

// textOfDigits is a float with the digits that are right for sure: 15, or 6 of 4
// bytes. So servers make numerics of floats.
func textOfDigits(dst, value []byte) ([]byte, error) {
	f, ok := floatOf(value)
	if !ok {
		return dst, errLength
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendFloat(dst, f, 64), nil
	}
	digits := 15
	if len(value) == 4 {
		digits = 6
	}
	return strconv.AppendFloat(dst, f, 'g', digits, 64), nil
}

// convertTruth returns how booleans become 0 and 1, or integers booleans, which are
// one byte.
func convertTruth(size int) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		var n int64
		for _, b := range value {
			if b != 0 {
				n = 1
			}
		}
		if size == 1 {
			return append(dst, byte(n)), nil
		}
		return appendInt(dst, n, size), nil
	}
}

// convertMoment returns how dates and timestamps become each other, in UTC.
func convertMoment(to Column) func(dst, value []byte) ([]byte, error) {
	mod := modifierOf(to)
	return func(dst, value []byte) ([]byte, error) {
		n, ok := intOf(value)
		if !ok || len(value) < 4 {
			return dst, errLength
		}
		stamp := n
		switch {
		case len(value) == 8:
		case n == math.MaxInt32:
			stamp = math.MaxInt64
		case n == math.MinInt32:
			stamp = math.MinInt64
		case n < minDay || n >= maxStampDay:
			return dst, errDayRange
		default:
			stamp = n * usecsPerDay
		}
		if to.OID != pgtype.DateOID {
			return appendStamp(dst, stamp, mod)
		}
		day := stamp / usecsPerDay
		switch {
		case stamp == math.MaxInt64:
			day = math.MaxInt32
		case stamp == math.MinInt64:
			day = math.MinInt32
		case stamp%usecsPerDay < 0:
			day--
		}
		return binary.BigEndian.AppendUint32(dst, uint32(int32(day))), nil
	}
}
