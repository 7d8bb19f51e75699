package holdfast_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestSiteValidate(t *testing.T) {
	for _, c := range []struct {
		name  string
		edit  func(*holdfast.Site)
		words string
	}{
		{"a site", func(*holdfast.Site) {}, ""},
		{"no slug", func(s *holdfast.Site) { s.Slug = "" }, `site ""`},
		{"a slug with a slash", func(s *holdfast.Site) { s.Slug = "a/b" }, `site "a/b"`},
		{"no pool", func(s *holdfast.Site) { s.Pool = "" }, "pool"},
		// A dot separates the words of a subject: pool "a.b" would be heard by "a".
		{"a pool with a dot", func(s *holdfast.Site) { s.Pool = "a.b" }, "holds a dot"},
		{"a relative data directory", func(s *holdfast.Site) { s.DataDir = "data" }, "data directory"},
		{"the root as data directory", func(s *holdfast.Site) { s.DataDir = "/" }, "data directory"},
		{"a data directory that climbs", func(s *holdfast.Site) { s.DataDir = "/data/../etc" }, "data directory"},
		{"no host", func(s *holdfast.Site) { s.Server.Host = "" }, "host is missing"},
		{"no port", func(s *holdfast.Site) { s.Server.Port = 0 }, "port is missing"},
		{"no user", func(s *holdfast.Site) { s.Server.User = "" }, "user is missing"},
		{"a negative limit", func(s *holdfast.Site) { s.MaxRunning = -1 }, "negative"},
		{"no way of reading", func(s *holdfast.Site) { s.Reading = "" }, ""},
		{"reading everything", func(s *holdfast.Site) { s.Reading = holdfast.ReadAll }, ""},
		{"an unknown way of reading", func(s *holdfast.Site) { s.Reading = "some" }, "reading"},
		{"no compression", func(s *holdfast.Site) { s.Compression = holdfast.CompressOff }, ""},
		{"an unknown compression", func(s *holdfast.Site) { s.Compression = "9" }, "compression"},
		{"a rate", func(s *holdfast.Site) { s.BytesPerSec = 1 << 20 }, ""},
		{"a rate at which no pack passes", func(s *holdfast.Site) { s.BytesPerSec = 1<<20 - 1 }, "too low"},
		{"a negative rate", func(s *holdfast.Site) { s.BytesPerSec = -1 }, "too low"},
		{"the default sslmode", func(s *holdfast.Site) { s.Server.SSLMode = "" }, ""},
		{"a strict sslmode", func(s *holdfast.Site) { s.Server.SSLMode = "verify-full" }, ""},
		{"an unknown sslmode", func(s *holdfast.Site) { s.Server.SSLMode = "on" }, "sslmode"},
	} {
		s := holdfast.Site{
			Slug: "berlin", Pool: holdfast.DefaultPool, DataDir: "/var/lib/postgresql/15/main",
			Server: holdfast.Server{Host: "/run/postgresql", Port: 5432, User: "holdfast", SSLMode: "prefer"},
		}
		c.edit(&s)
		wantInvalid(t, c.name, s.Validate(), c.words)
	}
}

func TestValidName(t *testing.T) {
	for _, name := range []string{"a", "7", "Berlin-2.eu_west", strings.Repeat("x", 63)} {
		wantInvalid(t, name, holdfast.ValidName("host", name), "")
	}
	for _, name := range []string{
		"", ".", "..", "-a", "_a", ".a", "a b", "a/b", "a\n", "ü", "a*", "a>", "a\x00", strings.Repeat("x", 64),
	} {
		wantInvalid(t, name, holdfast.ValidName("host", name), "is not a valid name")
	}
}
