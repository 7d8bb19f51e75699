package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// runTypeFlag is a flag for a run type, in any case and by any of its names.
type runTypeFlag struct{ p *holdfast.RunType }

// String is the flag's value.
func (f runTypeFlag) String() string {
	if f.p == nil {
		return ""
	}
	return strings.ToLower(string(*f.p))
}

// Set reads the flag.
func (f runTypeFlag) Set(s string) error {
	t, err := holdfast.ParseRunType(s)
	if err != nil {
		return fmt.Errorf("%w: use full, delta (incremental) or cumulative (differential)", err)
	}
	*f.p = t
	return nil
}

// Type is what the usage calls the value.
func (runTypeFlag) Type() string { return "type" }

// triggerOnFlag is a flag for what a trigger waits for, in any case.
type triggerOnFlag struct{ p *holdfast.TriggerOn }

// String is the flag's value.
func (f triggerOnFlag) String() string {
	if f.p == nil {
		return ""
	}
	return strings.ToLower(string(*f.p))
}

// Set reads the flag.
func (f triggerOnFlag) Set(s string) error {
	on, err := holdfast.ParseTriggerOn(s)
	if err != nil {
		return fmt.Errorf("%w: use succeeded or done", err)
	}
	*f.p = on
	return nil
}

// Type is what the usage calls the value.
func (triggerOnFlag) Type() string { return "end" }

// timeFlag is a flag for a point in time.
type timeFlag struct{ p *time.Time }

// String is the flag's value.
func (f timeFlag) String() string {
	if f.p == nil || f.p.IsZero() {
		return ""
	}
	return f.p.Format(time.RFC3339)
}

// Set reads the flag.
func (f timeFlag) Set(s string) error {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("write the time as 2026-01-31T02:00:00Z, or with its distance from UTC as 2026-01-31T02:00:00+01:00")
	}
	*f.p = t
	return nil
}

// Type is what the usage calls the value.
func (timeFlag) Type() string { return "time" }

// roleFlag is a flag for a role.
type roleFlag struct{ p *holdfast.Role }

// String is the flag's value.
func (f roleFlag) String() string {
	if f.p == nil {
		return ""
	}
	return string(*f.p)
}

// Set reads the flag.
func (f roleFlag) Set(s string) error {
	r := holdfast.Role(strings.ToLower(strings.TrimSpace(s)))
	if !slices.Contains(holdfast.Roles(), r) {
		return fmt.Errorf("there is no such role: use reader, operator or admin")
	}
	*f.p = r
	return nil
}

// Type is what the usage calls the value.
func (roleFlag) Type() string { return "role" }

// sizeFlag is a flag for a number of bytes.
type sizeFlag struct{ p *int64 }

// String is the flag's value.
func (f sizeFlag) String() string {
	if f.p == nil || *f.p == 0 {
		return ""
	}
	return strconv.FormatInt(*f.p, 10)
}

// Set reads the flag.
func (f sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	if err != nil {
		return err
	}
	*f.p = n
	return nil
}

// Type is what the usage calls the value.
func (sizeFlag) Type() string { return "size" }

// parseSize reads a number of bytes: 52428800, 50MiB, 50M or 1.5GiB. All units are
// powers of 1024, as everywhere in what this program prints.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "KMGTiB")
	shift, ok := map[string]int{
		"": 0, "B": 0, "K": 10, "KB": 10, "KiB": 10, "M": 20, "MB": 20, "MiB": 20, "G": 30, "GB": 30, "GiB": 30, "T": 40, "TB": 40, "TiB": 40,
	}[s[len(number):]]
	n, err := strconv.ParseFloat(number, 64)
	n *= float64(int64(1) << shift)
	if !ok || err != nil || n < 0 || n > 1<<60 || n != math.Trunc(n) {
		return 0, fmt.Errorf("write a number of bytes, or one with its unit, as 50MiB")
	}
	return int64(n), nil
}
