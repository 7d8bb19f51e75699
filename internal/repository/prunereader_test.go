package repository

import (
	"testing"
	"time"
)

// TestPruneWaitsForReadersOfDroppedSets: a backup has counted on packs that were condemned
// while it ran, and its set is restored, and dropped while it is restored. No mark has
// seen that reader, and no snapshot needs the packs any more.
func TestPruneWaitsForReadersOfDroppedSets(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		between bool // a prune looks before the set is dropped, and pardons
	}{{"at once", false}, {"after a prune", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			g := newGarden(t, true)
			g.maxUnused = 0
			kept := g.plant(gardenSet(4))
			old := g.plant(gardenSet(1, 2, 3))
			w := g.writer()
			g.forget(old)
			if got := g.prune(); got.Condemned.Packs == 0 {
				t.Fatalf("nothing was condemned: %+v", got)
			}
			want := gardenSet(1, 2, 3)
			id := commitSet(t, w, want)
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if c.between {
				g.prune()
			}
			rd, err := g.r.NewReader(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			g.forget(id)
			for range 5 { // days
				g.clock.pass(25 * time.Hour)
				if err := rd.lock.refreshOnce(t.Context()); err != nil {
					t.Fatal(err)
				}
				g.prune()
			}
			// Nobody waits for it, unless this prune is the first that finds the others gone.
			late, err := g.r.NewReader(t.Context(), kept)
			if err != nil {
				t.Fatal(err)
			}
			files, err := readAll(rd)
			if err != nil {
				t.Errorf("the restore fails: %v", err)
			}
			for p, n := range want {
				if f := files[p]; n.isRegular() && (f == nil || string(f.data) != string(n.data)) {
					t.Errorf("%s came back wrong", p)
				}
			}
			if err := rd.Close(); err != nil {
				t.Error(err)
			}
			g.prune()
			if got := len(names(t, g.b, "data/")); got == 2 == c.between {
				t.Errorf("%d packs are left", got)
			}
			if err := late.Close(); err != nil {
				t.Error(err)
			}
			g.prunings()
			g.whole("in the end")
			compare(t, readSet(t, g.r, kept), gardenSet(4))
			if got := len(names(t, g.b, "data/")); got != 2 {
				t.Errorf("%d packs are left in the end", got)
			}
		})
	}
}
