package repository

import (
	"context"
	"testing"
	"time"
)

// TestBesideAPrune: a prune is stopped before each of its operations, while somebody
// else does a part of their work, and does the rest when the prune has ended. Nobody is
// taken for dead meanwhile, so nobody fails.
func TestBesideAPrune(t *testing.T) {
	t.Parallel()
	type work struct {
		name   string
		before func(g *garden) (during, after func())
	}
	ctx := context.Background()
	add := func(g *garden, w *Writer, s set) {
		for p, n := range s {
			if err := w.Add(ctx, n.file(p)); err != nil {
				g.t.Error(err)
			}
		}
		if err := w.Flush(ctx); err != nil {
			g.t.Error(err)
		}
	}
	end := func(g *garden, w *Writer, want set) {
		id, err := w.Commit(ctx, testCommit(), intendNothing)
		if err != nil {
			g.t.Error(err)
			return
		}
		if err := w.Close(); err != nil {
			g.t.Error(err)
		}
		compare(g.t, readSet(g.t, g.r, id), want)
	}
	for _, c := range []work{
		{"an index is written", func(g *garden) (func(), func()) {
			w := g.writer()
			return func() { add(g, w, gardenSet(1, 3, 6)) }, func() { end(g, w, gardenSet(1, 3, 6)) }
		}},
		{"a backup begins", func(g *garden) (func(), func()) {
			var w *Writer
			return func() {
				w = g.writer()
				add(g, w, gardenSet(1, 3, 6))
			}, func() { end(g, w, gardenSet(1, 3, 6)) }
		}},
		{"a restore begins", func(g *garden) (func(), func()) {
			id := g.plant(gardenSet(2, 4))
			var rd *Reader
			return func() {
					var err error
					if rd, err = g.r.NewReader(ctx, id); err != nil {
						g.t.Error(err)
					}
				}, func() {
					if _, err := readAll(rd); err != nil {
						g.t.Error(err)
					}
					if err := rd.Close(); err != nil {
						g.t.Error(err)
					}
				}
		}},
		{"a set is dropped, and backed up again", func(g *garden) (func(), func()) {
			id := g.plant(gardenSet(2, 4, 7))
			var again string
			return func() {
				g.forget(id)
				again = g.plant(gardenSet(2, 4, 7))
			}, func() { compare(g.t, readSet(g.t, g.r, again), gardenSet(2, 4, 7)) }
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			each(t, 7, func(n int) bool {
				g := newGarden(t, n%resticEvery == 0)
				g.maxUnused = 0
				kept := g.plant(gardenSet(3, 4))
				old := g.plant(gardenSet(1, 2, 3, 4))
				g.forget(old, g.plant(gardenSet(5)))
				g.prune()
				g.clock.pass(25 * time.Hour)
				waste := g.plant(gardenSet(8, 9))
				g.plant(gardenSet(9))
				g.forget(waste)
				during, after := c.before(g)
				b := freeze(g.b, n)
				done := make(chan error, 1)
				go func() {
					_, err := g.on(b, g.clock).Prune(ctx, g.options())
					done <- err
				}()
				ended := false
				select {
				case <-b.there:
				case err := <-done:
					ended = true
					done <- err
				}
				during()
				close(b.thaw)
				if err := <-done; err != nil {
					t.Errorf("%s: %v", b, err)
				}
				after()
				if ended && n < 30 {
					t.Errorf("a prune of %d operations", n)
				}
				g.soundAfter(b.String())
				compare(t, readSet(t, g.r, kept), gardenSet(3, 4))
				return !ended && !t.Failed()
			})
		})
	}
}
