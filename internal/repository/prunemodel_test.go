package repository

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
)

// pruneModel runs random operations on a repository that is pruned, beside a map.
type pruneModel struct {
	*garden
	saved   map[string]set // by snapshot
	writers []*Writer      // that have loaded the index, and commit later
	readers []modelReader
}

// modelReader is a restore that has begun, and takes long.
type modelReader struct {
	*Reader
	want set
}

func drawSet(t *rapid.T) set {
	s := set{}
	for _, seed := range rapid.SliceOfNDistinct(rapid.Uint64Range(1, 9), 1, 4, rapid.ID[uint64]).Draw(t, "seeds") {
		s["pgdata/"+string(rune('0'+seed))] = file(noise(500, seed))
	}
	return s
}

func (m *pruneModel) took(t *rapid.T, got outcome, s set, allowed ...holdfast.Code) {
	switch code := holdfast.ErrorCode(got.err); {
	case got.err == nil:
		m.saved[got.id] = s
	case !slices.Contains(allowed, code):
		t.Fatalf("a backup has failed: %v", got.err)
	case got.id != "":
		m.forget(got.id)
	}
}

func (m *pruneModel) backUp(t *rapid.T) {
	s := drawSet(t)
	m.took(t, attemptOn(m.r, s), s)
}

func (m *pruneModel) begin(*rapid.T) {
	if len(m.writers) < 3 {
		m.writers = append(m.writers, m.writer())
	}
}

// commit ends a writer that began some time ago: its lock may have been taken for a
// dead one's, when it did not refresh it.
func (m *pruneModel) commit(t *rapid.T) {
	if len(m.writers) == 0 {
		return
	}
	w := m.writers[0]
	m.writers = m.writers[1:]
	s := drawSet(t)
	m.took(t, commitOn(w, s, intendNothing), s, holdfast.CodeConflict)
	_ = w.Close()
}

func (m *pruneModel) refresh(*rapid.T) {
	for _, w := range m.writers {
		_ = w.lock.refreshOnce(context.Background()) // it may have been lost
	}
	for _, r := range m.readers {
		_ = r.lock.refreshOnce(context.Background())
	}
}

// open begins to restore one of the sets, which may be removed before it is read.
func (m *pruneModel) open(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(m.saved))
	if len(ids) == 0 || len(m.readers) == 3 {
		return
	}
	id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "snapshot")]
	r, err := m.r.NewReader(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	m.readers = append(m.readers, modelReader{r, m.saved[id]})
}

// read ends a restore: it gets everything as long as its lock is there, and nothing wrong
// when nobody has refreshed that.
func (m *pruneModel) read(t *rapid.T) {
	if len(m.readers) == 0 {
		return
	}
	r := m.readers[0]
	m.readers = m.readers[1:]
	held := r.lock.check(context.Background()) == nil
	files, err := readAll(r.Reader)
	_ = r.Close()
	if err != nil {
		if held {
			t.Fatalf("a restore has failed: %v", err)
		}
		return
	}
	for p, n := range r.want {
		if f := files[p]; n.isRegular() && (f == nil || !bytes.Equal(f.data, n.data)) {
			t.Fatalf("%s came back wrong", p)
		}
	}
}

func (m *pruneModel) remove(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(m.saved))
	if len(ids) == 0 {
		return
	}
	id := ids[rapid.IntRange(0, len(ids)-1).Draw(t, "snapshot")]
	m.forget(id)
	delete(m.saved, id)
}

func (m *pruneModel) pass(t *rapid.T) {
	m.clock.pass(time.Duration(rapid.SampledFrom([]int{1, 25, 100}).Draw(t, "hours")) * time.Hour)
}

func (m *pruneModel) prunes(t *rapid.T) {
	if _, err := m.r.Prune(context.Background(), m.options()); err != nil {
		t.Fatal(err)
	}
}

// killed prunes or backs up on a machine that dies in the middle, and removes its
// lock, which others would wait for.
func (m *pruneModel) killed(t *rapid.T) {
	before := names(m.t, m.b, "locks/")
	b := freeze(m.b, rapid.IntRange(4, 60).Draw(t, "operation"))
	b.kill = errors.New("the machine is gone")
	if rapid.Bool().Draw(t, "prune") {
		_, _ = m.on(b, m.clock).Prune(context.Background(), m.options())
	} else if s := drawSet(t); true {
		if got := attemptOn(m.on(b, m.clock), s); got.err == nil {
			m.saved[got.id] = s
		} else if got.id != "" {
			m.forget(got.id)
		}
	}
	for _, name := range names(m.t, m.b, "locks/") {
		if !slices.Contains(before, name) {
			if err := m.b.Delete(context.Background(), name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// look restores one of the sets.
func (m *pruneModel) look(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(m.saved))
	if len(ids) > 0 {
		m.check(t, ids[rapid.IntRange(0, len(ids)-1).Draw(t, "snapshot")])
	}
}

func (m *pruneModel) check(t *rapid.T, ids ...string) {
	for _, id := range ids {
		compare(m.t, readSet(m.t, m.r, id), m.saved[id])
	}
	if m.t.Failed() {
		t.Fatal("a set is not what was stored")
	}
}

// TestRandomPrunes backs up, forgets, prunes, dies and waits in any order: every set
// restores all the time, and in the end nothing is left that nobody needs.
func TestRandomPrunes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		m := &pruneModel{garden: newGarden(t, false), saved: map[string]set{}}
		m.maxUnused = rapid.SampledFrom([]float64{0, 0.3}).Draw(rt, "max unused")
		m.backUp(rt)
		steps := map[string]func(*rapid.T){
			"backup":  m.backUp,
			"begin":   m.begin,
			"commit":  m.commit,
			"refresh": m.refresh,
			"remove":  m.remove,
			"pass":    m.pass,
			"prune":   m.prunes,
			"killed":  m.killed,
			"look":    m.look,
			"open":    m.open,
			"read":    m.read,
		}
		// Fewer than rapid would take: each is a backup or a prune.
		for range rapid.IntRange(4, 14).Draw(rt, "steps") {
			steps[rapid.SampledFrom(slices.Sorted(maps.Keys(steps))).Draw(rt, "step")](rt)
		}
		for _, w := range m.writers {
			_ = w.Close()
		}
		for len(m.readers) > 0 {
			m.read(rt)
		}
		m.soundAfter("in the end")
		m.check(rt, slices.Collect(maps.Keys(m.saved))...)
		if left := names(t, m.b, "holdfast/"); len(left) != 0 {
			rt.Fatalf("left: %v", left)
		}
		if len(m.saved) == 0 && len(names(t, m.b, "data/")) != 0 {
			rt.Fatal("nobody needs the packs that are left")
		}
	})
}
