package service

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/holdfast-backup/holdfast"
)

// Cost of a password's hash. Source: OWASP Password Storage Cheat Sheet,
// "Argon2id": 19 MiB, two passes, one lane.
const (
	hashMemory = 19 * 1024 // KiB
	hashPasses = 2
	hashLanes  = 1
	hashSalt   = 16 // bytes
	hashLen    = 32 // bytes

	// What a stored hash may cost at most, should the row be not ours.
	maxHashMemory = 256 * 1024
	maxHashPasses = 16
	maxHashLanes  = 16
)

// Limits of passwords. NIST SP 800-63B, 3.1.1.2, asks for at least 8 characters,
// and for no rules on what they are.
const (
	minPassword = 8    // characters
	maxPassword = 1024 // bytes
)

// Limits of hashing: each hash takes [hashMemory] and a core for some 20 ms.
const (
	maxHashes = 4
	hashWait  = 10 * time.Second
)

const (
	passwordPrefix = "$argon2id$"
	noPassword     = "!" // begins the hash of a user who has none
)

// passwords hashes passwords, a few at once.
type passwords struct {
	turns chan struct{}
	decoy []byte // a hash that no password has
}

func newPasswords() *passwords {
	zero := make([]byte, hashLen)
	return &passwords{turns: make(chan struct{}, maxHashes), decoy: encodeHash(zero[:hashSalt], zero)}
}

// take waits for a turn. CodeUnavailable when there is none in time.
func (p *passwords) take(ctx context.Context) error {
	timer := time.NewTimer(hashWait)
	defer timer.Stop()
	select {
	case p.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
	case <-timer.C:
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "too many people log in at once").WithHint("try again")
}

// hash returns the encoded hash of a new password, with a random salt.
func (p *passwords) hash(ctx context.Context, password holdfast.Secret) ([]byte, error) {
	if err := p.take(ctx); err != nil {
		return nil, err
	}
	defer func() { <-p.turns }()
	salt := make([]byte, hashSalt)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("make salt: %w", err)
	}
	return encodeHash(salt, argon2.IDKey([]byte(password.Reveal()), salt, hashPasses, hashMemory, hashLanes, hashLen)), nil
}

// none returns the hash of a user who has no password.
func (*passwords) none() []byte { return []byte(noPassword + rand.Text()) }

// verify reports whether the encoded hash is the password's. Nothing that can be
// one, such as no hash at all, costs the same as a wrong password.
func (p *passwords) verify(ctx context.Context, encoded []byte, password holdfast.Secret) (bool, error) {
	if err := p.take(ctx); err != nil {
		return false, err
	}
	defer func() { <-p.turns }()
	text := password.Reveal()
	h, ok := decodeHash(encoded)
	if !ok || len(text) > maxPassword {
		h, _ = decodeHash(p.decoy)
		text, ok = "", false
	}
	got := argon2.IDKey([]byte(text), h.salt, h.passes, h.memory, h.lanes, uint32(len(h.sum)))
	return subtle.ConstantTimeCompare(got, h.sum) == 1 && ok, nil
}

// passwordHash is an encoded hash's content.
type passwordHash struct {
	memory, passes uint32
	lanes          uint8
	salt, sum      []byte
}

// encodeHash writes a hash in the form that the reference implementation made
// usual: $argon2id$v=19$m=19456,t=2,p=1$salt$sum.
func encodeHash(salt, sum []byte) []byte {
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Appendf(nil, "%sv=%d$m=%d,t=%d,p=%d$%s$%s", passwordPrefix, argon2.Version, hashMemory, hashPasses, hashLanes, b64(salt), b64(sum))
}

// decodeHash reads an encoded hash; false for anything that is none.
func decodeHash(encoded []byte) (h passwordHash, ok bool) {
	rest, ok := strings.CutPrefix(string(encoded), passwordPrefix)
	parts := strings.Split(rest, "$")
	if !ok || len(parts) != 4 || parts[0] != fmt.Sprintf("v=%d", argon2.Version) {
		return h, false
	}
	if _, err := fmt.Sscanf(parts[1], "m=%d,t=%d,p=%d", &h.memory, &h.passes, &h.lanes); err != nil {
		return h, false
	}
	var err, err2 error
	h.salt, err = base64.RawStdEncoding.DecodeString(parts[2])
	h.sum, err2 = base64.RawStdEncoding.DecodeString(parts[3])
	within := h.memory <= maxHashMemory && h.passes >= 1 && h.passes <= maxHashPasses && h.lanes >= 1 && h.lanes <= maxHashLanes
	return h, err == nil && err2 == nil && within && len(h.salt) >= 8 && len(h.sum) == hashLen
}

// checkPassword refuses what is too short or too long to be a password.
func checkPassword(password holdfast.Secret) error {
	text := password.Reveal()
	switch {
	case utf8.RuneCountInString(text) < minPassword:
		return holdfast.Errorf(holdfast.CodeInvalid, "the password has fewer than %d characters", minPassword).
			WithHint("take several words: length is what makes a password strong")
	case len(text) > maxPassword:
		return holdfast.Errorf(holdfast.CodeInvalid, "the password is longer than %d bytes", maxPassword).WithHint("take a shorter one")
	case !utf8.ValidString(text):
		return holdfast.Errorf(holdfast.CodeInvalid, "the password is not UTF-8").WithHint("send it in UTF-8")
	}
	return nil
}
