package repository

import (
	"context"
	"fmt"
	"maps"
	"path"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// loadIndex reads every index object. One that disappears meanwhile was replaced
// by another that was not listed yet, so the list is read again. damaged decides
// about one that cannot be read, and may be called from several goroutines.
func (r *Repository) loadIndex(ctx context.Context, damaged func(hash.ID, error) error) (*index.Index, error) {
	return r.loadIndexOf(ctx, everyPack, damaged)
}

// everyPack is a filter that leaves out nothing.
func everyPack(context.Context) (packFilter, error) {
	return func(index.Pack) bool { return true }, nil
}

// refuseDamaged gives up at the first index object that cannot be read.
func refuseDamaged(_ hash.ID, err error) error { return err }

// loadWholeIndex reads every index object and leaves out the packs that are not
// there, or not whole: a writer that took their blobs for known would make a set
// that does not restore. missing is called for each of them. Shunned packs are left
// out, too. The caller has a lock already, so that whoever condemns packs from now on
// sees it.
func (r *Repository) loadWholeIndex(ctx context.Context, missing func(hash.ID)) (*index.Index, error) {
	return r.loadIndexOf(ctx, func(ctx context.Context) (packFilter, error) {
		shunned, err := r.shunned(ctx)
		if err != nil {
			return nil, err
		}
		sizes, err := r.packSizes(ctx)
		return func(p index.Pack) bool {
			if shunned[p.ID] {
				return false
			}
			if end := p.End(); sizes[p.ID] < end {
				missing(p.ID)
				return false
			}
			return true
		}, err
	}, refuseDamaged)
}

// shunned returns the packs that nobody may count on for anything new: those that may
// be gone tomorrow, as they are condemned, or sentenced by a prune whose mark is
// damaged; and those that a repair has found bad, should another program have named
// them again.
func (r *Repository) shunned(ctx context.Context) (map[hash.ID]bool, error) {
	packs, err := r.condemned(ctx)
	if err != nil {
		return nil, err
	}
	sentences, err := r.sentences(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range sentences {
		for _, id := range s.Packs {
			packs[id] = true
		}
	}
	noted, err := r.damagedPacks(ctx)
	maps.Copy(packs, noted)
	return packs, err
}

// packFilter says whether to take a pack. It is called from several goroutines.
type packFilter func(index.Pack) bool

// loadIndexOf reads every index object but what the filter leaves out.
func (r *Repository) loadIndexOf(ctx context.Context, filter func(context.Context) (packFilter, error), damaged func(hash.ID, error) error) (*index.Index, error) {
	x := index.New()
	return x, r.refreshIndex(ctx, x, map[hash.ID]bool{}, filter, damaged)
}

// refreshIndex reads the index objects that are not loaded yet. It makes the filter
// after it has listed them: every pack that they name was there then. It lists them
// until nothing is new: an object that was replaced meanwhile may have been hidden from
// one listing together with its replacement.
func (r *Repository) refreshIndex(
	ctx context.Context, x *index.Index, loaded map[hash.ID]bool, filter func(context.Context) (packFilter, error), damaged func(hash.ID, error) error,
) error {
	for pass := range maxIndexPasses {
		ids, err := list(ctx, r.bucket, kindIndex())
		if err != nil {
			return err
		}
		if pass > 0 && !slices.ContainsFunc(ids, func(id hash.ID) bool { return !loaded[id] }) {
			return nil
		}
		take, err := filter(ctx)
		if err != nil {
			return err
		}
		if err := r.loadIndexes(ctx, x, ids, loaded, take, damaged); err != nil {
			return err
		}
	}
	return holdfast.Errorf(holdfast.CodeUnavailable, "the repository's index keeps changing while it is read")
}

const maxIndexPasses = 5

const hintIndex = "make the index anew from the packs: holdfast repository repair index"

// loadIndexes reads the index objects that are not loaded yet, and notes those that
// are then; what has disappeared is not.
func (r *Repository) loadIndexes(
	ctx context.Context, x *index.Index, ids []hash.ID, loaded map[hash.ID]bool, take packFilter, damaged func(hash.ID, error) error,
) error {
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
			if err == nil {
				err = index.Decode(data, func(p index.Pack) error {
					if take(p) {
						x.Add(p.ID, p.Blobs)
					}
					return gctx.Err()
				})
			}
			switch {
			case err == nil:
				return nil
			case gctx.Err() != nil:
				return context.Cause(gctx)
			case holdfast.ErrorCode(err) == holdfast.CodeInvalid:
				return damaged(id, holdfast.Wrap(holdfast.CodeInvalid, err, "index object %s is damaged", id).WithHint("%s", hintIndex))
			}
			return damaged(id, fmt.Errorf("index %s: %w", id.Short(), err))
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for i, id := range ids {
		loaded[id] = !missing[i]
	}
	return nil
}

// packThere asks for one pack.
func (r *Repository) packThere(ctx context.Context, id hash.ID) (bool, error) {
	ctx, cancel := withTimeout(ctx, callTimeout)
	defer cancel()
	_, err := r.bucket.Stat(ctx, packName(id))
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for pack %s: %w", id, err)
	}
	return true, nil
}

// packSizes returns the size of every pack that is there.
func (r *Repository) packSizes(ctx context.Context) (map[hash.ID]int64, error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	sizes := map[hash.ID]int64{}
	err := r.bucket.List(ctx, kindPack().prefix, func(i objstore.Info) error {
		if id, err := hash.Parse(path.Base(i.Name)); err == nil && packName(id) == i.Name {
			sizes[id] = i.Size
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list packs: %w", err)
	}
	return sizes, nil
}
