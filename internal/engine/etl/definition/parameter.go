package definition

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The types of a parameter.
const (
	typeText        = "text"
	typeInteger     = "integer"
	typeBigint      = "bigint"
	typeNumeric     = "numeric"
	typeBoolean     = "boolean"
	typeDate        = "date"
	typeTimestamptz = "timestamptz"
	typeUUID        = "uuid"
)

var parameterTypes = []string{typeText, typeInteger, typeBigint, typeNumeric, typeBoolean, typeDate, typeTimestamptz, typeUUID}

var (
	integerPattern = regexp.MustCompile(`^-?[0-9]{1,19}$`)
	numericPattern = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?$`)
	uuidPattern    = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)
)

// maxNumeric bounds the text of a numeric, in bytes: more digits than a value of
// any use has.
const maxNumeric = 1000

// convert returns the value that text is of a parameter's type, as text in the one
// form that PostgreSQL and the engine read alike. now is what the words of a date
// are relative to: today, yesterday, tomorrow and, for a timestamptz, now; days
// begin at midnight UTC.
func convert(typ, text string, now time.Time) (string, error) {
	switch typ {
	case typeText:
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return "", errors.New("is no text that a database can hold")
		}
		return text, nil
	case typeInteger:
		return convertInteger(text, 32, "is no integer: write digits, from -2147483648 to 2147483647")
	case typeBigint:
		return convertInteger(text, 64, "is no bigint: write digits, from -9223372036854775808 to 9223372036854775807")
	case typeNumeric:
		if len(text) > maxNumeric || !numericPattern.MatchString(text) {
			return "", errors.New("is no numeric: write it as 12.5 or 1e-3")
		}
		return text, nil
	case typeBoolean:
		switch l := strings.ToLower(text); l {
		case "true", "false":
			return l, nil
		}
		return "", errors.New("is no boolean: write true or false")
	case typeDate:
		return convertDate(text, now)
	case typeTimestamptz:
		return convertTime(text, now)
	case typeUUID:
		if l := strings.ToLower(text); uuidPattern.MatchString(l) {
			return l, nil
		}
		return "", errors.New("is no uuid: write it as 123e4567-e89b-12d3-a456-426614174000")
	}
	return "", errors.New("has no type that is known here")
}

func convertInteger(text string, size int, wrong string) (string, error) {
	i, err := strconv.ParseInt(text, 10, size)
	if err != nil || !integerPattern.MatchString(text) {
		return "", errors.New(wrong)
	}
	return strconv.FormatInt(i, 10), nil
}

// day returns the beginning of the day that a word names.
func day(word string, now time.Time) (time.Time, bool) {
	days, ok := map[string]int{"yesterday": -1, "today": 0, "tomorrow": 1}[word]
	y, m, d := now.UTC().Date()
	return time.Date(y, m, d+days, 0, 0, 0, 0, time.UTC), ok
}

// infinite are the dates and times that PostgreSQL and the engine both have beside
// the finite ones.
var infinite = []string{"infinity", "-infinity"}

func convertDate(text string, now time.Time) (string, error) {
	if slices.Contains(infinite, text) {
		return text, nil
	}
	if t, ok := day(text, now); ok {
		return t.Format(time.DateOnly), nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil || t.Year() < 1 {
		return "", errors.New("is no date: write it as 2026-01-31, or as today, yesterday or tomorrow")
	}
	return text, nil
}

// timeForm is how a timestamptz is handed on: in UTC, to the microsecond, which is
// all that PostgreSQL has.
const timeForm = "2006-01-02T15:04:05.999999Z07:00"

func convertTime(text string, now time.Time) (string, error) {
	if slices.Contains(infinite, text) {
		return text, nil
	}
	if text == "now" {
		return now.UTC().Format(timeForm), nil
	}
	if t, ok := day(text, now); ok {
		return t.Format(timeForm), nil
	}
	for _, form := range []string{"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07:00"} {
		t, err := time.Parse(form, text)
		if err != nil {
			continue
		}
		if u := t.UTC(); u.Year() >= 1 && u.Year() <= 9999 && u.Nanosecond()%1000 == 0 {
			return u.Format(timeForm), nil
		}
	}
	return "", errors.New("is no timestamptz: write it as 2026-01-31T13:45:00Z or with an offset, to the microsecond, or as now or today")
}
