package s3

import (
	"context"
	"errors"
	"io"
)

// reader reads an object's bytes; fewer than were promised are an error.
type reader struct {
	ctx  context.Context //nolint:containedctx // it is the context of the one call that made the reader
	b    *Bucket
	name string
	body io.ReadCloser
	left int64 // bytes that the server has promised
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left > 0:
		return n, r.b.failure(r.ctx, io.ErrUnexpectedEOF, r.name)
	case err == nil, errors.Is(err, io.EOF):
		return n, err
	}
	return n, r.b.failure(r.ctx, err, r.name)
}

func (r *reader) Close() error { return r.body.Close() }
