package repository

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// treeNode is a tree that snapshots share: each is read once, however many use it.
type treeNode struct {
	children []uint32
	hits     []*finding // felt in this tree itself
}

// treeTask is a tree to be read.
type treeTask struct {
	no    uint32
	id    hash.ID
	path  string // where it was seen first
	depth int
}

// treeWalk is the trees that wait to be read.
type treeWalk struct {
	*checker
	wake   *sync.Cond // on the checker's mutex
	stack  []treeTask
	active int
	failed bool
}

// checkTrees reads every tree of every snapshot, and looks for the blobs that
// they name.
func (c *checker) checkTrees(ctx context.Context) error {
	c.phase("trees", 0, 0)
	w := &treeWalk{checker: c, wake: sync.NewCond(&c.mu)}
	c.mu.Lock()
	for _, s := range c.snapshots {
		c.roots = append(c.roots, w.push(s.Tree, "", 0))
	}
	c.mu.Unlock()
	g, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.failed = true
		w.wake.Broadcast()
	})
	defer stop()
	for range c.options.Workers {
		g.Go(func() error {
			for {
				t, ok := w.next()
				if !ok {
					return nil
				}
				if err := w.visit(gctx, t); err != nil {
					return err
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.result.Trees = len(c.graph)
	c.attribute()
	c.unneeded()
	return nil
}

// push numbers a tree, and has it read when it is new. The mutex is held.
func (w *treeWalk) push(id hash.ID, path string, depth int) uint32 {
	no, ok := w.trees[id]
	if !ok {
		no = uint32(len(w.graph)) //nolint:gosec // each tree is a blob, and their table is numbered so, too
		w.trees[id] = no
		w.graph = append(w.graph, treeNode{})
		w.stack = append(w.stack, treeTask{no, id, path, depth})
		w.wake.Signal()
	}
	return no
}

// next waits for a tree to read; false: there will be none.
func (w *treeWalk) next() (treeTask, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.stack) == 0 && w.active > 0 && !w.failed {
		w.wake.Wait()
	}
	if len(w.stack) == 0 || w.failed {
		w.wake.Broadcast()
		return treeTask{}, false
	}
	t := w.stack[len(w.stack)-1]
	w.stack = w.stack[:len(w.stack)-1]
	w.active++
	return t, true
}

// treeView is what one tree shows.
type treeView struct {
	dirs []treeTask
	hits map[*finding]*hit
}

// hit is how a finding is felt in a tree.
type hit struct {
	places  int64
	example string
}

func (v *treeView) hit(f *finding, where string) {
	if v.hits == nil {
		v.hits = map[*finding]*hit{}
	}
	h := v.hits[f]
	if h == nil {
		h = &hit{example: where}
		v.hits[f] = h
	}
	h.places++
}

func (w *treeWalk) visit(ctx context.Context, t treeTask) error {
	v, err := w.look(ctx, t)
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		var children []uint32
		for _, d := range v.dirs {
			children = append(children, w.push(d.id, d.path, d.depth))
		}
		n := &w.graph[t.no] // now: push moves the nodes
		n.children = children
		for f, h := range v.hits {
			n.hits = append(n.hits, f)
			f.Places += h.places
			if f.Example == "" || h.example < f.Example { // the same in every run, as far as can be
				f.Example = h.example
			}
		}
		w.progress.Done, w.progress.Total = w.progress.Done+1, int64(len(w.graph))
		if w.options.Progress != nil {
			w.options.Progress(w.progress)
		}
	}
	w.active--
	if w.active == 0 {
		w.wake.Broadcast()
	}
	return err
}

// look reads a tree from the first place that has it whole.
func (w *treeWalk) look(ctx context.Context, t treeTask) (treeView, error) {
	var v treeView
	if t.depth > maxDepth {
		v.hit(w.nameless(fmt.Sprintf("directories are nested deeper than %d", maxDepth)), t.path)
		return v, nil
	}
	places := w.index.Lookup(nil, t.id, pack.Tree)
	if len(places) == 0 {
		places = w.looseIndex.Lookup(nil, t.id, pack.Tree)
		if len(places) > 0 {
			v.hit(w.needed(places[0].Pack), t.path+"/")
		}
	}
	var bad []*finding
	for _, l := range places {
		if f := w.badPlace(l); f != nil {
			bad = append(bad, f)
			continue
		}
		got, err := w.decode(ctx, t, l)
		if err == nil {
			for f, h := range v.hits {
				got.hit(f, h.example)
			}
			return got, nil
		}
		kind, err2 := broken(ctx, err)
		if err2 != nil {
			return v, err2
		}
		bad = append(bad, w.badPack(l.Pack, Finding{Kind: kind, What: err.Error()}, false, l.Offset))
	}
	for _, f := range bad {
		v.hit(f, t.path+"/")
	}
	if len(places) == 0 {
		v.hit(w.lostBlob(), t.path+"/")
	}
	return v, nil
}

// decode reads a tree from one place.
func (w *treeWalk) decode(ctx context.Context, t treeTask, l index.Location) (v treeView, err error) {
	sealed, err := w.readRange(ctx, l.Pack, int64(l.Offset), int64(l.Length), nil)
	if err != nil {
		return v, err
	}
	content, err := w.openBlob(l, sealed)
	if err != nil {
		return v, err
	}
	var places []index.Location
	err = decodeTree(l.Blob, content, func(n node) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		p := path.Join(t.path, n.name)
		if n.mode.IsDir() {
			v.dirs = append(v.dirs, treeTask{id: n.subtree, path: p, depth: t.depth + 1})
			return nil
		}
		places = w.content(&v, places, p, n)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		err = holdfast.Wrap(holdfast.CodeInvalid, err, "blob %s in pack %s is no tree", l.ID, l.Pack)
	}
	return v, err
}

// content looks for the blobs of a file.
func (w *treeWalk) content(v *treeView, places []index.Location, p string, n node) []index.Location {
	var size int64
	whole := true
	for _, id := range n.content {
		places = w.index.Lookup(places[:0], id, pack.Data)
		if len(places) == 0 {
			if places = w.looseIndex.Lookup(places, id, pack.Data); len(places) > 0 {
				v.hit(w.needed(places[0].Pack), p)
			}
		}
		if len(places) == 0 {
			v.hit(w.lostBlob(), p)
			whole = false
			continue
		}
		size += places[0].Size()
		var bad *finding
		for _, l := range places {
			if bad = w.badPlace(l); bad == nil {
				break
			}
		}
		if bad != nil {
			v.hit(bad, p)
		}
	}
	if whole && n.mode.IsRegular() && size != n.size {
		v.hit(w.nameless("the pieces of files do not have the size that their directories say"), p)
	}
	return places
}

// needed is the finding about a pack that no index object names, and snapshots
// need.
func (c *checker) needed(id hash.ID) *finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loosePacks[id] == nil {
		c.loosePacks[id] = c.keep(Finding{
			Kind: FindingUnindexed, Object: packName(id),
			What: "snapshots need it, and no index object that can be read names it", Hint: hintIndex,
		})
	}
	return c.loosePacks[id]
}

// lostBlob is the finding about all blobs that are nowhere.
func (c *checker) lostBlob() *finding {
	return c.nameless("blobs that snapshots need are in no pack")
}

// nameless is a finding that no object can be named for.
func (c *checker) nameless(what string) *finding {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lost[what] == nil {
		c.lost[what] = c.keep(Finding{
			Kind: FindingLost, Object: kindPack().prefix, What: what,
			Hint: "bring lost packs and index objects back from a copy of the repository; else back up again",
		})
	}
	return c.lost[what]
}

// attribute finds the snapshots in which each finding is felt.
func (c *checker) attribute() {
	felt := false
	for _, n := range c.graph {
		felt = felt || len(n.hits) > 0
	}
	if !felt {
		return
	}
	seen := make([]int, len(c.graph)) // number of the last snapshot that came by, plus one
	var stack []uint32
	for i, root := range c.roots {
		stack = append(stack[:0], root)
		seen[root] = i + 1
		for len(stack) > 0 {
			n := &c.graph[stack[len(stack)-1]]
			stack = stack[:len(stack)-1]
			for _, f := range n.hits {
				f.affected.SetBit(&f.affected, i, 1)
			}
			for _, child := range n.children {
				if seen[child] != i+1 {
					seen[child] = i + 1
					stack = append(stack, child)
				}
			}
		}
	}
	// What an index object that cannot be read has named is what is not found now.
	for _, f := range c.findings {
		if f.Kind.IsWarning() || !strings.HasPrefix(f.Object, kindIndex().prefix) {
			continue
		}
		for _, other := range c.findings {
			if other.Kind == FindingUnindexed || other.Kind == FindingLost {
				f.affected.Or(&f.affected, &other.affected)
			}
		}
	}
}

// unneeded warns of packs that no index object names and no snapshot needs. While
// others write, such packs are on their way into the index.
func (c *checker) unneeded() {
	for id, f := range c.loosePacks {
		if f == nil && !c.others {
			c.report(Finding{
				Kind: FindingUnused, Object: packName(id), What: "no index object names it, and no snapshot needs it",
				Hint: "an interrupted backup leaves such packs; they only take room",
			})
		}
	}
}
