// Package crypt seals and opens what lies in a repository: AES-256 in counter
// mode, authenticated by Poly1305-AES over the ciphertext. A sealed message is
// a nonce of 16 bytes, the ciphertext, and a tag of 16 bytes. Source of the
// format: docs/format/keys.md.
package crypt

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"errors"

	"golang.org/x/crypto/poly1305" //nolint:staticcheck // the format asks for Poly1305-AES, which has no other home
)

// The sizes of a sealed message's parts, in bytes.
const (
	NonceSize = aes.BlockSize
	TagSize   = poly1305.TagSize
	Overhead  = NonceSize + TagSize
)

// The sizes of a key's parts, in bytes.
const (
	encryptSize = 32
	macSize     = 16 // of each half of the authentication key
	// KeySize is the length of a key as one string of bytes: the AES-256 key, then
	// the AES-128 key and the Poly1305 key of the authentication.
	KeySize = encryptSize + 2*macSize
)

// ErrUnauthentic means that a message was not sealed with this key, or is not
// what was sealed.
var ErrUnauthentic = errors.New("the ciphertext does not verify: it was damaged, or sealed with another key")

// Key seals and opens messages. It may be used by several goroutines.
type Key struct {
	raw     [KeySize]byte
	encrypt cipher.Block // AES-256
	nonce   cipher.Block // AES-128: turns a nonce into Poly1305's second half
}

// polyMask clears the bits that Poly1305 does not use, as the format asks.
var polyMask = [macSize]byte{
	0xff, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f,
	0xfc, 0xff, 0xff, 0x0f, 0xfc, 0xff, 0xff, 0x0f,
}

// NewKey returns the key made of the bytes.
func NewKey(raw [KeySize]byte) (*Key, error) {
	k := &Key{raw: raw}
	for i, m := range polyMask {
		k.raw[encryptSize+macSize+i] &= m
	}
	var err error
	if k.encrypt, err = aes.NewCipher(k.raw[:encryptSize]); err != nil {
		return nil, err
	}
	if k.nonce, err = aes.NewCipher(k.raw[encryptSize : encryptSize+macSize]); err != nil {
		return nil, err
	}
	return k, nil
}

// RandomKey returns a new key.
func RandomKey() (*Key, error) {
	var raw [KeySize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return nil, err
	}
	return NewKey(raw)
}

// Parts returns the three keys inside, in the names of the format.
func (k *Key) Parts() (encrypt, macK, macR []byte) {
	return k.raw[:encryptSize:encryptSize], k.raw[encryptSize : encryptSize+macSize : encryptSize+macSize], k.raw[encryptSize+macSize:]
}

// FromParts returns the key made of the three keys of the format.
func FromParts(encrypt, macK, macR []byte) (*Key, error) {
	if len(encrypt) != encryptSize || len(macK) != macSize || len(macR) != macSize {
		return nil, errors.New("a part of the key has the wrong length")
	}
	var raw [KeySize]byte
	copy(raw[:], encrypt)
	copy(raw[encryptSize:], macK)
	copy(raw[encryptSize+macSize:], macR)
	return NewKey(raw)
}

// SealTo seals plain into dst, which must have len(plain)+Overhead bytes and
// must not overlap plain.
func (k *Key) SealTo(dst, plain []byte) error {
	nonce := dst[:NonceSize]
	if _, err := rand.Read(nonce); err != nil {
		return err
	}
	body := dst[NonceSize : NonceSize+len(plain)]
	cipher.NewCTR(k.encrypt, nonce).XORKeyStream(body, plain)
	tag := k.tag(nonce, body)
	copy(dst[NonceSize+len(plain):], tag[:])
	return nil
}

// Seal returns plain, sealed.
func (k *Key) Seal(plain []byte) ([]byte, error) {
	dst := make([]byte, len(plain)+Overhead)
	if err := k.SealTo(dst, plain); err != nil {
		return nil, err
	}
	return dst, nil
}

// OpenInPlace opens the message and returns the plaintext, which lies inside
// it. An error is [ErrUnauthentic], and the message is unchanged.
func (k *Key) OpenInPlace(sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead {
		return nil, ErrUnauthentic
	}
	nonce, body := sealed[:NonceSize], sealed[NonceSize:len(sealed)-TagSize]
	tag := k.tag(nonce, body)
	if subtle.ConstantTimeCompare(tag[:], sealed[len(sealed)-TagSize:]) != 1 {
		return nil, ErrUnauthentic
	}
	cipher.NewCTR(k.encrypt, nonce).XORKeyStream(body, body)
	return body, nil
}

func (k *Key) tag(nonce, body []byte) [TagSize]byte {
	var poly [2 * macSize]byte
	copy(poly[:macSize], k.raw[encryptSize+macSize:])
	k.nonce.Encrypt(poly[macSize:], nonce)
	var tag [TagSize]byte
	poly1305.Sum(&tag, body, &poly)
	return tag
}
