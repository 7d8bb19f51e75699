package holdfast

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes that is written as 512MiB or as a plain number.
type Size int64

// sizeUnits are the units of a size, the largest first.
var sizeUnits = []struct {
	name  string
	bytes int64
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

// String returns s as people write it: 512MiB.
func (s Size) String() string {
	for _, u := range sizeUnits {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText returns what String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a number of bytes, or of one of the units KiB, MiB, GiB and
// TiB.
func (s *Size) UnmarshalText(text []byte) error {
	number, factor := string(text), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, factor = strings.TrimSuffix(rest, " "), u.bytes
			break
		}
	}
	if strings.HasPrefix(number, "+") {
		number = "" // which the next line would take
	}
	v, err := strconv.ParseInt(number, 10, 64)
	if err != nil || v < 0 || v > math.MaxInt64/factor {
		return errors.New("is no size: write 512MiB, 2GiB or a number of bytes")
	}
	*s = Size(v * factor)
	return nil
}
