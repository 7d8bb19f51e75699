package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"strconv"
)

// Dates are days since 2000-01-01 in 4 bytes, timestamps are microseconds since then
// in 8; the largest and the smallest value are the infinities. Source:
// src/include/datatype/timestamp.h, as are the limits.
const (
	usecsPerDay  = 24 * 3600 * 1_000_000
	unixToPGDays = 10957      // from 1970-01-01 to 2000-01-01
	minDay       = -2451545   // 4714-11-24 BC, day 0 of the Julian calendar
	maxDay       = 2145031948 // 5874897-12-31
	maxStampDay  = 106751983  // no timestamp lies behind it
	stampEnd     = 9223371331200000000
)

var (
	errNoDate      = errors.New("is no date such as 2026-11-21")
	errNoTimestamp = errors.New("is no time such as 2026-11-21 10:30:00.5+00")
	errDayRange    = errors.New("is out of the range of dates")
)

func textOfDate(dst, value []byte) ([]byte, error) {
	if len(value) != 4 {
		return dst, errLength
	}
	day := int32(binary.BigEndian.Uint32(value))
	switch {
	case day == math.MaxInt32:
		return append(dst, "infinity"...), nil
	case day == math.MinInt32:
		return append(dst, "-infinity"...), nil
	case day < minDay || day > maxDay:
		return dst, errDayRange
	}
	dst, bc := appendDate(dst, int64(day))
	if bc {
		dst = append(dst, " BC"...)
	}
	return dst, nil
}

func textOfTimestamp(zone bool) func(dst, value []byte) ([]byte, error) {
	return func(dst, value []byte) ([]byte, error) {
		if len(value) != 8 {
			return dst, errLength
		}
		stamp := int64(binary.BigEndian.Uint64(value))
		switch stamp {
		case math.MaxInt64:
			return append(dst, "infinity"...), nil
		case math.MinInt64:
			return append(dst, "-infinity"...), nil
		}
		day, rest := stamp/usecsPerDay, stamp%usecsPerDay
		if rest < 0 {
			day, rest = day-1, rest+usecsPerDay
		}
		if day < minDay || stamp >= stampEnd {
			return dst, errDayRange
		}
		dst, bc := appendDate(dst, day)
		dst = appendClock(append(dst, ' '), rest)
		if zone {
			dst = append(dst, "+00"...)
		}
		if bc {
			dst = append(dst, " BC"...)
		}
		return dst, nil
	}
}

// appendClock writes hours, minutes and seconds; hours may have more than two digits.
func appendClock(dst []byte, usecs int64) []byte {
	seconds, fraction := usecs/1_000_000, usecs%1_000_000
	if seconds < 100*3600 {
		dst = appendTwo(dst, seconds/3600)
	} else {
		dst = strconv.AppendInt(dst, seconds/3600, 10)
	}
	dst = appendTwo(append(dst, ':'), seconds/60%60)
	dst = appendTwo(append(dst, ':'), seconds%60)
	if fraction > 0 {
		dst = append(dst, '.')
		for unit := int64(100_000); fraction > 0; unit /= 10 {
			dst = append(dst, byte('0'+fraction/unit))
			fraction %= unit
		}
	}
	return dst
}

func appendTwo(dst []byte, n int64) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// appendDate writes a date, and reports whether BC has to follow it.
func appendDate(dst []byte, day int64) (_ []byte, bc bool) {
	year, month, dom := civil(day + unixToPGDays)
	if bc = year <= 0; bc {
		year = 1 - year
	}
	for limit := int64(1000); limit > 1 && year < limit; limit /= 10 {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, year, 10)
	dst = appendTwo(append(dst, '-'), month)
	return appendTwo(append(dst, '-'), dom), bc
}

// civil returns the date of a day since 1970-01-01, in the Gregorian calendar, with
// a year 0. Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
func civil(day int64) (year, month, dom int64) {
	day += 719468
	era := day / 146097
	if day < 0 {
		era = (day - 146096) / 146097
	}
	doe := day - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dom = doy - (153*mp+2)/5 + 1
	month = mp + 3
	if mp >= 10 {
		month = mp - 9
	}
	year = yoe + era*400
	if month <= 2 {
		year++
	}
	return year, month, dom
}

// days is civil the other way.
func days(year, month, dom int64) int64 {
	if month <= 2 {
		year--
	}
	era := year / 400
	if year < 0 {
		era = (year - 399) / 400
	}
	yoe := year - era*400
	mp := (month + 9) % 12
	doy := (153*mp+2)/5 + dom - 1
	doe := yoe*365 + yoe/4 - yoe/100 + doy
	return era*146097 + doe - 719468
}

func binaryOfDate(dst, text []byte) ([]byte, error) {
	text = bytes.TrimSpace(text)
	if infinity, ok := infinite(text); ok {
		day := int32(math.MaxInt32)
		if infinity < 0 {
			day = math.MinInt32
		}
		return binary.BigEndian.AppendUint32(dst, uint32(day)), nil
	}
	text, bc := cutBC(text)
	day, rest, ok := parseDate(text, bc)
	if !ok || len(rest) > 0 {
		return dst, errNoDate
	}
	if day < minDay || day > maxDay {
		return dst, errDayRange
	}
	return binary.BigEndian.AppendUint32(dst, uint32(day)), nil
}

func binaryOfTimestamp(zone bool) func(dst, text []byte) ([]byte, error) {
	return func(dst, text []byte) ([]byte, error) {
		stamp, err := parseTimestamp(bytes.TrimSpace(text), zone)
		if err != nil {
			return dst, err
		}
		return binary.BigEndian.AppendUint64(dst, uint64(stamp)), nil
	}
}

// parseTimestamp reads ISO 8601: a date, and a time behind a space or a T. A time
// without a zone is UTC; where zone is false a zone is refused, which a server would
// overlook.
func parseTimestamp(text []byte, zone bool) (int64, error) {
	if infinity, ok := infinite(text); ok {
		return infinity, nil
	}
	text, bc := cutBC(text)
	day, rest, ok := parseDate(text, bc)
	if !ok {
		return 0, errNoTimestamp
	}
	if day < minDay || day > maxStampDay {
		return 0, errDayRange
	}
	var usecs, offset int64
	if len(rest) > 0 {
		if rest[0] != ' ' && rest[0]|0x20 != 't' {
			return 0, errNoTimestamp
		}
		if usecs, rest, ok = parseClock(rest[1:]); !ok {
			return 0, errNoTimestamp
		}
		if len(rest) > 0 {
			if !zone {
				return 0, errors.New("has a time zone, and its type has none")
			}
			if offset, ok = parseZone(rest); !ok {
				return 0, errNoTimestamp
			}
		}
	}
	stamp := day*usecsPerDay + usecs - offset*1_000_000
	if stamp < minDay*usecsPerDay || stamp >= stampEnd {
		return 0, errDayRange
	}
	return stamp, nil
}

// infinite returns the value of an infinity.
func infinite(text []byte) (int64, bool) {
	switch {
	case bytes.EqualFold(text, []byte("infinity")):
		return math.MaxInt64, true
	case bytes.EqualFold(text, []byte("-infinity")):
		return math.MinInt64, true
	}
	return 0, false
}

// cutBC cuts BC off the end, or between parentheses out of the middle: servers write
// the one, DuckDB the other, which servers read, too.
func cutBC(text []byte) ([]byte, bool) {
	if n := len(text) - 3; n > 0 && bytes.EqualFold(text[n:], []byte(" BC")) {
		return text[:n], true
	}
	if i := bytes.IndexByte(text, '('); i > 0 { // which is quick to say no
		if before, after, ok := bytes.Cut(text, []byte(" (BC)")); ok {
			return append(slices.Clip(before), after...), true
		}
	}
	return text, false
}

// parseDate reads year-month-day, and returns the day and what follows.
func parseDate(text []byte, bc bool) (day int64, rest []byte, ok bool) {
	year, rest, n := parseDigits(text, 7)
	if n < 4 || len(rest) == 0 || rest[0] != '-' {
		return 0, nil, false
	}
	month, rest, n := parseDigits(rest[1:], 2)
	if n != 2 || len(rest) == 0 || rest[0] != '-' {
		return 0, nil, false
	}
	dom, rest, n := parseDigits(rest[1:], 2)
	if n != 2 || year == 0 || month < 1 || month > 12 || dom < 1 {
		return 0, nil, false
	}
	if bc {
		year = 1 - year
	}
	day = days(year, month, dom)
	if _, m, _ := civil(day); m != month { // 30 February
		return 0, nil, false
	}
	return day - unixToPGDays, rest, true
}

// parseDigits reads up to most digits, and returns their value and number.
func parseDigits(text []byte, most int) (value int64, rest []byte, n int) {
	for n < len(text) && n < most && text[n] >= '0' && text[n] <= '9' {
		value = value*10 + int64(text[n]-'0')
		n++
	}
	return value, text[n:], n
}

// parseClock reads hours:minutes:seconds.fraction, where seconds may be missing.
// 24:00:00 is the next day's beginning, and digits behind the sixth round.
func parseClock(text []byte) (usecs int64, rest []byte, ok bool) {
	hour, rest, n := parseDigits(text, 2)
	if n != 2 || len(rest) == 0 || rest[0] != ':' {
		return 0, nil, false
	}
	minute, rest, n := parseDigits(rest[1:], 2)
	if n != 2 {
		return 0, nil, false
	}
	var second, fraction int64
	if len(rest) > 0 && rest[0] == ':' {
		if second, rest, n = parseDigits(rest[1:], 2); n != 2 {
			return 0, nil, false
		}
		if len(rest) > 0 && rest[0] == '.' {
			if fraction, rest, ok = parseFraction(rest[1:]); !ok {
				return 0, nil, false
			}
		}
	}
	if hour > 24 || minute > 59 || second > 60 || hour == 24 && minute+second+fraction > 0 {
		return 0, nil, false
	}
	return ((hour*60+minute)*60+second)*1_000_000 + fraction, rest, true
}

// parseFraction reads the digits of a fraction as microseconds.
func parseFraction(text []byte) (usecs int64, rest []byte, ok bool) {
	usecs, rest, n := parseDigits(text, 6)
	if n == 0 {
		return 0, nil, false
	}
	for range 6 - n {
		usecs *= 10
	}
	for i := 0; len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9'; i++ {
		if i == 0 && rest[0] >= '5' {
			usecs++
		}
		rest = rest[1:]
	}
	return usecs, rest, true
}

// parseZone reads Z, UTC or an offset from UTC such as +02, +0530 or -03:30:10, in
// seconds.
func parseZone(text []byte) (seconds int64, ok bool) {
	text = bytes.TrimLeft(text, " ")
	if bytes.EqualFold(text, []byte("Z")) || bytes.EqualFold(text, []byte("UTC")) {
		return 0, true
	}
	if len(text) < 3 || text[0] != '+' && text[0] != '-' {
		return 0, false
	}
	negative := text[0] == '-'
	text = text[1:]
	for i, unit := range []int64{3600, 60, 1} {
		if i > 0 && len(text) == 0 {
			break
		}
		if i > 0 && text[0] == ':' {
			text = text[1:]
		}
		value, rest, n := parseDigits(text, 2)
		if n != 2 || i == 0 && value > 15 || i > 0 && value > 59 {
			return 0, false
		}
		seconds += value * unit
		text = rest
	}
	if negative {
		seconds = -seconds
	}
	return seconds, len(text) == 0
}

// timestampWithin returns how text becomes a timestamp of a precision.
func timestampWithin(mod modifier, zone bool) func(dst, text []byte) ([]byte, error) {
	return func(dst, text []byte) ([]byte, error) {
		stamp, err := parseTimestamp(bytes.TrimSpace(text), zone)
		if err != nil {
			return dst, err
		}
		return appendStamp(dst, stamp, mod)
	}
}

// appendStamp rounds to so many digits behind the point, halves away from 2000, as
// servers do.
func appendStamp(dst []byte, stamp int64, mod modifier) ([]byte, error) {
	if mod.set && stamp != math.MaxInt64 && stamp != math.MinInt64 {
		unit := int64(1)
		for range 6 - mod.first {
			unit *= 10
		}
		if stamp < 0 {
			stamp = (stamp - unit/2) / unit * unit
		} else {
			stamp = (stamp + unit/2) / unit * unit
		}
		if stamp >= stampEnd {
			return dst, errDayRange
		}
	}
	return binary.BigEndian.AppendUint64(dst, uint64(stamp)), nil
}
