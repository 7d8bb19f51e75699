package repository

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
)

// Reader is an engine.Source for one snapshot. Its methods may be used by
// several goroutines.
type Reader struct {
	repo     *Repository
	snapshot Snapshot
	index    *index.Index
	damage   error // index objects that cannot be read; what they named is not found
	lock     *lock // nil: the store takes none, as a read-only copy or a full disk
	damages  *damages
	closed   func() error
}

var _ engine.Source = (*Reader)(nil)

// NewReader takes a lock and loads the index. A bucket that may only be read, or
// that is full, is read without a lock: a restore must not wait for room. When a
// part of the index is damaged, what the rest of it names is read all the same.
func (r *Repository) NewReader(ctx context.Context, snapshotID string) (_ *Reader, err error) {
	rd := &Reader{repo: r, damages: &damages{}}
	if rd.lock, err = r.lockToRead(ctx, "reader"); err != nil {
		return nil, err
	}
	rd.closed = sync.OnceValue(rd.close)
	defer func() {
		if err != nil {
			err = errors.Join(err, rd.Close())
		}
	}()
	if rd.snapshot, err = r.Snapshot(ctx, snapshotID); err != nil {
		return nil, err
	}
	var damaged damagedIndexes
	if rd.index, err = r.loadIndex(ctx, damaged.add); err != nil {
		return nil, err
	}
	rd.damage = errors.Join(damaged.errs...)
	return rd, nil
}

// damagedIndexes collects the index objects that cannot be read.
type damagedIndexes struct {
	mu   sync.Mutex // guards the field below
	errs []error
}

// add takes damage for itself, and leaves to the caller what may pass.
func (d *damagedIndexes) add(_ hash.ID, err error) error {
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.errs = append(d.errs, err)
	return nil
}

// explain says of a blob that was not found why that may be.
func (r *Reader) explain(err error) error {
	if err == nil || r.damage == nil || !errors.Is(err, errNotIndexed) {
		return err
	}
	return holdfast.Wrap(holdfast.CodeInvalid, errors.Join(r.damage, err), "a part of the repository's index is damaged").WithHint("%s", hintIndex)
}

// Snapshot returns the snapshot that is read.
func (r *Reader) Snapshot() Snapshot { return r.snapshot }

// Close removes the lock, and leaves a note on each pack that was found damaged. It may
// be called several times.
func (r *Reader) Close() error { return r.closed() }

func (r *Reader) close() error {
	if r.lock == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	noted := r.repo.remember(ctx, r.lock, r.damages)
	return errors.Join(noted, r.lock.release(ctx))
}

// Walk implements engine.Source. A directory's content follows it, and within a
// directory names are ordered by their bytes.
func (r *Reader) Walk(ctx context.Context, fn func(engine.Node) error) error {
	return r.walk(ctx, r.snapshot.Tree, "", 0, func(p string, n node) (bool, error) {
		return true, fn(n.engineNode(p))
	})
}

// walk calls fn for every node below the tree; fn says whether to go into a
// directory.
func (r *Reader) walk(ctx context.Context, tree hash.ID, dir string, depth int, fn func(p string, n node) (bool, error)) error {
	if depth > maxDepth {
		return holdfast.Errorf(holdfast.CodeInvalid, "directory %q is nested too deep", dir)
	}
	return r.tree(ctx, tree, dir, func(n node) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p := path.Join(dir, n.name)
		enter, err := fn(p, n)
		if err != nil || !enter || !n.mode.IsDir() {
			return err
		}
		return r.walk(ctx, n.subtree, p, depth+1, fn)
	})
}

// tree calls fn for each node of one tree.
func (r *Reader) tree(ctx context.Context, id hash.ID, dir string, fn func(node) error) error {
	b, content, err := r.repo.treeBlob(ctx, r.index, id)
	if err != nil {
		r.damages.see(err)
		return fmt.Errorf("directory %q: %w", "/"+dir, r.explain(err))
	}
	return decodeTree(b, content, fn)
}

// ReadFile implements engine.Source.
func (r *Reader) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	n, err := r.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if n.size > limit {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "file %q has %d bytes, more than %d", name, n.size, limit)
	}
	var data []byte
	codec := compress.New()
	for _, id := range n.content {
		b, err := r.repo.dataBlob(ctx, r.index, codec, id)
		if err != nil {
			r.damages.see(err)
			return nil, fmt.Errorf("file %q: %w", name, r.explain(err))
		}
		data = append(data, b...)
		if int64(len(data)) > n.size {
			break
		}
	}
	if int64(len(data)) != n.size {
		return nil, sizeMismatch(name, n.size)
	}
	return data, nil
}

func sizeMismatch(name string, size int64) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "file %q is damaged: its pieces do not have the %d bytes that its directory says", name, size)
}

// find descends to a regular file.
func (r *Reader) find(ctx context.Context, name string) (node, error) {
	var found *node
	tree, dir := r.snapshot.Tree, ""
	for rest := name; ; {
		part, below, more := strings.Cut(rest, "/")
		found = nil
		err := r.tree(ctx, tree, dir, func(n node) error {
			if n.name < part {
				return nil
			}
			if n.name == part {
				found = &n
			}
			return errEnough
		})
		if err != nil {
			return node{}, err
		}
		if found == nil || (more && !found.mode.IsDir()) || (!more && !found.mode.IsRegular()) {
			return node{}, holdfast.Errorf(holdfast.CodeNotFound, "the set has no file %q", name)
		}
		if !more {
			return *found, nil
		}
		tree, dir, rest = found.subtree, path.Join(dir, part), below
	}
}
