package repository

import (
	"fmt"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// TestFrozenRestores: a restore that is stopped before any of its operations, for days in
// which packs that it has counted on are pruned away and its lock removed, and that then
// goes on, gives back what was stored or fails; and when its set is there still, it comes
// back with the next try.
func TestFrozenRestores(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		dropped bool // the set is removed meanwhile
		hidden  bool // nobody sees the lock: as if its refresh had been missed
	}{
		{"of a set that stays", false, false},
		{"of a set that stays, whose lock nobody sees", false, true},
		{"of a set that is dropped", true, false},
		{"of a set that is dropped, whose lock nobody sees", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			finished, failed := 0, 0
			for n := 1; ; n++ {
				g := newGarden(t, false)
				g.maxUnused = 0
				want := gardenSet(3, 4)
				old := g.plant(gardenSet(1, 2, 3))
				id := g.plant(want)
				b := freeze(g.b, n)
				type result struct {
					files map[string]*memFile
					err   error
				}
				done := make(chan result, 1)
				go func() {
					files, err := fetchAll(t, g.on(b, &timeMachine{}), id)
					done <- result{files, err}
				}()
				var got result
				ended := false
				select {
				case <-b.there:
					g.forget(old)
					if c.dropped {
						g.forget(id)
					}
					pruner := g.r
					if c.hidden {
						g.r = g.on(blind{g.b}, g.clock)
					}
					g.prunings()
					g.r = pruner
					close(b.thaw)
					got = <-done
				case got = <-done:
					ended = true
				}
				where := fmt.Sprintf("frozen before %s, then %v", b, got.err)
				switch code := holdfast.ErrorCode(got.err); {
				case got.err == nil:
					finished++
					for p, f := range want {
						if f.isRegular() && (got.files[p] == nil || string(got.files[p].data) != string(f.data)) {
							t.Errorf("%s: %q came back wrong", where, p)
						}
					}
				case ended, code != holdfast.CodeInvalid && code != holdfast.CodeNotFound && code != holdfast.CodeConflict:
					t.Error(where)
				default:
					failed++
				}
				if ended {
					if n < 8 {
						t.Errorf("a restore has %d operations", n)
					}
					break
				}
				if !c.dropped {
					compare(t, readSet(t, g.r, id), want)
				}
				g.soundAfter(where)
				if t.Failed() {
					return
				}
			}
			t.Logf("%d finished, %d failed", finished, failed)
		})
	}
}
