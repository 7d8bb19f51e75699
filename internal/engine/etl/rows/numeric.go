package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
)

// The binary form of numeric: counts of digits, weight of the first, sign, digits
// behind the point, and then digits to the base 10,000. Source: numeric_send in
// src/backend/utils/adt/numeric.c.
const (
	numericHeader = 8
	signPlus      = 0x0000
	signMinus     = 0x4000
	signNaN       = 0xc000
	signInfinity  = 0xd000
	signMinusInf  = 0xf000
	maxScale      = 16383  // digits behind the point
	maxInteger    = 131072 // digits before it
)

// numericOf cuts a numeric into its parts, and false when it is none.
func numericOf(v []byte) (weight int, sign uint16, scale int, digits []byte, ok bool) {
	if len(v) < numericHeader {
		return 0, 0, 0, nil, false
	}
	n := int(int16(binary.BigEndian.Uint16(v)))
	weight = int(int16(binary.BigEndian.Uint16(v[2:])))
	sign = binary.BigEndian.Uint16(v[4:])
	scale = int(binary.BigEndian.Uint16(v[6:]))
	digits = v[numericHeader:]
	if n < 0 || len(digits) != 2*n || scale > maxScale {
		return 0, 0, 0, nil, false
	}
	for i := 0; i < len(digits); i += 2 {
		if binary.BigEndian.Uint16(digits[i:]) > 9999 {
			return 0, 0, 0, nil, false
		}
	}
	return weight, sign, scale, digits, true
}

var errNoNumeric = errors.New("is no number")

// group returns the i-th group of four digits, zero where there is none.
func group(digits []byte, i int) uint16 {
	if i < 0 || 2*i >= len(digits) {
		return 0
	}
	return binary.BigEndian.Uint16(digits[2*i:])
}

func textOfNumeric(dst, value []byte) ([]byte, error) {
	weight, sign, scale, digits, ok := numericOf(value)
	if !ok {
		return dst, errLength
	}
	switch sign {
	case signNaN:
		return append(dst, "NaN"...), nil
	case signInfinity:
		return append(dst, "Infinity"...), nil
	case signMinusInf:
		return append(dst, "-Infinity"...), nil
	case signMinus:
		dst = append(dst, '-')
	case signPlus:
	default:
		return dst, errNoNumeric
	}
	start := len(dst)
	for i := 0; i <= weight; i++ {
		g := group(digits, i)
		dst = append(dst, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
	}
	zeros := 0
	for start+zeros < len(dst) && dst[start+zeros] == '0' {
		zeros++
	}
	if dst = slices.Delete(dst, start, start+zeros); len(dst) == start {
		dst = append(dst, '0')
	}
	if scale == 0 {
		return dst, nil
	}
	dst = append(dst, '.')
	point := len(dst)
	for i := weight + 1; len(dst) < point+scale; i++ {
		g := group(digits, i)
		dst = append(dst, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
	}
	return dst[:point+scale], nil
}

// decimal is a number as it is written: its digits, of which the first is not zero,
// stand for 0.d1d2d3... times ten to the power of point.
type decimal struct {
	sign   uint16
	digits []byte // '0' to '9'
	point  int
	scale  int // digits behind the point that are shown
}

// parseDecimal reads a number. Its digits are kept in scratch, or in a longer array.
func parseDecimal(text, scratch []byte) (d decimal, err error) {
	text = bytes.TrimSpace(text)
	rest := text
	if len(rest) > 0 && (rest[0] == '-' || rest[0] == '+') {
		if rest[0] == '-' {
			d.sign = signMinus
		}
		rest = rest[1:]
	}
	if len(rest) > 0 && rest[0]|0x20 >= 'a' && rest[0]|0x20 <= 'z' {
		return special(rest, d.sign, len(rest) < len(text))
	}
	d.digits = scratch[:0]
	seen, fraction, inFraction := 0, 0, false
	i := 0
	for ; i < len(rest); i++ {
		c := rest[i]
		if c == '.' && !inFraction {
			inFraction = true
			continue
		}
		if c < '0' || c > '9' {
			break
		}
		seen++
		if inFraction {
			fraction++
		}
		if c != '0' || len(d.digits) > 0 {
			d.digits = append(d.digits, c)
		}
	}
	if seen == 0 {
		return d, errNoNumeric
	}
	exponent := 0
	if i < len(rest) {
		if rest[i]|0x20 != 'e' {
			return d, errNoNumeric
		}
		n, err := parseInt(rest[i+1:])
		if err != nil {
			return d, errNoNumeric
		}
		if n > maxInteger || n < -maxInteger {
			return d, errIntRange
		}
		exponent = int(n)
	}
	d.point = len(d.digits) - fraction + exponent
	d.scale = max(0, fraction-exponent)
	d.trim()
	if d.point > maxInteger || d.scale > maxScale {
		return d, errIntRange
	}
	return d, nil
}

// special returns NaN, which has no sign, or an infinity.
func special(word []byte, sign uint16, signed bool) (decimal, error) {
	switch {
	case bytes.EqualFold(word, []byte("nan")) && !signed:
		return decimal{sign: signNaN}, nil
	case !bytes.EqualFold(word, []byte("infinity")) && !bytes.EqualFold(word, []byte("inf")):
		return decimal{}, errNoNumeric
	case sign == signMinus:
		return decimal{sign: signMinusInf}, nil
	}
	return decimal{sign: signInfinity}, nil
}

// finite reports whether d is a number.
func (d *decimal) finite() bool { return d.sign == signPlus || d.sign == signMinus }

// trim takes the zeros off the end; a zero has no digits, and no sign.
func (d *decimal) trim() {
	for len(d.digits) > 0 && d.digits[len(d.digits)-1] == '0' {
		d.digits = d.digits[:len(d.digits)-1]
	}
	if len(d.digits) == 0 {
		d.point, d.sign = 0, signPlus
	}
}

// round rounds to a scale, halves away from zero.
func (d *decimal) round(scale int) {
	d.scale = scale
	keep := d.point + scale
	if keep >= len(d.digits) {
		return
	}
	if keep < 0 {
		d.digits = d.digits[:0]
		d.trim()
		return
	}
	up := d.digits[keep] >= '5'
	d.digits = d.digits[:keep]
	for i := keep - 1; up && i >= 0; i-- {
		if d.digits[i] < '9' {
			d.digits[i]++
			up = false
		} else {
			d.digits[i] = '0'
		}
	}
	if up { // 9.99 has become 10.0
		d.digits = d.digits[:1]
		d.digits[0] = '1'
		d.point++
	}
	d.trim()
}

// append writes the binary form.
func (d *decimal) append(dst []byte) []byte {
	if !d.finite() || len(d.digits) == 0 {
		dst = append(dst, 0, 0, 0, 0)
		dst = binary.BigEndian.AppendUint16(dst, d.sign)
		return binary.BigEndian.AppendUint16(dst, uint16(d.scale))
	}
	// The first group holds 1 to 4 digits, as the point stands between groups.
	weight := (d.point+3+4*maxInteger)/4 - maxInteger - 1
	first := d.point - 4*weight
	groups := 1 + (len(d.digits)-first+3)/4
	if len(d.digits) <= first {
		groups = 1
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(groups))
	dst = binary.BigEndian.AppendUint16(dst, uint16(weight))
	dst = binary.BigEndian.AppendUint16(dst, d.sign)
	dst = binary.BigEndian.AppendUint16(dst, uint16(d.scale))
	from := first - 4
	for range groups {
		var g uint16
		for i := from; i < from+4; i++ {
			g *= 10
			if i >= 0 && i < len(d.digits) {
				g += uint16(d.digits[i] - '0')
			}
		}
		dst = binary.BigEndian.AppendUint16(dst, g)
		from += 4
	}
	return dst
}

// int returns the integer that d rounds to, and false when no int64 holds it.
func (d *decimal) int() (int64, bool) {
	d.round(0)
	if !d.finite() || d.point > 19 {
		return 0, false
	}
	var n uint64
	for i := range d.point {
		n *= 10
		if i < len(d.digits) {
			n += uint64(d.digits[i] - '0')
		}
	}
	if d.sign == signMinus {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}

func binaryOfNumeric(dst, text []byte) ([]byte, error) {
	return numericWithin(modifier{})(dst, text)
}

// numericWithin returns how text becomes a numeric(precision, scale); without them
// it keeps all its digits.
func numericWithin(mod modifier) func(dst, text []byte) ([]byte, error) {
	return func(dst, text []byte) ([]byte, error) {
		var array [80]byte
		d, err := parseDecimal(text, array[:0])
		if err != nil {
			return dst, err
		}
		if err := d.within(mod); err != nil {
			return dst, err
		}
		return d.append(dst), nil
	}
}

// within rounds to the scale, and refuses what has more digits before the point
// than the precision leaves.
func (d *decimal) within(mod modifier) error {
	if !mod.set || d.sign == signNaN {
		return nil
	}
	if !d.finite() {
		return errIntRange
	}
	if d.round(mod.scale); len(d.digits) > 0 && d.point > mod.first-mod.scale {
		return errIntRange
	}
	return nil
}

// compareNumerics orders numerics as a server does: NaN equals itself, and is the
// largest.
func compareNumerics(a, b []byte) int {
	wa, sa, _, da, okA := numericOf(a)
	wb, sb, _, db, okB := numericOf(b)
	if !okA || !okB {
		return bytes.Compare(a, b)
	}
	if ra, rb := rank(sa, da), rank(sb, db); ra != rb || ra != 1 && ra != -1 {
		return ra - rb
	}
	c := wa - wb
	for i := 0; c == 0 && (2*i < len(da) || 2*i < len(db)); i++ {
		c = int(group(da, i)) - int(group(db, i))
	}
	if sa == signMinus {
		return -c
	}
	return c
}

// rank orders what the digits do not.
func rank(sign uint16, digits []byte) int {
	switch {
	case sign == signNaN:
		return 3
	case sign == signInfinity:
		return 2
	case sign == signMinusInf:
		return -2
	case len(digits) == 0:
		return 0
	case sign == signMinus:
		return -1
	}
	return 1
}
