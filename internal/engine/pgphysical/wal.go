package pgphysical

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
	for n := first; n <= last; n++ {
		name := pg.SegmentFile(b.label.Timeline, n, segSize)
		if n == last {
			if err := b.awaitWAL(ctx, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		if err := b.addWALFile(ctx, dir, name, pg.LSN(n*segSize)); err != nil {
			return err
		}
	}
	names, err := readNames(dir)
	if err != nil {
		return readError(err, dir)
	}
	for _, name := range names {
		if tli, ok := pg.ParseHistoryName(name); ok && tli <= b.label.Timeline {
			b.total(1, 0)
			if err := b.addWALFile(ctx, dir, name, 0); err != nil {
				return err
			}
		}
	}
	return b.sink.Flush(ctx)
}

// addWALFile adds a file of pg_wal. The pages of a segment that begins at start
// must be of that segment: what was recycled for later use shows other addresses.
func (b *backup) addWALFile(ctx context.Context, dir, name string, start pg.LSN) error {
	source := filepath.Join(dir, name)
	fi, err := os.Stat(source)
	if errors.Is(err, os.ErrNotExist) {
		return errWALGone(name)
	}
	if err != nil {
		return readError(err, source)
	}
	page := int64(b.control.WALBlockSize)
	check := func(offset int64, block []byte) error {
		for p := (offset + page - 1) / page * page; p < offset+int64(len(block)) && start > 0; p += page {
			addr := start + pg.LSN(p)
			if addr >= b.stopped.stop {
				break
			}
			if rest := block[p-offset:]; len(rest) >= pg.WALPageHeaderSize && !pg.CheckWALPage(rest, addr) {
				return errWALGone(name)
			}
		}
		b.report.Done(0, int64(len(block)))
		return nil
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
		Inspect: check,
		Done:    b.stored,
	})
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
