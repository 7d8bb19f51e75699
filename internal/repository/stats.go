package repository

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// Usage says how much a repository holds, and in how little room.
type Usage struct {
	Snapshots int
	Files     int64 // in all snapshots; one that several have counts in each
	// LogicalBytes is what all snapshots restore to.
	LogicalBytes int64

	Packs       int
	Condemned   PackCount // of the packs, those that a prune will delete
	Blobs       int       // pieces of files and directories; one that lies in two packs counts twice
	UniqueBytes int64     // of their content
	BlobBytes   int64     // of them as they are stored, compressed and sealed
	StoredBytes int64     // of all objects of the repository
}

// Dedup is how many times the stored pieces are used.
func (s Usage) Dedup() float64 { return ratio(s.LogicalBytes, s.UniqueBytes) }

// Compression is how many times the stored pieces are smaller than their content.
func (s Usage) Compression() float64 { return ratio(s.UniqueBytes, s.BlobBytes) }

// Total is how many times the repository is smaller than what it restores to.
func (s Usage) Total() float64 { return ratio(s.LogicalBytes, s.StoredBytes) }

// ratio is zero when there is nothing to compare with.
func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// Stats counts what the repository holds. It reads the index and all directories,
// and no files.
func (r *Repository) Stats(ctx context.Context) (_ Usage, err error) {
	l, err := r.lockToRead(ctx, "stats")
	if err != nil {
		return Usage{}, err
	}
	if l != nil {
		defer func() { err = errors.Join(err, l.release(ctx)) }()
	}
	snapshots, err := r.Snapshots(ctx)
	if err != nil {
		return Usage{}, err
	}
	s := Usage{Snapshots: len(snapshots)}
	rd := &Reader{repo: r}
	if rd.index, err = r.loadIndex(ctx, refuseDamaged); err != nil {
		return Usage{}, err
	}
	s.Packs, s.Blobs = rd.index.Packs(), rd.index.Len()
	err = rd.index.ByPack(func(_ hash.ID, blobs []pack.Blob) error {
		for _, b := range blobs {
			s.UniqueBytes += b.Size()
			s.BlobBytes += int64(b.Length)
		}
		return nil
	})
	if err != nil {
		return Usage{}, err
	}
	if s.Condemned, err = r.countCondemned(ctx); err != nil {
		return Usage{}, err
	}
	if s.StoredBytes, err = r.storedBytes(ctx); err != nil {
		return Usage{}, err
	}
	if err := rd.logical(ctx, snapshots, &s); err != nil {
		return Usage{}, err
	}
	return s, nil
}

// countCondemned counts the packs that are condemned and still there.
func (r *Repository) countCondemned(ctx context.Context) (n PackCount, err error) {
	condemned, err := r.condemned(ctx)
	if err != nil || len(condemned) == 0 {
		return n, err
	}
	sizes, err := r.packSizes(ctx)
	for id := range condemned {
		if size, there := sizes[id]; there {
			n.add(size)
		}
	}
	return n, err
}

// storedBytes adds up the objects. Locks are not the repository's.
func (r *Repository) storedBytes(ctx context.Context) (int64, error) {
	ctx, cancel := withTimeout(ctx, dataTimeout)
	defer cancel()
	var sum int64
	err := r.bucket.List(ctx, "", func(i objstore.Info) error {
		if !strings.HasPrefix(i.Name, kindLock().prefix) {
			sum += i.Size
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("list objects: %w", err)
	}
	return sum, nil
}

// treeSize is the files of one directory, or of all below it.
type treeSize struct{ files, bytes int64 }

// logical adds up the files of the snapshots. Each directory is read once, however
// many snapshots have it.
func (r *Reader) logical(ctx context.Context, snapshots []Snapshot, s *Usage) error {
	roots := make([]hash.ID, 0, len(snapshots))
	for _, snapshot := range snapshots {
		roots = append(roots, snapshot.Tree)
	}
	var mu sync.Mutex
	own := map[uint32]treeSize{}
	graph, err := walkTrees(ctx, roots, max(runtime.GOMAXPROCS(0), 2), func(ctx context.Context, t treeTask, _, _ int) ([]treeTask, error) {
		if t.depth > maxDepth {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "directory %q is nested too deep", t.path)
		}
		var dirs []treeTask
		var size treeSize
		err := r.tree(ctx, t.id, t.path, func(n node) error {
			switch {
			case n.mode.IsDir():
				dirs = append(dirs, treeTask{id: n.subtree, path: strings.TrimPrefix(t.path+"/"+n.name, "/"), depth: t.depth + 1})
			case n.mode.IsRegular():
				size.files++
				size.bytes += n.size
			}
			return ctx.Err()
		})
		mu.Lock()
		defer mu.Unlock()
		own[t.no] = size
		return dirs, err
	})
	if err != nil {
		return err
	}
	total := map[uint32]treeSize{} // a directory with all below it
	var sum func(no uint32) treeSize
	sum = func(no uint32) treeSize {
		size, ok := total[no]
		if !ok {
			size = own[no]
			for _, child := range graph.children[no] {
				below := sum(child)
				size.files += below.files
				size.bytes += below.bytes
			}
			total[no] = size
		}
		return size
	}
	for _, root := range graph.roots {
		size := sum(root)
		s.Files += size.files
		s.LogicalBytes += size.bytes
	}
	return nil
}
