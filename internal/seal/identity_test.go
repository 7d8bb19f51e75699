package seal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/seal"
)

func newIdentity(t testing.TB) (id *seal.Identity, sealKey string) {
	t.Helper()
	id, err := seal.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	sealKey, err = id.SealKey()
	if err != nil {
		t.Fatal(err)
	}
	return id, sealKey
}

func TestIdentityFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "identity")
	_, err := seal.LoadIdentity(path)
	wantCode(t, err, holdfast.CodeNotFound)
	made, err := seal.CreateIdentity(path)
	if err != nil {
		t.Fatal(err)
	}
	_, err = seal.CreateIdentity(path)
	wantCode(t, err, holdfast.CodeConflict)
	loaded, err := seal.LoadIdentity(path)
	if err != nil {
		t.Fatal(err)
	}

	public, err := made.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := loaded.PublicKey(); err != nil || got != public {
		t.Errorf("got public key %q and error %v, want %q", got, err, public)
	}
	nonce := []byte("a server's nonce")
	signature, err := loaded.Sign(nonce)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := nkeys.FromPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifier.Verify(nonce, signature); err != nil {
		t.Errorf("the signature does not hold: %v", err)
	}

	sealKey, err := made.SealKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := seal.ForWorker(sealKey, holdfast.NewSecret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := loaded.Open(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if got.Reveal() != "correct horse" {
		t.Errorf("got %q, want the secret", got.Reveal())
	}

	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = seal.LoadIdentity(path)
	wantCode(t, err, holdfast.CodeForbidden)
}

func TestIdentityFileThatIsNone(t *testing.T) {
	t.Parallel()
	account, err := nkeys.CreateAccount()
	if err != nil {
		t.Fatal(err)
	}
	accountSeed, err := account.Seed()
	if err != nil {
		t.Fatal(err)
	}
	curve, err := nkeys.CreateCurveKeys()
	if err != nil {
		t.Fatal(err)
	}
	curveSeed, err := curve.Seed()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty":            "",
		"one line":         string(curveSeed),
		"another kind":     string(accountSeed) + "\n" + string(curveSeed),
		"curve key twice":  string(curveSeed) + "\n" + string(curveSeed),
		"a changed letter": strings.Replace(string(curveSeed), "X", "Y", 1) + "\n" + string(curveSeed),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "identity")
			if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := seal.LoadIdentity(path)
			wantCode(t, err, holdfast.CodeInvalid)
			if data != "" && strings.Contains(err.Error(), data[:10]) {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
}

func TestOnlyTheWorkerOpens(t *testing.T) {
	t.Parallel()
	id, sealKey := newIdentity(t)
	other, _ := newIdentity(t)
	sealed, err := seal.ForWorker(sealKey, holdfast.NewSecret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("correct horse")) {
		t.Error("the sealed bytes show the secret")
	}
	_, err = other.Open(sealed)
	wantCode(t, err, holdfast.CodeForbidden)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		if _, err := id.Open(bad); err == nil {
			t.Fatalf("byte %d changed: opened, want an error", i)
		}
	}
}

func TestForWorkerNeedsACurveKey(t *testing.T) {
	t.Parallel()
	id, _ := newIdentity(t)
	public, err := id.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", "X", public} {
		_, err := seal.ForWorker(key, holdfast.NewSecret("s"))
		wantCode(t, err, holdfast.CodeInvalid)
	}
}

func FuzzIdentityOpen(f *testing.F) {
	id, sealKey := newIdentity(f)
	sealed, err := seal.ForWorker(sealKey, holdfast.NewSecret("correct horse"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:57])
	f.Add([]byte{})
	// Anybody may seal to a public key, so what opens may hold anything.
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := id.Open(data)
		if err != nil && !s.IsZero() {
			t.Error("an error came with a secret")
		}
	})
}
