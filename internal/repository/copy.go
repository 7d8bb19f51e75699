package repository

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// CopyOptions say what is copied.
type CopyOptions struct {
	Snapshots []string // their whole ids
	Workers   int      // reads in work at once; 0: one more than cores
	// Progress is called now and then, by one goroutine at a time; it may be nil.
	Progress func(CheckProgress)
}

// CopyResult is what a copy did.
type CopyResult struct {
	Snapshots  []CopiedSnapshot
	Blobs      int64 // that the other repository did not have
	Packs      int64 // put into it
	AddedBytes int64 // put into it
}

// CopiedSnapshot is a snapshot in both repositories.
type CopiedSnapshot struct {
	From  string
	To    string
	There bool // it was there before
}

// copyBatch is how many blobs are looked for at once: the more, the better the order
// of reads. Each takes 88 bytes.
const copyBatch = 1 << 17

// Copy copies snapshots into another repository: what it knows already stays, and the
// rest goes over as it is compressed, verified, and sealed with the other key. Each
// snapshot is put when all that it needs is durable there. One that is there already
// is not put again; what the other repository has lost of it is brought back.
//
// After an error the result says what was copied before. A piece that cannot be read
// is one: a copy is whole or not there.
func (r *Repository) Copy(ctx context.Context, to *Repository, o CopyOptions) (_ CopyResult, err error) {
	if r.ID() == to.ID() {
		return CopyResult{}, holdfast.Errorf(holdfast.CodeInvalid, "a repository cannot be copied into itself").WithHint("name another one")
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0) + 1
	}
	l, err := r.lockToRead(ctx, "copy")
	if err != nil {
		return CopyResult{}, err
	}
	if l != nil {
		defer func() { err = errors.Join(err, l.release(ctx)) }()
	}
	var damaged damagedIndexes
	x, err := r.loadIndex(ctx, damaged.add)
	if err != nil {
		return CopyResult{}, err
	}
	there, err := to.Snapshots(ctx)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeInvalid { // one that is damaged is none that is there
		return CopyResult{}, err
	}
	host, _ := os.Hostname() // for people
	w, err := to.NewWriter(ctx, WriterOptions{Holder: host + "/copy", Hostname: host, Workers: 1})
	if err != nil {
		return CopyResult{}, fmt.Errorf("the repository to copy to: %w", err)
	}
	c := &copier{
		Reader: &Reader{repo: r, index: x, damage: errors.Join(damaged.errs...)}, to: w, options: o, there: there, seen: map[hash.ID]bool{},
	}
	err = c.copyAll(ctx)
	err = errors.Join(err, w.Close())
	s := w.Stats()
	c.result.Blobs, c.result.Packs, c.result.AddedBytes = c.moved.Load(), s.Packs, s.AddedBytes
	return c.result, err
}

// copier is one copy under way.
type copier struct {
	*Reader
	to      *Writer
	options CopyOptions
	there   []Snapshot // in the other repository
	result  CopyResult
	moved   atomic.Int64

	mu       sync.Mutex       // guards the fields below
	seen     map[hash.ID]bool // trees
	wanted   []index.Location
	progress CheckProgress
}

func (c *copier) copyAll(ctx context.Context) error {
	c.to.useMu.RLock()
	defer c.to.useMu.RUnlock()
	ctx, stop := c.to.bound(ctx)
	defer stop()
	for i, id := range c.options.Snapshots {
		c.step(func(p *CheckProgress) {
			p.Phase, p.Done, p.Total = fmt.Sprintf("copy %d of %d", i+1, len(c.options.Snapshots)), int64(i), int64(len(c.options.Snapshots))
		})
		s, err := c.repo.Snapshot(ctx, id)
		if err != nil {
			return err
		}
		if err := c.copySnapshot(ctx, s); err != nil {
			return fmt.Errorf("copy snapshot %s: %w", id[:8], c.to.fail(err))
		}
	}
	return nil
}

func (c *copier) step(change func(*CheckProgress)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.progress)
	if c.options.Progress != nil {
		c.options.Progress(c.progress)
	}
}

func (c *copier) copySnapshot(ctx context.Context, s Snapshot) error {
	batches := make(chan []index.Location)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(batches)
		_, err := walkTrees(gctx, []hash.ID{s.Tree}, c.options.Workers, func(ctx context.Context, t treeTask, _, _ int) ([]treeTask, error) {
			return c.visit(ctx, t, batches)
		})
		if err != nil {
			return err
		}
		return send(gctx, batches, c.takeWanted(0))
	})
	g.Go(func() error {
		for batch := range batches {
			if err := c.move(gctx, batch); err != nil {
				return err
			}
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, t := range c.there {
		if t.Tree == s.Tree && t.origin() == s.origin() {
			if err := c.to.flush(ctx); err != nil { // what was brought back
				return err
			}
			if still, err := c.stillThere(ctx, t.ID); err != nil {
				return err
			} else if !still {
				continue
			}
			c.result.Snapshots = append(c.result.Snapshots, CopiedSnapshot{From: s.ID, To: t.ID, There: true})
			return nil
		}
	}
	plain, err := c.repo.derive(ctx, derived{from: s, tree: s.Tree, tags: []string{CopiedFromTag + "=" + c.repo.ID() + "/" + s.ID}})
	if err != nil {
		return err
	}
	id, err := c.to.putSnapshot(ctx, plain)
	if err != nil {
		return err
	}
	c.there = append(c.there, Snapshot{ID: id, Tree: s.Tree, Original: s.origin()})
	c.result.Snapshots = append(c.result.Snapshots, CopiedSnapshot{From: s.ID, To: id})
	return nil
}

// stillThere reports whether a snapshot of the other repository has not been removed
// since they were listed, and what it needs has not either.
func (c *copier) stillThere(ctx context.Context, id string) (bool, error) {
	if err := c.to.unharmed(ctx); err != nil {
		return false, err
	}
	_, err := c.to.repo.Snapshot(ctx, id)
	if errors.Is(err, ErrNoSnapshot) {
		return false, nil
	}
	return err == nil, err
}

func send(ctx context.Context, to chan<- []index.Location, batch []index.Location) error {
	if len(batch) == 0 {
		return nil
	}
	select {
	case to <- batch:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// takeWanted takes what is to be moved when it is more than so many blobs.
func (c *copier) takeWanted(more int) []index.Location {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wanted) <= more {
		return nil
	}
	batch := c.wanted
	c.wanted = nil
	return batch
}

// visit copies one tree, and notes which of its blobs the other repository needs.
func (c *copier) visit(ctx context.Context, t treeTask, batches chan<- []index.Location) (dirs []treeTask, err error) {
	if t.depth > maxDepth {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "directory %q is nested too deep", t.path)
	}
	c.mu.Lock()
	known := c.seen[t.id]
	c.seen[t.id] = true
	c.mu.Unlock()
	if known { // by the way of another snapshot
		return nil, nil
	}
	b, content, err := c.repo.treeBlob(ctx, c.index, t.id)
	if err != nil {
		return nil, fmt.Errorf("directory %q: %w", "/"+t.path, c.explain(err))
	}
	var places, wanted []index.Location
	err = decodeTree(b, content, func(n node) error {
		if n.mode.IsDir() {
			dirs = append(dirs, treeTask{id: n.subtree, path: path.Join(t.path, n.name), depth: t.depth + 1})
		}
		for _, id := range n.content {
			if c.to.index.Claim(id, pack.Data) == index.Known {
				continue
			}
			if places, err = locate(c.index, places[:0], id, pack.Data); err == nil {
				err = checkSize(places[0])
			}
			if err != nil {
				return fmt.Errorf("file %q: %w", path.Join(t.path, n.name), c.explain(err))
			}
			if wanted = append(wanted, places[0]); len(wanted) >= copyBatch {
				if err := send(ctx, batches, wanted); err != nil {
					return err
				}
				wanted = nil
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	if c.to.index.Claim(t.id, pack.Tree) == index.Claimed {
		if err := c.storeTree(ctx, b, content); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	c.wanted = append(c.wanted, wanted...)
	c.mu.Unlock()
	return dirs, send(ctx, batches, c.takeWanted(copyBatch))
}

func (c *copier) storeTree(ctx context.Context, b pack.Blob, content []byte) error {
	m := blobMover{from: c.repo, to: c.to.repo}
	b, content, err := m.tree(b, content)
	if err != nil {
		return err
	}
	c.moved.Add(1)
	return c.to.packer.seal(ctx, b, content)
}

// move copies data blobs, in the order in which they lie in the packs.
func (c *copier) move(ctx context.Context, batch []index.Location) error {
	slices.SortFunc(batch, func(a, b index.Location) int {
		return cmp.Or(slices.Compare(a.Pack[:], b.Pack[:]), cmp.Compare(a.Offset, b.Offset))
	})
	var next atomic.Int64
	ranges := cutRanges(batch)
	g, gctx := errgroup.WithContext(ctx)
	for range min(c.options.Workers, len(ranges)) {
		g.Go(func() error {
			m := blobMover{from: c.repo, to: c.to.repo}
			for gctx.Err() == nil {
				i := int(next.Add(1) - 1)
				if i >= len(ranges) {
					return nil
				}
				if err := c.moveRange(gctx, &m, ranges[i]); err != nil {
					return err
				}
			}
			return context.Cause(gctx)
		})
	}
	return g.Wait()
}

// cutRanges cuts sorted blobs into what is read at once.
func cutRanges(batch []index.Location) (out [][]index.Location) {
	first := 0
	for i := 1; i <= len(batch); i++ {
		if i < len(batch) {
			l, before := batch[i], batch[i-1]
			end := int64(before.Offset) + int64(before.Length)
			if l.Pack == before.Pack && int64(l.Offset) >= end && int64(l.Offset)-end <= rangeHole &&
				int64(l.Offset)+int64(l.Length)-int64(batch[first].Offset) <= rangeSize {
				continue
			}
		}
		out = append(out, batch[first:i])
		first = i
	}
	return out
}

func (c *copier) moveRange(ctx context.Context, m *blobMover, blobs []index.Location) error {
	last := blobs[len(blobs)-1]
	start := int64(blobs[0].Offset)
	var readErr error
	m.sealed, readErr = c.repo.readRange(ctx, last.Pack, start, int64(last.Offset)+int64(last.Length)-start, m.sealed)
	for _, l := range blobs {
		var b pack.Blob
		var content []byte
		err := readErr
		if err == nil {
			b, content, err = m.take(l, m.sealed[int64(l.Offset)-start:][:l.Length])
		}
		if err != nil && ctx.Err() == nil {
			b, content, err = c.fromElsewhere(ctx, l, err)
		}
		if err != nil {
			return err
		}
		if err := c.to.packer.seal(ctx, b, content); err != nil {
			return err
		}
		c.moved.Add(1)
		c.step(func(p *CheckProgress) { p.DoneBytes += int64(l.Length) })
	}
	return nil
}

// fromElsewhere reads a blob from another place than the one that is bad.
func (c *copier) fromElsewhere(ctx context.Context, bad index.Location, err error) (pack.Blob, []byte, error) {
	m := blobMover{from: c.repo, to: c.to.repo}
	for _, l := range c.index.Lookup(nil, bad.ID, bad.Type) {
		if l == bad {
			continue
		}
		if b, content, err2 := m.read(ctx, l); err2 == nil {
			return b, content, nil
		}
	}
	return pack.Blob{}, nil, err
}
