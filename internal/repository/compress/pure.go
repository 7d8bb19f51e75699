//go:build !cgo

package compress

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow limits what a frame may make the decoder allocate.
const maxWindow = 128 << 20

type pure struct {
	encs map[zstd.EncoderLevel]*zstd.Encoder // made when first used
	dec  *zstd.Decoder
}

func newCodec() Codec {
	dec, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	return pure{map[zstd.EncoderLevel]*zstd.Encoder{}, dec}
}

func encoderOptions(l zstd.EncoderLevel) []zstd.EOption {
	return []zstd.EOption{
		zstd.WithEncoderLevel(l),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
	}
}

func (c pure) Encode(dst, src []byte) ([]byte, error) {
	return c.EncodeLevel(dst, src, Fast)
}

// EncodeLevel takes the nearest of the four levels that the implementation has.
func (c pure) EncodeLevel(dst, src []byte, l Level) ([]byte, error) {
	near := zstd.EncoderLevelFromZstd(int(l))
	enc := c.encs[near]
	if enc == nil {
		var err error
		if enc, err = zstd.NewWriter(nil, encoderOptions(near)...); err != nil {
			return nil, err
		}
		c.encs[near] = enc
	}
	return enc.EncodeAll(src, dst[:0]), nil
}

func (c pure) Decode(dst, src []byte) (int, error) {
	if len(src) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	out, err := c.dec.DecodeAll(src, dst[:0:len(dst)])
	return len(out), err
}

func newWriter(w io.Writer) io.WriteCloser {
	enc, _ := zstd.NewWriter(w, encoderOptions(zstd.EncoderLevelFromZstd(int(Fast)))...) // fails for bad options only
	return enc
}

func newReader(r io.Reader) (io.ReadCloser, error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return dec.IOReadCloser(), nil
}
