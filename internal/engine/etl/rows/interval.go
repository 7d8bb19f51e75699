package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"strconv"
)

var (
	errNoTime     = errors.New("is no time of day such as 10:30:00.5")
	errNoInterval = errors.New("is no interval such as 1 year 2 mons 3 days 04:05:06.5")
)

// A time is microseconds since midnight in 8 bytes; 24:00:00 is one.

func textOfTime(dst, value []byte) ([]byte, error) {
	usecs, ok := intOf(value)
	if !ok || len(value) != 8 || usecs < 0 || usecs > usecsPerDay {
		return dst, errNoTime
	}
	return appendClock(dst, usecs), nil
}

// binaryOfTime returns how text becomes a time of a precision.
func binaryOfTime(mod modifier) decoder {
	return func(dst, text []byte) ([]byte, error) {
		usecs, rest, ok := parseClock(bytes.TrimSpace(text))
		if !ok || len(rest) > 0 || usecs > usecsPerDay {
			return dst, errNoTime
		}
		return appendStamp(dst, usecs, mod)
	}
}

// An interval is microseconds in 8 bytes, days in 4 and months in 4; where all three
// are the largest or the smallest, it is infinite.

func textOfInterval(dst, value []byte) ([]byte, error) {
	if len(value) != 16 {
		return dst, errLength
	}
	usecs := int64(binary.BigEndian.Uint64(value))
	days := int64(int32(binary.BigEndian.Uint32(value[8:])))
	months := int64(int32(binary.BigEndian.Uint32(value[12:])))
	switch {
	case usecs == math.MaxInt64 && days == math.MaxInt32 && months == math.MaxInt32:
		return append(dst, "infinity"...), nil
	case usecs == math.MinInt64 && days == math.MinInt32 && months == math.MinInt32:
		return append(dst, "-infinity"...), nil
	case usecs == math.MinInt64:
		return dst, errIntRange
	}
	start, negative := len(dst), false
	for _, part := range []struct {
		n    int64
		unit string
	}{{months / 12, "year"}, {months % 12, "mon"}, {days, "day"}} {
		if part.n == 0 {
			continue
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		if negative && part.n > 0 {
			dst = append(dst, '+')
		}
		dst = append(strconv.AppendInt(dst, part.n, 10), ' ')
		dst = append(dst, part.unit...)
		if part.n != 1 {
			dst = append(dst, 's')
		}
		negative = part.n < 0
	}
	if usecs == 0 && len(dst) > start {
		return dst, nil
	}
	if len(dst) > start {
		dst = append(dst, ' ')
	}
	switch {
	case usecs < 0:
		dst, usecs = append(dst, '-'), -usecs
	case negative:
		dst = append(dst, '+')
	}
	return appendClock(dst, usecs), nil
}

// binaryOfInterval reads what servers write in their own style.
func binaryOfInterval(dst, text []byte) ([]byte, error) {
	var usecs, days, months int64
	rest := bytes.TrimSpace(text)
	if infinity, ok := infinite(rest); ok {
		usecs, days, months = infinity, math.MaxInt32, math.MaxInt32
		if infinity < 0 {
			days, months = math.MinInt32, math.MinInt32
		}
		rest = nil
	} else if len(rest) == 0 {
		return dst, errNoInterval
	}
	for len(rest) > 0 {
		word, after := cutWord(rest)
		if bytes.IndexByte(word, ':') >= 0 {
			n, ok := parseHours(word)
			if !ok || usecs != 0 {
				return dst, errNoInterval
			}
			usecs, rest = n, after
			continue
		}
		n, err := parseInt(word)
		unit, after := cutWord(after)
		if err != nil || n > math.MaxInt32 || n < math.MinInt32 {
			return dst, errNoInterval
		}
		switch string(bytes.TrimSuffix(unit, []byte{'s'})) {
		case "year":
			months += 12 * n
		case "mon", "month":
			months += n
		case "day":
			days += n
		default:
			return dst, errNoInterval
		}
		rest = after
	}
	if !fits(days, 4) || !fits(months, 4) {
		return dst, errIntRange
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(usecs))
	dst = binary.BigEndian.AppendUint32(dst, uint32(days))
	return binary.BigEndian.AppendUint32(dst, uint32(months)), nil
}

// cutWord cuts at spaces.
func cutWord(text []byte) (word, after []byte) {
	word, after, _ = bytes.Cut(text, []byte{' '})
	return word, bytes.TrimLeft(after, " ")
}

// maxHours keeps the microseconds of an interval within 8 bytes.
const maxHours = math.MaxInt64/(3600*1_000_000) - 1

// parseHours reads hours:minutes:seconds with a sign and any number of hours.
func parseHours(text []byte) (usecs int64, ok bool) {
	negative := text[0] == '-'
	if negative || text[0] == '+' {
		text = text[1:]
	}
	hours, rest, n := parseDigits(text, 10)
	if n == 0 || hours > maxHours || len(rest) == 0 || rest[0] != ':' {
		return 0, false
	}
	var clock [32]byte // 00 for the hours, and the rest
	if len(rest) > len(clock)-2 {
		return 0, false
	}
	usecs, rest, ok = parseClock(append(append(clock[:0], "00"...), rest...))
	if !ok || len(rest) > 0 {
		return 0, false
	}
	usecs += hours * 3600 * 1_000_000
	if negative {
		usecs = -usecs
	}
	return usecs, true
}
