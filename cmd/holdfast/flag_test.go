package main

import "testing"

func TestParseSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "52428800": 50 << 20, "50MiB": 50 << 20, "50M": 50 << 20, "50MB": 50 << 20, "1.5GiB": 3 << 29, "8K": 8 << 10, "2T": 2 << 40, "7B": 7,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "M", "-1", "5KM", "5 apples", "1.5", "0.1K", "inf", "nan", "9999999T", "5mib", "5Ki"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}
