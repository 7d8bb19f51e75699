//go:build cgo

package compress

import (
	"io"
	"sync"

	"github.com/DataDog/zstd"
)

// libzstd borrows a context of the library for each call: one has megabytes, which the
// garbage collector does not see, and frees late.
type libzstd struct{}

func newCodec() Codec { return libzstd{} }

// contexts are those that nobody uses now.
var contexts = sync.Pool{New: func() any { return zstd.NewCtx() }}

func (c libzstd) Encode(dst, src []byte) ([]byte, error) {
	return c.EncodeLevel(dst, src, Fast)
}

func (libzstd) EncodeLevel(dst, src []byte, l Level) ([]byte, error) {
	c := contexts.Get().(zstd.Ctx) //nolint:forcetypeassert // there is nothing else in it
	defer contexts.Put(c)
	return c.CompressLevel(dst, src, int(l))
}

func (libzstd) Decode(dst, src []byte) (int, error) {
	if len(src) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	c := contexts.Get().(zstd.Ctx) //nolint:forcetypeassert // there is nothing else in it
	defer contexts.Put(c)
	if len(dst) == 0 { // libzstd wants an address
		var one [1]byte
		n, err := c.DecompressInto(one[:], src)
		if err == nil && n > 0 {
			err = io.ErrShortBuffer
		}
		return 0, err
	}
	return c.DecompressInto(dst, src)
}

func newWriter(w io.Writer) io.WriteCloser { return zstd.NewWriterLevel(w, int(Fast)) }

func newReader(r io.Reader) (io.ReadCloser, error) { return zstd.NewReader(r), nil }
