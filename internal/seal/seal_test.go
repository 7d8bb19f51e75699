package seal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/seal"
)

func newMaster(t testing.TB) (*seal.Master, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "master.key")
	m, err := seal.CreateMaster(path)
	if err != nil {
		t.Fatal(err)
	}
	return m, path
}

func wantCode(t *testing.T, err error, want holdfast.Code) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != want {
		t.Fatalf("got %v (code %q), want code %q", err, got, want)
	}
}

func TestMasterRoundTrip(t *testing.T) {
	t.Parallel()
	m, path := newMaster(t)
	for _, secret := range []string{"", "x", "päßwörd", strings.Repeat("long ", 10000), "\x00\xff"} {
		sealed, err := m.Seal(holdfast.NewSecret(secret))
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) > 3 && bytes.Contains(sealed, []byte(secret)) {
			t.Error("the sealed bytes show the secret")
		}
		loaded, err := seal.LoadMaster(path)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := loaded.Open(sealed)
		if err != nil {
			t.Fatal(err)
		}
		if got := opened.Reveal(); got != secret {
			t.Errorf("got %q, want %q", got, secret)
		}
	}
}

func TestSealingTwiceDiffers(t *testing.T) {
	t.Parallel()
	m, _ := newMaster(t)
	a, err := m.Seal(holdfast.NewSecret("same"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Seal(holdfast.NewSecret("same"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a, b) {
		t.Error("two seals of one secret are equal")
	}
}

func TestMasterRefusesDamage(t *testing.T) {
	t.Parallel()
	m, _ := newMaster(t)
	sealed, err := m.Seal(holdfast.NewSecret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 0x40
		s, err := m.Open(bad)
		if err == nil {
			t.Fatalf("byte %d changed: opened %q, want an error", i, s.Reveal())
		}
	}
	for n := range sealed {
		if _, err := m.Open(sealed[:n]); err == nil {
			t.Fatalf("cut to %d bytes: opened, want an error", n)
		}
	}
}

func TestAnotherMasterKeyIsNamed(t *testing.T) {
	t.Parallel()
	m, _ := newMaster(t)
	other, _ := newMaster(t)
	sealed, err := m.Seal(holdfast.NewSecret("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Open(sealed)
	wantCode(t, err, holdfast.CodeForbidden)
	if msg := holdfast.ErrorMessage(err); !strings.Contains(msg, m.ID()) || !strings.Contains(msg, other.ID()) {
		t.Errorf("message %q does not name both keys", msg)
	}
	if holdfast.ErrorHint(err) == "" {
		t.Error("there is no hint")
	}
}

func TestANewerSealIsNamed(t *testing.T) {
	t.Parallel()
	m, _ := newMaster(t)
	_, err := m.Open([]byte{9, 1, 2})
	wantCode(t, err, holdfast.CodeInvalid)
}

func TestMasterFile(t *testing.T) {
	t.Parallel()
	good := strings.Repeat("0f", 32)
	for _, c := range []struct {
		name string
		data string
		mode os.FileMode
		want holdfast.Code
	}{
		{"good", good + "\n", 0o600, ""},
		{"good and read-only", good, 0o400, ""},
		{"readable by the group", good, 0o640, holdfast.CodeForbidden},
		{"readable by all", good, 0o604, holdfast.CodeForbidden},
		{"writable by the group", good, 0o620, holdfast.CodeForbidden},
		{"empty", "", 0o600, holdfast.CodeInvalid},
		{"short", good[2:], 0o600, holdfast.CodeInvalid},
		{"long", good + "00", 0o600, holdfast.CodeInvalid},
		{"very long", strings.Repeat(good, 1000), 0o600, holdfast.CodeInvalid},
		{"not hexadecimal", strings.Repeat("zz", 32), 0o600, holdfast.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "master.key")
			if err := os.WriteFile(path, []byte(c.data), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, c.mode); err != nil {
				t.Fatal(err)
			}
			_, err := seal.OpenMaster(path)
			wantCode(t, err, c.want)
			if err != nil && !strings.Contains(c.name, "very long") && holdfast.ErrorHint(err) == "" {
				t.Error("there is no hint")
			}
			if err != nil && len(c.data) > 8 && strings.Contains(err.Error(), c.data[:8]) {
				t.Errorf("error %q shows the key", err)
			}
		})
	}
}

func TestMasterFileIsMadeOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "master.key")
	_, err := seal.LoadMaster(path)
	wantCode(t, err, holdfast.CodeNotFound)

	const racers = 8
	masters := make([]*seal.Master, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			m, err := seal.OpenMaster(path)
			if err != nil {
				t.Error(err)
				return
			}
			masters[i] = m
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	for _, m := range masters {
		if m.ID() != masters[0].ID() {
			t.Error("two processes have different keys")
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %04o, want 0600", got)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("got %d files in the directory, want only the key", len(entries))
	}
	_, err = seal.CreateMaster(path)
	wantCode(t, err, holdfast.CodeConflict)
}

func TestMasterFileInAMissingDirectory(t *testing.T) {
	t.Parallel()
	_, err := seal.OpenMaster(filepath.Join(t.TempDir(), "no", "master.key"))
	wantCode(t, err, holdfast.CodeUnavailable)
}

func FuzzMasterOpen(f *testing.F) {
	m, _ := newMaster(f)
	sealed, err := m.Seal(holdfast.NewSecret("correct horse"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:20])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := m.Open(data)
		if err == nil && s.Reveal() != "correct horse" {
			t.Errorf("forged bytes open as %q", s.Reveal())
		}
	})
}
