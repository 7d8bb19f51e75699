package holdfast_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

const hidden = "correct horse battery staple"

// holders hold the secret in every place where printing finds it by itself.
func holders() map[string]any {
	s := holdfast.NewSecret(hidden)
	type inner struct{ secret holdfast.Secret }
	type outer struct {
		Public  holdfast.Secret
		private inner
		pointer *holdfast.Secret
		list    []holdfast.Secret
		dict    map[string]holdfast.Secret
		iface   any
	}
	o := outer{s, inner{s}, &s, []holdfast.Secret{s}, map[string]holdfast.Secret{"k": s}, s}
	return map[string]any{
		"value": s, "pointer": &s, "slice": []holdfast.Secret{s}, "array": [1]holdfast.Secret{s},
		"map": map[string]holdfast.Secret{"k": s}, "any": []any{s}, "unexported field": inner{s},
		"pointer to unexported field": &inner{s}, "all together": o, "pointer to all together": &o,
	}
}

// mustNotShow looks for the secret as it is, in hexadecimal and as bytes.
func mustNotShow(t *testing.T, how, printed string) {
	t.Helper()
	for _, form := range []string{
		hidden, fmt.Sprintf("%x", hidden), fmt.Sprintf("%X", hidden), strings.Trim(fmt.Sprintf("%d", []byte(hidden)), "[]"), "correct",
	} {
		if strings.Contains(printed, form) {
			t.Errorf("%s shows the secret: %s", how, printed)
		}
	}
}

func TestSecretDoesNotPrint(t *testing.T) {
	for name, v := range holders() {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%T", "%20s", "%o", "%U"} {
			mustNotShow(t, name+" with "+verb, fmt.Sprintf(verb, v))
		}
		mustNotShow(t, name+" with Sprint", fmt.Sprint(v))
		mustNotShow(t, name+" with Sprintln", fmt.Sprintln("x", v))
		mustNotShow(t, name+" in an error", fmt.Errorf("with %v: %w", v, errors.New("x")).Error())
		b, err := json.Marshal(v)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		mustNotShow(t, name+" as JSON", string(b))
		for handler, log := range map[string]func(*bytes.Buffer) slog.Handler{
			"text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			"json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var out bytes.Buffer
			slog.New(log(&out)).With("with", v).WithGroup("g").Info("m", "k", v, slog.Group("h", "k", v))
			mustNotShow(t, name+" in a log as "+handler, out.String())
			if out.Len() == 0 {
				t.Errorf("%s: the %s log is empty", name, handler)
			}
		}
	}
}

func TestSecretSaysThatItIsOne(t *testing.T) {
	const want = "[redacted]"
	s := holdfast.NewSecret(hidden)
	text, err := s.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for how, got := range map[string]string{
		"%v": fmt.Sprintf("%v", s), "%#v": fmt.Sprintf("%#v", s), "%d": fmt.Sprintf("%d", s), "String": s.String(),
		"GoString": s.GoString(), "LogValue": s.LogValue().String(), "MarshalText": string(text),
	} {
		if got != want {
			t.Errorf("%s: got %q, want %q", how, got, want)
		}
	}
	// Whether there is a secret at all is nobody's business either.
	if got := fmt.Sprint(holdfast.Secret{}); got != want {
		t.Errorf("an empty secret prints %q, want %q", got, want)
	}
}

func TestSecretReveals(t *testing.T) {
	var zero holdfast.Secret
	for _, c := range []struct {
		name   string
		secret holdfast.Secret
		want   string
		zero   bool
	}{
		{"the zero value", zero, "", true},
		{"an empty one", holdfast.NewSecret(""), "", true},
		{"a full one", holdfast.NewSecret(hidden), hidden, false},
	} {
		if got := c.secret.Reveal(); got != c.want {
			t.Errorf("%s: got another secret", c.name)
		}
		if got := c.secret.IsZero(); got != c.zero {
			t.Errorf("%s: IsZero: got %t, want %t", c.name, got, c.zero)
		}
	}
}

func TestSecretIsReadFromConfiguration(t *testing.T) {
	var fromJSON struct{ Password holdfast.Secret }
	if err := json.Unmarshal([]byte(`{"Password": "`+hidden+`"}`), &fromJSON); err != nil {
		t.Fatal(err)
	}
	var fromText holdfast.Secret
	if err := encoding.TextUnmarshaler(&fromText).UnmarshalText([]byte(hidden)); err != nil {
		t.Fatal(err)
	}
	if fromJSON.Password.Reveal() != hidden || fromText.Reveal() != hidden {
		t.Error("got another secret than was read")
	}
	err := json.Unmarshal([]byte(`{"Password": {"`+hidden+`": 1}}`), &fromJSON)
	if err == nil {
		t.Fatal("an object passes as a secret")
	}
	mustNotShow(t, "the error of bad JSON", err.Error())
}
