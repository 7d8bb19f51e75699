package pgphysical

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// maxDepth bounds how deep directories may be nested: a cluster's own are five
// deep.
const maxDepth = 64

// entry is a file or directory that is part of the backup.
type entry struct {
	node    engine.Node // its place in the set, without a link
	cluster string      // its place below the data directory: what the manifest says
	source  string      // where it is read
}

// walker goes through a cluster's files.
type walker struct {
	root          string // the data directory, without links
	tablespaceDir string // PG_15_202209061
	as            reader // as whom files behind links are read
	logs          string // the server's log directory, relative to root when it lies there
	log           *slog.Logger
	visit         func(entry) error

	outside map[string]string // oid → directory of each tablespace behind a link
	visited map[string]bool   // oids of those whose files have been visited
	skip    map[fileID]bool   // tablespaces that lie in the data directory are walked once
	left    map[string]string // links that were left out, and where they lead
}

type fileID struct{ dev, ino uint64 }

// walk visits everything but global/pg_control, which is copied last, and what
// lies in pg_wal.
func (w *walker) walk(ctx context.Context) error {
	if err := w.tablespaces(); err != nil {
		return err
	}
	fi, err := os.Stat(w.root)
	if err != nil {
		return readError(err, w.root)
	}
	if err := w.visit(entry{node: node("pgdata", fi), source: w.root}); err != nil {
		return err
	}
	if err := w.dir(ctx, w.root, "pgdata", "", 0); err != nil {
		return err
	}
	for _, oid := range sortedKeys(w.outside) {
		if err := w.tablespace(ctx, oid, w.outside[oid]); err != nil {
			return err
		}
	}
	return nil
}

// tablespaces learns which of pg_tblspc lead elsewhere.
func (w *walker) tablespaces() error {
	w.outside, w.visited, w.skip, w.left = map[string]string{}, map[string]bool{}, map[fileID]bool{}, map[string]string{}
	dir := filepath.Join(w.root, "pg_tblspc")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return readError(err, dir)
	}
	for _, e := range entries {
		if _, ok := pg.ParseOID(e.Name()); !ok || e.Type()&fs.ModeSymlink == 0 {
			continue
		}
		link := filepath.Join(dir, e.Name())
		target, err := filepath.EvalSymlinks(link)
		if err != nil {
			if _, gone := os.Lstat(link); errors.Is(gone, os.ErrNotExist) {
				continue // dropped meanwhile
			}
			return readError(err, link)
		}
		w.outside[e.Name()] = target
		if fi, err := os.Stat(filepath.Join(target, w.tablespaceDir)); err == nil {
			w.skip[idOf(fi)] = true
		}
	}
	return nil
}

// tablespace visits what the cluster keeps in one tablespace; other clusters may
// share its directory.
func (w *walker) tablespace(ctx context.Context, oid, target string) error {
	for _, e := range []entry{
		{node: engine.Node{Path: "tablespaces/" + oid}, cluster: "pg_tblspc/" + oid, source: target},
		{
			node:    engine.Node{Path: "tablespaces/" + oid + "/" + w.tablespaceDir},
			cluster: "pg_tblspc/" + oid + "/" + w.tablespaceDir, source: filepath.Join(target, w.tablespaceDir),
		},
	} {
		fi, err := os.Stat(e.source)
		if errors.Is(err, os.ErrNotExist) {
			w.log.InfoContext(ctx, "tablespace is not there", "oid", oid)
			return nil // when it was not dropped, checkTablespaces refuses the backup
		}
		if err != nil {
			return readError(err, e.source)
		}
		e.node = node(e.node.Path, fi)
		if err := w.visit(e); err != nil {
			return err
		}
	}
	w.visited[oid] = true
	return w.dir(ctx, filepath.Join(target, w.tablespaceDir), "tablespaces/"+oid+"/"+w.tablespaceDir,
		"pg_tblspc/"+oid+"/"+w.tablespaceDir, 0)
}

// dir visits what is in a directory.
func (w *walker) dir(ctx context.Context, source, place, cluster string, depth int) error {
	if depth > maxDepth {
		return holdfast.Errorf(holdfast.CodeInvalid, "directories in %s are nested too deep", w.root).
			WithHint("a cluster's own are not: move away what lies in %s", source)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	names, err := readNames(source)
	if errors.Is(err, os.ErrNotExist) {
		return nil // dropped meanwhile
	}
	if err != nil {
		return readError(err, source)
	}
	reset := unlogged(names)
	for _, name := range names {
		e := entry{source: filepath.Join(source, name), cluster: join(cluster, name)}
		if leftOut(e.cluster) && e.cluster != "pg_wal/archive_status" || e.cluster == pg.ControlFile {
			continue
		}
		if f, ok := pg.ParseRelationPath(e.cluster); ok && f.Fork != pg.ForkInit && reset[f.Node] {
			continue
		}
		if err := w.one(ctx, e, place+"/"+name, depth); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) one(ctx context.Context, e entry, place string, depth int) error {
	fi, err := os.Lstat(e.source)
	link := err == nil && fi.Mode()&fs.ModeSymlink != 0
	if link {
		follow := false
		if fi, follow, err = w.follow(e); err != nil || !follow {
			return err
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return readError(err, e.source)
	}
	e.node = node(place, fi)
	switch {
	case fi.Mode().IsRegular():
		if link {
			e.node.Inode = 0 // of another file system, maybe: who trusts inodes must not know it
		}
		return w.visit(e)
	case !fi.IsDir():
		w.log.InfoContext(ctx, "special file is left out", "path", e.cluster)
		return nil
	case w.skip[idOf(fi)]:
		return nil
	}
	if err := w.visit(e); err != nil || link && e.cluster == w.logs {
		return err
	}
	return w.dir(ctx, e.source, place, e.cluster, depth+1)
}

// readNames returns the names in a directory, sorted.
func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // read only
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// node describes what stat saw, without a symbolic link's own facts.
func node(place string, fi fs.FileInfo) engine.Node {
	n := engine.Node{Path: place, Mode: fi.Mode() & (fs.ModeDir | fs.ModePerm), ModTime: fi.ModTime()}
	if fi.Mode().IsRegular() {
		n.Size = fi.Size()
	}
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		n.UID, n.GID = st.Uid, st.Gid
		if fi.Mode().IsRegular() {
			n.Inode, n.ChangeTime = st.Ino, changeTime(st)
		}
	}
	return n
}

func idOf(fi fs.FileInfo) fileID {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return fileID{uint64(st.Dev), st.Ino} //nolint:unconvert // Dev is narrower on other platforms
	}
	return fileID{}
}

// allocated returns how much a file takes on disk.
func allocated(fi fs.FileInfo) int64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return 0
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func sortedOIDs[V any](m map[uint32]V) []uint32 {
	keys := make([]uint32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
