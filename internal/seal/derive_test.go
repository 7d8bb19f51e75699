package seal_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/seal"
)

func derive(t *testing.T, m *seal.Master, purpose string) []byte {
	t.Helper()
	key, err := m.Derive(purpose)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestDerivedKeys(t *testing.T) {
	t.Parallel()
	m, path := newMaster(t)
	one := derive(t, m, "one")
	if len(one) != seal.DerivedLen {
		t.Errorf("got %d bytes", len(one))
	}
	loaded, err := seal.LoadMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(derive(t, loaded, "one"), one) {
		t.Error("the same master key derives another key after a restart")
	}
	other, _ := newMaster(t)
	if bytes.Equal(derive(t, m, "two"), one) || bytes.Equal(derive(t, other, "one"), one) {
		t.Error("another purpose, or another master key, derives the same key")
	}
}

// TestDerivedKeyIsFixed: the value is that of another implementation of RFC 5869
// (OpenSSL 3: openssl kdf -keylen 32 -kdfopt digest:SHA256 -kdfopt
// hexkey:0707... -kdfopt info:"holdfast test" HKDF).
func TestDerivedKeyIsFixed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(path, []byte(strings.Repeat("07", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := seal.LoadMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = "72bc6785e8bf539fc3cc0da3800504c29619b4880b2b10edbaa3a2b23aa4ddfb"
	if got := fmt.Sprintf("%x", derive(t, m, "test")); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
