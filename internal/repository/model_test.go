package repository

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

// model runs random operations on a repository beside plain maps.
type model struct {
	t     *testing.T
	b     *fault.Bucket
	r     *Repository
	now   set            // the files that the next backup finds
	saved map[string]set // by snapshot
}

func drawContent(t *rapid.T) []byte {
	size := rapid.SampledFrom([]int{0, 1, 100, 8192, wholeFile, wholeFile + 1, blockSize, blockSize + 8192, 3 * blockSize}).Draw(t, "size")
	seed := rapid.Uint64Range(1, 6).Draw(t, "seed")
	switch rapid.IntRange(0, 2).Draw(t, "kind") {
	case 0:
		return make([]byte, size)
	case 1:
		return text(size, seed)
	}
	return noise(size, seed)
}

func (m *model) drawPath(t *rapid.T) string {
	name := rapid.SampledFrom([]string{"a", "b", "\xff", "ü \"x\\", "z"})
	p := name.Draw(t, "name")
	for range rapid.IntRange(0, 2).Draw(t, "depth") {
		p = name.Draw(t, "dir") + "." + "d/" + p
	}
	return p
}

func (m *model) change(t *rapid.T) {
	p := m.drawPath(t)
	switch rapid.IntRange(0, 4).Draw(t, "what") {
	case 0:
		delete(m.now, p)
	case 1:
		m.now[p] = symlink("to " + p)
	case 2:
		n, ok := m.now[p]
		if ok && n.isRegular() && len(n.data) > 0 { // one page changes
			n.data = bytes.Clone(n.data)
			n.data[rapid.IntRange(0, len(n.data)-1).Draw(t, "at")]++
			m.now[p] = n
		}
	default:
		m.now[p] = testNode{mode: fs.FileMode(rapid.IntRange(0, 0o777).Draw(t, "mode")), data: drawContent(t)}
	}
}

// attempt backs up what is there now.
func (m *model) attempt() (string, error) {
	ctx := context.Background()
	w, err := m.r.NewWriter(ctx, WriterOptions{Holder: "model", Workers: 3})
	if err != nil {
		return "", err
	}
	for _, p := range slices.Sorted(maps.Keys(m.now)) {
		if err := w.Add(ctx, m.now[p].file(p)); err != nil {
			return "", errors.Join(err, w.Close())
		}
	}
	id, err := w.Commit(ctx, testCommit(), intendNothing)
	return id, errors.Join(err, w.Close())
}

func (m *model) backUp(t *rapid.T) {
	id, err := m.attempt()
	if err != nil {
		t.Fatal(err)
	}
	m.saved[id] = maps.Clone(m.now)
}

func (m *model) failingBackUp(t *rapid.T) {
	m.b.Add(fault.On(fault.Put, m.b.Calls(fault.Put)+rapid.IntRange(1, 6).Draw(t, "put"), errors.New("broken")))
	id, err := m.attempt()
	m.b.Clear()
	if err == nil {
		m.saved[id] = maps.Clone(m.now)
	}
}

func (m *model) draw(t *rapid.T) (string, bool) {
	ids := slices.Sorted(maps.Keys(m.saved))
	if len(ids) == 0 {
		return "", false
	}
	return ids[rapid.IntRange(0, len(ids)-1).Draw(t, "snapshot")], true
}

func (m *model) remove(t *rapid.T) {
	id, ok := m.draw(t)
	if !ok {
		return
	}
	if err := m.r.RemoveSnapshot(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	delete(m.saved, id)
}

func (m *model) reopen(t *rapid.T) {
	r, err := Open(context.Background(), m.b, testSecret())
	if err != nil {
		t.Fatal(err)
	}
	m.r = r
}

// restore reads a snapshot back over files that hold something already.
func (m *model) restore(t *rapid.T) {
	id, ok := m.draw(t)
	if !ok {
		return
	}
	want := m.saved[id]
	rd, err := m.r.NewReader(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rd.Close() }()
	files := map[string]*memFile{}
	var targets []engine.Target
	seen := 0
	err = rd.Walk(context.Background(), func(n engine.Node) error {
		w, ok := want[n.Path]
		if !ok {
			if !n.Mode.IsDir() {
				return fmt.Errorf("%q was never stored", n.Path)
			}
			return nil
		}
		seen++
		if n.Mode != w.mode || n.Link != w.link {
			return fmt.Errorf("%q: got %v %q", n.Path, n.Mode, n.Link)
		}
		if n.Mode.IsRegular() {
			f := &memFile{}
			if rapid.Bool().Draw(t, "exists") {
				f.data = drawContent(t)
			}
			files[n.Path] = f
			targets = append(targets, engine.Target{Path: n.Path, Open: func() (engine.TargetFile, error) { return f, nil }})
		}
		return nil
	})
	if err != nil || seen != len(want) {
		t.Fatalf("got %d of %d nodes, error %v", seen, len(want), err)
	}
	if err := rd.Fetch(context.Background(), targets); err != nil {
		t.Fatal(err)
	}
	for p, f := range files {
		if !bytes.Equal(f.data, want[p].data) {
			t.Fatalf("%q came back wrong", p)
		}
	}
}

func (m *model) check(t *rapid.T) {
	all, err := m.r.Snapshots(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(m.saved) {
		t.Fatalf("got %d snapshots, want %d", len(all), len(m.saved))
	}
	for _, s := range all {
		if _, ok := m.saved[s.ID]; !ok {
			t.Fatalf("nobody made snapshot %s", s.ID)
		}
	}
	if locks := names(m.t, m.b, "locks/"); len(locks) != 0 {
		t.Fatalf("locks are left: %v", locks)
	}
}

// TestRandomOperations does what people do with a repository, in any order, and
// compares it with plain maps.
func TestRandomOperations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		b := fault.Wrap(mem.New())
		m := &model{t: t, b: b, r: newRepository(t, b), now: set{}, saved: map[string]set{}}
		rt.Repeat(map[string]func(*rapid.T){
			"":              m.check,
			"change":        m.change,
			"change more":   func(t *rapid.T) { m.change(t); m.change(t); m.change(t) },
			"backup":        m.backUp,
			"broken backup": m.failingBackUp,
			"remove":        m.remove,
			"restore":       m.restore,
			"reopen":        m.reopen,
		})
	})
}
