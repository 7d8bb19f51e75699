// Package hash names the content of a repository: every blob and every object
// is known by the SHA-256 of its bytes.
package hash

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"github.com/holdfast-backup/holdfast"
)

// Size is the length of an [ID] in bytes.
const Size = sha256.Size

// ID is the SHA-256 of a blob or an object. In JSON and in names it is written
// in lower-case hexadecimal.
type ID [Size]byte

// Sum returns the id of data.
func Sum(data []byte) ID { return sha256.Sum256(data) }

// New returns a running hash, for content that is seen in slices. Its sum is an
// [ID].
func New() hash.Hash { return sha256.New() }

// Finish returns the id of everything that was written to h, a hash from [New].
func Finish(h hash.Hash) ID {
	var id ID
	h.Sum(id[:0])
	return id
}

// Parse reads an id in lower-case hexadecimal.
func Parse(s string) (ID, error) {
	var id ID
	err := id.UnmarshalText([]byte(s))
	return id, err
}

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short returns the first eight digits, for messages.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether the id was never set.
func (id ID) IsZero() bool { return id == ID{} }

// AppendText appends the id in hexadecimal.
func (id ID) AppendText(b []byte) ([]byte, error) { return hex.AppendEncode(b, id[:]), nil }

// MarshalText returns the id in hexadecimal.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText reads an id in lower-case hexadecimal.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) != 2*Size {
		return holdfast.Errorf(holdfast.CodeInvalid, "an id of %d characters is not a SHA-256", len(b))
	}
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return holdfast.Errorf(holdfast.CodeInvalid, "an id holds the character %q", c)
		}
	}
	_, err := hex.Decode(id[:], b)
	return err
}
