package pgphysical

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// maxProblems bounds how many problems a verification names.
const maxProblems = 100

// Verification is what Verify found.
type Verification struct {
	Files    int64
	Bytes    int64
	Problems []string // at most 100; empty: the directory is what the manifest says
	More     int      // problems that are not named
}

// OK reports whether nothing is wrong.
func (v Verification) OK() bool { return len(v.Problems) == 0 }

// Files that a restore or a tool may write or remove without making a backup bad:
// the same that pg_verifybackup leaves out.
var unverified = map[string]bool{
	pg.ManifestName: true, autoConf: true, "recovery.signal": true, "standby.signal": true,
}

// Verify compares a data directory in which no server has run yet with its
// backup_manifest: names, sizes, checksums, pg_control, and the WAL that recovery
// needs. It reads manifests of every version and checksum algorithm. The error is
// for what keeps it from looking, such as a manifest that is damaged itself.
func Verify(ctx context.Context, dir string) (Verification, error) {
	v := &verifier{dir: dir, seen: map[string]bool{}}
	if err := v.run(ctx); err != nil {
		return Verification{}, err
	}
	if ctx.Err() != nil {
		return Verification{}, context.Cause(ctx)
	}
	return Verification{Files: v.files.Load(), Bytes: v.bytes.Load(), Problems: v.problems, More: v.more}, nil
}

type verifier struct {
	dir   string
	files atomic.Int64
	bytes atomic.Int64
	seen  map[string]bool // what the manifest lists

	mu       sync.Mutex // guards the fields below
	problems []string
	more     int
}

func (v *verifier) problem(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.problems) == maxProblems {
		v.more++
		return
	}
	v.problems = append(v.problems, fmt.Sprintf(format, args...))
}

// full reports whether there are more problems than are named.
func (v *verifier) full() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.more > 0
}

func (v *verifier) run(ctx context.Context) error {
	f, err := os.Open(filepath.Join(v.dir, pg.ManifestName))
	if err != nil {
		return readError(err, filepath.Join(v.dir, pg.ManifestName))
	}
	defer f.Close() //nolint:errcheck // read only
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	m, err := pg.ReadManifest(f, func(file pg.ManifestFile) error {
		if gctx.Err() != nil {
			return context.Cause(gctx)
		}
		if !filepath.IsLocal(file.Path) {
			return fmt.Errorf("path %q leads out of the directory", file.Path)
		}
		if v.seen[file.Path] {
			return fmt.Errorf("path %q stands there twice", file.Path)
		}
		v.seen[file.Path] = true
		if !unverified[file.Path] {
			g.Go(func() error { return v.file(gctx, file) })
		}
		return nil
	})
	if err := g.Wait(); err != nil {
		return err
	}
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the manifest of %s is not valid: %s", v.dir, err)
	}
	if err := v.extra("", 0); err != nil {
		return err
	}
	v.wal(ctx, m)
	return nil
}

// file compares one file with what the manifest says.
func (v *verifier) file(ctx context.Context, m pg.ManifestFile) error {
	f, err := os.Open(filepath.Join(v.dir, filepath.FromSlash(m.Path)))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			v.problem("%q is missing", m.Path)
		} else {
			v.problem("%q cannot be read: %s", m.Path, err)
		}
		return nil
	}
	defer f.Close() //nolint:errcheck // read only
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	v.files.Add(1)
	switch {
	case !fi.Mode().IsRegular():
		v.problem("%q is no regular file", m.Path)
		return nil
	case fi.Size() != m.Size:
		v.problem("%q has %d bytes, and should have %d", m.Path, fi.Size(), m.Size)
		return nil
	}
	h, err := newHash(m.Algorithm)
	if err != nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "file %q of the manifest has a checksum that is not known: %s", m.Path, m.Algorithm)
	}
	buf := make([]byte, 256<<10)
	for ctx.Err() == nil {
		n, err := f.Read(buf)
		h.Write(buf[:n])
		v.bytes.Add(int64(n))
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			v.problem("%q cannot be read: %s", m.Path, err)
			return nil
		}
	}
	sum := h.Sum(nil)
	if m.Algorithm == pg.AlgorithmCRC32C {
		sum = pg.ChecksumCRC32C(uint32(sum[0])<<24 | uint32(sum[1])<<16 | uint32(sum[2])<<8 | uint32(sum[3]))
	}
	if m.Algorithm != "" && !bytes.Equal(sum, m.Checksum) && ctx.Err() == nil {
		v.problem("%q has the checksum %x, and should have %x", m.Path, sum, m.Checksum)
	}
	return nil
}

func newHash(algorithm string) (hash.Hash, error) {
	switch algorithm {
	case pg.AlgorithmCRC32C, "":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli)), nil
	case "SHA224":
		return sha256.New224(), nil
	case "SHA256":
		return sha256.New(), nil
	case "SHA384":
		return sha512.New384(), nil
	case "SHA512":
		return sha512.New(), nil
	}
	return nil, fmt.Errorf("algorithm %q is not known", algorithm)
}

// extra looks for files that the manifest does not list.
func (v *verifier) extra(place string, depth int) error {
	if depth > maxDepth {
		return holdfast.Errorf(holdfast.CodeInvalid, "directories in %s are nested too deep", v.dir)
	}
	entries, err := os.ReadDir(filepath.Join(v.dir, filepath.FromSlash(place)))
	if err != nil {
		return readError(err, filepath.Join(v.dir, place))
	}
	for _, e := range entries {
		p := join(place, e.Name())
		switch {
		case p == "pg_wal" || unverified[p]:
		case e.IsDir(), e.Type()&fs.ModeSymlink != 0 && strings.HasPrefix(p, "pg_tblspc/"):
			if err := v.extra(p, depth+1); err != nil {
				return err
			}
		case !v.seen[p]:
			v.problem("%q is there, and the manifest does not list it", p)
		}
	}
	return nil
}

// wal looks at pg_control, and at the segments that recovery of the backup needs.
func (v *verifier) wal(ctx context.Context, m pg.Manifest) {
	c, err := readControl(ctx, v.dir)
	if err != nil {
		v.problem("%s", holdfast.ErrorMessage(err))
		return
	}
	if m.SystemIdentifier != 0 && m.SystemIdentifier != c.SystemIdentifier {
		v.problem("pg_control is of the cluster %d, the manifest of %d", c.SystemIdentifier, m.SystemIdentifier)
	}
	size := uint64(c.WALSegmentSize)
	for _, r := range m.Ranges {
		for n := pg.SegmentNumber(r.Start, size); n <= pg.LastSegmentNumber(r.End, size); n++ {
			if ctx.Err() != nil || v.full() { // a made-up range may be endless
				return
			}
			v.segment(pg.SegmentFile(r.Timeline, n, size), pg.LSN(n*size), r.End, c)
		}
	}
}

// segment looks at the addresses of a WAL segment's pages up to the end.
//
// Their content is checked by recovery itself, record by record.
func (v *verifier) segment(name string, start, end pg.LSN, c pg.Control) {
	f, err := os.Open(filepath.Join(v.dir, "pg_wal", name))
	if err != nil {
		v.problem("WAL segment %s is missing", name)
		return
	}
	defer f.Close() //nolint:errcheck // read only
	fi, err := f.Stat()
	if err != nil || fi.Size() != int64(c.WALSegmentSize) {
		v.problem("WAL segment %s has not the size of a segment", name)
		return
	}
	pages := newWALPages(name, start, end, c)
	buf := make([]byte, 256<<10)
	for offset := int64(0); offset < fi.Size(); offset += int64(len(buf)) {
		n, err := f.ReadAt(buf, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			v.problem("WAL segment %s cannot be read: %s", name, err)
			return
		}
		pages.see(offset, buf[:n])
	}
	if !pages.good() {
		v.problem("WAL segment %s is damaged: a page is missing, or of another place", name)
	}
}
