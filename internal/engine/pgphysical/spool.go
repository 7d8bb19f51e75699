package pgphysical

import (
	"errors"
	"os"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// spool writes the manifest to a temporary file while files are being stored, so
// that memory does not grow with the cluster.
type spool struct {
	file *os.File

	mu sync.Mutex // guards the fields below
	w  *pg.ManifestWriter
}

// newSpool begins a manifest in dir; the file has no name from the beginning.
func newSpool(dir string, version pg.Version, systemIdentifier uint64) (*spool, error) {
	f, err := os.CreateTemp(dir, "holdfast-manifest-*")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &spool{file: f, w: pg.NewManifestWriter(f, version.ManifestVersion(), systemIdentifier)}, nil
}

// add lists a stored file.
func (s *spool) add(place string, n engine.Node, size int64, crc uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.Add(pg.ManifestFile{
		Path: place, Size: size, Modified: n.ModTime,
		Algorithm: pg.AlgorithmCRC32C, Checksum: pg.ChecksumCRC32C(crc),
	})
}

// finish ends the manifest and returns its size.
func (s *spool) finish(r pg.WALRange) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.w.Close([]pg.WALRange{r}); err != nil {
		return 0, err
	}
	fi, err := s.file.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// close gives the space back.
func (s *spool) close() { _ = s.file.Close() } // nothing in it is needed any more

// unclosed is content that outlives the sink's Close.
type unclosed struct{ engine.Content }

func (unclosed) Close() error { return nil }
