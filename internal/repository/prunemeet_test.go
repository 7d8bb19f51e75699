package repository

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// TestCommitsMeetADeletion: a prune that does not see any locks is stopped before each
// of its operations, while a writer that counts on what it deletes commits: all of the
// commit, or what follows the intention. Then either the writer fails, or the prune
// spares what it needs.
func TestCommitsMeetADeletion(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		finished, failed := 0, 0
		each(t, 4, func(n int) bool {
			g := newGarden(t, n%resticEvery == 0)
			g.forget(g.plant(gardenSet(1, 2, 3)))
			w := g.writer()
			g.prune()
			g.clock.pass(25 * time.Hour)
			b := freeze(g.b, n)
			done := make(chan error, 1)
			ended := false
			begin := func() {
				go func() {
					_, err := g.on(blind{b}, g.clock).Prune(context.Background(), g.options())
					done <- err
				}()
				select {
				case <-b.there:
				case err := <-done:
					ended = true
					done <- err
				}
			}
			if !late {
				begin()
			}
			want := gardenSet(1, 3)
			got := commitOn(w, want, func(context.Context, string) error {
				if late {
					begin()
				}
				return nil
			})
			_ = w.Close()
			close(b.thaw)
			if err := <-done; err != nil {
				t.Errorf("%s: the prune has failed: %v; the writer: %v", b, err, got.err)
			}
			if got.err == nil {
				finished++
				compare(t, readSet(t, g.r, got.id), want)
			} else {
				failed++
				if holdfast.ErrorCode(got.err) != holdfast.CodeConflict {
					t.Errorf("%s: %v", b, got.err)
				}
				if got.id != "" {
					g.forget(got.id)
				}
			}
			g.soundAfter(fmt.Sprintf("%s, then %v", b, got.err))
			if got.err == nil {
				compare(t, readSet(t, g.r, got.id), want)
			}
			if ended && (n < 20 || finished == 0 || failed == 0) {
				t.Errorf("a prune of %d operations: %d finished, %d failed", n, finished, failed)
			}
			return !ended && !t.Failed()
		})
	}
}

// TestTwoPrunes: one is stopped before each of its operations while another one runs
// from its beginning to its end, neither seeing the other's lock. They have chosen
// different keepers: whatever each deletes, no blob goes with both.
func TestTwoPrunes(t *testing.T) {
	t.Parallel()
	each(t, 4, func(n int) bool {
		g := newGarden(t, n%resticEvery == 0)
		kept := g.plant(gardenSet(1, 2))
		x := names(t, g.b, "data/")
		hidden := map[string][]byte{}
		for _, name := range names(t, g.b, "index/") { // a second copy of everything
			hidden[name] = readObject(t, g.b, name)
			if err := g.b.Delete(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		second := g.plant(gardenSet(1, 2))
		for name, data := range hidden {
			if err := g.b.Put(t.Context(), name, data); err != nil {
				t.Fatal(err)
			}
		}
		if len(names(t, g.b, "data/")) != 2*len(x) {
			t.Fatal("there is no second copy")
		}
		// Both copies are condemned, by prunes that did not know of each other.
		for _, id := range packIDs(t, g) {
			m := mark{Version: recordVersion, Time: g.r.now(), Packs: id, Seen: &seen{Time: g.r.now()}}
			if _, err := putRecord(t.Context(), g.r, kindMark(), m); err != nil {
				t.Fatal(err)
			}
		}
		g.clock.pass(25 * time.Hour)
		b := freeze(g.b, n)
		done := make(chan error, 1)
		go func() {
			_, err := g.on(blind{b}, g.clock).Prune(context.Background(), g.options())
			done <- err
		}()
		ended := false
		select {
		case <-b.there:
		case err := <-done:
			ended = true
			t.Logf("a prune of %d operations, error %v", n, err)
		}
		_, err := g.on(blind{g.b}, g.clock).Prune(context.Background(), g.options())
		if err != nil && holdfast.ErrorCode(err) != holdfast.CodeConflict {
			t.Errorf("%s: %v", b, err)
		}
		if !ended {
			close(b.thaw)
			if err := <-done; err != nil { // it gives way
				t.Logf("%s: %v", b, err)
			}
		}
		compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
		g.soundAfter(b.String())
		compare(t, readSet(t, g.r, kept), gardenSet(1, 2))
		compare(t, readSet(t, g.r, second), gardenSet(1, 2))
		return !ended && !t.Failed()
	})
}

// commitOn backs the set up with a writer that is there.
func commitOn(w *Writer, s set, intend func(context.Context, string) error) outcome {
	ctx := context.Background()
	for p, n := range s {
		if err := w.Add(ctx, n.file(p)); err != nil {
			return outcome{err: err}
		}
	}
	id, err := w.Commit(ctx, testCommit(), intend)
	return outcome{id, err}
}

// packIDs returns the packs of each index object.
func packIDs(t testing.TB, g *garden) [][]hash.ID {
	t.Helper()
	ids, err := list(t.Context(), g.b, kindIndex())
	if err != nil {
		t.Fatal(err)
	}
	p := newPruner(g.r, nil, PruneOptions{})
	var out [][]hash.ID
	for _, id := range ids {
		packs, _, err := p.indexWithout(t.Context(), id, nil)
		if err != nil {
			t.Fatal(err)
		}
		var of []hash.ID
		for _, pk := range packs {
			of = append(of, pk.ID)
		}
		out = append(out, of)
	}
	return out
}
