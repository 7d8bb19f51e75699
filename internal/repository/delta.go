package repository

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// Delta is the sink of a Writer that builds on an earlier set: of a file that is
// the same there, the blobs are taken from that set's tree, and the file is not
// read.
//
// The trees of the base are read beside the files that are added, and one node of
// them is held at a time. That finds every file when files come in the order of
// [Reader.Walk]; one that comes out of order is read.
type Delta struct {
	w    *Writer
	base *Reader

	mu     sync.Mutex // guards the fields below
	cursor *treeCursor
	err    error // why the base is of no use any more
	found  []index.Location
}

var _ engine.Sink = (*Delta)(nil)

// BuildOn returns a sink that takes what has not changed from an earlier set of the
// repository. It must be closed before the writer is.
func (w *Writer) BuildOn(ctx context.Context, snapshotID string) (*Delta, error) {
	s, err := w.repo.Snapshot(ctx, snapshotID)
	if err != nil {
		return nil, err
	}
	// The writer's lock protects the base, too, and its index has nothing that is
	// missing.
	base := &Reader{repo: w.repo, snapshot: s, index: w.index}
	return &Delta{w: w, base: base, cursor: base.cursor(ctx)}, nil
}

var errStopped = errors.New("the reading of the base has been stopped")

// Base reads the set that is built on.
func (d *Delta) Base() engine.Source { return d.base }

// Err returns why the base could not be read any further; from then on every file
// is read.
func (d *Delta) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Close ends the reading of the base. The writer stays open.
func (d *Delta) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cursor.stop()
	return nil
}

// Flush implements engine.Sink.
func (d *Delta) Flush(ctx context.Context) error { return d.w.Flush(ctx) }

// Add implements engine.Sink.
func (d *Delta) Add(ctx context.Context, f engine.File) error {
	if f.Same == nil || !f.Mode.IsRegular() {
		return d.w.Add(ctx, f)
	}
	ids, ok := d.content(f)
	if !ok {
		return d.w.Add(ctx, f)
	}
	return d.take(f, ids)
}

// content returns the blobs of a file that is the same in the base. All of them are
// in the repository, and the file is cut as it would be now.
func (d *Delta) content(f engine.File) ([]hash.ID, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil, false
	}
	n, ok, err := d.cursor.find(f.Path)
	if err != nil {
		d.err = err
		d.cursor.stop()
		return nil, false
	}
	if !ok || !n.mode.IsRegular() || n.size != f.Size || !f.Same(n.engineNode(f.Path)) {
		return nil, false
	}
	return n.content, d.holds(n)
}

// holds reports whether every blob of the file is in the repository, and of a size
// that it could have now.
func (d *Delta) holds(n node) bool {
	var offset int64
	for _, id := range n.content {
		d.found = d.w.index.Lookup(d.found[:0], id, pack.Data)
		if len(d.found) == 0 || !ourCut(n.size, offset, d.found[0].Size()) {
			return false
		}
		offset += d.found[0].Size()
	}
	return offset == n.size
}

// ourCut reports whether a piece of a file may lie there: it is a whole block, or one
// part of it.
func ourCut(file, offset, piece int64) bool {
	block := int64(blockSize)
	if file <= wholeFile {
		block = wholeFile
	}
	at := offset % block
	size := min(block, file-(offset-at)) // of the block
	if at == 0 && piece == size {
		return piece > 0
	}
	return block == blockSize && at%partSize == 0 && piece == min(partSize, size-at)
}

// take adds a file with the blobs of the base.
func (d *Delta) take(f engine.File, ids []hash.ID) error {
	if err := checkNode(f); err != nil {
		return d.w.fail(err)
	}
	d.w.useMu.RLock()
	defer d.w.useMu.RUnlock()
	if err := d.w.cause(); err != nil {
		return err
	}
	if d.w.done {
		return errCommitted
	}
	for _, id := range ids {
		if d.w.index.Claim(id, pack.Data) != index.Known { // as for a block that was read
			return d.w.fail(errors.New("a blob that was known is not known any more"))
		}
	}
	d.w.mu.Lock()
	d.w.entries[f.Path] = &entry{node: f.Node, content: ids}
	d.w.mu.Unlock()
	d.w.files.Add(1)
	d.w.blobs.Add(int64(len(ids)))
	if f.Done != nil {
		f.Done(engine.FileResult{Size: f.Size, Unread: true})
	}
	return nil
}

// treeCursor goes through the nodes of a snapshot in the order of their paths, and
// leaves out the directories that nobody asks for.
type treeCursor struct {
	want string // what is looked for now
	next func() (placed, error, bool)
	stop func()
	at   *placed // the node that was read last; nil: none yet
	end  bool
}

// placed is a node with its path.
type placed struct {
	path string
	node node
}

func (r *Reader) cursor(ctx context.Context) *treeCursor {
	c := &treeCursor{}
	c.next, c.stop = iter.Pull2(func(yield func(placed, error) bool) {
		err := r.walk(ctx, r.snapshot.Tree, "", 0, func(p string, n node) (bool, error) {
			if n.mode.IsDir() {
				return comparePaths(c.want, p) <= 0 || strings.HasPrefix(c.want, p+"/"), nil
			}
			if !yield(placed{p, n}, nil) {
				return false, errStopped
			}
			return false, nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(placed{}, err)
		}
	})
	return c
}

// find goes forward to the file at the path. What lies before the last path that
// was asked for is not found.
func (c *treeCursor) find(path string) (node, bool, error) {
	c.want = path
	for !c.end && (c.at == nil || comparePaths(c.at.path, path) < 0) {
		p, err, ok := c.next()
		if err != nil {
			return node{}, false, err
		}
		c.at, c.end = &p, !ok
	}
	if c.end || c.at.path != path {
		return node{}, false, nil
	}
	return c.at.node, true, nil
}

// comparePaths orders paths as a walk through directories meets them: a slash comes
// before every other byte.
func comparePaths(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] == b[i] {
			continue
		}
		switch {
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}
