package repository

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

const testPage = 8192

// pages is a file of pages that begin with a number, which rises when the page changes.
type pages []byte

// newPages makes pages that compress.
func newPages(n int, seed uint64, now uint64) pages {
	p := pages(text(n*testPage, seed))
	for i := range n {
		p.touch(i, now)
	}
	return p
}

func (p pages) touch(page int, now uint64) {
	at := p[page*testPage:]
	binary.LittleEndian.PutUint64(at, now)
	binary.LittleEndian.PutUint64(at[100:], now*uint64(page+1))
}

// since tells which pages have a number above one.
func since(before uint64) func(block []byte) (changed, n int) {
	return func(block []byte) (changed, n int) {
		for ; len(block) >= testPage; block = block[testPage:] {
			n++
			if binary.LittleEndian.Uint64(block) > before {
				changed++
			}
		}
		return changed, n
	}
}

// backUpOn stores the files on top of a snapshot, if there is one.
func backUpOn(t testing.TB, r *Repository, base string, files set, changed func([]byte) (int, int), same func(string) bool) (string, Stats) {
	t.Helper()
	w := newWriter(t, r)
	var sink engine.Sink = w
	if base != "" {
		d, err := w.BuildOn(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}()
		sink = d
	}
	for _, p := range inOrder(files) {
		f := files[p].file(p)
		if f.Mode.IsRegular() {
			f.Changed = changed
			if same != nil {
				f.Same = func(engine.Node) bool { return same(p) }
			}
		}
		if err := sink.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	stats := w.Stats()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return id, stats
}

// cutOf returns the sizes of the pieces of a file.
func cutOf(t testing.TB, r *Repository, snapshot, file string) []int64 {
	t.Helper()
	rd := newReader(t, r, snapshot)
	defer func() { _ = rd.Close() }()
	n, err := rd.find(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	var sizes []int64
	for _, id := range n.content {
		sizes = append(sizes, rd.index.Lookup(nil, id, pack.Data)[0].Size())
	}
	return sizes
}

// TestBlocksAreCutAndJoined follows one file: few changes cut its blocks, later ones
// store parts only, many changes join them, and restic reads all of it.
func TestBlocksAreCutAndJoined(t *testing.T) {
	t.Parallel()
	const (
		blocks = 9
		perBlk = blockSize / testPage
		tail   = 5*partSize/testPage + 1 // pages of the last block, the last part of which is short
	)
	r, dir := newDirRepository(t)
	data := newPages(blocks*perBlk+tail, 1, 1)
	files := set{"f": file(data), "small": file(newPages(wholeFile/testPage, 2, 1))}
	var last string
	for i, step := range []struct {
		what   string
		change func(now uint64)
		base   bool
		fresh  int64 // blobs that are new
		pieces int   // of f
	}{
		{"the first set is whole", func(uint64) {}, false, blocks + 2, blocks + 1},
		{"nothing has changed", func(uint64) {}, true, 0, blocks + 1},
		{"one page of each but the first block", func(now uint64) {
			for b := 1; b < blocks; b++ {
				data.touch(b*perBlk+7*b%perBlk, now)
			}
		}, true, (blocks - 1) * maxParts, 2 + (blocks-1)*maxParts},
		{"other pages of some, with no base", func(now uint64) {
			data.touch(3*perBlk+40, now)
			data.touch(3*perBlk+41, now)
			data.touch(8*perBlk, now)
		}, false, 2, 2 + (blocks-1)*maxParts},
		{"a page of the short block", func(now uint64) { data.touch(blocks*perBlk+tail-1, now) }, true, 6, 1 + (blocks-1)*maxParts + 6},
		{"and another", func(now uint64) { data.touch(blocks*perBlk, now) }, true, 1, 1 + (blocks-1)*maxParts + 6},
		{"one block wholly", func(now uint64) {
			for p := range perBlk {
				data.touch(5*perBlk+p, now)
			}
		}, true, 1, 2 + (blocks-2)*maxParts + 6},
		{"half of the pages of an uncut block", func(now uint64) {
			for p := range perBlk / 2 {
				data.touch(2*p, now)
			}
		}, true, 1, 2 + (blocks-2)*maxParts + 6},
		{"every page of a small file", func(now uint64) {
			for p := range wholeFile / testPage {
				pages(files["small"].data).touch(p, now)
			}
		}, true, 1, 2 + (blocks-2)*maxParts + 6},
	} {
		now := uint64(i + 2)
		step.change(now)
		base := ""
		var changed func([]byte) (int, int)
		if step.base {
			base, changed = last, since(now-1)
		}
		id, stats := backUpOn(t, r, base, files, changed, nil)
		last = id
		if got := len(cutOf(t, r, id, "f")); stats.NewBlobs != step.fresh || got != step.pieces {
			t.Errorf("%s: %d blobs are new, and the file has %d, want %d and %d", step.what, stats.NewBlobs, got, step.fresh, step.pieces)
		}
		compare(t, readSet(t, r, id), files)
		_, again := backUpOn(t, r, id, files, since(now), nil)
		if again.NewBlobs != 0 || again.Blobs != int64(step.pieces+1) {
			t.Errorf("%s: read once more, %d blobs of %d are new", step.what, again.NewBlobs, again.Blobs)
		}
		_, trusted := backUpOn(t, r, id, files, nil, func(string) bool { return true })
		if trusted.ReadBytes != 0 || trusted.Blobs != again.Blobs {
			t.Errorf("%s: trusted, %d bytes were read", step.what, trusted.ReadBytes)
		}
	}
	restic(t, dir, "check", "--read-data")
	out := t.TempDir()
	restic(t, dir, "restore", last, "--target", out)
	if got, err := os.ReadFile(filepath.Join(out, "f")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("restic restored %d bytes, error %v", len(got), err)
	}
	if rep, err := r.Check(t.Context(), CheckOptions{ReadData: true}); err != nil || len(rep.Findings) != 0 {
		t.Errorf("check: %+v, %v", rep, err)
	}
}

// TestNoMoreBlocksAreCutThanMemoryHolds: no block is cut when the index has very many blobs.
func TestNoMoreBlocksAreCutThanMemoryHolds(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	data := newPages(4*blockSize/testPage, 1, 1)
	backUpOn(t, r, "", set{"f": file(data)}, nil, nil)
	data.touch(0, 2)
	w := newWriter(t, r)
	w.had = maxCut
	f := file(data).file("f")
	f.Changed = since(1)
	if err := w.Add(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	if err != nil {
		t.Fatal(err)
	}
	if got := cutOf(t, r, id, "f"); len(got) != 4 {
		t.Errorf("got pieces of %d", got)
	}
}

// TestOurCut says which pieces may be taken from a base.
func TestOurCut(t *testing.T) {
	t.Parallel()
	const size = 2*blockSize + partSize + 5
	for _, c := range []struct {
		file, offset, piece int64
		want                bool
	}{
		{wholeFile, 0, wholeFile, true},
		{wholeFile, 0, partSize, false},
		{wholeFile + 1, 0, wholeFile + 1, true},
		{wholeFile + 1, 0, partSize, true},
		{wholeFile + 1, wholeFile, 1, true},
		{wholeFile + 1, partSize, partSize + 1, false},
		{size, 0, blockSize, true},
		{size, 0, 2 * blockSize, false},
		{size, 0, partSize, true},
		{size, partSize, partSize, true},
		{size, partSize, blockSize - partSize, false},
		{size, partSize / 2, partSize, false},
		{size, blockSize - partSize, partSize, true},
		{size, 2 * blockSize, partSize + 5, true},
		{size, 2 * blockSize, partSize, true},
		{size, 2*blockSize + partSize, 5, true},
		{size, 2*blockSize + partSize, 6, false},
		{size, size, 0, false},
		{size, 0, 0, false},
	} {
		if got := ourCut(c.file, c.offset, c.piece); got != c.want {
			t.Errorf("a piece of %d at %d of %d: got %v, want %v", c.piece, c.offset, c.file, got, c.want)
		}
	}
}

// TestAFileInPartsShrinksWhileItIsRead: what is left of it is stored.
func TestAFileInPartsShrinksWhileItIsRead(t *testing.T) {
	t.Parallel()
	r := newRepository(t, mem.New())
	data := newPages(8*blockSize/testPage, 1, 1)
	base, _ := backUpOn(t, r, "", set{"f": file(data)}, nil, nil)
	for i := 0; i < len(data)/testPage; i += 20 {
		data.touch(i, 2)
	}
	backUpOn(t, r, base, set{"f": file(data)}, since(1), nil)
	for _, left := range []int{7*blockSize + 3*partSize + 77, 5 * blockSize, 4*blockSize - 1, wholeFile, 0} {
		w := newWriter(t, r)
		f := file(data).file("f")
		f.Changed = since(2)
		f.Open = func() (engine.Content, error) { return content{bytes.NewReader(data[:left])}, nil }
		if err := w.Add(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		id := finish(t, w)
		compare(t, readSet(t, r, id), set{"f": file(data[:left])})
		shrunk := set{"f": file(data[:left])}
		second, _ := backUpOn(t, r, id, shrunk, since(2), func(string) bool { return true })
		compare(t, readSet(t, r, second), shrunk)
	}
}

// TestAFileShrinksInFrontOfACut: four blocks whose hashing was begun together, and not ended
// as the last one has shrunk, leave nothing behind that gets into the ids of parts.
func TestAFileShrinksInFrontOfACut(t *testing.T) {
	t.Parallel()
	const (
		many   = probeMisses + 4 // blocks in front, of which nothing is known, and that are not cut
		perBlk = blockSize / testPage
	)
	r := newRepository(t, mem.New())
	data := newPages((many+hash.Lanes)*perBlk, 1, 1)
	base, _ := backUpOn(t, r, "", set{"f": file(data)}, nil, nil)
	for i := range many * perBlk {
		data.touch(i, 2)
	}
	for b := range hash.Lanes {
		data.touch((many+b)*perBlk+b, 2)
	}
	left := data[:(many+hash.Lanes-1)*blockSize+3*laneSlice+5]
	w, err := r.NewWriter(t.Context(), WriterOptions{Holder: "test/writer", Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	d, err := w.BuildOn(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	f := file(data).file("f")
	f.Changed = since(1)
	f.Open = func() (engine.Content, error) { return content{bytes.NewReader(left)}, nil }
	if err := errors.Join(d.Add(t.Context(), f), d.Close()); err != nil {
		t.Fatal(err)
	}
	compare(t, readSet(t, r, finish(t, w)), set{"f": file(left)})
}

// TestRandomCuts changes files at random, tells the writer the truth about it or not,
// loses packs, and compares every set with what was there.
func TestRandomCuts(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 3))
	bucket := mem.New()
	r := newRepository(t, bucket)
	files := map[string]pages{}
	var base string
	saved := map[string]set{}
	cuts := 0
	for now := uint64(1); now <= 24; now++ {
		changedFiles := map[string]bool{}
		for i := range 4 {
			name := fmt.Sprintf("d%d/f%d", i%2, i)
			if rng.IntN(3) == 0 && now > 1 {
				continue
			}
			changedFiles[name] = true
			files[name] = randomChange(rng, files[name], now)
		}
		s := set{}
		for name, data := range files {
			s[name] = file(slices.Clone(data))
		}
		changed := since(now - 1)
		switch rng.IntN(6) {
		case 0:
			changed = nil
		case 1:
			changed = func([]byte) (int, int) { return 1, 64 }
		case 2:
			changed = func([]byte) (int, int) { return 64, 64 }
		}
		on, lost := base, false
		if rng.IntN(5) == 0 {
			on = ""
		}
		if rng.IntN(8) == 0 { // the newest set is damaged, and its blobs are not known any more
			lost = true
			for name := range files {
				if _, ok := saved[base][name]; !ok {
					continue
				}
				packs := packsOf(t, r, base, name)
				if len(packs) == 0 {
					continue // it was empty
				}
				if err := bucket.Delete(context.Background(), packs[0]); err != nil {
					t.Fatal(err)
				}
				break
			}
			saved = map[string]set{}
		}
		var err error
		base, err = addAll(r, on, s, changed, func(p string) bool { return !changedFiles[p] && now > 1 })
		if err != nil {
			t.Fatalf("round %d, lost %v: %v", now, lost, err)
		}
		saved[base] = s
		for name := range s {
			if sizes := cutOf(t, r, base, name); len(sizes) > blocks(int64(len(s[name].data))) {
				cuts++
			}
		}
		for id, want := range saved {
			compare(t, readSet(t, r, id), want)
			if id != base && rng.IntN(3) > 0 {
				delete(saved, id)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	if cuts < 5 {
		t.Errorf("of all files only %d were in parts", cuts)
	}
}

// addAll stores a set on top of a snapshot, if there is one; its newest one may be damaged.
func addAll(r *Repository, base string, s set, changed func([]byte) (int, int), same func(string) bool) (_ string, err error) {
	ctx := context.Background()
	w, err := r.NewWriter(ctx, WriterOptions{Holder: "random", Workers: 3})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	var sink engine.Sink = w
	if base != "" {
		d, err := w.BuildOn(ctx, base)
		if err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, d.Close()) }()
		sink = d
	}
	for _, p := range inOrder(s) {
		f := s[p].file(p)
		f.Changed = changed
		f.Same = func(engine.Node) bool { return same(p) }
		if err := sink.Add(ctx, f); err != nil {
			return "", err
		}
	}
	return w.Commit(ctx, testCommit(), intendNothing)
}

// randomChange changes some pages, or the length.
func randomChange(rng *rand.Rand, p pages, now uint64) pages {
	p = slices.Clone(p)
	n := len(p) / testPage
	switch k := rng.IntN(8); {
	case n == 0 || k == 0: // another file
		n = []int{0, 1, 8, 9, 64, 70, 300, 64 * 5}[rng.IntN(8)]
		return newPages(n, rng.Uint64N(1000), now)
	case k == 1: // shorter, and perhaps with a part of a page at its end
		return p[:rng.IntN(len(p))]
	case k == 2: // longer
		return append(p[:n*testPage], newPages(rng.IntN(100), rng.Uint64N(1000), now)...)
	case k == 3: // a stretch of zeros
		from := rng.IntN(n)
		clear(p[from*testPage : min(n, from+rng.IntN(80))*testPage])
	case k == 4: // a stretch wholly
		for i := rng.IntN(n); i < n && rng.IntN(100) > 0; i++ {
			p.touch(i, now)
		}
	default: // pages at random
		for range 1 + rng.IntN(1+n/16) {
			p.touch(rng.IntN(n), now)
		}
	}
	return p
}

// TestPartsLiveThroughPruneAndCopy: of a chain whose older sets are dropped, prune
// keeps the parts that are needed, and a condemned pack's parts are stored again.
func TestPartsLiveThroughPruneAndCopy(t *testing.T) {
	t.Parallel()
	g := newGarden(t, true)
	g.maxUnused = 0
	data := newPages(12*blockSize/testPage+3, 1, 1)
	var ids []string
	var sets []set
	for now := uint64(1); now <= 5; now++ {
		for i := int(now); now > 1 && i < len(data)/testPage; i += 30 + int(now) {
			data.touch(i, now)
		}
		s := set{"pgdata/f": file(slices.Clone(data)), "pgdata/other": file(noise(70_000, now))}
		base := ""
		if len(ids) > 0 {
			base = ids[len(ids)-1]
		}
		id, _ := backUpOn(t, g.r, base, s, since(now-1), nil)
		ids, sets = append(ids, id), append(sets, s)
	}
	g.forget(ids[0], ids[1], ids[3])
	for range 3 {
		g.prune()
		g.whole("after a prune")
		g.clock.pass(25 * time.Hour)
	}
	compare(t, readSet(t, g.r, ids[2]), sets[2])
	compare(t, readSet(t, g.r, ids[4]), sets[4])
	if _, stats := backUpOn(t, g.r, ids[4], sets[4], since(5), nil); stats.NewBlobs != 0 {
		t.Errorf("%d blobs of the newest set are gone", stats.NewBlobs)
	}

	to, _ := newDirRepository(t)
	copied := copyTo(t, g.r, to, ids[2], ids[4])
	compare(t, readSet(t, to, copied.Snapshots[1].To), sets[4])
	data.touch(100, 6)
	next, stats := backUpOn(t, to, copied.Snapshots[1].To, set{"pgdata/f": file(data), "pgdata/other": sets[4]["pgdata/other"]}, since(5), nil)
	if stats.NewBlobs != 1 {
		t.Errorf("%d blobs are new on top of the copy, want the part", stats.NewBlobs)
	}
	compare(t, readSet(t, to, next), set{"pgdata/f": file(data), "pgdata/other": sets[4]["pgdata/other"]})

	g.forget(ids[4])
	g.prune() // condemns what only that set, and those on it, had
	list, err := g.r.Snapshots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		if s.ID != ids[2] {
			g.forget(s.ID)
		}
	}
	g.prune()
	again, stats := backUpOn(t, g.r, ids[2], sets[4], since(3), nil)
	if stats.NewBlobs == 0 {
		t.Error("condemned parts were taken for known")
	}
	for range 3 {
		g.clock.pass(25 * time.Hour)
		g.prune()
	}
	g.whole("at the end")
	compare(t, readSet(t, g.r, again), sets[4])
	usage, err := g.r.Stats(t.Context())
	if err != nil || usage.LogicalBytes != int64(2*(len(data)+70_000)) {
		t.Errorf("got %+v, %v", usage, err)
	}
}

// shrinking is a file that is truncated after some reads.
type shrinking struct {
	data  []byte
	left  int
	after atomic.Int64
}

func (*shrinking) Close() error { return nil }

func (s *shrinking) ReadAt(p []byte, off int64) (int, error) {
	data := s.data
	if s.after.Add(-1) < 0 {
		data = data[:s.left]
	}
	return bytes.NewReader(data).ReadAt(p, off)
}

// TestFilesShrinkAtRandom truncates files while they are read, of which much or little
// has changed: what is left of them is in the set.
func TestFilesShrinkAtRandom(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 4))
	r := newRepository(t, mem.New())
	data := newPages(20*blockSize/testPage, seed, 1)
	base, _ := backUpOn(t, r, "", set{"f": file(slices.Clone(data))}, nil, nil)
	rounds := uint64(12)
	if raced {
		rounds = 4
	}
	for now := uint64(2); now < 2+rounds; now++ {
		if len(data) < 8*blockSize { // else it is only short
			data = newPages(rng.IntN(20*blockSize/testPage), rng.Uint64N(1000), now)
		}
		data = randomChange(rng, data, now)
		if rng.IntN(2) == 0 {
			for i := 0; i < len(data)/testPage; i += 1 + rng.IntN(60) {
				data.touch(i, now)
			}
		}
		from := &shrinking{data: slices.Clone(data), left: len(data)}
		if len(data) > 0 && rng.IntN(4) > 0 {
			from.left = rng.IntN(len(data))
			if rng.IntN(3) == 0 {
				from.left = from.left / blockSize * blockSize
			}
			from.after.Store(rng.Int64N(int64(len(data)/laneSlice + 2)))
		}
		f := file(data).file("f")
		f.Changed = since(now - 1)
		f.Open = func() (engine.Content, error) { return from, nil }
		size := int64(-1)
		f.Done = func(res engine.FileResult) { size = res.Size }
		w, err := r.NewWriter(t.Context(), WriterOptions{Holder: "test/writer", Workers: 1 + rng.IntN(3)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Close() })
		d, err := w.BuildOn(t.Context(), base)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.Add(t.Context(), f), d.Close()); err != nil {
			t.Fatal(err)
		}
		base = finish(t, w)
		if size < int64(from.left) || size > int64(len(data)) {
			t.Fatalf("round %d: %d bytes are stored, of %d, of which %d were left", now, size, len(data), from.left)
		}
		data = data[:size]
		compare(t, readSet(t, r, base), set{"f": file(data)})
		if t.Failed() {
			t.FailNow()
		}
	}
}
