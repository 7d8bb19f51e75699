package repository

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// resticEvery is how often the stock restic checks what is left: it takes half a
// second.
const resticEvery = 7

// each calls fn with every step-th operation to stop before, from one of the first on,
// until it returns false. Many runs test all.
func each(t *testing.T, step int, fn func(n int) bool) {
	t.Helper()
	first := 1 + rand.IntN(step)
	t.Logf("operations from %d on, each %d", first, step)
	n := first
	for fn(n) {
		n += step
	}
}

// outcome is what became of a backup.
type outcome struct {
	id  string
	err error
}

// attemptOn backs up through another bucket, and never fails the test.
func attemptOn(r *Repository, s set) outcome {
	ctx := context.Background()
	w, err := r.NewWriter(ctx, WriterOptions{Holder: "test/frozen", Workers: 1})
	if err != nil {
		return outcome{err: err}
	}
	w.smallBuffers()
	for p, n := range s {
		if err := w.Add(ctx, n.file(p)); err != nil {
			return outcome{err: errors.Join(err, w.Close())}
		}
	}
	id, err := w.Commit(ctx, testCommit(), intendNothing)
	_ = w.Close() // its lock may be gone
	return outcome{id, err}
}

// plant backs up. Unlike backUp it keeps no writer, whose buffers are large, until the
// test ends.
func (g *garden) plant(s set) string {
	g.t.Helper()
	got := attemptOn(g.r, s)
	if got.err != nil {
		g.t.Fatal(got.err)
	}
	return got.id
}

// writer returns one that the caller closes.
func (g *garden) writer() *Writer {
	g.t.Helper()
	w, err := g.r.NewWriter(context.Background(), WriterOptions{Holder: "test/writer", Workers: 1})
	if err != nil {
		g.t.Fatal(err)
	}
	w.smallBuffers()
	return w
}

// smallBuffers saves the time that it takes to clear large ones.
func (w *Writer) smallBuffers() {
	for range packBuffers {
		<-w.packer.free
		w.packer.free <- make([]byte, 0, 1<<20)
	}
}

// prunings is what happens while somebody is frozen: with time enough for everything
// that nobody needs to go.
func (g *garden) prunings() {
	g.t.Helper()
	for range 3 {
		g.prune()
		g.clock.pass(25 * time.Hour)
	}
	g.prune()
}

// TestFrozenWriters: a writer that is stopped before any of its operations, for days
// in which everything that it counts on is pruned away and its lock removed, and that
// then goes on as if nothing had happened, either fails or has a set that restores.
func TestFrozenWriters(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		boot time.Duration // what its clock sees of the days
		// The lock is kept from those who look: as if its refresh had been missed.
		hidden bool
	}{
		{"of a machine that slept", 100 * time.Hour, false},
		{"of a paused virtual machine", 0, false},
		{"whose lock nobody sees", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			finished, failed := 0, 0
			each(t, 2, func(n int) bool {
				g := newGarden(t, n%resticEvery == 0)
				g.maxUnused = 0
				old := g.plant(gardenSet(1, 2, 3))
				kept := g.plant(gardenSet(3, 4))
				b := freeze(g.b, n)
				m := &timeMachine{}
				want := gardenSet(1, 2, 4, 5)
				done := make(chan outcome, 1)
				go func() { done <- attemptOn(g.on(b, m), want) }()
				var got outcome
				select {
				case <-b.there:
					g.forget(old)
					pruner := g.r
					if c.hidden {
						g.r = g.on(blind{g.b}, g.clock)
					}
					g.prunings()
					g.r = pruner
					m.boot.Store(int64(c.boot))
					close(b.thaw)
					got = <-done
				case got = <-done:
					if got.err != nil || failed == 0 || n < 15 {
						t.Errorf("not frozen after %d operations, %d failed: %v", n, failed, got.err)
					}
					t.Logf("%d finished, %d failed", finished, failed)
					return false
				}
				switch {
				case got.err == nil:
					finished++
					compare(t, readSet(t, g.r, got.id), want)
				case holdfast.ErrorCode(got.err) != holdfast.CodeConflict:
					t.Errorf("%s: %v", b, got.err)
				case got.id != "":
					g.forget(got.id) // as the service reaps it
				}
				if got.err != nil {
					failed++
				}
				compare(t, readSet(t, g.r, kept), gardenSet(3, 4))
				where := fmt.Sprintf("frozen before %s, then %v", b, got.err)
				g.soundAfter(where)
				return !t.Failed()
			})
		})
	}
}

// blind does not see the locks of others.
type blind struct{ objstore.Bucket }

func (b blind) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	if prefix == kindLock().prefix {
		return nil
	}
	return b.Bucket.List(ctx, prefix, fn)
}

// soundAfter prunes to the end and checks that nothing is wrong then.
func (g *garden) soundAfter(where string) {
	g.t.Helper()
	if got := check(g.t, g.r, CheckOptions{ReadData: true}); got.Damaged() {
		g.t.Errorf("%s: check finds %+v", where, got.Findings)
	}
	g.prunings()
	for _, f := range check(g.t, g.r, CheckOptions{ReadData: true}).Findings {
		if f.Kind != FindingTwice { // two that wrote the index at once: nothing is lost
			g.t.Errorf("%s: after all prunes check finds %+v", where, f)
		}
	}
	if g.dir != "" {
		restic(g.t, g.dir, "check", "--read-data")
	}
}

// TestKilledPrune: a prune that is killed before any of its operations leaves every
// set whole, and the next one ends what it has begun.
func TestKilledPrune(t *testing.T) {
	t.Parallel()
	gone := errors.New("the machine is gone")
	for _, stage := range []string{"condemns", "deletes"} {
		each(t, 6, func(n int) bool {
			g := newGarden(t, n%resticEvery == 0)
			g.maxUnused = 0
			old := g.plant(gardenSet(1, 2, 3))
			kept := g.plant(gardenSet(3, 4))
			g.forget(old, g.plant(gardenSet(5)))
			if stage == "deletes" {
				g.prune()
				g.clock.pass(25 * time.Hour)
			}
			b := freeze(g.b, n)
			b.kill = gone
			_, err := g.on(b, g.clock).Prune(t.Context(), g.options())
			if err == nil {
				if n < 20 {
					t.Errorf("it %s in %d operations", stage, n)
				}
				return false
			}
			where := fmt.Sprintf("a prune that %s was killed before %s", stage, b)
			if !errors.Is(err, gone) {
				t.Errorf("%s: %v", where, err)
			}
			if _, err := g.r.Unlock(t.Context(), true); err != nil {
				t.Fatal(err)
			}
			g.whole2(where)
			compare(t, readSet(t, g.r, kept), gardenSet(3, 4))
			again := g.plant(gardenSet(1, 3, 5)) // beside what is left of it
			g.soundAfter(where)
			compare(t, readSet(t, g.r, kept), gardenSet(3, 4))
			compare(t, readSet(t, g.r, again), gardenSet(1, 3, 5))
			if left := names(t, g.b, "holdfast/"); len(left) != 0 {
				t.Errorf("%s: left %v", where, left)
			}
			return !t.Failed()
		})
	}
}

// whole2 is whole, but for warnings about packs that no index names.
func (g *garden) whole2(where string) {
	g.t.Helper()
	if got := check(g.t, g.r, CheckOptions{ReadData: true}); got.Damaged() || len(got.Affected) > 0 {
		g.t.Errorf("%s: check finds %+v", where, got.Findings)
	}
	if g.dir != "" {
		restic(g.t, g.dir, "check", "--read-data")
	}
}

// TestFrozenPrune: a prune that is stopped before any of its operations, for days in
// which others prune and back up what it was about to delete, takes nothing from
// anybody when it goes on.
func TestFrozenPrune(t *testing.T) {
	t.Parallel()
	for _, stage := range []string{"condemns", "deletes"} {
		each(t, 6, func(n int) bool {
			g := newGarden(t, n%resticEvery == 0)
			g.maxUnused = 0
			old := g.plant(gardenSet(1, 2, 3))
			kept := g.plant(gardenSet(3, 4))
			w := g.writer() // counts on all packs
			g.forget(old, g.plant(gardenSet(5)))
			if stage == "deletes" {
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				g.prune()
				g.clock.pass(25 * time.Hour)
				w = g.writer() // counts on what is not condemned
			}
			b := freeze(g.b, n)
			m := &timeMachine{}
			m.now.Store(g.clock.now.Load())
			done := make(chan error, 1)
			go func() {
				_, err := g.on(b, m).Prune(context.Background(), g.options())
				done <- err
			}()
			ended := false
			select {
			case <-b.there:
			case err := <-done:
				if err != nil || n < 20 {
					t.Errorf("it %s in %d operations, error %v", stage, n, err)
				}
				ended = true
			}
			mine := commitSet(t, w, gardenSet(1, 3, 6))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			other := g.plant(gardenSet(2, 5))
			g.clock.pass(25 * time.Hour)
			if !ended {
				if _, err := g.r.Unlock(t.Context(), true); err != nil { // else the others give way
					t.Fatal(err)
				}
			}
			g.prunings()
			if !ended {
				close(b.thaw)
				if err := <-done; err != nil { // whether it notices or not
					t.Logf("%s: %v", b, err)
				}
			}
			where := fmt.Sprintf("a prune that %s was frozen before %s", stage, b)
			check := func() {
				compare(t, readSet(t, g.r, kept), gardenSet(3, 4))
				compare(t, readSet(t, g.r, mine), gardenSet(1, 3, 6))
				compare(t, readSet(t, g.r, other), gardenSet(2, 5))
			}
			check()
			g.soundAfter(where)
			check()
			if t.Failed() {
				t.Fatal(where)
			}
			return !ended
		})
	}
}
