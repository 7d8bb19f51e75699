package pgphysical

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// addWAL copies the segments that recovery of the backup needs, and the history
// files of the timelines before. The slot keeps them on the server until now.
func (b *backup) addWAL(ctx context.Context) error {
	dir, err := filepath.EvalSymlinks(filepath.Join(b.data.path, "pg_wal"))
	if err != nil {
		return readError(err, filepath.Join(b.data.path, "pg_wal"))
	}
	segSize := uint64(b.control.WALSegmentSize)
	first, last := pg.SegmentNumber(b.label.Start, segSize), pg.LastSegmentNumber(b.stopped.stop, segSize)
	b.total(int64(last-first+1), int64((last-first+1)*segSize))
	var segments []*walPages
	for n := first; n <= last; n++ {
		name := pg.SegmentFile(b.label.Timeline, n, segSize)
		if n == last {
			if err := b.awaitWAL(ctx, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		pages := newWALPages(name, pg.LSN(n*segSize), b.stopped.stop, b.control)
		if err := b.addWALFile(ctx, dir, name, pages); err != nil {
			return err
		}
		segments = append(segments, pages)
	}
	names, err := readNames(dir)
	if err != nil {
		return readError(err, dir)
	}
	for _, name := range names {
		if tli, ok := pg.ParseHistoryName(name); ok && tli <= b.label.Timeline {
			b.total(1, 0)
			if err := b.addWALFile(ctx, dir, name, nil); err != nil {
				return err
			}
		}
	}
	if err := b.sink.Flush(ctx); err != nil {
		return err
	}
	for _, pages := range segments {
		if !pages.good() {
			return errWALGone(pages.name)
		}
	}
	return nil
}

// addWALFile adds a file of pg_wal; a segment's pages are shown to pages.
func (b *backup) addWALFile(ctx context.Context, dir, name string, pages *walPages) error {
	source := filepath.Join(dir, name)
	fi, err := os.Stat(source)
	if errors.Is(err, os.ErrNotExist) {
		return errWALGone(name)
	}
	if err != nil {
		return readError(err, source)
	}
	if pages != nil && fi.Size() != int64(b.control.WALSegmentSize) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "WAL segment %s has %d bytes, not those of a segment", name, fi.Size())
	}
	return b.sink.Add(ctx, engine.File{
		Node: node("pgdata/pg_wal/"+name, fi),
		Open: func() (engine.Content, error) {
			f, err := os.Open(source)
			switch {
			case errors.Is(err, os.ErrNotExist):
				return nil, errWALGone(name)
			case err != nil:
				return nil, readError(err, source)
			}
			return f, nil
		},
		Inspect: func(offset int64, block []byte) error {
			pages.see(offset, block)
			b.report.Done(0, int64(len(block)))
			return nil
		},
		Done: b.stored,
	})
}

// walPages checks that a segment holds the WAL that recovery needs of it. A page
// that was recycled for later use shows another address. After a switch to the
// next segment the rest of a segment is zero, page headers and all; so zeros may
// stand at its end, when it is not the last one, and nowhere else.
type walPages struct {
	name  string
	start pg.LSN // of the segment
	end   pg.LSN // where what is needed ends
	size  int64  // of the segment
	page  int64  // size of a page

	mu    sync.Mutex // guards the fields below
	last  int64      // offset of the last page with its own address; -1: none
	zero  int64      // offset of the first page of zeros; size: none
	wrong bool       // there is a page of another address
}

func newWALPages(name string, start, end pg.LSN, c pg.Control) *walPages {
	size := int64(c.WALSegmentSize)
	return &walPages{name: name, start: start, end: end, size: size, page: int64(c.WALBlockSize), last: -1, zero: size}
}

// see takes a block of the segment, in any order. A nil walPages takes anything.
func (w *walPages) see(offset int64, block []byte) {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := (offset + w.page - 1) / w.page * w.page; p < offset+int64(len(block)); p += w.page {
		rest := block[p-offset:]
		rest = rest[:min(w.page, int64(len(rest)))]
		switch addr := w.start + pg.LSN(p); {
		case addr >= w.end:
			return
		case len(rest) < pg.WALPageHeaderSize || pg.CheckWALPage(rest, addr):
			w.last = max(w.last, p)
		case pg.PageIsZero(rest):
			w.zero = min(w.zero, p)
		default:
			w.wrong = true
		}
	}
}

// good reports whether the segment holds what is needed; all of it was seen.
func (w *walPages) good() bool {
	if w.wrong || w.last < 0 || w.last > w.zero {
		return false
	}
	return w.zero == w.size || w.end > w.start+pg.LSN(w.size)
}

// awaitWAL returns when the last page before the stop is written: stopping has
// switched to the next segment, so all of it is on its way.
func (b *backup) awaitWAL(ctx context.Context, source string) error {
	segSize, page := pg.LSN(b.control.WALSegmentSize), pg.LSN(b.control.WALBlockSize)
	addr := (b.stopped.stop - 1) / page * page
	for deadline := time.Now().Add(walLimit); ; {
		header := make([]byte, pg.WALPageHeaderSize)
		f, err := os.Open(source)
		if err == nil {
			_, err = f.ReadAt(header, int64(addr%segSize))
			err = errors.Join(err, f.Close())
		}
		if err == nil && pg.CheckWALPage(header, addr) {
			return nil
		}
		if time.Now().After(deadline) {
			return holdfast.Wrap(holdfast.CodeUnavailable, err, "WAL up to %s does not appear in %s", b.stopped.stop, source)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func errWALGone(name string) error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "WAL segment %s was removed while the backup needed it", name).
		WithHint("raise max_slot_wal_keep_size, and let nothing but the server remove files from pg_wal")
}
