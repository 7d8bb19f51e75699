package repository

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// deleters is how many packs are deleted at once.
const deleters = 8

// deleteRipe deletes the packs that have waited long enough, in the order that
// docs/format/prune.md argues for: sentence, look again, index, look again, packs.
func (p *pruner) deleteRipe(ctx context.Context) error {
	if len(p.plan.ripe) == 0 && len(p.plan.ghosts) == 0 {
		return p.clearSentences(ctx, nil)
	}
	p.phase("delete", int64(len(p.plan.ripe)))
	own, err := p.pass(ctx)
	if err != nil {
		return err
	}
	// From here on the packs are sentenced. Whoever puts a snapshot from now on sees
	// that; whoever has put one is seen now.
	if reason, err := p.strangers(ctx, own); err != nil || reason != "" {
		return p.postpone(ctx, own, reason, err)
	}
	if err := p.spare(ctx); err != nil {
		return p.postpone(ctx, own, "", err)
	}
	if p.locks, err = p.heldLocks(ctx, p.lock); err != nil {
		return p.postpone(ctx, own, "", err)
	}
	if foreign(p.locks) {
		return p.postpone(ctx, own, postponedForeign, nil)
	}
	if err := p.confirmGhosts(ctx); err != nil {
		return p.postpone(ctx, own, "", err)
	}
	if err := p.rewriteIndex(ctx); err != nil {
		return err
	}
	// No lock of another program now: who read the old index has put what it will put.
	if p.locks, err = p.heldLocks(ctx, p.lock); err != nil {
		return err
	}
	before := p.ripePacks()
	if err := p.spare(ctx); err != nil {
		return err
	}
	if foreign(p.locks) {
		if err := p.restoreIndex(ctx, before); err != nil {
			return err
		}
		return p.postpone(ctx, own, postponedForeign, nil)
	}
	if err := p.restoreIndex(ctx, p.notRipe(before)); err != nil {
		return err
	}
	if err := p.deletePacks(ctx); err != nil {
		return err
	}
	if err := p.clearSentences(ctx, own); err != nil {
		return err
	}
	p.plan.pardon = nil
	return p.tendMarks(ctx)
}

const (
	postponedForeign = "another program, which knows nothing of condemned packs, has come meanwhile"
	postponedPrune   = "another prune is at work"
)

// pass sentences the ripe packs and returns the sentence's id; nil: there are none.
func (p *pruner) pass(ctx context.Context) (*hash.ID, error) {
	if len(p.plan.ripe) == 0 {
		return nil, nil //nolint:nilnil // nobody is sentenced
	}
	if err := p.lock.check(ctx); err != nil {
		return nil, err
	}
	s := sentence{Version: recordVersion, Time: p.now(), Packs: p.ripePacks()}
	id, err := putRecord(ctx, p.Repository, kindSentence(), s)
	return &id, err
}

func (p *pruner) ripePacks() []hash.ID { return sortedIDs(p.plan.ripe) }

// notRipe returns those that have been spared.
func (p *pruner) notRipe(packs []hash.ID) []hash.ID {
	return slices.DeleteFunc(slices.Clone(packs), func(id hash.ID) bool { _, ripe := p.plan.ripe[id]; return ripe })
}

// strangers says why this prune must give way: a mark or a sentence that has come or
// gone since its look is another prune's work.
func (p *pruner) strangers(ctx context.Context, own *hash.ID) (string, error) {
	known := map[hash.ID]bool{} // whether it must be there
	for id := range p.marks {
		known[id] = true
	}
	for id := range p.sentences {
		known[id] = true
	}
	for _, id := range p.badMarks { // removed, if the store let us
		known[id] = false
	}
	if own != nil {
		known[*own] = true
	}
	must := 0
	for _, there := range known {
		if there {
			must++
		}
	}
	for _, k := range []kind{kindMark(), kindSentence()} {
		ids, err := list(ctx, p.bucket, k)
		if err != nil {
			return "", err
		}
		for _, id := range ids {
			there, ok := known[id]
			if !ok {
				return postponedPrune, nil
			}
			if there {
				must--
			}
		}
	}
	if must != 0 {
		return postponedPrune, nil
	}
	return "", nil
}

// postpone takes the sentence back: this prune deletes nothing any more.
func (p *pruner) postpone(ctx context.Context, own *hash.ID, reason string, err error) error {
	if own != nil {
		err = errors.Join(err, p.remove(context.WithoutCancel(ctx), kindSentence(), *own))
	}
	if err != nil {
		return err
	}
	p.result.Postponed = reason
	p.log.InfoContext(ctx, "packs not deleted yet", "reason", reason)
	return nil
}

// spare walks the snapshots that have come since the last look, and takes the packs
// that they need from those that are deleted.
func (p *pruner) spare(ctx context.Context) error {
	walked, lost := len(p.snapshots), p.lostBlobs
	if err := p.walk(ctx); err != nil {
		return err
	}
	if len(p.snapshots) == walked {
		return nil
	}
	class := p.classes()
	var places []index.Location
	named := map[hash.ID]bool{}
	needed := map[hash.ID]bool{}
	err := p.index.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		named[id] = true
		if _, ripe := p.plan.ripe[id]; !ripe && !p.plan.ghosts[id] {
			return ctx.Err()
		}
		for _, b := range blobs {
			if !p.use.Has(b.ID, b.Type) {
				continue
			}
			places = p.index.Lookup(places[:0], b.ID, b.Type)
			if !slices.ContainsFunc(places, func(l index.Location) bool { return class(l.Pack) == packLive && !p.damaged[l.Pack] }) {
				needed[id] = true
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	for id, size := range p.plan.ripe {
		// A pack that was in no index object may hold what a new snapshot misses.
		if needed[id] || p.loose[id] && !p.adopted[id] && (named[id] || p.lostBlobs > lost) {
			delete(p.plan.ripe, id)
			p.result.Spared.add(size)
		}
	}
	for id := range needed {
		delete(p.plan.ghosts, id)
	}
	return nil
}

// deletePacks deletes what is ripe. What the store keeps for now stays sentenced.
func (p *pruner) deletePacks(ctx context.Context) error {
	if len(p.plan.ripe) == 0 {
		return nil
	}
	if err := p.lock.check(ctx); err != nil {
		return err
	}
	var mu sync.Mutex // guards the result and the sizes
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(deleters)
	for _, id := range p.ripePacks() {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := p.good(); err != nil {
				return err
			}
			err := p.remove(gctx, kindPack(), id)
			_, kept := objstore.RetainedUntil(err)
			if err != nil && !kept {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			if kept {
				p.result.Retained.add(p.plan.ripe[id])
			} else {
				p.result.Deleted.add(p.plan.ripe[id])
				delete(p.sizes, id)
			}
			p.step(func(s *CheckProgress) { s.Done++ })
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// clearSentences removes the sentences that are carried out. own is ours: what it
// names and was spared nobody deletes any more, as that would be us.
func (p *pruner) clearSentences(ctx context.Context, own *hash.ID) error {
	for id, s := range p.sentences {
		if !slices.ContainsFunc(s.Packs, func(id hash.ID) bool { _, there := p.sizes[id]; return there }) {
			if err := p.remove(ctx, kindSentence(), id); err != nil {
				return err
			}
			delete(p.sentences, id)
		}
	}
	if own == nil || p.result.Retained.Packs > 0 {
		return nil
	}
	return p.remove(ctx, kindSentence(), *own)
}

// confirmGhosts asks for each pack that is said to be gone: a listing may be older than
// the pack, and what the index has lost nobody finds.
func (p *pruner) confirmGhosts(ctx context.Context) error {
	for _, id := range sortedIDs(p.plan.ghosts) {
		there, err := p.packThere(ctx, id)
		if err != nil {
			return err
		}
		if there {
			delete(p.plan.ghosts, id)
		}
	}
	return nil
}

// rewriteIndex puts index objects in the place of those that name packs that are
// deleted, or that are gone and that nobody needs. An object is removed when one that
// names all its other packs is durable, and was put by us: so whoever removes an
// object, however late, takes no name away.
func (p *pruner) rewriteIndex(ctx context.Context) error {
	drop := map[hash.ID]bool{}
	for id := range p.plan.ripe {
		drop[id] = true
	}
	for id := range p.plan.ghosts {
		drop[id] = true
	}
	if len(drop) == 0 {
		return nil
	}
	ids, err := list(ctx, p.bucket, kindIndex())
	if err != nil {
		return err
	}
	p.phase("index", int64(len(ids)))
	w := indexWriter{pruner: p}
	var old []hash.ID
	for _, id := range ids {
		packs, affected, err := p.indexWithout(ctx, id, drop)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue // somebody else has replaced it
		}
		if err != nil {
			return err
		}
		p.step(func(s *CheckProgress) { s.Done++ })
		if !affected {
			continue
		}
		old = append(old, id)
		for _, pk := range packs {
			if err := w.add(ctx, pk); err != nil {
				return err
			}
		}
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	for _, id := range old {
		if err := p.lock.check(ctx); err != nil {
			return err
		}
		if err := p.remove(ctx, kindIndex(), id); err != nil {
			return fmt.Errorf("an index object that names packs to be deleted must go first: %w", err)
		}
	}
	return nil
}

// indexWithout reads an index object and returns its packs without those that are
// dropped.
func (p *pruner) indexWithout(ctx context.Context, id hash.ID, drop map[hash.ID]bool) (packs []index.Pack, affected bool, err error) {
	data, err := p.load(ctx, kindIndex(), id)
	if err != nil {
		return nil, false, err
	}
	err = index.Decode(data, func(pk index.Pack) error {
		if drop[pk.ID] {
			affected = true
		} else {
			packs = append(packs, index.Pack{ID: pk.ID, Blobs: slices.Clone(pk.Blobs)})
		}
		return ctx.Err()
	})
	return packs, affected, err
}

// restoreIndex names packs in the index again.
func (p *pruner) restoreIndex(ctx context.Context, packs []hash.ID) error {
	if len(packs) == 0 {
		return nil
	}
	again := map[hash.ID]bool{}
	for _, id := range packs {
		again[id] = !p.loose[id] || p.adopted[id]
	}
	w := indexWriter{pruner: p}
	err := p.index.ByPack(func(id hash.ID, blobs []pack.Blob) error {
		if !again[id] {
			return ctx.Err()
		}
		return w.add(ctx, index.Pack{ID: id, Blobs: slices.Clone(blobs)})
	})
	if err != nil {
		return err
	}
	return w.flush(ctx)
}

// indexWriter fills index objects.
type indexWriter struct {
	*pruner
	batch []index.Pack
	blobs int
	seed  maphash.Seed
	named map[hash.ID]uint64 // packs that were added, with the sum of what was said of them last
}

func (w *indexWriter) add(ctx context.Context, p index.Pack) error {
	if w.named == nil {
		w.seed, w.named = maphash.MakeSeed(), map[hash.ID]uint64{}
	}
	var sum maphash.Hash
	sum.SetSeed(w.seed)
	for _, b := range p.Blobs {
		maphash.WriteComparable(&sum, b)
	}
	if said, ok := w.named[p.ID]; ok && said == sum.Sum64() {
		return nil // two objects named it, and say the same
	}
	w.named[p.ID] = sum.Sum64()
	if w.blobs > 0 && w.blobs+len(p.Blobs) > index.MaxBlobs {
		if err := w.flush(ctx); err != nil {
			return err
		}
	}
	w.batch = append(w.batch, p)
	w.blobs += len(p.Blobs)
	return nil
}

func (w *indexWriter) flush(ctx context.Context) error {
	if len(w.batch) == 0 {
		return nil
	}
	if err := w.lock.check(ctx); err != nil {
		return err
	}
	id, _, err := w.lock.putIndex(ctx, w.batch)
	w.batch, w.blobs = nil, 0
	if err == nil {
		w.indexes[id] = true // the index in memory has it
	}
	return err
}
