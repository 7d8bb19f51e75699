package repository

import (
	"context"
	"fmt"
	"path"
	"sync"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// look reads all that a plan is made of. The order matters: packs before the index,
// so that what is in none is nobody's or a running backup's; locks before snapshots,
// so that the snapshot of a session that has ended is seen.
func (p *pruner) look(ctx context.Context) error {
	p.badMarks = nil
	var err error
	p.marks, err = p.Repository.marks(ctx, func(id hash.ID, _ error) error {
		p.badMarks = append(p.badMarks, id)
		return nil
	})
	if err != nil {
		return err
	}
	if p.sentences, err = p.Repository.sentences(ctx); err != nil {
		return err
	}
	if p.noted, err = p.damagedPacks(ctx); err != nil {
		return err
	}
	before, err := p.packSizes(ctx)
	if err != nil {
		return err
	}
	p.phase("index", 0)
	p.index, p.indexes = index.New(), map[hash.ID]bool{}
	if err := p.readIndex(ctx); err != nil {
		return err
	}
	if p.sizes, err = p.packSizes(ctx); err != nil {
		return err
	}
	if err := p.adopt(ctx, before); err != nil {
		return err
	}
	if p.locks, err = p.heldLocks(ctx, p.lock); err != nil {
		return err
	}
	p.use, p.snapshots = p.index.NewUse(), map[hash.ID]bool{}
	known := len(p.indexes)
	if err := p.walk(ctx); err != nil {
		return err
	}
	if err := p.seeReaders(ctx); err != nil || len(p.indexes) == known {
		return err
	}
	// A backup that runs has named packs meanwhile, which were not listed yet.
	if p.sizes, err = p.packSizes(ctx); err != nil {
		return err
	}
	for _, id := range p.index.PackIDs() {
		if !p.adopted[id] {
			delete(p.loose, id)
		}
	}
	return nil
}

// seeReaders notes who reads sets now: whoever comes later finds no set that needs what
// no snapshot needs that was walked.
func (p *pruner) seeReaders(ctx context.Context) error {
	p.readers = nil
	if len(p.marks) == 0 {
		return nil
	}
	locks, err := p.heldLocks(ctx, p.lock)
	for _, l := range locks {
		if l.body.reads() {
			p.readers = append(p.readers, l)
		}
	}
	return err
}

// readIndex reads the index objects that have not been read yet.
func (p *pruner) readIndex(ctx context.Context) error {
	return p.refreshIndex(ctx, p.index, p.indexes, everyPack, refuseDamaged)
}

// adopt finds the packs that no index object names. Of those that a prune was about to
// delete the headers are read: that prune may have been wrong about them.
func (p *pruner) adopt(ctx context.Context, before map[hash.ID]int64) error {
	named := map[hash.ID]bool{}
	for _, id := range p.index.PackIDs() {
		named[id] = true
	}
	p.loose, p.adopted = map[hash.ID]bool{}, map[hash.ID]bool{}
	for id := range before {
		if _, there := p.sizes[id]; there && !named[id] {
			p.loose[id] = true
		}
	}
	reader := &packReader{checker: &checker{Repository: p.Repository}, codec: compress.New()}
	for _, s := range p.sentences {
		for _, id := range s.Packs {
			if !p.loose[id] || p.adopted[id] {
				continue
			}
			blobs, err := reader.header(ctx, packJob{id: id, size: p.sizes[id]})
			if err != nil {
				if kind, err2 := broken(ctx, err); err2 != nil || kind == FindingUnreadable {
					return fmt.Errorf("read what pack %s holds: %w", id, err)
				}
				continue // deleted meanwhile, or damaged: it stays loose
			}
			p.index.Add(id, blobs)
			p.adopted[id] = true
		}
	}
	return nil
}

// walk notes the use of all snapshots that have not been walked yet.
func (p *pruner) walk(ctx context.Context) error {
	ids, err := list(ctx, p.bucket, kindSnapshot())
	if err != nil {
		return err
	}
	var roots []hash.ID
	var walked []hash.ID
	for _, id := range ids {
		if p.snapshots[id] {
			continue
		}
		s, err := p.snapshot(ctx, id)
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			continue // removed meanwhile
		}
		if err != nil {
			return fmt.Errorf("what snapshot %s needs is not known: %w", id, err)
		}
		roots, walked = append(roots, s.Tree), append(walked, id)
	}
	if len(roots) == 0 {
		return nil
	}
	if err := p.readIndex(ctx); err != nil { // what they name was indexed before they were put
		return err
	}
	p.phase("trees", 0)
	var mu sync.Mutex // guards lostBlobs and lostExample
	reader := &Reader{repo: p.Repository, index: p.index}
	_, err = walkTrees(ctx, roots, p.options.Workers, func(ctx context.Context, t treeTask, done, total int) ([]treeTask, error) {
		p.step(func(s *CheckProgress) { s.Done, s.Total = max(s.Done, int64(done)), max(s.Total, int64(total)) })
		if t.depth > maxDepth {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "directory %q is nested too deep", t.path)
		}
		if known, added := p.use.Add(t.id, pack.Tree); known && !added {
			return nil, nil // walked before, and all below it
		}
		var dirs []treeTask
		err := reader.tree(ctx, t.id, t.path, func(n node) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if n.mode.IsDir() {
				dirs = append(dirs, treeTask{id: n.subtree, path: path.Join(t.path, n.name), depth: t.depth + 1})
				return nil
			}
			for _, id := range n.content {
				if known, _ := p.use.Add(id, pack.Data); !known {
					mu.Lock()
					p.lostBlobs++
					p.lostExample = path.Join(t.path, n.name)
					mu.Unlock()
				}
			}
			return nil
		})
		return dirs, err
	})
	if err != nil {
		if holdfast.ErrorCode(err) == holdfast.CodeInvalid {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "a directory cannot be read, so what the snapshots need is not known: nothing was pruned").
				WithHint("see what is wrong: holdfast repository check; then: holdfast repository repair")
		}
		return err
	}
	for _, id := range walked {
		p.snapshots[id] = true
	}
	return nil
}
