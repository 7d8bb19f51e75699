package repository

import (
	"cmp"
	"context"
	"crypto/sha256"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/repository/compress"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// How packs are read: blobs side by side in one go, and small holes with them.
const (
	rangeSize = 4 << 20
	rangeHole = 64 << 10
)

// fill fetches what the batch needs, in the order in which it lies in the packs.
// One goroutine more than cores, because they wait for reads and writes.
func (b *batch) fill(ctx context.Context) error {
	slices.SortFunc(b.blobs, func(x, y wantedBlob) int {
		return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(x.Offset, y.Offset))
	})
	ranges := b.ranges()
	var next, nextEmpty atomic.Int64
	empty := b.empty()
	g, gctx := errgroup.WithContext(ctx)
	for range min(runtime.GOMAXPROCS(0)+1, len(ranges)+1) {
		g.Go(func() error {
			f := filler{Reader: b.reader, codec: compress.New()}
			for gctx.Err() == nil {
				if i := int(nextEmpty.Add(1) - 1); i < len(empty) {
					if err := empty[i].openAndFinish(); err != nil {
						return err
					}
					continue
				}
				i := int(next.Add(1) - 1)
				if i >= len(ranges) {
					return nil
				}
				if err := f.fill(gctx, ranges[i]); err != nil {
					return err
				}
			}
			return context.Cause(gctx)
		})
	}
	return g.Wait()
}

// empty returns the files without content.
func (b *batch) empty() []*output {
	var empty []*output
	for _, f := range b.files {
		if f.left.Load() == 0 {
			empty = append(empty, f)
		}
	}
	return empty
}

func (o *output) openAndFinish() error {
	if err := o.open(); err != nil {
		return err
	}
	return o.finish()
}

// ranges cuts the sorted blobs into what is read at once.
func (b *batch) ranges() [][]wantedBlob {
	var out [][]wantedBlob
	first := 0
	for i := 1; i <= len(b.blobs); i++ {
		if i < len(b.blobs) && b.blobs[i].follows(&b.blobs[i-1], &b.blobs[first]) {
			continue
		}
		out = append(out, b.blobs[first:i])
		first = i
	}
	return out
}

// follows reports whether the blob may be read together with the one before it
// and the first of the range.
func (w *wantedBlob) follows(before, first *wantedBlob) bool {
	end := int64(before.Offset) + int64(before.Length)
	return w.rank == before.rank &&
		int64(w.Offset) >= end && int64(w.Offset)-end <= rangeHole &&
		int64(w.Offset)+int64(w.Length)-int64(first.Offset) <= rangeSize
}

// filler is the memory of one goroutine that fills files.
type filler struct {
	*Reader
	codec  compress.Codec
	sealed []byte
	lanes  [hash.Lanes]lane
	four   hash.Four
	before []byte // what a place held
}

// lane is one of the blobs that are verified at once.
type lane struct {
	raw  []byte // memory for data
	data []byte
	err  error // why there is none
}

// fill reads one range and puts its blobs in place.
func (f *filler) fill(ctx context.Context, blobs []wantedBlob) error {
	needed := blobs[:0:0]
	for i := range blobs {
		w := &blobs[i]
		open, err := f.missing(w)
		if err != nil {
			return err
		}
		if len(open) > 0 {
			needed = append(needed, wantedBlob{Location: w.Location, rank: w.rank, places: open})
		}
	}
	if len(needed) == 0 {
		return nil
	}
	start := int64(needed[0].Offset)
	last := &needed[len(needed)-1]
	sealed, err := f.repo.readRange(ctx, last.Pack, start, int64(last.Offset)+int64(last.Length)-start, f.sealed)
	f.sealed = sealed
	for len(needed) > 0 {
		n := together(needed)
		f.decode(needed[:n], sealed, start, err)
		for i := range needed[:n] {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f.place(ctx, &needed[i], f.lanes[i].data, f.lanes[i].err); err != nil {
				return needed[i].describe(err)
			}
		}
		needed = needed[n:]
	}
	return nil
}

// together returns how many of the first blobs can be hashed at once.
func together(blobs []wantedBlob) int {
	size := blobs[0].Size()
	if len(blobs) < hash.Lanes || size%sha256.BlockSize != 0 {
		return 1
	}
	for i := range blobs[:hash.Lanes] {
		if blobs[i].Size() != size {
			return 1
		}
	}
	return hash.Lanes
}

// decode opens, decompresses and verifies as many blobs as [together] says, into the
// lanes. sealed begins at start in the pack; readErr is why it could not be read.
func (f *filler) decode(blobs []wantedBlob, sealed []byte, start int64, readErr error) {
	good := readErr == nil
	for i := range blobs {
		l, w := &f.lanes[i], &blobs[i]
		l.data, l.err = nil, readErr
		if readErr != nil {
			continue
		}
		content, err := f.repo.openBlob(w.Location, sealed[int64(w.Offset)-start:][:w.Length])
		if err == nil {
			l.data, l.raw, err = decompress(f.codec, w.Location, content, l.raw)
		}
		l.err = err
		good = good && err == nil && int64(len(l.data)) == w.Size()
	}
	if good && len(blobs) == hash.Lanes {
		var data [hash.Lanes][]byte
		for i := range data {
			data[i] = f.lanes[i].data
		}
		f.four.Write(&data)
		for i, id := range f.four.Finish() {
			f.lanes[i].err = verify(blobs[i].Location, id)
		}
		return
	}
	for i := range blobs {
		if l := &f.lanes[i]; l.err == nil {
			l.err = verify(blobs[i].Location, hash.Sum(l.data))
		}
	}
}

// missing returns the places of the blob that do not hold it from before. Files
// of one blob are not looked at: there may be very many of the same content, and
// they are opened one at a time.
func (f *filler) missing(w *wantedBlob) ([]place, error) {
	var open []place
	for _, p := range w.places {
		if p.file.single {
			open = append(open, p)
			continue
		}
		held, err := f.held(w, p)
		if err != nil {
			return nil, w.describe(err)
		}
		if !held {
			open = append(open, p)
		}
	}
	return open, nil
}

// held reports whether the place holds its blob from before; then it is done.
func (f *filler) held(w *wantedBlob, p place) (bool, error) {
	if err := p.file.open(); err != nil || !p.file.used {
		return false, err
	}
	size := int(w.Size())
	if cap(f.before) < size {
		f.before = make([]byte, max(size, blockSize))
	}
	if !p.file.holds(w.ID, p.offset, f.before[:size]) {
		return false, nil
	}
	return true, p.file.filled(int64(size))
}

// place writes one blob everywhere it goes. err is why there is no content; another copy
// of the blob may do.
func (f *filler) place(ctx context.Context, w *wantedBlob, data []byte, err error) error {
	f.damages.see(err)
	if err != nil && holdfast.ErrorCode(err) == holdfast.CodeInvalid {
		other, otherErr := f.repo.dataBlob(ctx, f.index, f.codec, w.ID)
		if otherErr == nil && int64(len(other)) == w.Size() {
			data, err = other, nil
		}
	}
	if err != nil {
		return err
	}
	zero := isZero(data)
	for _, p := range w.places {
		if p.file.single {
			held, err := f.held(w, p)
			if err != nil {
				return err
			}
			if held {
				continue
			}
		}
		if err := p.file.write(data, p.offset, zero); err != nil {
			return err
		}
		if err := p.file.filled(int64(len(data))); err != nil {
			return err
		}
	}
	return nil
}
