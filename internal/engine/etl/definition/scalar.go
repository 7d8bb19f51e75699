package definition

import (
	"errors"
	"strings"
	"time"
)

// MarshalText returns d as a definition writes it: 1h30m.
func (d Duration) MarshalText() ([]byte, error) {
	s := time.Duration(d).String()
	for _, zero := range []string{"m0s", "h0m"} {
		if rest, ok := strings.CutSuffix(s, zero); ok {
			s = rest + zero[:1]
		}
	}
	return []byte(s), nil
}

// UnmarshalText reads a duration with its unit: 30s, 5m or 1h30m.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil || v < 0 {
		return errors.New("is no duration: write 30s, 5m or 1h30m")
	}
	*d = Duration(v)
	return nil
}
