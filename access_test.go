package holdfast_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func fullAccess() holdfast.ObjectAccess {
	return holdfast.ObjectAccess{
		AccessKey: "KEY1", SecretKey: holdfast.NewSecret("planted-secret"), SessionToken: holdfast.NewSecret("planted-token"), Region: "eu-1",
		PathStyle: true, StorageClass: "STANDARD_IA", Encryption: "aws:kms:key-1", BytesPerSec: 1 << 20,
	}
}

func TestObjectAccessPacks(t *testing.T) {
	t.Parallel()
	for name, a := range map[string]holdfast.ObjectAccess{"none": {}, "full": fullAccess()} {
		packed, err := a.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if a.IsZero() != packed.IsZero() {
			t.Errorf("%s: packed is empty: %t", name, packed.IsZero())
		}
		got, err := holdfast.UnpackObjectAccess(packed)
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%s: got %+v and %v, want %+v", name, got, err, a)
		}
	}
	_, err := holdfast.UnpackObjectAccess(holdfast.NewSecret("planted{"))
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || strings.Contains(fmt.Sprint(err), "planted") {
		t.Errorf("got %v", err)
	}
	text, err := json.Marshal(fullAccess())
	if shown := fmt.Sprintf("%v %+v %#v %s", fullAccess(), fullAccess(), fullAccess(), text); err != nil || strings.Contains(shown, "planted") {
		t.Errorf("an access prints its secrets: %s", shown)
	}
}

func TestObjectAccessIsChecked(t *testing.T) {
	t.Parallel()
	if err := fullAccess().Validate(); err != nil {
		t.Fatal(err)
	}
	commented := fullAccess()
	commented.CA = "subject=a store\n" + certificate(t) + "\n" + certificate(t) + "# the end\n"
	if err := commented.Validate(); err != nil {
		t.Errorf("certificates with comments: %v", err)
	}
	for name, spoil := range map[string]func(*holdfast.ObjectAccess){
		"no key":             func(a *holdfast.ObjectAccess) { a.AccessKey = "" },
		"no secret":          func(a *holdfast.ObjectAccess) { a.SecretKey = holdfast.Secret{} },
		"key of two lines":   func(a *holdfast.ObjectAccess) { a.AccessKey = "a\nb" },
		"secret with a line": func(a *holdfast.ObjectAccess) { a.SecretKey = holdfast.NewSecret("a\nb") },
		"token with a line":  func(a *holdfast.ObjectAccess) { a.SessionToken = holdfast.NewSecret("a\nb") },
		"region of words":    func(a *holdfast.ObjectAccess) { a.Region = "eu west" },
		"unknown encryption": func(a *holdfast.ObjectAccess) { a.Encryption = "rot13" },
		"negative limit":     func(a *holdfast.ObjectAccess) { a.BytesPerSec = -1 },
		"a cut certificate": func(a *holdfast.ObjectAccess) {
			a.CA = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
		},
		"no certificates": func(a *holdfast.ObjectAccess) { a.CA = "nothing" },
		"a private key": func(a *holdfast.ObjectAccess) {
			a.CA = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
		},
	} {
		a := fullAccess()
		spoil(&a)
		if err := a.Validate(); holdfast.ErrorCode(err) != holdfast.CodeInvalid || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: got %v, want that it is invalid", name, err)
		}
	}
}

func TestObjectAccessChanges(t *testing.T) {
	t.Parallel()
	key, region := "KEY2", ""
	got, err := holdfast.ObjectAccessChange{AccessKey: &key, SecretKey: holdfast.NewSecret("new"), Region: &region}.Apply(fullAccess())
	want := fullAccess()
	want.AccessKey, want.SecretKey, want.SessionToken, want.Region = "KEY2", holdfast.NewSecret("new"), holdfast.Secret{}, ""
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v and %v, want %+v", got, err, want)
	}
	_, err = holdfast.ObjectAccessChange{AccessKey: &key}.Apply(fullAccess())
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || holdfast.ErrorHint(err) == "" {
		t.Errorf("a new key with the old secret: got %v", err)
	}
	if got, err := (holdfast.ObjectAccessChange{}).Apply(fullAccess()); err != nil || !reflect.DeepEqual(got, fullAccess()) {
		t.Errorf("nothing changes %+v, and gives %v", got, err)
	}
}

// certificate makes one that signs itself.
func certificate(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// TestGuideNamesWhatOldResticKnows: RESTIC_CACERT is newer than restic 0.14, which the kit
// names as the oldest one.
func TestGuideNamesWhatOldResticKnows(t *testing.T) {
	t.Parallel()
	l, err := holdfast.ParseLocation("s3:https://s3.example.com/bucket/far")
	if err != nil {
		t.Fatal(err)
	}
	got := holdfast.ObjectAccess{AccessKey: "KEY", CA: "certificates"}.Guide(l)
	if !strings.Contains(got, "--cacert FILE") || strings.Contains(got, "RESTIC_CACERT") {
		t.Errorf("got %q", got)
	}
	if got := (holdfast.ObjectAccess{AccessKey: "KEY"}).Guide(l); strings.Contains(got, "certificates") {
		t.Errorf("got %q", got)
	}
}
