package pgphysical

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// A restore in place moves what it finds in a target aside, by renaming it, and
// then makes the target anew. Nothing is deleted, and nothing is moved twice by
// one execution: where the moved directory is there, it has been moved before.
//
// Who is in between is told by three things: the target, its marker, and the
// directory that was moved aside.
//
//	target                   moved aside   means
//	missing or empty         any           go on: make it, mark it
//	marked by us             any           go on: an earlier fence was here
//	marked by another        no            move it aside, unless that one still writes
//	anything else            no            move it aside
//	anything else            yes           refuse, unless an earlier fence has completed it

// lockTries and lockWait bound how long a restore waits for another one that is
// just moving something in the same directory.
const (
	lockTries = 100
	lockWait  = 50 * time.Millisecond
)

// aside is what a restore in place does with what lies in a target.
type aside struct {
	kept  string               // where it is moved to
	moves bool                 // something is there, and is to be moved
	moved bool                 // this attempt has moved it
	other holdfast.ExecutionID // whose unfinished restore it is; zero: none's
	was   *engine.Node         // mode and owner of the directory that was there; nil: there was none
}

// findInPlace is findTarget for a restore in place: what is there is looked at, and
// refused only when it must not be moved. It writes nothing.
func findInPlace(dir string, roots []string, own marker) (*target, error) {
	path, err := resolveLast(dir)
	if err != nil {
		return nil, err
	}
	t, err := newTarget(dir, path, roots, own)
	if e, ok := errors.AsType[*holdfast.Error](err); ok && e.Code == holdfast.CodeForbidden {
		return nil, e.WithHint("to restore in place, add %s to the worker's restore roots: --restore-root %s, or worker.restore_roots in its configuration",
			filepath.Dir(path), filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	t.aside = &aside{kept: engine.KeptAt(path, own.Execution)}
	return t, t.look()
}

// resolveLast is resolve for a path whose last part may be a link to what has been
// moved aside.
func resolveLast(dir string) (string, error) {
	path, err := resolve(dir)
	if err == nil {
		return path, nil
	}
	to, linkErr := os.Readlink(dir)
	if linkErr != nil {
		return "", err
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(filepath.Dir(dir), to)
	}
	parent, err := resolve(filepath.Dir(to))
	return filepath.Join(parent, filepath.Base(to)), err
}

// look finds out what lies in the target, and what is to become of it.
func (t *target) look() error {
	a := t.aside
	t.again, a.moves, a.other, a.was = false, false, 0, t.formerNode()
	if err := t.refuseAbove(); err != nil {
		return err
	}
	names, err := t.names()
	if err != nil || len(names) == 0 {
		return err
	}
	name := filepath.Join(t.path, markerName)
	content, err := readLimited(name, 1<<16)
	if err == nil && len(content) == 0 && len(names) == 1 {
		return nil // ours, and torn; or somebody's, and then the lock says so
	}
	if err == nil {
		var m marker
		ours := json.Unmarshal(content, &m) == nil && m.Execution == t.own.Execution
		if ours {
			return t.take(content, false)
		}
		if locked(name) {
			return holdfast.Errorf(holdfast.CodeConflict, "execution %d is restoring into directory %s now", m.Execution, t.asked).
				WithHint("wait until it has ended, or stop it")
		}
		a.other = m.Execution
	}
	if exists(a.kept) {
		return holdfast.Errorf(holdfast.CodeConflict, "directory %s holds what this restore has not written, and what it found there before is kept in %s", t.asked, a.kept).
			WithHint("move one of the two to another name, then restore again")
	}
	a.moves = true
	return nil
}

// formerNode is the directory whose mode and owner the target gets; nil when there
// is none. No server runs as root: a directory of root's was made by a restore that
// died before it gave it away.
func (t *target) formerNode() *engine.Node {
	var last *engine.Node
	for _, dir := range []string{t.aside.kept, t.path, newestKept(t.path)} {
		fi, err := os.Lstat(dir)
		if err != nil || !fi.IsDir() {
			continue
		}
		n := node("", fi)
		last = &n
		if dir == t.aside.kept || n.UID != 0 {
			break
		}
	}
	return last
}

// newestKept returns what a restore has moved aside of a directory last; empty:
// nothing.
func newestKept(path string) (dir string) {
	names, err := readNames(filepath.Dir(path))
	if err != nil {
		return ""
	}
	prefix, newest := strings.TrimSuffix(engine.KeptAt(filepath.Base(path), 0), "0"), uint64(0)
	for _, name := range names {
		n, ok := strings.CutPrefix(name, prefix)
		if e, err := strconv.ParseUint(n, 10, 63); ok && err == nil && e > newest {
			newest, dir = e, filepath.Join(filepath.Dir(path), name)
		}
	}
	return dir
}

// locked reports whether a process holds the lock on a restore's marker.
func locked(name string) bool {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing is written
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// checkMovable refuses what a rename would refuse, before anything is renamed.
func (t *target) checkMovable() error {
	if !t.moves() {
		return nil
	}
	if mounted(t.path) {
		return errMounted(t.asked)
	}
	parent := filepath.Dir(t.path)
	if err := unix.Faccessat(unix.AT_FDCWD, parent, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return holdfast.Wrap(holdfast.CodeForbidden, err, "directory %s cannot be moved aside: the worker's user may not write in %s", t.asked, parent).
			WithHint("let that user write in %s, or move the content of %s into another directory by hand, so that it is empty", parent, t.asked)
	}
	if was := t.aside.was; was != nil && os.Geteuid() != 0 && int(was.UID) != os.Geteuid() {
		return holdfast.Errorf(holdfast.CodeForbidden, "directory %s belongs to user %d, and what is restored would belong to user %d", t.asked, was.UID, os.Geteuid()).
			WithHint("run the worker as the user that the server runs as")
	}
	return nil
}

func errMounted(dir string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "directory %s is a mount point, and cannot be moved aside", dir).
		WithHint("move its content into another directory by hand, so that it is empty, and restore again; or restore to a directory of its own")
}

// otherDevice reports whether the directory is of another file system than the
// one that it lies in.
func otherDevice(dir string) bool {
	at, err := os.Lstat(dir)
	parent, parentErr := os.Lstat(filepath.Dir(dir))
	return err == nil && parentErr == nil && idOf(at).dev != idOf(parent).dev
}

// openInPlace moves aside what is in the target, and makes it anew. check refuses a
// server that runs in a directory; nil: this is no data directory.
func (t *target) openInPlace(check func(dir string) error) error {
	if !t.adopted {
		moves := t.aside.moves
		if err := t.look(); err != nil {
			return err
		}
		if t.aside.moves != moves {
			return errChanged(t.asked)
		}
	}
	if t.aside.moves {
		if err := t.moveAside(check); err != nil {
			return err
		}
	}
	if err := t.open(); err != nil {
		return err
	}
	if t.aside.was == nil {
		return nil
	}
	if err := t.root.Chmod(".", serverMode(t.aside.was.Mode)); err != nil {
		return writeError(err, t.asked)
	}
	if os.Geteuid() == 0 {
		return writeError(t.root.Lchown(".", int(t.aside.was.UID), int(t.aside.was.GID)), t.asked)
	}
	return nil
}

// serverMode is the mode of a data directory, as the server demands it: open to
// its owner, and at most readable by its group.
func serverMode(m fs.FileMode) fs.FileMode {
	if m.Perm()&0o050 == 0o050 {
		return 0o750
	}
	return 0o700
}

// lockPlace keeps other restores out of the place while this one takes it: between
// two steps of ours the data directory is missing, or nobody's. The lock is on the
// directory in which it lies, and goes when that is closed; nil when there is none.
func lockPlace(ctx context.Context, dir string) (*os.File, error) {
	path, err := resolveLast(dir)
	if err != nil {
		return nil, err
	}
	parent := filepath.Dir(path)
	d, err := os.Open(parent)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // then nothing is there that could be moved
	}
	if err != nil {
		return nil, writeError(err, parent)
	}
	for range lockTries {
		if err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return d, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(writeError(err, parent), d.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(context.Cause(ctx), d.Close())
		case <-time.After(lockWait):
		}
	}
	return nil, errors.Join(holdfast.Errorf(holdfast.CodeUnavailable, "another process keeps directory %s locked", parent), d.Close())
}

// moveAside renames the directory, and looks again whether a server has been
// started meanwhile: then it is put back.
func (t *target) moveAside(check func(dir string) error) error {
	if check != nil {
		if err := check(t.path); err != nil {
			return err
		}
	}
	t.step("checked")
	err := t.within(func(allowed *os.Root, path, kept string) error { return allowed.Rename(path, kept) })
	t.aside.moved = exists(t.aside.kept) // perhaps it is only not durable
	switch {
	case errors.Is(err, unix.EBUSY):
		return errMounted(t.asked)
	case err != nil:
		return writeError(err, t.asked)
	}
	t.step("moved")
	if check != nil {
		if err := check(t.aside.kept); err != nil {
			return errors.Join(err, t.putBack())
		}
	}
	return nil
}

// putBack undoes moveAside while nothing has been written into the new directory.
func (t *target) putBack() error {
	if t.aside == nil || !t.aside.moved {
		return nil
	}
	if t.root != nil {
		if err := t.root.Remove(markerName); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return writeError(err, t.asked)
		}
	}
	err := t.within(func(allowed *os.Root, path, kept string) error {
		if err := allowed.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // only an empty one goes
			return err
		}
		return allowed.Rename(kept, path)
	})
	if err != nil {
		return writeError(err, t.asked)
	}
	t.aside.moved = false
	return nil
}

// within changes the target's own entry, or that of what was moved aside, in the
// directory in which both lie, durably. No link leads out of the allowed root.
func (t *target) within(change func(allowed *os.Root, path, kept string) error) error {
	allowed, err := os.OpenRoot(t.allowed)
	if err != nil {
		return err
	}
	defer allowed.Close() //nolint:errcheck // a directory
	path, err := filepath.Rel(t.allowed, t.path)
	if err != nil {
		return err
	}
	kept, err := filepath.Rel(t.allowed, t.aside.kept)
	if err != nil {
		return err
	}
	if err := change(allowed, path, kept); err != nil {
		return err
	}
	return syncDir(allowed, filepath.Dir(path))
}

// kept lists what this execution has moved aside, also in an earlier attempt.
func (r *restore) kept() []engine.Kept {
	if !r.inPlace() {
		return nil
	}
	dirs := []string{r.req.Spec.Directory}
	for _, oid := range sortedOIDs(r.req.Spec.Tablespaces) {
		dirs = append(dirs, r.req.Spec.Tablespaces[oid])
	}
	var all []engine.Kept
	for _, dir := range dirs {
		path, err := resolveLast(dir)
		if at := engine.KeptAt(path, r.req.Execution); err == nil && exists(at) {
			all = append(all, engine.Kept{Path: path, At: at})
		}
	}
	return all
}

// find is findTarget or findInPlace, as the restore is.
func (r *restore) find(dir string, own marker) (*target, error) {
	find := findTarget
	if r.inPlace() {
		find = findInPlace
	}
	if r.req.Spec.Delta {
		find = findDelta
	}
	t, err := find(dir, r.req.Roots, own)
	if t != nil {
		t.step = r.step
	}
	return t, err
}

// moves reports whether something is there that is to be moved aside.
func (t *target) moves() bool { return t.aside != nil && t.aside.moves }

func (r *restore) inPlace() bool { return r.req.Spec.Site != 0 }

// checkInPlace refuses a restore in place before anything is moved.
func (r *restore) checkInPlace(ctx context.Context) error {
	if !r.inPlace() {
		return nil
	}
	for _, dir := range []string{r.data.path, r.data.aside.kept} {
		if err := r.refuseRunning(ctx, dir); err != nil {
			return err
		}
	}
	if err := r.checkRepositoryStays(); err != nil {
		return err
	}
	for oid, t := range r.spaces {
		if err := r.checkSpaceOurs(oid, t); err != nil {
			return err
		}
	}
	for _, t := range r.targets() {
		if err := t.checkMovable(); err != nil {
			return err
		}
	}
	return nil
}

// checkRepositoryStays refuses to move aside what the set is read from, or the link
// that leads there.
func (r *restore) checkRepositoryStays() error {
	repo := r.req.Repository
	if repo == "" {
		return nil
	}
	path, err := resolve(repo)
	if err != nil {
		return err
	}
	link, err := resolve(filepath.Dir(repo))
	if err != nil {
		return err
	}
	for _, t := range r.targets() {
		in := func(p string) bool { return p == t.path || below(p, t.path) }
		if t.moves() && (in(path) || in(repo) || in(link)) {
			return holdfast.Errorf(holdfast.CodeInvalid, "directory %s cannot be moved aside: the repository %s, which the set is read from, lies in it", t.asked, repo).
				WithHint("restore to a directory of its own; then make a repository outside of every server's files")
		}
	}
	return nil
}

// checkSpaceOurs refuses to move a tablespace aside that is not of the cluster in
// whose place we restore: it may be a running server's.
func (r *restore) checkSpaceOurs(oid string, t *target) error {
	switch {
	case !t.moves():
		return nil
	case t.aside.other != 0 && t.aside.other == r.data.aside.other:
		return nil // of the same unfinished restore
	case !linksTo(r.former(), t.path):
		return holdfast.Errorf(holdfast.CodeInvalid, "directory %s is not empty, and is no tablespace of the cluster in %s", t.asked, r.data.asked).
			WithHint("map tablespace %s to a directory that is empty or missing, or move what is there away by hand", oid)
	}
	names, err := t.names()
	if err != nil {
		return err
	}
	if len(names) != 1 || !strings.HasPrefix(names[0], "PG_") {
		return holdfast.Errorf(holdfast.CodeInvalid, "directory %s holds more than the tablespace of one cluster: %s", t.asked, strings.Join(names, ", ")).
			WithHint("map tablespace %s to a directory that is empty or missing", oid)
	}
	return nil
}

// former is the data directory whose tablespaces may be moved aside: the one that
// is in place, or the one that a restore has moved aside last.
func (r *restore) former() string {
	a := r.data.aside
	if a.moves && a.other == 0 {
		return r.data.path
	}
	return newestKept(r.data.path)
}

// linksTo reports whether the data directory has a tablespace in the directory.
func linksTo(data, path string) bool {
	names, err := readNames(filepath.Join(data, "pg_tblspc"))
	if err != nil || data == "" {
		return false
	}
	for _, name := range names {
		to, err := filepath.EvalSymlinks(filepath.Join(data, "pg_tblspc", name))
		if err == nil && to == path {
			return true
		}
	}
	return false
}

// ids is whom a file of the set belongs to. In place it is whoever owned the data
// directory: the set may be of a machine with other numbers.
func (r *restore) ids(n engine.Node) (uid, gid int) {
	if r.data.aside != nil && r.data.aside.was != nil {
		n = *r.data.aside.was
	}
	return int(n.UID), int(n.GID)
}
