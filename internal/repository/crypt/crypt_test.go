package crypt_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

func testKey(t testing.TB) *crypt.Key {
	t.Helper()
	var raw [crypt.KeySize]byte
	for i := range raw {
		raw[i] = byte(i)
	}
	k, err := crypt.NewKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestPoly1305AES opens a message whose tag is a published vector: D. J.
// Bernstein, The Poly1305-AES message-authentication code, appendix B.
func TestPoly1305AES(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	k, err := crypt.FromParts(make([]byte, 32),
		unhex("ec074c835580741701425b623235add6"), unhex("851fc40c3467ac0be05cc20404f3f700"))
	if err != nil {
		t.Fatal(err)
	}
	message := append(unhex("fb447350c4e868c52ac3275cf9d4327e"), 0xf3, 0xf6)
	message = append(message, unhex("f4c633c3044fc145f84f335cb81953de")...)
	if _, err := k.OpenInPlace(message); err != nil {
		t.Error(err)
	}
}

func TestSealAndOpen(t *testing.T) {
	k := testKey(t)
	for _, n := range []int{0, 1, 15, 16, 17, 512 << 10} {
		plain := bytes.Repeat([]byte{0xa5}, n)
		sealed, err := k.Seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if len(sealed) != n+crypt.Overhead {
			t.Errorf("%d bytes became %d", n, len(sealed))
		}
		for _, at := range []int{0, len(sealed) / 2, len(sealed) - 1} {
			bad := bytes.Clone(sealed)
			bad[at] ^= 1
			if _, err := k.OpenInPlace(bad); !errors.Is(err, crypt.ErrUnauthentic) {
				t.Errorf("a flipped bit at %d of %d: got %v", at, len(sealed), err)
			}
		}
		got, err := k.OpenInPlace(sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %d bytes, error %v", len(got), err)
		}
	}
}

func TestSealNeverRepeatsANonce(t *testing.T) {
	k := testKey(t)
	seen := map[string]bool{}
	for range 1000 {
		sealed, err := k.Seal([]byte("same"))
		if err != nil {
			t.Fatal(err)
		}
		if nonce := string(sealed[:crypt.NonceSize]); seen[nonce] {
			t.Fatal("a nonce came twice")
		} else {
			seen[nonce] = true
		}
	}
}

func TestPartsGiveTheSameKey(t *testing.T) {
	k, err := crypt.RandomKey()
	if err != nil {
		t.Fatal(err)
	}
	again, err := crypt.FromParts(k.Parts())
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.OpenInPlace(sealed); err != nil || string(got) != "x" {
		t.Errorf("got %q, error %v", got, err)
	}
	e, mk, mr := k.Parts()
	if _, err := crypt.FromParts(e[1:], mk, mr); err == nil {
		t.Error("a short key was taken")
	}
}

func TestParamsCheck(t *testing.T) {
	for _, c := range []struct {
		p  crypt.Params
		ok bool
	}{
		{crypt.MinParams(), true},
		{crypt.Params{N: 1 << 15, R: 8, P: 64}, true},
		{crypt.Params{N: 1 << 17, R: 8, P: 4}, true},
		{crypt.Params{}, false},
		{crypt.Params{N: 1000, R: 8, P: 1}, false},
		{crypt.Params{N: -1 << 63, R: 8, P: 1}, false},
		{crypt.Params{N: 1 << 15, R: 0, P: 1}, false},
		{crypt.Params{N: 1 << 15, R: 8, P: 0}, false},
		{crypt.Params{N: 1 << 30, R: 8, P: 1}, false},
		{crypt.Params{N: 1 << 62, R: 1 << 62, P: 1 << 62}, false},
		{crypt.Params{N: 2, R: 1, P: 1 << 40}, false},
	} {
		if err := c.p.Check(); (err == nil) != c.ok {
			t.Errorf("%+v: got %v", c.p, err)
		}
	}
}

func TestCalibrate(t *testing.T) {
	for _, c := range []struct {
		measured time.Duration
		want     int
	}{{100 * time.Millisecond, 2}, {time.Second, 1}, {time.Millisecond, 8}, {0, 1}} {
		got := crypt.Calibrate(250*time.Millisecond, c.measured)
		if got.P != c.want || got.Check() != nil {
			t.Errorf("%v: got %+v, want p=%d", c.measured, got, c.want)
		}
	}
}

func TestDerive(t *testing.T) {
	salt := make([]byte, crypt.SaltSize)
	p := crypt.Params{N: 16, R: 8, P: 1}
	k, err := crypt.Derive(holdfast.NewSecret("a"), salt, p)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := crypt.Derive(holdfast.NewSecret("b"), salt, p)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.OpenInPlace(bytes.Clone(sealed)); err == nil {
		t.Error("another password gives the same key")
	}
	if _, err := crypt.Derive(holdfast.NewSecret("a"), nil, p); err == nil {
		t.Error("an empty salt was taken")
	}
}

func FuzzOpen(f *testing.F) {
	k := testKey(f)
	sealed, err := k.Seal([]byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, []byte("plain"))
	f.Add(sealed, []byte{})
	f.Add(sealed[:20], []byte{0})
	f.Fuzz(func(t *testing.T, message, plain []byte) {
		before := bytes.Clone(message)
		if got, err := k.OpenInPlace(message); err == nil && string(got) != "content" {
			t.Errorf("opened what was never sealed: %x", before)
		}
		sealed, err := k.Seal(plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.OpenInPlace(sealed); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("got %x, error %v", got, err)
		}
	})
}
