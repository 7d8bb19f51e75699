package pgphysical

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// A delta restore writes a set over a stopped copy of the same cluster. First the
// directory is marked as unfinished, durably, then pg_control goes, then what does not
// belong to the set; then each block that is not the set's is written, and pg_control
// comes last. What is interrupted stays marked, and the next delta restore, of any set
// of the cluster, goes on.

// findDelta is findTarget for a delta restore: what is there is left for checkDelta.
func findDelta(dir string, roots []string, own marker) (*target, error) {
	resolved, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	t, err := newTarget(dir, resolved, roots, own)
	if err != nil {
		return nil, err
	}
	t.delta = true
	return t, t.inspect()
}

// checkDelta refuses to write over anything but a stopped copy of the cluster that
// the set is of. names is what lies at the top of the set's data directory.
func (r *restore) checkDelta(ctx context.Context, names map[string]bool) error {
	if !r.req.Spec.Delta {
		return nil
	}
	if r.data.again && exists(filepath.Join(r.data.path, "postmaster.pid")) {
		return holdfast.Errorf(holdfast.CodeConflict, "a PostgreSQL server runs in directory %s, or was not stopped in peace: it has a postmaster.pid", r.data.asked).
			WithHint("stop it; when no server runs there for certain, remove that file")
	}
	if r.data.again {
		if err := refuseProcess(r.data.path); err != nil { // of a server that was killed, and whose file somebody has removed
			return err
		}
	}
	if err := r.checkRepositoryOutside(); err != nil {
		return err
	}
	if r.data.over && r.data.root == nil { // afterwards pg_control may be gone
		if err := r.sameCluster(ctx); err != nil {
			return err
		}
		if err := r.data.refuseStrangers(names); err != nil {
			return err
		}
	}
	for _, oid := range sortedKeys(r.spaces) {
		t := r.spaces[oid]
		if !t.over || t.root != nil {
			continue
		}
		names, err := t.names()
		if err != nil {
			return err
		}
		if !linksTo(r.data.path, t.path) || len(names) != 1 || !strings.HasPrefix(names[0], "PG_") {
			return holdfast.Errorf(holdfast.CodeInvalid, "directory %s is not empty, and is no tablespace of the cluster in %s alone", t.asked, r.data.asked).
				WithHint("map tablespace %s to a directory that is empty or missing", oid)
		}
	}
	return nil
}

// unmark takes back the marks of directories in which nothing was changed.
func (r *restore) unmark() error {
	var errs []error
	for _, t := range r.targets() {
		if t.over {
			errs = append(errs, t.root.Remove(markerName))
		}
	}
	return errors.Join(errs...)
}

// checkRepositoryOutside refuses targets in which the repository lies: it does not
// belong to the set, and would be removed.
func (r *restore) checkRepositoryOutside() error {
	if r.req.Repository == "" {
		return nil
	}
	repo, err := resolve(r.req.Repository)
	if err != nil {
		return err
	}
	for _, t := range r.targets() {
		if repo == t.path || below(repo, t.path) {
			return holdfast.Errorf(holdfast.CodeInvalid, "the repository %s, which the set is read from, lies in directory %s", r.req.Repository, t.asked).
				WithHint("restore to a directory of its own")
		}
	}
	return nil
}

// refuseStrangers refuses a data directory in which somebody keeps what is not
// PostgreSQL's: it would be removed.
func (t *target) refuseStrangers(set map[string]bool) error {
	names, err := t.names()
	if err != nil {
		return err
	}
	own := func(name string) bool {
		for _, prefix := range []string{"pg_", "postmaster.", "postgresql.", "backup_", "tablespace_map", "recovery.", "current_logfiles"} {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return name == markerName || name == "standby.signal" || name == "log" || set[name]
	}
	var strangers []string
	for _, name := range names {
		if !own(name) {
			strangers = append(strangers, name)
		}
	}
	if len(strangers) > 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "directory %s holds what is neither PostgreSQL's nor in the set: %s", t.asked, strings.Join(strangers, ", ")).
			WithHint("move it away first: a delta restore removes what is not in the set")
	}
	return nil
}

// sameCluster compares the system identifiers of the directory and the set.
func (r *restore) sameCluster(ctx context.Context) error {
	bad := func(err error) error {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "directory %s is not empty, and holds no PostgreSQL cluster", r.data.asked).
			WithHint("a delta restore writes over a copy of the same cluster only: choose its directory, or one that is empty")
	}
	if !exists(filepath.Join(r.data.path, "PG_VERSION")) {
		return bad(nil)
	}
	there, err := readControl(ctx, r.data.path)
	if err != nil {
		return bad(err)
	}
	b, err := r.src.ReadFile(ctx, r.control.Path, maxConfigFile)
	if err != nil {
		return err
	}
	set, err := pg.ParseControl(b)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the set's %s is not valid", pg.ControlFile)
	}
	if there.SystemIdentifier != set.SystemIdentifier {
		return holdfast.Errorf(holdfast.CodeInvalid, "directory %s holds another cluster: its system identifier is %d, the set's is %d",
			r.data.asked, there.SystemIdentifier, set.SystemIdentifier).WithHint("choose a copy of the cluster that the set is of, or an empty directory")
	}
	return nil
}

// removeExtra removes what does not belong to the set, or cannot be written over.
func (r *restore) removeExtra(ctx context.Context) error {
	keep := map[string]map[string]bool{} // true: a directory; by target and place
	err := r.src.Walk(ctx, func(n engine.Node) error {
		where, rel, err := split(n)
		if err != nil || where == "holdfast" || isSignal(where, rel) {
			return err
		}
		if keep[where] == nil {
			keep[where] = map[string]bool{}
		}
		keep[where][rel] = n.Mode.IsDir()
		for d := path.Dir(rel); d != "."; d = path.Dir(d) {
			keep[where][d] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := removeOthers(ctx, r.data.root, ".", keep["pgdata"]); err != nil {
		return err
	}
	for _, oid := range sortedKeys(r.spaces) {
		if err := removeOthers(ctx, r.spaces[oid].root, ".", keep[oid]); err != nil {
			return err
		}
	}
	return nil
}

// removeOthers removes what is in the directory and not kept. No link is followed,
// and a file that has another name, too, is removed: what is written into it would
// show there.
func removeOthers(ctx context.Context, root *os.Root, dir string, keep map[string]bool) error {
	names, err := rootNames(root, dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel := path.Join(dir, name)
		if rel == markerName {
			continue
		}
		fi, err := root.Lstat(rel)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		isDir, wanted := keep[rel]
		switch {
		case wanted && isDir && fi.IsDir():
			err = removeOthers(ctx, root, rel, keep)
		case wanted && !isDir && fi.Mode().IsRegular() && !hasOtherNames(fi):
		default:
			err = root.RemoveAll(rel)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hasOtherNames reports whether a file has several hard links.
func hasOtherNames(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return !ok || st.Nlink > 1
}
