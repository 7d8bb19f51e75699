package bmcetl

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func testVault(t *testing.T, passphrase string) *vault {
	t.Helper()
	h := &handler{hashing: make(chan struct{}, 1)}
	v, err := h.newVault(object{"encryption_passphrase": quote(passphrase)})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestVault(t *testing.T) {
	ctx := t.Context()
	v := testVault(t, "long enough")
	for _, secret := range []string{"", "x", "päßwörd", strings.Repeat("long ", 1000), sealedPrefix} {
		sealed, err := v.seal(ctx, "db.password", secret)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) > 3 && strings.Contains(sealed, secret) && secret != sealedPrefix {
			t.Errorf("%q shows in %q", secret, sealed)
		}
		got, err := testVault(t, "long enough").open(ctx, "db.password", sealed)
		if err != nil || got != secret {
			t.Errorf("got %q, %v, want %q", got, err, secret)
		}
		for name, open := range map[string]func() (string, error){
			"a wrong passphrase": func() (string, error) { return testVault(t, "another").open(ctx, "db.password", sealed) },
			"no passphrase":      func() (string, error) { return (*vault)(nil).open(ctx, "db.password", sealed) },
			"another property":   func() (string, error) { return v.open(ctx, "api.token", sealed) },
			"a damaged one":      func() (string, error) { return v.open(ctx, "db.password", sealed[:len(sealed)-2]+"AA") },
			"a short one":        func() (string, error) { return v.open(ctx, "db.password", sealed[:len(sealedPrefix)+30]) },
			"an empty one":       func() (string, error) { return v.open(ctx, "db.password", sealedPrefix) },
			"no base64":          func() (string, error) { return v.open(ctx, "db.password", sealedPrefix+"-") },
		} {
			if got, err := open(); holdfast.ErrorCode(err) != holdfast.CodeInvalid || got != "" {
				t.Errorf("%s: got %q, %v", name, got, err)
			}
		}
	}
	if got, err := (*vault)(nil).open(ctx, "x", "plain"); err != nil || got != "plain" {
		t.Errorf("got %q, %v for what is not encrypted", got, err)
	}
}

// foreignSealed is a secret that Python's hashlib.scrypt and OpenSSL's AES-256-GCM
// have sealed.
const foreignSealed = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1eba7f8a95e8ccaf34f9e9b2b8bd86a5ecd00930f444"

func TestVaultOpensWhatOthersSeal(t *testing.T) {
	raw, err := hex.DecodeString(foreignSealed)
	if err != nil {
		t.Fatal(err)
	}
	got, err := testVault(t, "correct horse").open(t.Context(), "db.password", sealedPrefix+base64.RawStdEncoding.EncodeToString(raw))
	if err != nil || got != "hidden" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestVaultBounds(t *testing.T) {
	v := testVault(t, "p")
	for i := range maxSalts + 1 {
		salt := []byte(strings.Repeat(string(rune('a'+i)), saltLen))
		_, err := v.key(t.Context(), salt)
		if code := holdfast.ErrorCode(err); (i == maxSalts) != (code == holdfast.CodeInvalid) {
			t.Errorf("salt %d: got %v", i+1, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	busy := testVault(t, "p")
	busy.turns <- struct{}{}
	if _, err := busy.key(ctx, make([]byte, saltLen)); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("got %v while others are at it", err)
	}
	h := &handler{}
	if _, err := h.newVault(object{"encryption_passphrase": quote(strings.Repeat("p", maxPassphrase+1))}); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("got %v for a long passphrase", err)
	}
	for _, none := range []object{{}, {"encryption_passphrase": []byte("null")}, {"encryption_passphrase": quote("")}} {
		if v, err := h.newVault(none); v != nil || err != nil {
			t.Errorf("got %v, %v for no passphrase", v, err)
		}
	}
}
