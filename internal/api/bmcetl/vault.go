package bmcetl

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/scrypt"

	"github.com/holdfast-backup/holdfast"
)

// A secret that is exported under a passphrase is hfenc1: and, in base64 without
// padding, of RFC 4648's usual alphabet,
//
//	offset  length  what
//	0       16      salt, the same for all secrets of one export
//	16      12      nonce, random
//	28      n + 16  AES-256-GCM of the secret; the property's name is its additional data
//
// under scrypt of the passphrase with N = 32768, r = 8 and p = 1 (the parameters
// that RFC 7914 gives for interactive use are N = 16384, r = 8, p = 1).
const (
	sealedPrefix = "hfenc1:"
	saltLen      = 16
	scryptN      = 1 << 15
	scryptR      = 8
	scryptP      = 1
	scryptLen    = 32 // bytes: AES-256
)

// Limits of what a request may cost: each salt takes 32 MiB and a core for a
// tenth of a second.
const (
	maxPassphrase = 1024 // bytes
	maxSalts      = 4
	maxHashing    = 2 // at once
)

// vault encrypts and decrypts the secrets of one request.
type vault struct {
	passphrase string
	turns      chan struct{}
	salt       []byte // of what it encrypts; nil: not chosen yet
	keys       map[string]cipher.AEAD
}

// newVault returns the vault of a request that may have a passphrase; nil without
// one.
func (h *handler) newVault(o object) (*vault, error) {
	const member = "encryption_passphrase"
	passphrase, err := o.text(member, false)
	if err != nil || passphrase == "" {
		return nil, err
	}
	if len(passphrase) > maxPassphrase {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s has %d bytes", member, len(passphrase)).WithHint("use at most %d", maxPassphrase)
	}
	return &vault{passphrase: passphrase, turns: h.hashing, keys: map[string]cipher.AEAD{}}, nil
}

// key returns the key of a salt.
func (v *vault) key(ctx context.Context, salt []byte) (cipher.AEAD, error) {
	if k, ok := v.keys[string(salt)]; ok {
		return k, nil
	}
	if len(v.keys) == maxSalts {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the secrets are of more than %d exports", maxSalts).WithHint("export the configuration again, and change that")
	}
	select {
	case v.turns <- struct{}{}:
		defer func() { <-v.turns }()
	case <-ctx.Done():
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "too many secrets are encrypted at once").WithHint("try again")
	}
	raw, err := scrypt.Key([]byte(v.passphrase), salt, scryptN, scryptR, scryptP, scryptLen)
	if err != nil {
		return nil, fmt.Errorf("make key of passphrase: %w", err)
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, fmt.Errorf("use key of passphrase: %w", err)
	}
	k, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("use key of passphrase: %w", err)
	}
	v.keys[string(salt)] = k
	return k, nil
}

// seal encrypts the value of a property.
func (v *vault) seal(ctx context.Context, name, value string) (string, error) {
	if v.salt == nil {
		v.salt = make([]byte, saltLen)
		if _, err := rand.Read(v.salt); err != nil {
			return "", fmt.Errorf("make salt: %w", err)
		}
	}
	k, err := v.key(ctx, v.salt)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, k.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", fmt.Errorf("make nonce: %w", err)
	}
	out := append(append([]byte{}, v.salt...), nonce...)
	return sealedPrefix + base64.RawStdEncoding.EncodeToString(k.Seal(out, nonce, []byte(value), []byte(name))), nil
}

// open decrypts the value of a property; one that is not encrypted is returned as
// it is. CodeInvalid for a wrong passphrase, and for none.
func (v *vault) open(ctx context.Context, name, value string) (string, error) {
	text, ok := strings.CutPrefix(value, sealedPrefix)
	if !ok {
		return value, nil
	}
	if v == nil {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the property %q is encrypted, and the request has no encryption_passphrase", clip(name)).
			WithHint("send the passphrase with which the configuration was exported")
	}
	wrong := holdfast.Errorf(holdfast.CodeInvalid, "the encryption_passphrase does not open the property %q", clip(name)).
		WithHint("send the passphrase with which the configuration was exported")
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) < saltLen {
		return "", wrong
	}
	k, err := v.key(ctx, b[:saltLen])
	if err != nil {
		return "", err
	}
	b = b[saltLen:]
	if len(b) < k.NonceSize() {
		return "", wrong
	}
	plain, err := k.Open(nil, b[:k.NonceSize()], b[k.NonceSize():], []byte(name))
	if err != nil {
		return "", wrong
	}
	return string(plain), nil
}
