package pack

import (
	"encoding/binary"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

// MaxTail is the largest tail of a pack, header and its length.
const MaxTail = maxHeader + trailer

// Size returns how large a pack of these blobs is, header included.
func Size(blobs []Blob) int64 {
	size := int64(crypt.Overhead + trailer)
	for _, b := range blobs {
		size += int64(b.Length) + plainEntry
		if b.Raw != 0 {
			size += compressedEntry - plainEntry
		}
	}
	return size
}

// TailLen reads the last four bytes of a pack of the given size and returns the
// length of its tail.
func TailLen(last [trailer]byte, size int64) (int64, error) {
	n := int64(binary.LittleEndian.Uint32(last[:]))
	if n < crypt.Overhead || n > maxHeader || n > size-trailer {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "the pack's header length of %d bytes is out of range", n)
	}
	return n + trailer, nil
}

// ParseTail reads the header at the end of tail, which is the end of a pack of
// the given size, and changes its bytes.
func ParseTail(key *crypt.Key, tail []byte, size int64) ([]Blob, error) {
	if len(tail) < trailer {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the pack has %d bytes, too few for a header", len(tail))
	}
	n, err := TailLen([trailer]byte(tail[len(tail)-trailer:]), size)
	if err != nil {
		return nil, err
	}
	if n > int64(len(tail)) {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the pack's header of %d bytes begins among its blobs", n)
	}
	header, err := key.OpenInPlace(tail[int64(len(tail))-n : len(tail)-trailer])
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "open the pack's header")
	}
	return ParseHeader(header, size-n)
}
