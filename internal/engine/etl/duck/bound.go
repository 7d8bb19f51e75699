package duck

import (
	"encoding/binary"
	"errors"
	"math"
)

// The engine's calendar, in days and microseconds from 2000-01-01, PostgreSQL's zero.
// Before the year 1 and after the last moment of its timestamps lies what it has no
// text for that PostgreSQL reads.
const (
	epochDays   = 10957   // from 1970-01-01, the engine's zero
	firstDay    = -719162 // 0001-01-01, from there
	dayMicros   = 24 * 60 * 60 * 1_000_000
	lastMoment  = math.MaxInt64 - 1 // what follows is infinity
	minDate     = firstDay - epochDays
	maxDate     = lastMoment/dayMicros - epochDays
	minMoment   = minDate * dayMicros
	maxMoment   = lastMoment - epochDays*dayMicros
	signUnknown = ^uint16(0x4000) // all signs of a numeric but plus and minus
)

var (
	errLength    = errors.New("does not have the length of its type")
	errMoment    = errors.New("is before the year 1, or later than the engine knows")
	errNotFinite = errors.New("is NaN or infinite, which the engine does not know in its type")
	errInterval  = errors.New("is an infinite interval, which the engine does not know")
	errTime      = errors.New("is no time of a day")
)

// bounds say whether the engine has a value that a server has sent in binary, for the
// types of which it does not have all.
var bounds = map[string]func(value []byte) error{
	"DATE": func(v []byte) error {
		if len(v) != 4 {
			return errLength
		}
		return momentWithin(int64(int32(binary.BigEndian.Uint32(v))), math.MinInt32, minDate, maxDate, math.MaxInt32)
	},
	"TIME": func(v []byte) error {
		if len(v) != 8 {
			return errLength
		}
		if n := int64(binary.BigEndian.Uint64(v)); n < 0 || n > dayMicros {
			return errTime
		}
		return nil
	},
	"TIMESTAMP":   timestampWithin,
	"TIMESTAMPTZ": timestampWithin,
	"INTERVAL": func(v []byte) error {
		if len(v) != 16 {
			return errLength
		}
		micros, days, months := int64(binary.BigEndian.Uint64(v)), int32(binary.BigEndian.Uint32(v[8:])), int32(binary.BigEndian.Uint32(v[12:]))
		if micros == math.MaxInt64 && days == math.MaxInt32 && months == math.MaxInt32 || micros == math.MinInt64 && days == math.MinInt32 && months == math.MinInt32 {
			return errInterval
		}
		return nil
	},
}

func timestampWithin(v []byte) error {
	if len(v) != 8 {
		return errLength
	}
	return momentWithin(int64(binary.BigEndian.Uint64(v)), math.MinInt64, minMoment, maxMoment, math.MaxInt64)
}

// momentWithin lets infinities pass, which are the outer two.
func momentWithin(n, before, first, last, after int64) error {
	if (n < first || n > last) && n != before && n != after {
		return errMoment
	}
	return nil
}

// Bound returns what says of a value in PostgreSQL's binary form whether the engine has
// it in the type that it gives a PostgreSQL type; nil when it has all. The error says
// what is wrong with the value.
func Bound(postgres string) func(value []byte) error {
	typ := TypeOf(postgres)
	if typ.Wire != WireOwn {
		return nil
	}
	if _, _, decimal := decimalOf(typ.DuckDB); decimal {
		return func(v []byte) error {
			if len(v) >= 6 && binary.BigEndian.Uint16(v[4:])&signUnknown != 0 {
				return errNotFinite
			}
			return nil
		}
	}
	return bounds[typ.DuckDB]
}
