package crypt

import (
	"errors"
	"time"

	"golang.org/x/crypto/scrypt"

	"github.com/holdfast-backup/holdfast"
)

// SaltSize is the length of the salts that we make, in bytes.
const SaltSize = 64

// Params say how much work scrypt puts between a password and its key.
type Params struct {
	N int // memory and time: a power of two
	R int // size of a block
	P int // repeats
}

// What we accept of a repository. A key object is not authenticated, so it must
// not be able to ask for any amount of memory or time.
const (
	maxMemory = 1 << 30 // bytes: 128 N r
	maxWork   = 1 << 26 // N r p: 32 times the most that [Calibrate] chooses
)

// memory of what we make: 128 × 2^15 × 8 bytes = 32 MiB.
const (
	ourN    = 1 << 15
	ourR    = 8
	maxOurP = 8
)

// RandomParams are for a password of 160 random bits or more: nobody can try them all,
// however fast, and each opening of the repository pays for the work. 128 × 2^10 × 8
// bytes = 1 MiB, about 3 ms.
func RandomParams() Params { return Params{N: 1 << 10, R: ourR, P: 1} }

// MinParams are the cheapest parameters that we write for what people make up.
func MinParams() Params { return Params{N: ourN, R: ourR, P: 1} }

// Calibrate returns parameters that take about the target time, given that
// MinParams took measured; never less than MinParams, nor more than eight times
// that, so that a slower machine can open the repository too.
func Calibrate(target, measured time.Duration) Params {
	p := MinParams()
	if measured > 0 {
		p.P = int(min(max(target/measured, 1), maxOurP))
	}
	return p
}

// Work is what a derivation costs, in units of its own. Check bounds it.
func (p Params) Work() int { return p.N * p.R * p.P }

// Check refuses parameters that are invalid or out of bounds.
func (p Params) Check() error {
	switch {
	case p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1:
		return holdfast.Errorf(holdfast.CodeInvalid, "the key's scrypt parameters N=%d r=%d p=%d are invalid", p.N, p.R, p.P)
	case p.N > maxMemory/128/p.R || p.P > maxWork/p.N/p.R:
		return holdfast.Errorf(holdfast.CodeInvalid, "the key's scrypt parameters N=%d r=%d p=%d ask for more than %d MiB or too much time",
			p.N, p.R, p.P, maxMemory>>20)
	}
	return nil
}

// Derive turns a password into a key.
func Derive(password holdfast.Secret, salt []byte, p Params) (*Key, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	if len(salt) == 0 {
		return nil, errors.New("the salt is empty")
	}
	derived, err := scrypt.Key([]byte(password.Reveal()), salt, p.N, p.R, p.P, KeySize)
	if err != nil {
		return nil, err
	}
	return NewKey([KeySize]byte(derived))
}
