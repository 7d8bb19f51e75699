package repository

import (
	"context"
	"fmt"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// loadIndex reads every index object. One that disappears meanwhile was replaced
// by another that was not listed yet, so the list is read again.
func (r *Repository) loadIndex(ctx context.Context) (*index.Index, error) {
	x := index.New()
	loaded := map[hash.ID]bool{}
	for range maxIndexPasses {
		ids, err := list(ctx, r.bucket, kindIndex())
		if err != nil {
			return nil, err
		}
		gone, err := r.loadIndexes(ctx, x, ids, loaded)
		if err != nil {
			return nil, err
		}
		if !gone {
			return x, nil
		}
	}
	return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the repository's index keeps changing while it is read")
}

const maxIndexPasses = 5

func (r *Repository) loadIndexes(ctx context.Context, x *index.Index, ids []hash.ID, loaded map[hash.ID]bool) (gone bool, err error) {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(runtime.GOMAXPROCS(0), 2))
	missing := make([]bool, len(ids))
	for i, id := range ids {
		if loaded[id] {
			continue
		}
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			data, err := r.load(gctx, kindIndex(), id)
			if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
				missing[i] = true
				return nil
			}
			if err != nil {
				return err
			}
			err = index.Decode(data, func(p index.Pack) error {
				x.Add(p.ID, p.Blobs)
				return gctx.Err()
			})
			if err != nil {
				return fmt.Errorf("index %s: %w", id.Short(), err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return false, err
	}
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	for i, id := range ids {
		gone = gone || missing[i]
		loaded[id] = !missing[i]
	}
	return gone, nil
}
