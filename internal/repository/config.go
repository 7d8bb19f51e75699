package repository

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// The format's versions that this program reads. It makes the newest.
const (
	minVersion = 1
	maxVersion = 2
)

// config is the repository's own description. The names are the format's.
type config struct {
	Version    uint       `json:"version"`
	ID         hash.ID    `json:"id"`
	Polynomial polynomial `json:"chunker_polynomial"`
}

func newConfig() (config, error) {
	c := config{Version: maxVersion}
	if _, err := rand.Read(c.ID[:]); err != nil {
		return c, err
	}
	var err error
	c.Polynomial, err = randomPolynomial()
	return c, err
}

func parseConfig(data []byte) (config, error) {
	var version struct {
		Version uint `json:"version"`
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return config{}, holdfast.Wrap(holdfast.CodeInvalid, err, "the repository's config is not the JSON of one")
	}
	switch {
	case version.Version > maxVersion:
		return config{}, holdfast.Errorf(holdfast.CodeInvalid, "the repository has format version %d, and this program knows up to %d", version.Version, maxVersion).
			WithHint("upgrade holdfast")
	case version.Version < minVersion:
		return config{}, holdfast.Errorf(holdfast.CodeInvalid, "the repository's config has no valid version")
	}
	var c config
	if err := json.Unmarshal(data, &c); err != nil {
		return config{}, holdfast.Wrap(holdfast.CodeInvalid, err, "the repository's config is not the JSON of one")
	}
	if c.ID.IsZero() {
		return config{}, holdfast.Errorf(holdfast.CodeInvalid, "the repository's config has no id")
	}
	return c, nil
}

// polynomial is over GF(2): bit i is the coefficient of x^i. Ours go unused, as
// files are cut at fixed sizes; other programs cut theirs with it, and refuse
// one that is not irreducible.
type polynomial uint64

const polynomialDegree = 53 // the format's

func (p polynomial) MarshalText() ([]byte, error) {
	return strconv.AppendUint(nil, uint64(p), 16), nil
}

func (p *polynomial) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 16, 64)
	if err != nil {
		return fmt.Errorf("chunker polynomial: %w", err)
	}
	*p = polynomial(v)
	return nil
}

func randomPolynomial() (polynomial, error) {
	for { // one in 26 with these ends is irreducible
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, err
		}
		p := polynomial(binary.LittleEndian.Uint64(b[:]))
		p &= 1<<polynomialDegree - 1
		p |= 1<<polynomialDegree | 1
		if p.irreducible() {
			return p, nil
		}
	}
}

// irreducible applies Rabin's test to a polynomial of degree 53. 53 is a prime,
// so p is irreducible when x^(2^53) = x modulo p and p has no root in GF(2).
func (p polynomial) irreducible() bool {
	if bits.Len64(uint64(p)) != polynomialDegree+1 || p&1 == 0 || bits.OnesCount64(uint64(p))%2 == 0 {
		return false
	}
	const x = polynomial(2)
	y := x
	for range polynomialDegree {
		y = p.square(y)
	}
	return y == x
}

// square returns a*a modulo p, for an a of a lower degree.
func (p polynomial) square(a polynomial) polynomial {
	var out polynomial
	for i := polynomialDegree - 1; i >= 0; i-- { // Horner's rule: out = out*x + a_i*a
		out <<= 1
		if out>>polynomialDegree&1 != 0 {
			out ^= p
		}
		if a>>i&1 != 0 {
			out ^= a
		}
	}
	return out
}
