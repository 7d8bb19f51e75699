package repository

import (
	"context"
	"fmt"
	"path"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
	"github.com/holdfast-backup/holdfast/internal/repository/index"
	"github.com/holdfast-backup/holdfast/internal/repository/pack"
)

// A batch of files is fetched together: the more, the better the order of reads,
// but files of several blobs stay open until they are whole.
const (
	batchOpen   = 256     // files of several blobs
	batchPlaces = 1 << 18 // places to fill: 128 GiB in blocks of 512 KiB
)

// Fetch implements engine.Source. A target that had content before keeps the
// blocks of it that are right already, so that an interrupted restore goes on
// where it was. Each file is synced before it is closed.
func (r *Reader) Fetch(ctx context.Context, targets []engine.Target) error {
	wanted, err := newWanted(targets)
	if err != nil || len(targets) == 0 {
		return err
	}
	b := newBatch(r)
	err = r.walk(ctx, r.snapshot.Tree, "", 0, func(p string, n node) (bool, error) {
		if n.mode.IsDir() {
			return wanted.dirs[p], nil
		}
		t := wanted.files[p]
		if t == nil {
			return false, nil
		}
		if !n.mode.IsRegular() {
			return false, holdfast.Errorf(holdfast.CodeInvalid, "%q is no regular file in the set", p)
		}
		delete(wanted.files, p)
		if err := b.add(n, t); err != nil || !b.full() {
			return false, err
		}
		err := b.run(ctx)
		b = newBatch(r)
		return false, err
	})
	if err != nil {
		return err
	}
	if err := b.run(ctx); err != nil {
		return err
	}
	for p := range wanted.files {
		return holdfast.Errorf(holdfast.CodeNotFound, "the set has no file %q", p)
	}
	return nil
}

// wanted is what a fetch looks for in the trees.
type wanted struct {
	files map[string]*engine.Target
	dirs  map[string]bool // that hold some of them
}

func newWanted(targets []engine.Target) (wanted, error) {
	w := wanted{files: make(map[string]*engine.Target, len(targets)), dirs: map[string]bool{}}
	for i := range targets {
		t := &targets[i]
		if w.files[t.Path] != nil {
			return w, holdfast.Errorf(holdfast.CodeInvalid, "file %q was asked for twice", t.Path)
		}
		w.files[t.Path] = t
		for d := path.Dir(t.Path); d != "." && d != "/" && !w.dirs[d]; d = path.Dir(d) {
			w.dirs[d] = true
		}
	}
	return w, nil
}

// batch is a number of files and the blobs that they are made of.
type batch struct {
	reader  *Reader
	files   []*output
	several int // files of several blobs
	places  int
	known   map[hash.ID]int // number in blobs
	blobs   []wantedBlob
	packs   map[hash.ID]int // in the order of their first use
}

// wantedBlob is a blob and everywhere it goes.
type wantedBlob struct {
	index.Location
	rank   int // of its pack
	places []place
}

// place is where a blob goes.
type place struct {
	file   *output
	offset int64
}

func newBatch(r *Reader) *batch {
	return &batch{reader: r, known: map[hash.ID]int{}, packs: map[hash.ID]int{}}
}

func (b *batch) full() bool { return b.several >= batchOpen || b.places >= batchPlaces }

// add plans one file.
func (b *batch) add(n node, t *engine.Target) error {
	out := &output{target: t, size: n.size, single: len(n.content) == 1}
	out.left.Store(int32(len(n.content))) //nolint:gosec // a tree has fewer than 2^32 bytes
	b.files = append(b.files, out)
	b.places += len(n.content)
	if len(n.content) > 1 {
		b.several++
	}
	var offset int64
	var found []index.Location
	for _, id := range n.content {
		no, ok := b.known[id]
		if !ok {
			var err error
			if found, err = locate(b.reader.index, found[:0], id, pack.Data); err == nil {
				err = checkSize(found[0])
			}
			if err != nil {
				return fmt.Errorf("file %q: %w", t.Path, b.reader.explain(err))
			}
			no = b.plan(found[0])
		}
		w := &b.blobs[no]
		w.places = append(w.places, place{out, offset})
		offset += w.Size()
		if offset > n.size {
			break
		}
	}
	if offset != n.size {
		return sizeMismatch(t.Path, n.size)
	}
	return nil
}

func (b *batch) plan(l index.Location) int {
	rank, ok := b.packs[l.Pack]
	if !ok {
		rank = len(b.packs)
		b.packs[l.Pack] = rank
	}
	no := len(b.blobs)
	b.known[l.ID] = no
	b.blobs = append(b.blobs, wantedBlob{Location: l, rank: rank})
	return no
}

// run fills all files of the batch and closes them.
func (b *batch) run(ctx context.Context) error {
	defer func() {
		for _, f := range b.files {
			f.abandon()
		}
	}()
	err := b.fill(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	return err
}

// describe adds to an error which file needs the blob.
func (w *wantedBlob) describe(err error) error {
	name := fmt.Sprintf("file %q", w.places[0].file.target.Path)
	if more := len(w.places) - 1; more > 0 {
		name = fmt.Sprintf("%s and %d more", name, more)
	}
	if code := holdfast.ErrorCode(err); code != holdfast.CodeInternal {
		return holdfast.Wrap(code, err, "%s: %s", name, holdfast.ErrorMessage(err)).WithHint("%s", holdfast.ErrorHint(err))
	}
	return fmt.Errorf("%s: %w", name, err)
}
