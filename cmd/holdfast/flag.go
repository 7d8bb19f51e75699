package main

import (
	"fmt"
	"slices"
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
	return holdfast.Size(*f.p).String()
}

// Set reads the flag.
func (f sizeFlag) Set(s string) error {
	return (*holdfast.Size)(f.p).UnmarshalText([]byte(s))
}

// Type is what the usage calls the value.
func (sizeFlag) Type() string { return "size" }
