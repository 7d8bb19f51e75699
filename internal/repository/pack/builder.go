package pack

import (
	"encoding/binary"
	"fmt"

	"github.com/holdfast-backup/holdfast/internal/repository/crypt"
)

// Builder fills one pack in a buffer of its own. Room for a blob is reserved
// first and filled later, so that several goroutines may seal their blobs side
// by side; the calls themselves need a lock of the caller.
type Builder struct {
	buf   []byte
	blobs []Blob
	size  int // bytes of the header's entries
}

// NewBuilder returns a builder that uses the buffer's capacity. What does not
// fit makes it grow, which must not happen while blobs are being filled in: ask
// Fits first.
func NewBuilder(buf []byte) *Builder { return &Builder{buf: buf[:0]} }

// Fits reports whether a sealed blob of n bytes fits without growing, header
// included.
func (b *Builder) Fits(n int) bool {
	return len(b.buf)+n+b.size+compressedEntry+crypt.Overhead+trailer <= cap(b.buf)
}

// Reserve adds a blob, whose Offset it sets, and returns the room of
// blob.Length bytes that the caller fills.
func (b *Builder) Reserve(blob Blob) []byte {
	n := len(b.buf)
	blob.Offset = uint32(n) //nolint:gosec // a pack is smaller than 4 GiB: the caller's Fits
	if need := n + int(blob.Length); need > cap(b.buf) {
		grown := make([]byte, n, need+compressedEntry+crypt.Overhead+trailer)
		copy(grown, b.buf)
		b.buf = grown
	}
	b.buf = b.buf[:n+int(blob.Length)]
	b.blobs = append(b.blobs, blob)
	if blob.Raw != 0 {
		b.size += compressedEntry
	} else {
		b.size += plainEntry
	}
	return b.buf[n:]
}

// Len returns the bytes of the blobs so far.
func (b *Builder) Len() int { return len(b.buf) }

// Count returns the number of blobs so far.
func (b *Builder) Count() int { return len(b.blobs) }

// Blobs returns what the pack holds.
func (b *Builder) Blobs() []Blob { return b.blobs }

// Finish appends the header and returns the whole pack, which lies in the
// builder's buffer.
func (b *Builder) Finish(key *crypt.Key) ([]byte, error) {
	header := make([]byte, 0, b.size)
	for _, blob := range b.blobs {
		header = appendEntry(header, blob)
	}
	sealed := len(header) + crypt.Overhead
	if sealed > maxHeader {
		return nil, fmt.Errorf("a pack of %d blobs has too large a header", len(b.blobs))
	}
	n := len(b.buf)
	if cap(b.buf) < n+sealed+trailer {
		grown := make([]byte, n, n+sealed+trailer)
		copy(grown, b.buf)
		b.buf = grown
	}
	b.buf = b.buf[:n+sealed]
	if err := key.SealTo(b.buf[n:], header); err != nil {
		return nil, err
	}
	b.buf = binary.LittleEndian.AppendUint32(b.buf, uint32(sealed)) //nolint:gosec // at most maxHeader
	return b.buf, nil
}

// Buffer returns the builder's memory, for the next one. Nothing of this pack
// may be used any more.
func (b *Builder) Buffer() []byte { return b.buf[:0] }
