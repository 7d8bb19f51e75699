// Package compress is zstd in the few shapes that a repository needs. With cgo
// it is libzstd; without, a pure Go implementation that costs about a third
// more time and writes the same format.
package compress

import "io"

// Level is how hard to compress, as zstd numbers it: from 1 to 19.
type Level int

// Fast is the level of everything that nobody wants otherwise. Measured: lower ones
// save little time and cost much room, higher ones cost more time than a full backup
// has.
const Fast Level = 1

// A Codec compresses and decompresses whole blobs. It keeps its working memory
// between calls, so it belongs to one goroutine.
type Codec interface {
	// Encode compresses src into dst's capacity, which should be at least
	// Bound(len(src)), with the level Fast, and returns the frame.
	Encode(dst, src []byte) ([]byte, error)
	// EncodeLevel is Encode with another level.
	EncodeLevel(dst, src []byte, l Level) ([]byte, error)
	// Decode decompresses the frame src into dst and returns the bytes used. A
	// frame that holds more than len(dst) is an error.
	Decode(dst, src []byte) (int, error)
}

// New returns a codec for one goroutine.
func New() Codec { return newCodec() }

// Bound returns the largest size of a frame for n bytes.
func Bound(n int) int { return n + n>>8 + 128 }

// NewWriter returns a writer whose frame goes to w. Close ends the frame.
func NewWriter(w io.Writer) io.WriteCloser { return newWriter(w) }

// NewReader returns a reader of the frame in r. What it yields is not limited:
// the caller counts.
func NewReader(r io.Reader) (io.ReadCloser, error) { return newReader(r) }
