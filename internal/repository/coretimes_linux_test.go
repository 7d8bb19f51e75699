package repository

import (
	"testing"
	"time"
)

// TestCoreTimes reads what this machine's kernel counts.
func TestCoreTimes(t *testing.T) {
	t.Parallel()
	before := readCoreTimes()
	for begun := time.Now(); time.Since(begun) < 50*time.Millisecond; { //nolint:revive // it uses the core
	}
	after := readCoreTimes()
	if after.known != before.known || after.used <= before.used || after.idle < before.idle {
		t.Errorf("got %+v, and later %+v", before, after)
	}
	for text, want := range map[string]time.Duration{
		"cpu  10 0 10 250 50 0 0 0 0 0\ncpu0 1 2 3 4 5\n": 3 * time.Second,
		"cpu  10 0 10 250\n":                              -1,
		"cpu0 10 0 10 250 50\n":                           -1,
		"cpu  10 0 10 -1 50\n":                            -1,
		"cpu  10 0 10 99999999999999999 50\n":             -1,
		"cpu  10 0 10 x 50\n":                             -1,
		"":                                                -1,
	} {
		if got, ok := parseIdle([]byte(text)); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: got %s, %v", text, got, ok)
		}
	}
}
