//go:build !cgo

package compress

import (
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxWindow limits what a frame may make the decoder allocate.
const maxWindow = 128 << 20

type pure struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCodec() Codec {
	enc, _ := zstd.NewWriter(nil, encoderOptions()...) // fails for bad options only
	dec, _ := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true))
	return pure{enc, dec}
}

func encoderOptions() []zstd.EOption {
	return []zstd.EOption{
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
	}
}

func (c pure) Encode(dst, src []byte) ([]byte, error) {
	return c.enc.EncodeAll(src, dst[:0]), nil
}

func (c pure) Decode(dst, src []byte) (int, error) {
	if len(src) == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	out, err := c.dec.DecodeAll(src, dst[:0:len(dst)])
	return len(out), err
}

func newWriter(w io.Writer) io.WriteCloser {
	enc, _ := zstd.NewWriter(w, encoderOptions()...) // fails for bad options only
	return enc
}

func newReader(r io.Reader) (io.ReadCloser, error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return dec.IOReadCloser(), nil
}
