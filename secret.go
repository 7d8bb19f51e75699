package holdfast

import (
	"encoding/json"
	"fmt"
	"log/slog"
)

// Secret is a string that does not print: it shows as [redacted] in logs, in
// errors, in fmt and in JSON. It is a pointer inside because fmt calls no method
// on an unexported field, and would print a plain string there. The zero value
// is an empty secret.
type Secret struct {
	s *string
}

const redacted = "[redacted]"

// NewSecret hides s.
func NewSecret(s string) Secret { return Secret{s: &s} }

// Reveal returns the hidden string.
func (s Secret) Reveal() string {
	if s.s == nil {
		return ""
	}
	return *s.s
}

// IsZero reports whether there is nothing to hide.
func (s Secret) IsZero() bool { return s.s == nil || *s.s == "" }

// String returns [redacted].
func (Secret) String() string { return redacted }

// GoString returns [redacted].
func (Secret) GoString() string { return redacted }

// Format prints [redacted] for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns [redacted].
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON returns "[redacted]".
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }

// MarshalText returns [redacted].
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes the text as the hidden string, so that configuration can
// be decoded straight into a Secret.
func (s *Secret) UnmarshalText(b []byte) error {
	*s = NewSecret(string(b))
	return nil
}

// UnmarshalJSON takes the JSON string as the hidden string.
func (s *Secret) UnmarshalJSON(b []byte) error {
	var v string
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*s = NewSecret(v)
	return nil
}
