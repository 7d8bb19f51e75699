package fs

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/holdfast-backup/holdfast"
)

// reader reads a range of an object.
type reader struct {
	ctx    context.Context //nolint:containedctx // it is the context of the one call that made the reader
	b      *Bucket
	f      *os.File
	name   string
	offset int64
	left   int64 // bytes that are still owed
}

// Read fails when the file ends before the range does.
func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := r.f.ReadAt(p, r.offset)
	r.offset += int64(n)
	r.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && r.left > 0:
		return n, holdfast.Wrap(holdfast.CodeUnavailable, io.ErrUnexpectedEOF, "object %s ended %d bytes early", r.name, r.left)
	case errors.Is(err, io.EOF):
		return n, nil
	case err != nil:
		return n, fail(r.b.dir, err, "read object %s", r.name)
	}
	return n, nil
}

// Close ends the reading.
func (r *reader) Close() error {
	if err := r.f.Close(); err != nil {
		return fail(r.b.dir, err, "close object %s", r.name)
	}
	return nil
}
