package service

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"

	"golang.org/x/crypto/argon2"

	"github.com/holdfast-backup/holdfast"
)

func TestPasswordHash(t *testing.T) {
	t.Parallel()
	p := newPasswords()
	secret := holdfast.NewSecret("correct horse")
	first, err := p.hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.hash(t.Context(), secret)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, second) {
		t.Error("two hashes of one password are equal: there is no salt")
	}
	parts := strings.Split(string(first), "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" || parts[3] != "m=19456,t=2,p=1" {
		t.Fatalf("got %s", first)
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	if err != nil {
		t.Fatal(err)
	}
	sum := argon2.IDKey([]byte("correct horse"), salt, 2, 19456, 1, 32)
	if got := base64.RawStdEncoding.EncodeToString(sum); got != parts[5] {
		t.Errorf("got sum %s, want %s", parts[5], got)
	}
	// Source: the reference implementation, phc-winner-argon2, src/test.c.
	reference := []byte("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	for _, c := range []struct {
		name    string
		encoded []byte
		guess   string
		want    bool
	}{
		{"right", first, "correct horse", true},
		{"right, other salt", second, "correct horse", true},
		{"right, other parameters", reference, "password", true},
		{"wrong, other parameters", reference, "passwort", false},
		{"wrong", first, "correct horsf", false},
		{"empty", first, "", false},
		{"with more", first, "correct horse ", false},
		{"too long", first, strings.Repeat("x", 1025), false},
		{"no hash", nil, "correct horse", false},
		{"no hash and nothing", nil, "", false},
		{"of nobody", p.none(), "correct horse", false},
		{"of nobody and nothing", p.none(), "", false},
		{"the decoy and nothing", p.decoy, "", false},
		{"garbage", []byte("$argon2id$v=19$m=1,t=1"), "correct horse", false},
		{"another version", bytes.Replace(first, []byte("v=19"), []byte("v=16"), 1), "correct horse", false},
		{"too costly", bytes.Replace(first, []byte("m=19456"), []byte("m=99999999"), 1), "correct horse", false},
	} {
		got, err := p.verify(t.Context(), c.encoded, holdfast.NewSecret(c.guess))
		if err != nil || got != c.want {
			t.Errorf("%s: got %t and error %v, want %t", c.name, got, err, c.want)
		}
	}
	if bytes.Equal(p.none(), p.none()) {
		t.Error("two users without a password have one hash")
	}
}

// TestHashesAtOnceAreBounded waits in vain for a turn.
func TestHashesAtOnceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPasswords()
		for range maxHashes {
			if err := p.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := p.hash(t.Context(), holdfast.NewSecret("x")); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
			t.Errorf("hash: got %v, want unavailable", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.verify(ctx, nil, holdfast.NewSecret("x")); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
			t.Errorf("verify: got %v, want unavailable", err)
		}
	})
}

func FuzzDecodeHash(f *testing.F) {
	f.Add([]byte("$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))
	f.Add([]byte("$argon2id$v=19$m=0,t=0,p=0$$"))
	f.Fuzz(func(t *testing.T, encoded []byte) {
		h, ok := decodeHash(encoded)
		if ok && (h.memory > maxHashMemory || h.passes < 1 || h.passes > maxHashPasses || h.lanes < 1 || h.lanes > maxHashLanes || len(h.sum) != hashLen) {
			t.Errorf("took %q, whose cost is %+v", encoded, h)
		}
	})
}

func FuzzPublicKey(f *testing.F) {
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		key, der, err := parsePublicKey(text)
		if err != nil {
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
				t.Errorf("got %v, want invalid", err)
			}
			return
		}
		again, _, err := parsePublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		if err != nil || !again.Equal(key) {
			t.Errorf("the key does not come back: %v", err)
		}
	})
}
