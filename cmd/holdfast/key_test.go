package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

func TestNewKeyPair(t *testing.T) {
	private, public, err := newKeyPair(minKeyBits)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(private)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil || block.Type != "PRIVATE KEY" {
		t.Fatalf("got a block %s, and %v", block.Type, err)
	}
	block, _ = pem.Decode(public)
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || block.Type != "PUBLIC KEY" {
		t.Fatalf("got a block %s, and %v", block.Type, err)
	}
	if mine := key.(*rsa.PrivateKey); !mine.PublicKey.Equal(pub) || mine.N.BitLen() != minKeyBits {
		t.Errorf("got %d bits, and halves that are not of one key", mine.N.BitLen())
	}
}

// keyServer takes keys, or refuses them with the code; it keeps what it was sent.
func keyServer(t *testing.T, refuse holdfast.Code) (*client.Client, *bytes.Buffer) {
	t.Helper()
	var got bytes.Buffer
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = got.ReadFrom(r.Body)
		if refuse == "" {
			w.WriteHeader(http.StatusCreated)
			_ = json.NewEncoder(w).Encode(native.Key{ID: 1005, Name: "laptop", User: "ada"})
			return
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTeapot)
		_ = json.NewEncoder(w).Encode(native.Problem{Status: http.StatusTeapot, Code: refuse, Detail: "planted"})
	}))
	t.Cleanup(srv.Close)
	c, err := client.New(client.Options{Server: srv.URL, Token: holdfast.NewSecret("t"), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return c, &got
}

func TestAPrivateKeyIsKeptInAFileOfItsOwnersAlone(t *testing.T) {
	in := native.NewKey{User: "ada", Name: "laptop", PublicKey: "public"}
	for _, c := range []struct {
		name   string
		refuse holdfast.Code
		exists string // what is in the file before
		code   holdfast.Code
		after  string // what is in it then; "-": there is none
	}{
		{"taken", "", "", "", "private"},
		{"refused", holdfast.CodeConflict, "", holdfast.CodeConflict, "-"},
		{"perhaps taken", holdfast.CodeUnavailable, "", holdfast.CodeUnavailable, "private"},
		{"a file that is there", "", "other", holdfast.CodeInvalid, "other"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "ada.pem")
			if c.exists != "" {
				if err := os.WriteFile(out, []byte(c.exists), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			srv, sent := keyServer(t, c.refuse)
			_, err := addCreated(context.Background(), srv, in, []byte("private"), out)
			if got := holdfast.ErrorCode(err); got != c.code {
				t.Errorf("got %v, want code %q", err, c.code)
			}
			b, err := os.ReadFile(out)
			got := string(b)
			if err != nil {
				got = "-"
			}
			if got != c.after {
				t.Errorf("got %q in the file, want %q", got, c.after)
			}
			if info, err := os.Stat(out); err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("got mode %o, want 600", info.Mode().Perm())
			}
			if strings.Contains(sent.String(), "private") {
				t.Errorf("the server was sent the private key: %s", sent)
			}
		})
	}
}

func TestAPrivateKeyIsNotSent(t *testing.T) {
	private, public, err := newKeyPair(minKeyBits)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text []byte
		want holdfast.Code
	}{
		"public": {public, ""}, "private": {private, holdfast.CodeInvalid}, "empty": {nil, holdfast.CodeInvalid},
		"long": {bytes.Repeat(public, 100), holdfast.CodeInvalid},
	} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, c.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readPublicKey(file); holdfast.ErrorCode(err) != c.want {
			t.Errorf("%s: got %v, want code %q", name, err, c.want)
		}
	}
	if _, err := readPublicKey(filepath.Join(dir, "missing")); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("got %v for a file that is not there", err)
	}
}

func TestIdle(t *testing.T) {
	for minutes, want := range map[int64]string{0: "", 1: "1m", 60: "1h0m", 90: "1h30m", 1440: "1d", 43200: "30d", 1500: "25h0m"} {
		if got := idle(minutes); got != want {
			t.Errorf("%d: got %q, want %q", minutes, got, want)
		}
	}
}

func TestSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"365d": 365 * 24 * time.Hour, "1d": 24 * time.Hour, "3653d": 3653 * 24 * time.Hour, "90m": 90 * time.Minute, "1m": time.Minute, "36h30m": 36*time.Hour + 30*time.Minute,
		"": 0, "0": 0, "0d": 0, "-1d": 0, "1.5d": 0, "d": 0, "59s": 0, "3654d": 0, "99999d": 0, "-5h": 0, "5": 0, "1y": 0, "99999999h": 0,
	} {
		var s span
		if err := s.Set(text); (err == nil) != (want > 0) || time.Duration(s) != want {
			t.Errorf("%q: got %s and error %v, want %s", text, time.Duration(s), err, want)
		}
	}
}
