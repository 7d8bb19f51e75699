package repository

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// checkTrees reads every tree of every snapshot, and looks for the blobs that
// they name.
func (c *checker) checkTrees(ctx context.Context) error {
	c.phase("trees", 0, 0)
	roots := make([]hash.ID, 0, len(c.snapshots))
	for _, s := range c.snapshots {
		roots = append(roots, s.Tree)
	}
	graph, err := walkTrees(ctx, roots, c.options.Workers, c.visit)
	if err != nil {
		return err
	}
	c.result.Trees = len(graph.children)
	c.attribute(graph)
	c.unneeded()
	return nil
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

// visit reads one tree, and notes what is felt in it.
func (c *checker) visit(ctx context.Context, t treeTask, done, total int) ([]treeTask, error) {
	v, err := c.look(ctx, t)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	for f, h := range v.hits {
		c.hits[t.no] = append(c.hits[t.no], f)
		f.Places += h.places
		if f.Example == "" || h.example < f.Example { // the same in every run, as far as can be
			f.Example = h.example
		}
	}
	c.mu.Unlock()
	c.step(func(p *CheckProgress) { p.Done, p.Total = max(p.Done, int64(done)), max(p.Total, int64(total)) })
	return v.dirs, nil
}

// look reads a tree from the first place that has it whole.
func (c *checker) look(ctx context.Context, t treeTask) (treeView, error) {
	var v treeView
	if t.depth > maxDepth {
		v.hit(c.nameless(fmt.Sprintf("directories are nested deeper than %d", maxDepth)), t.path)
		return v, nil
	}
	places := c.index.Lookup(nil, t.id, pack.Tree)
	if len(places) == 0 {
		places = c.looseIndex.Lookup(nil, t.id, pack.Tree)
		if len(places) > 0 {
			v.hit(c.needed(places[0].Pack), t.path+"/")
		}
	}
	var bad []*finding
	for _, l := range places {
		if f := c.badPlace(l); f != nil {
			bad = append(bad, f)
			continue
		}
		got, err := c.decode(ctx, t, l)
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
		bad = append(bad, c.badPack(l.Pack, Finding{Kind: kind, What: err.Error()}, false, l.Offset))
	}
	for _, f := range bad {
		v.hit(f, t.path+"/")
	}
	if len(places) == 0 {
		v.hit(c.lostBlob(), t.path+"/")
	}
	return v, nil
}

// decode reads a tree from one place.
func (c *checker) decode(ctx context.Context, t treeTask, l index.Location) (v treeView, err error) {
	sealed, err := c.readRange(ctx, l.Pack, int64(l.Offset), int64(l.Length), nil)
	if err != nil {
		return v, err
	}
	content, err := c.openBlob(l, sealed)
	if err != nil {
		c.notes.see(err)
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
		places = c.content(&v, places, p, n)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		err = holdfast.Wrap(holdfast.CodeInvalid, err, "blob %s in pack %s is no tree", l.ID, l.Pack)
	}
	return v, err
}

// content looks for the blobs of a file.
func (c *checker) content(v *treeView, places []index.Location, p string, n node) []index.Location {
	var size int64
	whole := true
	for _, id := range n.content {
		places = c.index.Lookup(places[:0], id, pack.Data)
		if len(places) == 0 {
			if places = c.looseIndex.Lookup(places, id, pack.Data); len(places) > 0 {
				v.hit(c.needed(places[0].Pack), p)
			}
		}
		if len(places) == 0 {
			v.hit(c.lostBlob(), p)
			whole = false
			continue
		}
		size += places[0].Size()
		var bad *finding
		for _, l := range places {
			if bad = c.badPlace(l); bad == nil {
				break
			}
		}
		if bad != nil {
			v.hit(bad, p)
		}
	}
	if whole && n.mode.IsRegular() && size != n.size {
		v.hit(c.nameless("the pieces of files do not have the size that their directories say"), p)
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
			Hint: "bring lost packs and index objects back from a copy of the repository; else back up again, and see what is lost for good: " +
				"holdfast repository repair snapshots --dry-run",
		})
	}
	return c.lost[what]
}

// attribute finds the snapshots in which each finding is felt.
func (c *checker) attribute(graph treeGraph) {
	if len(c.hits) == 0 {
		return
	}
	seen := make([]int, len(graph.children))
	for i := range graph.roots {
		graph.reach(i, seen, func(no uint32) {
			for _, f := range c.hits[no] {
				f.affected.SetBit(&f.affected, i, 1)
			}
		})
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
		if f == nil && !c.others && !c.condemned[id] {
			c.report(Finding{
				Kind: FindingUnused, Object: packName(id), What: "no index object names it, and no snapshot needs it",
				Hint: "an interrupted backup leaves such packs; they only take room, until a prune: holdfast repository prune",
			})
		}
	}
}
