package retry

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Of an upload in parts. Stores take at most 10,000 of them.
const (
	partBytes   = 16 << 20
	maxParts    = 9_000
	partLanes   = 3               // that are under way at once
	partTimeout = 5 * time.Minute // for a part of partBytes; larger ones have as much more
	callTimeout = time.Minute
)

var errPartTimeout = errors.New("the object store did not take a part in time")

// Uploads puts large objects, of which each part is tried again.
type Uploads struct {
	p objstore.Parts
	b *Bucket // for its pauses
}

// WrapParts returns uploads to a store.
func WrapParts(p objstore.Parts, o Options) *Uploads { return &Uploads{p: p, b: Wrap(nil, o)} }

// Upload puts an object of any size. An object of that name is overwritten.
func (u *Uploads) Upload(ctx context.Context, name string, content io.ReaderAt, size int64) (err error) {
	var id string
	err = u.call(ctx, callTimeout, "begin an upload", name, func(ctx context.Context) (err error) {
		id, err = u.p.Begin(ctx, name)
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), callTimeout, errPartTimeout)
			defer cancel()
			_ = u.p.Abort(ctx, name, id) // the store's rules remove what stays
		}
	}()
	part := max(partBytes, (size/maxParts/partBytes+1)*partBytes)
	if size <= part {
		part = max(size, 1)
	}
	tags := make([]string, max(1, (size+part-1)/part))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(partLanes)
	for i := range tags {
		from := int64(i) * part
		n := min(part, size-from)
		g.Go(func() error {
			return u.call(gctx, partTimeout*time.Duration(max(1, n/partBytes)), "put a part", name, func(ctx context.Context) (err error) {
				tags[i], err = u.p.Part(ctx, name, id, i+1, io.NewSectionReader(content, from, n), n)
				return err
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return u.call(ctx, partTimeout, "complete an upload", name, func(ctx context.Context) error { return u.p.Complete(ctx, name, id, tags) })
}

// call makes a call that has so long for each try.
func (u *Uploads) call(ctx context.Context, limit time.Duration, what, name string, do func(context.Context) error) error {
	return u.b.again(ctx, what, name, func(int) error {
		tctx, cancel := context.WithTimeoutCause(ctx, limit, errPartTimeout)
		defer cancel()
		err := do(tctx)
		if err != nil && tctx.Err() != nil && ctx.Err() == nil {
			return holdfast.Wrap(holdfast.CodeUnavailable, err, "%s of object %s took longer than %s", what, name, limit)
		}
		return err
	})
}
