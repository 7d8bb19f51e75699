package repository

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

func testKit(t testing.TB) Kit {
	t.Helper()
	password, err := NewKitPassword()
	if err != nil {
		t.Fatal(err)
	}
	return Kit{
		Version: KitVersion, Name: "main", Location: "file:///srv/backup with space", Password: password,
		FormatID: strings.Repeat("0123456789abcdef", 4), Created: testTime.Truncate(1e9),
	}
}

func encodeKit(t testing.TB, k Kit) string {
	t.Helper()
	data, err := k.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestKitRoundTrip(t *testing.T) {
	t.Parallel()
	k := testKit(t)
	kits := []Kit{k, {Location: "s3://bucket", FormatID: k.FormatID, Password: holdfast.NewSecret("colon: and # \"quote\"")}}
	k.Access = "credentials from the environment; the certificate is on page 2"
	for _, want := range append(kits, k) {
		text := encodeKit(t, want)
		for _, s := range []string{"restic -r", "holdfast restore --offline --kit", want.FormatID} {
			if !strings.Contains(text, s) {
				t.Errorf("the kit does not say %q", s)
			}
		}
		want.Version = KitVersion
		// As it comes back from a mail or an editor.
		for _, again := range []string{text, strings.ReplaceAll(text, "\n", "\r\n"), text[strings.Index(text, kitBegin):], "> hello\n" + text + "\nbye\n"} {
			got, err := ParseKit([]byte(again))
			if err != nil {
				t.Fatal(err)
			}
			if got.Password.Reveal() != want.Password.Reveal() {
				t.Error("the password differs")
			}
			got.Password = holdfast.Secret{}
			plain := want
			plain.Password = holdfast.Secret{}
			if got != plain {
				t.Errorf("got %+v, want %+v", got, plain)
			}
		}
	}
}

// TestKitsCommandsCanBePasted: a directory's name with a space stands in a URL as
// %20, which restic does not understand.
func TestKitsCommandsCanBePasted(t *testing.T) {
	t.Parallel()
	k := testKit(t)
	for location, want := range map[string]string{
		"file:///srv/backup":                      "restic -r /srv/backup snapshots",
		"file:///srv/backup%20with%20%27it%27%3B": `restic -r '/srv/backup with '\''it'\'';' snapshots`,
		"s3:https://host/bucket":                  "restic -r s3:https://host/bucket snapshots",
	} {
		k.Location = location
		if text := encodeKit(t, k); !strings.Contains(text, want) {
			t.Errorf("%s: the kit does not say %s", location, want)
		}
	}
}

// TestKitHoldsCertificates: they stand below the fields, and are none of what is
// checked.
func TestKitHoldsCertificates(t *testing.T) {
	t.Parallel()
	k := testKit(t)
	k.CA = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAwQF\n-----END CERTIFICATE-----\n"
	text := encodeKit(t, k)
	got, err := ParseKit([]byte(text))
	if err != nil || got.CA != k.CA {
		t.Errorf("got %q and %v, want %q", got.CA, err, k.CA)
	}
	got, err = ParseKit([]byte(text[:strings.Index(text, "AwQF")]))
	if want, _, _ := strings.Cut(k.CA, "-----BEGIN CERTIFICATE-----\nAwQF"); err != nil || got.CA != want {
		t.Errorf("cut off: got %q and %v, want %q", got.CA, err, want)
	}
}

func TestKitNoticesSlips(t *testing.T) {
	t.Parallel()
	k := testKit(t)
	text := encodeKit(t, k)
	password := k.Password.Reveal()
	for name, bad := range map[string]string{
		"empty":             "",
		"another file":      "hello\nworld\n",
		"end is missing":    strings.ReplaceAll(text, kitEnd, ""),
		"letter changed":    strings.ReplaceAll(text, password, password[:39-1]+"?"),
		"groups swapped":    strings.ReplaceAll(text, password, password[5:9]+"-"+password[:4]+password[9:]),
		"location changed":  strings.ReplaceAll(text, "Location: file:///srv", "Location: file:///mnt"),
		"id changed":        strings.ReplaceAll(text, "Repository-Id: 01", "Repository-Id: 10"),
		"line is missing":   strings.ReplaceAll(text, "Location: ", "Lokation: "),
		"no password":       strings.ReplaceAll(text, password, ""),
		"newer":             strings.ReplaceAll(text, "Version: 1", "Version: 2"),
		"version no number": strings.ReplaceAll(text, "Version: 1", "Version: one"),
		"line twice":        strings.ReplaceAll(text, kitEnd, "Version: 1\n"+kitEnd),
		"too large":         text + strings.Repeat(" ", maxKit),
	} {
		_, err := ParseKit([]byte(bad))
		if err == nil {
			t.Errorf("%s: the kit was read", name)
			continue
		}
		wantError(t, err, holdfast.CodeInvalid, "kit")
		if strings.Contains(err.Error(), password) {
			t.Errorf("%s: the error shows the password: %v", name, err)
		}
	}
}

func TestKitRefusesWhatDoesNotFitOnALine(t *testing.T) {
	t.Parallel()
	for _, spoil := range []func(*Kit){
		func(k *Kit) { k.Location = "file:///a\nPassword: x" },
		func(k *Kit) { k.Access = " leading" },
		func(k *Kit) { k.Password = holdfast.NewSecret("a\x00b") },
		func(k *Kit) { k.Password = holdfast.Secret{} },
		func(k *Kit) { k.FormatID = "short" },
		func(k *Kit) { k.Version = KitVersion + 1 },
	} {
		k := testKit(t)
		spoil(&k)
		_, err := k.Encode()
		wantError(t, err, holdfast.CodeInvalid, "kit")
	}
}

func TestKitPassword(t *testing.T) {
	t.Parallel()
	shape := regexp.MustCompile(`^([0-9A-HJKMNP-TV-Z]{4}-){7}[0-9A-HJKMNP-TV-Z]{4}$`) // 32 × 5 bits
	seen := map[string]bool{}
	for range 100 {
		p, err := NewKitPassword()
		if err != nil {
			t.Fatal(err)
		}
		if !shape.MatchString(p.Reveal()) || seen[p.Reveal()] {
			t.Errorf("got %q", p.Reveal())
		}
		seen[p.Reveal()] = true
	}
}

func TestKitOpensTheRepository(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	k := testKit(t)
	k.FormatID = r.ID()
	if _, err := r.AddKey(t.Context(), k.Password, UseKit); err != nil {
		t.Fatal(err)
	}
	read, err := ParseKit([]byte(encodeKit(t, k)))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(t.Context(), b, read.Password)
	if err != nil || opened.ID() != read.FormatID {
		t.Errorf("got %v", err)
	}
}

func FuzzParseKit(f *testing.F) {
	k := testKit(f)
	text := encodeKit(f, k)
	f.Add([]byte(text))
	f.Add([]byte(text[strings.Index(text, kitBegin):]))
	f.Add([]byte(kitBegin + "\n" + kitEnd + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := ParseKit(data)
		if err != nil {
			return
		}
		text, err := k.Encode()
		if err != nil {
			t.Fatalf("a kit that was read cannot be written: %v", err)
		}
		again, err := ParseKit(text)
		if err != nil || again.Password.Reveal() != k.Password.Reveal() || !bytes.Contains(text, []byte(k.FormatID)) {
			t.Errorf("got %+v, error %v, want %+v", again, err, k)
		}
	})
}
