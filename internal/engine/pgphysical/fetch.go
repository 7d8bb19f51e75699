package pgphysical

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/direct"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// listed is what the set's manifest says of a file.
type listed struct {
	size int64
	crc  uint32
}

// fetchAll makes the directories and fetches every file but pg_control.
func (r *restore) fetchAll(ctx context.Context) error {
	var files []engine.Node
	err := r.src.Walk(ctx, func(n engine.Node) error {
		where, rel, err := split(n)
		if err != nil || where == "holdfast" {
			return err
		}
		switch {
		case n.Mode.IsDir():
			return r.makeDir(n)
		case n.Path == r.control.Path, isSignal(where, rel):
			return nil // pg_control comes last
		case r.trusted(ctx, n, where, rel):
			r.files++
			r.bytes += n.Size
			r.req.Report.Done(1, n.Size)
			return nil
		}
		files = append(files, n)
		return nil
	})
	if err != nil {
		return err
	}
	r.trusts = nil
	return r.fetch(ctx, files)
}

// isSignal reports whether the file is left out of a restore: it would start a
// recovery that nobody asked for.
func isSignal(where, rel string) bool {
	return where == "pgdata" && (rel == "recovery.signal" || rel == "standby.signal")
}

// place returns the target of a node and its place there.
func (r *restore) place(n engine.Node) (*target, string, error) {
	where, rel, err := split(n)
	if err != nil {
		return nil, "", err
	}
	if where == "pgdata" {
		return r.data, rel, nil
	}
	t := r.spaces[where]
	if t == nil {
		return nil, "", holdfast.Errorf(holdfast.CodeInvalid, "the set holds %q, which belongs to no target", n.Path)
	}
	return t, rel, nil
}

func (r *restore) makeDir(n engine.Node) error {
	t, rel, err := r.place(n)
	if err != nil {
		return err
	}
	mode := n.Mode.Perm() | 0o700
	if rel == "." {
		if t.aside != nil && t.aside.was != nil {
			n.Mode = t.aside.was.Mode
		}
		mode = serverMode(n.Mode)
	} else if err := t.root.MkdirAll(rel, 0o700); err != nil {
		return err
	}
	if err := t.root.Chmod(rel, mode); err != nil {
		return err
	}
	return r.own(t, rel, n)
}

// own gives what was made to its owner, when we may.
func (r *restore) own(t *target, rel string, n engine.Node) error {
	if !r.root {
		return nil
	}
	uid, gid := r.ids(n)
	return t.root.Lchown(rel, uid, gid)
}

// fetch writes the files.
func (r *restore) fetch(ctx context.Context, files []engine.Node) error {
	targets := make([]engine.Target, 0, len(files))
	for _, n := range files {
		targets = append(targets, engine.Target{
			Path:     n.Path,
			Open:     func() (engine.TargetFile, error) { return r.create(n) },
			Progress: func(bytes int64) { r.req.Report.Done(0, bytes) },
		})
		r.files++
		r.bytes += n.Size
	}
	return r.src.Fetch(ctx, targets)
}

// create makes one file.
func (r *restore) create(n engine.Node) (engine.TargetFile, error) {
	t, rel, err := r.place(n)
	if err != nil {
		return nil, err
	}
	if dir := path.Dir(rel); dir != "." {
		if _, err := t.root.Lstat(dir); errors.Is(err, os.ErrNotExist) { // a set need not list its directories
			if err := t.root.MkdirAll(dir, 0o700); err != nil {
				return nil, writeError(err, rel)
			}
			if err := r.own(t, dir, r.owner); err != nil {
				return nil, writeError(err, rel)
			}
		}
	}
	flags := os.O_RDWR | os.O_CREATE
	if !r.req.Spec.Delta {
		flags |= os.O_TRUNC
	}
	f, err := t.root.OpenFile(rel, flags, 0o600)
	if err != nil {
		return nil, writeError(err, rel)
	}
	err = f.Chmod(n.Mode.Perm() | 0o600)
	if err == nil && r.root {
		err = f.Chown(r.ids(n))
	}
	if err != nil {
		return nil, errors.Join(writeError(err, rel), f.Close())
	}
	c := &created{File: f, report: r.req.Report, written: &r.written}
	if n.Size >= direct.MinFile {
		if d, err := t.root.OpenFile(rel, os.O_WRONLY|direct.Flag, 0); err == nil { // many file systems cannot
			c.direct = direct.New(d)
		}
	}
	return c, nil
}

// created is a file that is written. It counts when it is closed.
type created struct {
	*os.File
	direct  *direct.Writer // nil: it can only be written through the cache
	report  engine.Report
	written *atomic.Int64 // bytes
}

// WriteAt writes large pieces past the page cache, where that can be.
func (c *created) WriteAt(p []byte, offset int64) (int, error) {
	n, err := c.direct.WriteAt(p, offset)
	c.written.Add(int64(n))
	if err != nil || n == len(p) {
		return n, err
	}
	m, err := c.File.WriteAt(p[n:], offset+int64(n))
	c.written.Add(int64(m))
	return n + m, err
}

// Sync leaves it to syncTargets, which makes everything durable at once: a cluster
// has thousands of small files, and waiting for each costs more than writing it.
func (c *created) Sync() error {
	if !syncAllTells() {
		return c.File.Sync()
	}
	startWriting(c.File)
	return nil
}

func (c *created) Close() error {
	err := errors.Join(c.direct.Close(), c.File.Close())
	if err == nil {
		c.report.Done(1, 0)
	}
	return err
}

// trust reads the set's manifest, so that what an earlier attempt has written
// whole need not be fetched again.
func (r *restore) trust(ctx context.Context) error {
	n := engine.Node{Path: "pgdata/" + pg.ManifestName, Mode: 0o600, UID: r.owner.UID, GID: r.owner.GID}
	err := r.src.Fetch(ctx, []engine.Target{{Path: n.Path, Open: func() (engine.TargetFile, error) { return r.create(n) }}})
	if err != nil {
		return err
	}
	f, err := r.data.root.Open(pg.ManifestName)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // read only
	sums, err := readSums(f, func(string) bool { return true })
	if err != nil {
		r.log.InfoContext(ctx, "the set's manifest cannot be read: everything is fetched again", "error", err)
		return nil
	}
	r.trusts = sums
	return nil
}

// readSums reads what a manifest says of the files at the places that are wanted.
func readSums(manifest io.Reader, wanted func(place string) bool) (map[string]listed, error) {
	sums := map[string]listed{}
	_, err := pg.ReadManifest(manifest, func(m pg.ManifestFile) error {
		if m.Algorithm == pg.AlgorithmCRC32C && len(m.Checksum) == 4 && wanted(m.Path) {
			c := m.Checksum
			sums[m.Path] = listed{size: m.Size, crc: uint32(c[0]) | uint32(c[1])<<8 | uint32(c[2])<<16 | uint32(c[3])<<24}
		}
		return nil
	})
	return sums, err
}

// trusted reports whether an earlier attempt has written the file whole: its
// content is that of the manifest.
func (r *restore) trusted(ctx context.Context, n engine.Node, where, rel string) bool {
	if r.trusts == nil || ctx.Err() != nil {
		return false
	}
	key := rel
	if where != "pgdata" {
		key = "pg_tblspc/" + where + "/" + rel
	}
	want, ok := r.trusts[key]
	if !ok || want.size != n.Size {
		return false
	}
	t, rel, err := r.place(n)
	if err != nil {
		return false
	}
	f, err := t.root.Open(rel)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != want.size {
		return false
	}
	if fi.Mode().Perm() != n.Mode.Perm()|0o600 {
		return false
	}
	crc, err := crcOf(f)
	return err == nil && crc == want.crc
}

func crcOf(f io.Reader) (crc uint32, err error) {
	buf := make([]byte, 256<<10)
	for {
		n, err := f.Read(buf)
		crc = pg.UpdateCRC32C(crc, buf[:n])
		if errors.Is(err, io.EOF) {
			return crc, nil
		}
		if err != nil {
			return 0, err
		}
	}
}

// settle makes the links to the tablespaces, and settles the configuration.
func (r *restore) settle(ctx context.Context) error {
	if len(r.spaces) > 0 {
		if err := r.data.root.MkdirAll("pg_tblspc", 0o700); err != nil {
			return err
		}
	}
	for _, oid := range sortedKeys(r.spaces) {
		if _, err := strconv.ParseUint(oid, 10, 32); err != nil {
			return err
		}
		link := "pg_tblspc/" + oid
		if err := r.data.root.Symlink(r.spaces[oid].path, link); err != nil {
			return err
		}
		if err := r.own(r.data, link, r.owner); err != nil {
			return err
		}
	}
	if err := r.putConfiguration(ctx); err != nil {
		return err
	}
	return r.stopArchiving()
}

// writeSmall writes a small file of our own into the data directory.
func (r *restore) writeSmall(rel string, content []byte, flags int) error {
	if dir := path.Dir(rel); dir != "." {
		if err := r.data.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		for d := dir; d != "."; d = path.Dir(d) {
			if err := r.own(r.data, d, r.owner); err != nil {
				return err
			}
		}
	}
	f, err := r.data.root.OpenFile(rel, os.O_WRONLY|os.O_CREATE|flags, fs.FileMode(0o600))
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if r.root && err == nil {
		err = f.Chown(r.ids(r.owner))
	}
	return errors.Join(err, f.Close())
}
