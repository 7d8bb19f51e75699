package pg

import (
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in the write-ahead log: the number of bytes before it.
// Zero is no position.
type LSN uint64

// ParseLSN reads the form that the server prints: two hexadecimal numbers of at
// most eight digits with a slash between them.
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("LSN %q has no slash", s)
	}
	h, err := parseHex32(hi)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: %w", s, err)
	}
	l, err := parseHex32(lo)
	if err != nil {
		return 0, fmt.Errorf("LSN %q: %w", s, err)
	}
	return LSN(h)<<32 | LSN(l), nil
}

// parseHex32 reads one to eight hexadecimal digits, without sign or prefix.
func parseHex32(s string) (uint32, error) {
	if len(s) == 0 || len(s) > 8 || strings.ContainsAny(s, "+-_") {
		return 0, fmt.Errorf("%q is no hexadecimal number of 1 to 8 digits", s)
	}
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no hexadecimal number of 1 to 8 digits", s)
	}
	return uint32(n), nil
}

// String returns the form that PostgreSQL 13 to 17 print, which every version
// reads.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }
