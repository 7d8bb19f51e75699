package repository

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// putIndex stores an index object that names durable packs, and returns its size.
func (l *lock) putIndex(ctx context.Context, packs []index.Pack) (id hash.ID, size int, err error) {
	if err := l.mayWrite(); err != nil {
		return id, 0, err // a pack that lost its lock may be deleted, and an index must not name it
	}
	plain, err := index.Encode(packs)
	if err != nil {
		return id, 0, fmt.Errorf("encode an index: %w", err)
	}
	id, sealed, err := l.repo.encode(plain)
	if err != nil {
		return id, 0, err
	}
	l.mu.Lock()
	l.indexes = append(l.indexes, id) // before it is there: the put may succeed, and fail for us
	l.mu.Unlock()
	return id, len(sealed), l.repo.put(ctx, kindIndex(), id, sealed)
}

// tidyIndex takes packs that are gone out of the index objects that were put under the
// lock, if the lock was lost: then its holder may have been frozen in front of a put,
// until a prune had deleted what it then named. We would not mind, as writers look for
// the packs; stock restic does not, and would count on them. What cannot be tidied the
// next prune finds.
func (l *lock) tidyIndex(ctx context.Context) error {
	l.mu.Lock()
	ids := slices.Clone(l.indexes)
	l.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	ctx, cancel := withTimeout(context.WithoutCancel(ctx), dataTimeout)
	defer cancel()
	if holdfast.ErrorCode(l.check(ctx)) != holdfast.CodeConflict {
		return nil
	}
	sizes, err := l.repo.packSizes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		errs = append(errs, l.repo.dropGone(ctx, id, sizes))
	}
	return errors.Join(errs...)
}

// dropGone puts an index object in the place of one that names packs that are gone, with
// all the others. Nobody can count on what is gone: so this needs no lock.
func (r *Repository) dropGone(ctx context.Context, id hash.ID, sizes map[hash.ID]int64) error {
	data, err := r.load(ctx, kindIndex(), id)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil // it was never there, or a prune has replaced it
	}
	if err != nil {
		return err
	}
	var left []index.Pack
	gone := false
	err = index.Decode(data, func(p index.Pack) error {
		_, there := sizes[p.ID]
		if !there {
			var err error
			if there, err = r.packThere(ctx, p.ID); err != nil {
				return err
			}
		}
		if there {
			left = append(left, index.Pack{ID: p.ID, Blobs: slices.Clone(p.Blobs)})
		}
		gone = gone || !there
		return nil
	})
	if err != nil || !gone {
		return err
	}
	if len(left) > 0 {
		plain, err := index.Encode(left)
		if err != nil {
			return fmt.Errorf("encode an index: %w", err)
		}
		if _, err := r.save(ctx, kindIndex(), plain); err != nil {
			return err
		}
	}
	return r.remove(ctx, kindIndex(), id)
}
