package cron

import (
	"fmt"
	"strconv"
	"strings"
)

// bounds are the values of one field.
type bounds struct {
	name     string
	min, max int
	names    []string // of the values, from min on; nil: numbers only
	week     bool     // ranges may go over the end, as in FRI-MON
	question bool     // ? is a star, too
}

var (
	minutes = bounds{name: "minute", min: 0, max: 59}
	hours   = bounds{name: "hour", min: 0, max: 23}
	days    = bounds{name: "day of month", min: 1, max: 31, question: true}
	months  = bounds{
		name: "month", min: 1, max: 12,
		names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"},
	}
	weekdays = bounds{
		name: "day of week", min: 0, max: 6, week: true, question: true,
		names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"},
	}
	years = bounds{name: "year", min: 1970, max: 2199} // source: EventBridge user guide, "Cron expressions reference"
)

// field is what one field allows.
type field struct {
	values map[int]bool
	star   bool // it holds a star, alone or with a step
}

// parse reads a list of values, ranges and steps. sunday is the number of Sunday
// in the field for weekdays: 0 (and 7) for cron, 1 for AWS.
func (b bounds) parse(text string, sunday int) (field, error) {
	f := field{values: map[int]bool{}}
	for item := range strings.SplitSeq(strings.ToUpper(text), ",") {
		if err := b.item(&f, item, sunday); err != nil {
			return field{}, err
		}
	}
	return f, nil
}

// item adds one value, range or step.
func (b bounds) item(f *field, item string, sunday int) error {
	span, step, stepped := strings.Cut(item, "/")
	from, to, ranged := strings.Cut(span, "-")
	size := b.max - b.min + 1
	low, high := b.min, b.max
	var err error
	switch {
	case span == "*" || b.question && item == "?":
		f.star = true
	case ranged:
		if low, err = b.value(from, sunday); err != nil {
			return err
		}
		if high, err = b.value(to, sunday); err != nil {
			return err
		}
		if high < low && !b.week {
			return fmt.Errorf("has the range %q in its field for %s, which goes backwards: write it as two", span, b.name)
		}
		if high < low {
			high += size
		}
	default:
		if low, err = b.value(span, sunday); err != nil {
			return err
		}
		if low > b.max {
			low -= size
		}
		if !stepped {
			high = low
		}
	}
	by := 1
	if stepped {
		var ok bool
		if by, ok = number(step); !ok || by == 0 {
			return fmt.Errorf("has the step %q in its field for %s", step, b.name)
		}
		if by > 1 && by > high-low {
			return fmt.Errorf("has the step %d in its field for %s, where it does not fit: such a step begins anew with each field", by, b.name)
		}
	}
	for v := low; v <= high; v += by {
		f.values[b.min+(v-b.min)%size] = true
	}
	return nil
}

// value reads one value, by its name or as a number; Sunday may be 7.
func (b bounds) value(text string, sunday int) (int, error) {
	for i, name := range b.names {
		if text == name {
			return b.min + i, nil
		}
	}
	low, high := b.min, b.max
	if b.week {
		low, high = sunday, 7
	}
	n, ok := number(text)
	switch {
	case !ok:
		return 0, fmt.Errorf("has %q in its field for %s", text, b.name)
	case n < low || n > high:
		return 0, fmt.Errorf("has %d in its field for %s, which goes from %d to %d", n, b.name, low, high)
	case b.week:
		n -= sunday
	}
	return n, nil
}

// number reads an unsigned decimal of at most four digits.
func number(text string) (int, bool) {
	if text == "" || len(text) > 4 || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(text)
	return n, err == nil
}
