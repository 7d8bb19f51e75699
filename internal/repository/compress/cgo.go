//go:build cgo

package compress

import (
	"io"

	"github.com/DataDog/zstd"
)

type libzstd struct{ ctx zstd.Ctx }

func newCodec() Codec { return libzstd{zstd.NewCtx()} }

func (c libzstd) Encode(dst, src []byte) ([]byte, error) {
	return c.EncodeLevel(dst, src, Fast)
}

func (c libzstd) EncodeLevel(dst, src []byte, l Level) ([]byte, error) {
	return c.ctx.CompressLevel(dst, src, int(l))
}

func (c libzstd) Decode(dst, src []byte) (int, error) {
	if len(src) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if len(dst) == 0 { // libzstd wants an address
		var one [1]byte
		n, err := c.ctx.DecompressInto(one[:], src)
		if err == nil && n > 0 {
			err = io.ErrShortBuffer
		}
		return 0, err
	}
	return c.ctx.DecompressInto(dst, src)
}

func newWriter(w io.Writer) io.WriteCloser { return zstd.NewWriterLevel(w, int(Fast)) }

func newReader(r io.Reader) (io.ReadCloser, error) { return zstd.NewReader(r), nil }
