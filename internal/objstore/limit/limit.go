// Package limit bounds how fast bytes go to a bucket and come from it.
package limit

import (
	"context"
	"io"

	"golang.org/x/time/rate"

	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// burst is how many bytes may pass at once, after a rest.
const burst = 256 << 10

// Limiter is one allowance for all the buckets that it wraps. Its methods may be
// called from several goroutines.
type Limiter struct{ l *rate.Limiter }

// New returns an allowance of so many bytes a second; zero or less: no limit.
func New(bytesPerSecond int64) *Limiter {
	l := &Limiter{rate.NewLimiter(rate.Inf, burst)}
	l.Set(bytesPerSecond)
	return l
}

// Set changes the allowance, also for transfers that are under way.
func (l *Limiter) Set(bytesPerSecond int64) {
	if bytesPerSecond <= 0 {
		l.l.SetLimit(rate.Inf)
		return
	}
	l.l.SetLimit(rate.Limit(bytesPerSecond))
}

// wait returns when n bytes may pass. It waits for a tenth of a second's worth at a
// time, for a wait that has begun does not hear of a new allowance.
func (l *Limiter) wait(ctx context.Context, n int) error {
	for n > 0 {
		limit := l.l.Limit()
		if limit == rate.Inf {
			return context.Cause(ctx)
		}
		some := min(n, burst, max(1, int(min(limit, burst*10)/10)))
		if err := l.l.WaitN(ctx, some); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return err // the context would end before
		}
		n -= some
	}
	return nil
}

// Wrap returns a bucket whose bytes count.
func (l *Limiter) Wrap(b objstore.Bucket) *Bucket { return &Bucket{Bucket: b, l: l} }

// Bucket waits for its allowance before it puts, and while it reads.
type Bucket struct {
	objstore.Bucket
	l *Limiter
}

var _ objstore.Bucket = (*Bucket)(nil)

// Put implements [objstore.Bucket].
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	if err := b.l.wait(ctx, len(data)); err != nil {
		return err
	}
	return b.Bucket.Put(ctx, name, data)
}

// Room is as [objstore.Room] says.
func (b *Bucket) Room(ctx context.Context) error { return objstore.Room(ctx, b.Bucket) }

// Get implements [objstore.Bucket].
func (b *Bucket) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r, err := b.Bucket.Get(ctx, name, offset, length)
	if err != nil {
		return nil, err
	}
	return &reader{ReadCloser: r, ctx: ctx, l: b.l}, nil
}

// reader pays for what it has read.
type reader struct {
	io.ReadCloser
	ctx context.Context //nolint:containedctx // it is the context of the one call that made the reader
	l   *Limiter
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), burst)])
	if werr := r.l.wait(r.ctx, n); werr != nil {
		return n, werr
	}
	return n, err
}
