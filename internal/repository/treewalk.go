package repository

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// treeGraph is the trees of several snapshots. Most snapshots share most of their
// trees: each is read once, and has a number.
type treeGraph struct {
	roots    []uint32
	children [][]uint32
}

// treeTask is a tree to be read.
type treeTask struct {
	no    uint32
	id    hash.ID
	path  string // where it was seen first
	depth int
}

// visitTree reads a tree and returns the directories in it. It is called from
// several goroutines. done and total say how far the walk has come.
type visitTree func(ctx context.Context, t treeTask, done, total int) ([]treeTask, error)

// treeWalk is the trees that wait to be read.
type treeWalk struct {
	visit visitTree

	mu      sync.Mutex // guards the fields below
	wake    *sync.Cond
	numbers map[hash.ID]uint32
	graph   treeGraph
	stack   []treeTask
	active  int
	done    int
	failed  bool
}

// walkTrees visits every tree that the roots lead to, once.
func walkTrees(ctx context.Context, roots []hash.ID, workers int, visit visitTree) (treeGraph, error) {
	w := &treeWalk{visit: visit, numbers: map[hash.ID]uint32{}}
	w.wake = sync.NewCond(&w.mu)
	for _, id := range roots {
		w.graph.roots = append(w.graph.roots, w.push(treeTask{id: id}))
	}
	g, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.failed = true
		w.wake.Broadcast()
	})
	defer stop()
	for range workers {
		g.Go(func() error { return w.work(gctx) })
	}
	if err := g.Wait(); err != nil {
		return treeGraph{}, err
	}
	if ctx.Err() != nil {
		return treeGraph{}, context.Cause(ctx)
	}
	return w.graph, nil
}

// push numbers a tree, and has it read when it is new. The mutex is held, or there
// are no others yet.
func (w *treeWalk) push(t treeTask) uint32 {
	no, ok := w.numbers[t.id]
	if !ok {
		no = uint32(len(w.graph.children)) //nolint:gosec // each tree is a blob, and their table is numbered so, too
		t.no = no
		w.numbers[t.id] = no
		w.graph.children = append(w.graph.children, nil)
		w.stack = append(w.stack, t)
		w.wake.Signal()
	}
	return no
}

func (w *treeWalk) work(ctx context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for len(w.stack) == 0 && w.active > 0 && !w.failed {
			w.wake.Wait()
		}
		if len(w.stack) == 0 || w.failed {
			w.wake.Broadcast()
			return nil
		}
		t := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		w.active++
		w.done++
		done, total := w.done, len(w.graph.children)
		w.mu.Unlock()
		dirs, err := w.visit(ctx, t, done, total)
		w.mu.Lock()
		w.active--
		if err != nil {
			return err
		}
		children := make([]uint32, 0, len(dirs))
		for _, d := range dirs {
			children = append(children, w.push(d))
		}
		w.graph.children[t.no] = children
	}
}

// reach calls fn for every tree that the i-th root leads to, once. seen has an
// entry for each tree, and is kept from one root to the next.
func (g *treeGraph) reach(i int, seen []int, fn func(no uint32)) {
	stack := []uint32{g.roots[i]}
	seen[g.roots[i]] = i + 1
	for len(stack) > 0 {
		no := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		fn(no)
		for _, child := range g.children[no] {
			if seen[child] != i+1 {
				seen[child] = i + 1
				stack = append(stack, child)
			}
		}
	}
}
