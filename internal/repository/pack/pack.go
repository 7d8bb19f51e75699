// Package pack knows the pack file: sealed blobs one after the other, then a
// sealed header that lists them, then the header's length. Source of the
// format: docs/format/pack.md.
package pack

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// Type says what a blob holds.
type Type uint8

// The types of blobs.
const (
	Data Type = iota // a piece of a file
	Tree             // a directory
)

// String returns the type's word, as the index spells it.
func (t Type) String() string {
	switch t {
	case Data:
		return "data"
	case Tree:
		return "tree"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// ParseType reads the index's word.
func ParseType(s string) (Type, error) {
	switch s {
	case "data":
		return Data, nil
	case "tree":
		return Tree, nil
	}
	return 0, holdfast.Errorf(holdfast.CodeInvalid, "blob type %q is unknown", s)
}

// Blob says where a blob lies in its pack.
type Blob struct {
	ID     hash.ID
	Type   Type
	Offset uint32 // in the pack, in bytes
	Length uint32 // sealed, as it lies in the pack
	Raw    uint32 // length after decompression; 0: it is not compressed
}

// Size returns the length of the blob's content.
func (b Blob) Size() int64 {
	if b.Raw != 0 {
		return int64(b.Raw)
	}
	return int64(b.Length) - crypt.Overhead
}

// Check refuses a blob that cannot be one.
func (b Blob) Check() error {
	if b.Length < crypt.Overhead {
		return holdfast.Errorf(holdfast.CodeInvalid, "blob %s has %d bytes, fewer than a sealed blob has", b.ID.Short(), b.Length)
	}
	if b.Raw == 0 && b.Length == crypt.Overhead && b.ID != hash.Sum(nil) {
		return holdfast.Errorf(holdfast.CodeInvalid, "blob %s is empty", b.ID.Short())
	}
	if uint64(b.Offset)+uint64(b.Length) > 1<<32-1 {
		return holdfast.Errorf(holdfast.CodeInvalid, "blob %s ends beyond 4 GiB", b.ID.Short())
	}
	return nil
}

// The header's entries: type, length, length after decompression where the
// type says so, id. Numbers are little-endian.
const (
	kindData = iota
	kindTree
	kindDataCompressed
	kindTreeCompressed

	plainEntry      = 1 + 4 + hash.Size
	compressedEntry = 1 + 4 + 4 + hash.Size
	trailer         = 4 // the sealed header's length

	// maxHeader is the largest header that a reader accepts, sealed: 16 MiB, as in
	// other programs of the format.
	maxHeader = 16 << 20
)

func appendEntry(dst []byte, b Blob) []byte {
	kind := byte(kindData)
	if b.Type == Tree {
		kind = kindTree
	}
	if b.Raw != 0 {
		kind += kindDataCompressed
	}
	dst = append(dst, kind)
	dst = binary.LittleEndian.AppendUint32(dst, b.Length)
	if b.Raw != 0 {
		dst = binary.LittleEndian.AppendUint32(dst, b.Raw)
	}
	return append(dst, b.ID[:]...)
}

// ParseHeader reads an opened header. dataSize is the room before the header in
// the pack: the blobs must fill it exactly.
func ParseHeader(header []byte, dataSize int64) ([]Blob, error) {
	var blobs []Blob
	var offset uint64
	for len(header) > 0 {
		kind, size := header[0], plainEntry
		if kind > kindTreeCompressed {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "pack header: blob type %d is unknown", kind)
		}
		if kind >= kindDataCompressed {
			size = compressedEntry
		}
		if len(header) < size {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "pack header: the last entry is cut short")
		}
		b := Blob{Type: Data, Offset: uint32(min(offset, 1<<32-1)), Length: binary.LittleEndian.Uint32(header[1:])} //nolint:gosec // bounded in the line
		if kind == kindTree || kind == kindTreeCompressed {
			b.Type = Tree
		}
		if size == compressedEntry {
			b.Raw = binary.LittleEndian.Uint32(header[5:])
			if b.Raw == 0 {
				return nil, holdfast.Errorf(holdfast.CodeInvalid, "pack header: a compressed blob is empty")
			}
		}
		copy(b.ID[:], header[size-hash.Size:])
		if err := b.Check(); err != nil {
			return nil, err
		}
		offset += uint64(b.Length)
		if offset > uint64(max(dataSize, 0)) {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "pack header: blob %s ends beyond the data", b.ID.Short())
		}
		blobs = append(blobs, b)
		header = header[size:]
	}
	if offset != uint64(max(dataSize, 0)) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "pack header: the blobs have %d bytes, the pack %d", offset, dataSize)
	}
	return blobs, nil
}

// Parse reads the header of a whole pack, and changes its bytes.
func Parse(key *crypt.Key, data []byte) ([]Blob, error) {
	return ParseTail(key, data, int64(len(data)))
}
