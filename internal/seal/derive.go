package seal

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
)

// DerivedLen is the length of a derived key, in bytes.
const DerivedLen = 32

// Derive returns the key for a purpose: HKDF-SHA-256 (RFC 5869) of the master key,
// without salt, with the purpose as info. It is the same each time, differs for
// each purpose, and tells nothing about the master key or what that has sealed.
func (m *Master) Derive(purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, m.key, nil, "holdfast "+purpose, DerivedLen)
	if err != nil {
		return nil, fmt.Errorf("derive key for %s: %w", purpose, err)
	}
	return key, nil
}
