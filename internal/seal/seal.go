// Package seal keeps secrets that are stored or sent. A [Master] key seals what
// the metadata database stores; an [Identity] is a worker's own pair of keys, to
// which [ForWorker] seals what it needs for one execution.
package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/durable"
)

// A sealed secret is
//
//	offset  length  what
//	0       1       version: 1
//	1       8       id of the master key: the first bytes of a SHA-256, see keyID
//	9       24      nonce, random
//	33      n + 16  XChaCha20-Poly1305 of the secret; bytes 0 to 8 are its additional data
const (
	sealedVersion = 1
	keyIDLen      = 8
	headerLen     = 1 + keyIDLen
	minSealedLen  = headerLen + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Master seals and opens with the installation's master key. Its methods may be
// called from several goroutines.
type Master struct {
	id   [keyIDLen]byte
	aead cipher.AEAD
	key  []byte
}

func newMaster(key []byte) (*Master, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("use master key: %w", err)
	}
	return &Master{id: keyID(key), aead: aead, key: key}, nil
}

// keyID tells keys apart without telling anything about them: the key has 256
// random bits, so its hash cannot be searched.
func keyID(key []byte) [keyIDLen]byte {
	sum := sha256.Sum256(append([]byte("holdfast master key id\x00"), key...))
	return [keyIDLen]byte(sum[:keyIDLen])
}

// ID returns the key's id, in hexadecimal: it may be shown, and is not secret.
func (m *Master) ID() string { return hex.EncodeToString(m.id[:]) }

// Seal encrypts s. Sealing twice gives different bytes.
func (m *Master) Seal(s holdfast.Secret) ([]byte, error) {
	out := make([]byte, headerLen+chacha20poly1305.NonceSizeX, minSealedLen+len(s.Reveal()))
	out[0] = sealedVersion
	copy(out[1:], m.id[:])
	nonce := out[headerLen:]
	if _, err := rand.Read(nonce); err != nil {
		return nil, fmt.Errorf("seal secret: %w", err)
	}
	return m.aead.Seal(out, nonce, []byte(s.Reveal()), out[:headerLen:headerLen]), nil
}

// Open decrypts what Seal made. CodeForbidden when another master key sealed it,
// CodeInvalid when a newer version did, CodeInternal when the bytes are damaged.
func (m *Master) Open(sealed []byte) (holdfast.Secret, error) {
	switch {
	case len(sealed) == 0:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInternal, "there is no sealed secret to open")
	case sealed[0] != sealedVersion:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInvalid, "the secret was sealed in format %d, which this version does not know", sealed[0]).
			WithHint("upgrade holdfast")
	case len(sealed) < minSealedLen:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeInternal, "the sealed secret is cut short")
	case subtle.ConstantTimeCompare(sealed[1:headerLen], m.id[:]) != 1:
		return holdfast.Secret{}, holdfast.Errorf(holdfast.CodeForbidden, "the secret was sealed with master key %x, not with %x", sealed[1:headerLen], m.id).
			WithHint("put the master key file back that was in use when the secret was stored, or store the secret again")
	}
	nonce := sealed[headerLen : headerLen+chacha20poly1305.NonceSizeX]
	plain, err := m.aead.Open(nil, nonce, sealed[headerLen+chacha20poly1305.NonceSizeX:], sealed[:headerLen])
	if err != nil {
		return holdfast.Secret{}, holdfast.Wrap(holdfast.CodeInternal, err, "the sealed secret is damaged").
			WithHint("store the secret again")
	}
	return holdfast.NewSecret(string(plain)), nil
}

// LoadMaster reads the master key file. CodeNotFound when it is missing,
// CodeForbidden when others than its owner may read it, CodeInvalid when it is
// no master key.
func LoadMaster(path string) (*Master, error) {
	key, err := loadKey("master key", path, chacha20poly1305.KeySize)
	if err != nil {
		return nil, err
	}
	return newMaster(key)
}

// CreateMaster makes a new master key file; CodeConflict when there is one. On
// return the file is durable.
func CreateMaster(path string) (*Master, error) {
	key := make([]byte, chacha20poly1305.KeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make master key: %w", err)
	}
	err := durable.Create(path, fmt.Appendf(nil, "%x\n", key), 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, holdfast.Wrap(holdfast.CodeConflict, err, "master key file %s exists already", path)
	}
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "master key file %s cannot be written", path)
	}
	return newMaster(key)
}

// OpenMaster reads the master key file, and makes it at first start. Where
// secrets are stored already, call LoadMaster: a new key cannot open them.
func OpenMaster(path string) (*Master, error) {
	m, err := LoadMaster(path)
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return m, err
	}
	m, err = CreateMaster(path)
	if holdfast.ErrorCode(err) == holdfast.CodeConflict {
		return LoadMaster(path) // another process was quicker
	}
	return m, err
}
