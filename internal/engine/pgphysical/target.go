package pgphysical

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// markerName is the file that marks a directory as a restore's own until the
// restore is complete. The process that writes there holds a lock on it.
const markerName = ".holdfast-restore"

// marker is what the file says: who may go on in the directory.
type marker struct {
	Execution holdfast.ExecutionID `json:"execution"`
	Fence     holdfast.Fence       `json:"fence"`
	Set       holdfast.SetID       `json:"set"`
	Source    string               `json:"source"` // pgdata, or tablespaces/<oid>
}

// target is a directory that a restore writes.
type target struct {
	asked   string          // as it was given
	path    string          // without symbolic links
	allowed string          // the root below which it lies, without symbolic links
	own     marker          // what ours will say
	root    *os.Root        // nothing outside it can be touched through this
	lock    *os.File        // the marker, locked
	again   bool            // an earlier fence of the same execution has been here
	adopted bool            // that fence died while it removed its markers: this one is gone already
	known   map[string]bool // what may lie in an adopted directory, besides the marker
	aside   *aside          // of a restore in place; nil: what is there is never touched
	delta   bool            // what is there may be written over
	over    bool            // something is there that no restore has marked
	step    func(string)
}

// findTarget resolves the directory and refuses one outside the roots, and one
// that holds what is not ours. It writes nothing.
func findTarget(dir string, roots []string, own marker) (*target, error) {
	path, err := resolve(dir)
	if err != nil {
		return nil, err
	}
	t, err := newTarget(dir, path, roots, own)
	if err != nil {
		return nil, err
	}
	return t, t.inspect()
}

// newTarget refuses a directory outside the roots.
func newTarget(dir, path string, roots []string, own marker) (*target, error) {
	t := &target{asked: dir, path: path, own: own, step: func(string) {}}
	if roots == nil {
		t.allowed = "/"
	}
	for _, r := range roots {
		if resolved, err := filepath.EvalSymlinks(r); err == nil && below(path, resolved) {
			t.allowed = resolved
		}
	}
	if t.allowed == "" {
		e := holdfast.Errorf(holdfast.CodeForbidden, "directory %s does not lie below an allowed restore root", dir)
		if len(roots) == 0 {
			return nil, e.WithHint("no restore root is set on this worker: add one with --restore-root, or to worker.restore_roots in its configuration")
		}
		return nil, e.WithHint("choose a directory below %s, or add a root to the worker's configuration", strings.Join(roots, " or "))
	}
	return t, nil
}

// resolve follows the symbolic links of the part of the path that exists.
func resolve(dir string) (string, error) {
	rest := ""
	for p := dir; ; {
		resolved, err := filepath.EvalSymlinks(p)
		if err == nil {
			return filepath.Join(resolved, rest), nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", holdfast.Wrap(holdfast.CodeInvalid, err, "directory %s cannot be resolved", dir)
		}
		if _, err := os.Lstat(p); err == nil {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "%s is a symbolic link that leads nowhere", p)
		}
		p, rest = filepath.Dir(p), filepath.Join(filepath.Base(p), rest)
	}
}

// inspect refuses a directory that holds anything but our own unfinished work, and
// one inside a directory in which a server runs.
func (t *target) inspect() error {
	if err := t.refuseServer(t.path); err != nil {
		return err
	}
	if err := t.refuseAbove(); err != nil {
		return err
	}
	names, err := t.names()
	if err != nil || len(names) == 0 {
		return err
	}
	b, err := readLimited(filepath.Join(t.path, markerName), 1<<16)
	if err != nil && t.delta {
		t.again, t.over = true, true
		return nil
	}
	if err != nil {
		return errNotEmpty(t.asked)
	}
	return t.take(b, len(names) == 1)
}

// refuseAbove looks at what the target lies in.
func (t *target) refuseAbove() error {
	for dir := t.path; dir != "/"; {
		dir = filepath.Dir(dir)
		if err := t.refuseServer(dir); err != nil {
			return err
		}
		if err := t.refuseOwned(dir); err != nil {
			return err
		}
	}
	return nil
}

// names lists what lies in the target; nothing when it is missing.
func (t *target) names() ([]string, error) {
	names, err := readNames(t.path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case errors.Is(err, unix.ENOTDIR):
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is not a directory", t.asked)
	case err != nil:
		return nil, holdfast.Wrap(holdfast.CodeForbidden, err, "directory %s cannot be read", t.asked)
	}
	return names, nil
}

// take decides about the marker of an earlier attempt. An empty one was made just
// before its process ended: then nothing foreign may be there.
func (t *target) take(content []byte, clean bool) error {
	if len(content) == 0 {
		if clean {
			return nil
		}
		if t.delta {
			t.again, t.over = true, true
			return nil
		}
		return errNotEmpty(t.asked)
	}
	var m marker
	if err := json.Unmarshal(content, &m); err != nil {
		return errNotEmpty(t.asked)
	}
	switch {
	case m.Execution == t.own.Execution && m.Fence > t.own.Fence:
		return engine.ErrStale
	case t.delta: // unfinished, whoever has begun it; that nobody is at it the lock says
	case m.Execution != t.own.Execution || m.Set != t.own.Set || m.Source != t.own.Source:
		return holdfast.Errorf(holdfast.CodeConflict, "directory %s holds the unfinished restore of set %d by execution %d", t.asked, m.Set, m.Execution).
			WithHint("wait for that execution, or remove the directory's content, or choose another directory")
	}
	t.again = true
	return nil
}

func errNotEmpty(dir string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "directory %s is not empty", dir).
		WithHint("a restore never overwrites: choose a directory that is empty or does not exist")
}

func errChanged(dir string) error {
	return holdfast.Errorf(holdfast.CodeUnavailable, "directory %s is changed by another process", dir)
}

// refuseServer refuses the target when a server runs in the directory, which is
// the target itself or lies above it.
func (t *target) refuseServer(dir string) error {
	text, err := readLimited(filepath.Join(dir, "postmaster.pid"), 1<<16)
	if err != nil {
		return nil //nolint:nilerr // without a readable one, no server that could be told
	}
	p, err := pg.ParsePostmasterPID(string(text))
	if err != nil {
		return nil //nolint:nilerr // as above; what is not empty is refused anyway
	}
	if err := unix.Kill(p.PID, 0); err != nil && !errors.Is(err, unix.EPERM) {
		return nil // no such process
	}
	if dir != t.path {
		return holdfast.Errorf(holdfast.CodeConflict, "directory %s lies inside %s, in which a PostgreSQL server runs (process %d)", t.asked, dir, p.PID).
			WithHint("choose a directory outside of it")
	}
	return holdfast.Errorf(holdfast.CodeConflict, "a PostgreSQL server runs in directory %s (process %d)", t.asked, p.PID).
		WithHint("stop it first, or choose another directory")
}

// refuseOwned refuses a target below a tablespace or a repository: an operator may
// have allowed a root that holds them. The state directory of a server is no such
// place: a restore root may lie in it.
func (t *target) refuseOwned(dir string) error {
	var what string
	switch has := func(pattern string) bool {
		found, err := filepath.Glob(filepath.Join(globQuote(dir), pattern))
		return err == nil && len(found) > 0
	}; {
	case has("PG_[1-9]*_[1-9]*"):
		what = "a tablespace"
	case has("config") && has("keys") && has("snapshots") && has("index"):
		what = "a repository"
	default:
		return nil
	}
	return holdfast.Errorf(holdfast.CodeConflict, "directory %s lies inside %s, which is %s", t.asked, dir, what).
		WithHint("choose a directory outside of it")
}

// globQuote takes the meaning from what a pattern would read as its own.
func globQuote(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// open makes the directory when it is missing, and locks it. From now on it is
// ours: what other processes do to the path cannot lead us elsewhere.
func (t *target) open() (err error) {
	allowed, err := os.OpenRoot(t.allowed)
	if err != nil {
		return writeError(err, t.asked)
	}
	defer allowed.Close() //nolint:errcheck // a directory
	rel, err := filepath.Rel(t.allowed, t.path)
	if err != nil {
		return writeError(err, t.asked)
	}
	if parent := filepath.Dir(rel); parent != "." {
		if err := allowed.MkdirAll(parent, 0o755); err != nil {
			return writeError(err, t.asked)
		}
	}
	if err := allowed.Mkdir(rel, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return writeError(err, t.asked)
	}
	t.step("made")
	if t.root, err = allowed.OpenRoot(rel); err != nil {
		return writeError(err, t.asked)
	}
	if err := t.mark(); err != nil {
		return err
	}
	t.step("marked")
	return nil
}

// mark locks the marker, looks once more, and writes it.
func (t *target) mark() error {
	flags := os.O_RDWR | os.O_CREATE
	if t.again && !t.adopted && !t.over {
		flags = os.O_RDWR // it is there
	}
	f, err := t.root.OpenFile(markerName, flags, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return errChanged(t.asked) // the earlier attempt has just completed
	}
	if err != nil {
		return writeError(err, t.asked)
	}
	t.lock = f
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "another process is writing to directory %s", t.asked).
			WithHint("it is an earlier attempt of this restore: it ends, or is ended, before the next one goes on")
	}
	ours, err := f.Stat()
	if err != nil {
		return writeError(err, t.asked)
	}
	if now, err := t.root.Stat(markerName); err != nil || !os.SameFile(ours, now) {
		return errChanged(t.asked)
	}
	content, err := io.ReadAll(io.LimitReader(f, 1<<16))
	if err != nil {
		return writeError(err, t.asked)
	}
	names, err := rootNames(t.root, ".")
	if err != nil {
		return writeError(err, t.asked)
	}
	if err := t.take(content, len(names) == 1 || t.adopted && !t.foreign(names)); err != nil {
		if len(content) == 0 {
			err = errors.Join(err, t.root.Remove(markerName)) // ours: somebody else was quicker
		}
		return err
	}
	text, err := json.Marshal(t.own)
	if err != nil {
		return fmt.Errorf("mark directory %s: %w", t.asked, err)
	}
	// The old text is replaced by one write: were the file cut first, a process that
	// dies between the two would leave a directory that nobody knows.
	text = append(text, '\n')
	if _, err := f.WriteAt(text, 0); err != nil {
		return writeError(err, t.asked)
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return writeError(err, t.asked)
	}
	return errors.Join(f.Sync(), syncDir(t.root, "."))
}

// finish removes the marker: the directory is complete.
func (t *target) finish() error {
	if err := t.root.Remove(markerName); err != nil {
		return writeError(err, t.asked)
	}
	t.step("unmarked")
	return syncDir(t.root, ".")
}

// close gives the lock back.
func (t *target) close() {
	if t.lock != nil {
		_ = t.lock.Close() // nothing is written through it any more
	}
	if t.root != nil {
		_ = t.root.Close() // a directory
	}
}

// clear removes everything but the marker.
func (t *target) clear() error {
	names, err := rootNames(t.root, ".")
	if err != nil {
		return writeError(err, t.asked)
	}
	for _, name := range names {
		if name == markerName {
			continue
		}
		if err := t.root.RemoveAll(name); err != nil {
			return writeError(err, t.asked)
		}
	}
	return nil
}

func rootNames(root *os.Root, dir string) ([]string, error) {
	d, err := root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // read only
	return d.Readdirnames(-1)
}

func syncDir(root *os.Root, dir string) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// writeError puts a failure to write in the domain's terms.
func writeError(err error, path string) error {
	var he *holdfast.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &he):
		return err
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return holdfast.Wrap(holdfast.CodeExhausted, err, "the disk of %s is full", path).WithHint("make room, then restore again")
	case errors.Is(err, os.ErrPermission), errors.Is(err, unix.EROFS):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "%s cannot be written", path).
			WithHint("run the worker as a user who may write there: the server's own, or root")
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "%s cannot be written: %s", path, err)
}

// space is what one filesystem has and what a restore needs of it.
type space struct {
	path       string
	need, free int64
}

// checkSpace refuses a restore that cannot fit. needs holds the bytes for each
// target's path; what an earlier attempt left there counts as free.
func checkSpace(targets []*target, needs []int64) error {
	filesystems := map[uint64]*space{}
	for i, t := range targets {
		dir := t.path
		for {
			if _, err := os.Stat(dir); err == nil || dir == "/" {
				break
			}
			dir = filepath.Dir(dir)
		}
		var st unix.Statfs_t
		fi, err := os.Stat(dir)
		if err == nil {
			err = unix.Statfs(dir, &st)
		}
		if err != nil {
			return writeError(err, t.asked)
		}
		id := idOf(fi).dev
		if filesystems[id] == nil {
			filesystems[id] = &space{path: dir, free: int64(st.Bavail) * int64(st.Bsize)} //nolint:unconvert // the types differ by platform
		}
		filesystems[id].need += needs[i]
		if t.again {
			filesystems[id].free += treeSize(t.path)
		}
	}
	for _, s := range filesystems {
		if s.need > s.free {
			return holdfast.Errorf(holdfast.CodeExhausted, "the restore needs %d bytes on the filesystem of %s, and %d are free", s.need, s.path, s.free).
				WithHint("make room, or choose a directory on a larger filesystem")
		}
	}
	return nil
}

// treeSize returns how much the files below a directory take on disk; what
// cannot be read counts as nothing.
func treeSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // see above
		}
		if fi, err := d.Info(); err == nil {
			size += allocated(fi)
		}
		return nil
	})
	return size
}

// adopt takes a tablespace's directory that lost its marker when an earlier fence
// of the same execution died at its very end: the data directory, which is still
// marked, has a link to it. The marker is back, but empty, when a further fence died
// right after that. Nothing else may lie there than what the set holds.
func (t *target) adopt(data *target, oid string, own map[string]bool) bool {
	link, err := os.Readlink(filepath.Join(data.path, "pg_tblspc", oid))
	if err != nil || link != t.path || !data.again {
		return false
	}
	names, err := readNames(t.path)
	t.known = own
	if err != nil || t.foreign(names) {
		return false
	}
	if b, err := readLimited(filepath.Join(t.path, markerName), 1<<16); !errors.Is(err, os.ErrNotExist) && (err != nil || len(b) > 0) {
		return false
	}
	t.again, t.adopted = true, true
	if t.aside != nil {
		t.aside.moves = false
	}
	return true
}

// foreign reports whether one of the names is neither the marker's nor in the set.
func (t *target) foreign(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return name != markerName && !t.known[name] })
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// now is the time that a note to people carries.
func now() string { return time.Now().UTC().Format(time.RFC3339) }
