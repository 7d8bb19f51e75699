package sqlite_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// TestViewsThatOverlapDoNotGrowTheLog reads without a pause while much is
// written: the write-ahead log is begun anew all the same.
func TestViewsThatOverlapDoNotGrowTheLog(t *testing.T) {
	t.Parallel()
	const (
		limit = 2 << 20
		piece = 50 << 10
		much  = 40 << 20 // less than SQLite itself leaves of the log
	)
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s, err := sqlite.Open(t.Context(), path, sqlite.WithWALLimit(limit))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				err := s.View(t.Context(), func(r store.Reader) error {
					_, err := r.Events(t.Context(), 0, 0, 10)
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	data := []byte(`"` + strings.Repeat("x", piece) + `"`)
	anew := false
	for was, written := int64(0), 0; !anew && written < much; written += piece {
		err := s.Update(t.Context(), func(tx store.Tx) error {
			return tx.InsertEvent(t.Context(), &holdfast.Event{Account: holdfast.FirstID, Actor: "a", Subject: "s", Kind: "k", Data: data})
		})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		anew = was > limit && info.Size() < was
		was = info.Size()
	}
	close(done)
	readers.Wait()
	if !anew {
		t.Errorf("the write-ahead log was never begun anew while %d bytes were written", much)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
