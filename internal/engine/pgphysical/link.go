package pgphysical

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// maxLinks bounds how many links a backup's warnings name.
const maxLinks = 50

// clusterDirs are the directories without which no server starts, besides those
// that hold relations and those whose content is left out.
var clusterDirs = map[string]bool{
	"base": true, "global": true, "pg_commit_ts": true, "pg_logical": true, "pg_logical/mappings": true, "pg_logical/snapshots": true,
	"pg_multixact": true, "pg_multixact/members": true, "pg_multixact/offsets": true, "pg_stat": true, "pg_tblspc": true, "pg_twophase": true,
	"pg_wal/archive_status": true, "pg_xact": true,
}

// follow decides about a symbolic link, of which none gets into the set. The
// server's own directories and relations are read through it, and so is a file
// beside postgresql.conf, as configuration and certificates are; its log directory
// begins anew; any other link is left out, as PostgreSQL's own tools do. None of those that are followed can lead
// in circles: they stand at a few fixed places.
func (w *walker) follow(e entry) (fi fs.FileInfo, follow bool, err error) {
	if oid, ok := strings.CutPrefix(e.cluster, "pg_tblspc/"); ok {
		if _, ok := pg.ParseOID(oid); ok {
			return nil, false, nil // walked apart, or made while the backup runs
		}
	}
	if emptied[e.cluster] || e.cluster == w.logs { // wherever it leads, an empty directory takes its place
		if fi, err = os.Stat(w.root); err != nil {
			return nil, false, readError(err, w.root)
		}
		return fi, true, nil
	}
	to, err := os.Readlink(e.source)
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil // dropped meanwhile
	}
	if err != nil {
		return nil, false, readError(err, e.source)
	}
	fi, err = os.Stat(e.source)
	_, relation := pg.ParseRelationPath(e.cluster)
	_, database := pg.ParseRelationPath(e.cluster + "/1")
	dir := database || clusterDirs[e.cluster]
	switch {
	case err != nil && (relation || dir):
		if _, gone := os.Lstat(e.source); errors.Is(gone, os.ErrNotExist) {
			return nil, false, nil // dropped meanwhile
		}
		return nil, false, holdfast.Wrap(holdfast.CodeInvalid, err, "%s is a symbolic link to %s, which cannot be read on the worker's machine", e.source, to).
			WithHint("the worker must see what the server sees, under the same path")
	case err == nil && (relation && fi.Mode().IsRegular() || dir && fi.IsDir()):
		return fi, true, nil
	case err == nil && !strings.Contains(e.cluster, "/") && fi.Mode().IsRegular() && w.as.may(fi):
		return fi, true, nil
	}
	w.left[e.cluster] = to
	return nil, false, nil
}

// warnings name the links that were left out.
func (w *walker) warnings() []string {
	var all []string
	for _, name := range sortedKeys(w.left) {
		if len(all) == maxLinks {
			return append(all, fmt.Sprintf("and %d more symbolic links that were left out", len(w.left)-maxLinks))
		}
		all = append(all, fmt.Sprintf("symbolic link %q in the data directory was left out; it leads to %q", name, w.left[name]))
	}
	return all
}
