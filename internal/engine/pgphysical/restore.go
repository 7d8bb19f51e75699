package pgphysical

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// maxMap bounds the set's small files that a restore reads into memory.
const maxMap = 16 << 20

// restore is one restore while it runs.
type restore struct {
	req  engine.Restore
	src  engine.Source
	log  *slog.Logger
	root bool // whether we may give files to their owners
	step func(string)

	taken  *os.File // locked while a restore in place takes its place
	data   *target
	spaces map[string]*target // by oid
	trusts map[string]listed  // files of an earlier attempt that may be there, by their place below the data directory
	owner  engine.Node        // the data directory's
	conf   bool               // the set's data directory has a postgresql.conf
	index  *configuration     // files from outside the data directory; nil: none

	files, bytes int64
	written      atomic.Int64  // bytes
	whole        engine.Result // what there is to restore
	control      engine.Node
}

// Restore writes the set into the directory that the request names, and its
// tablespaces into those it maps. When it runs as root, files get the owner that
// they had at the source, by number; else they are ours.
func (e *Engine) Restore(ctx context.Context, req engine.Restore, src engine.Source) (engine.Result, error) {
	r := &restore{req: req, src: src, log: req.Log, root: os.Geteuid() == 0, step: e.step, spaces: map[string]*target{}}
	defer r.close()
	err := r.run(ctx)
	res := engine.Result{Kept: r.kept()}
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok { // else it is the source's, or already in the domain's terms
		err = writeError(err, req.Spec.Directory)
	}
	if err != nil {
		return res, err
	}
	res.Bytes, res.Files, res.Written, res.Note = r.bytes, r.files, r.written.Load(), r.note()
	return res, nil
}

func (r *restore) close() {
	for _, t := range r.targets() {
		t.close()
	}
}

// targets returns every target, the data directory first.
func (r *restore) targets() []*target {
	var all []*target
	if r.data != nil {
		all = append(all, r.data)
	}
	for _, oid := range sortedKeys(r.spaces) {
		all = append(all, r.spaces[oid])
	}
	return all
}

func (r *restore) run(ctx context.Context) error {
	r.req.Report.Phase("prepare")
	if err := r.begin(ctx); err != nil {
		done, doneErr := r.completed(ctx)
		if done || doneErr != nil {
			return doneErr
		}
		return err
	}
	if err := r.continued(ctx); err != nil {
		return err
	}
	r.req.Report.Phase("copy")
	if err := r.fetchAll(ctx); err != nil {
		return err
	}
	r.req.Report.Phase("finish")
	if err := r.settle(ctx); err != nil {
		return err
	}
	r.req.Report.Phase("sync")
	if err := r.syncTargets(); err != nil {
		return err
	}
	// pg_control comes last: without it no server starts, so an interrupted
	// restore cannot be taken for a whole one.
	if err := r.fetch(ctx, []engine.Node{r.control}); err != nil {
		return err
	}
	if err := r.syncTargets(); err != nil {
		return err
	}
	r.step("whole")
	for _, t := range slices.Backward(r.targets()) {
		if err := t.finish(); err != nil {
			return err
		}
	}
	r.log.InfoContext(ctx, "restore is complete", "path", r.req.Spec.Directory, "files", r.files, "bytes", r.bytes, "written", r.written.Load())
	return nil
}

// begin makes the targets ours. What a restore in place has moved aside is put back
// when that fails: nothing is written yet.
func (r *restore) begin(ctx context.Context) error {
	defer func() {
		if r.taken != nil {
			_ = r.taken.Close() // a directory
		}
	}()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	for _, t := range r.targets() {
		if err := r.open(ctx, t); err != nil {
			for _, moved := range slices.Backward(r.targets()) {
				err = errors.Join(err, moved.putBack())
			}
			return err
		}
	}
	return nil
}

func (r *restore) open(ctx context.Context, t *target) error {
	if !r.inPlace() {
		return t.open()
	}
	var check func(string) error
	if t == r.data {
		check = func(dir string) error { return r.refuseRunning(ctx, dir) }
	}
	return t.openInPlace(check)
}

// plan is what the set holds.
type plan struct {
	needs map[string]int64           // bytes by "pgdata" and oid
	names map[string]map[string]bool // what lies at the top of each tablespace, by oid
	total int64
	files int64
}

// prepare looks at set and targets, and refuses what cannot work before anything
// is written.
func (r *restore) prepare(ctx context.Context) error {
	if err := r.req.Spec.Validate(); err != nil {
		return err
	}
	p, err := r.plan(ctx)
	if err != nil {
		return err
	}
	r.whole = engine.Result{Files: p.files, Bytes: p.total}
	if err := r.readIndex(ctx); err != nil {
		return err
	}
	if r.inPlace() {
		if r.taken, err = lockPlace(ctx, r.req.Spec.Directory); err != nil {
			return err
		}
	}
	own := marker{Execution: r.req.Execution, Fence: r.req.Fence, Set: r.req.Spec.Set, Source: "pgdata"}
	if r.data, err = r.find(r.req.Spec.Directory, own); err != nil {
		return err
	}
	if (r.data.moves() && r.req.Fence > 1 || r.data.over && r.req.Installation != "") && r.hasReceipt() {
		return holdfast.Errorf(holdfast.CodeConflict, "directory %s was restored by this execution, and has been changed since", r.data.asked).
			WithHint("look at it; restore again to have it replaced")
	}
	if err := r.mapTablespaces(ctx, p, own); err != nil {
		return err
	}
	if err := r.checkInPlace(ctx); err != nil {
		return err
	}
	if err := r.checkDelta(ctx, p.names["pgdata"]); err != nil {
		return err
	}
	needs := []int64{p.needs["pgdata"]}
	for _, oid := range sortedKeys(r.spaces) {
		needs = append(needs, p.needs[oid])
	}
	if err := checkSpace(r.targets(), needs); err != nil {
		return err
	}
	r.req.Report.Total(p.files, p.total)
	return nil
}

// plan walks the set once.
func (r *restore) plan(ctx context.Context) (plan, error) {
	p := plan{needs: map[string]int64{}, names: map[string]map[string]bool{}}
	version := false
	err := r.src.Walk(ctx, func(n engine.Node) error {
		where, rel, err := split(n)
		if err != nil || where == "holdfast" {
			return err
		}
		p.needs[where] += n.Size
		if p.names[where] == nil {
			p.names[where] = map[string]bool{}
		}
		top, _, _ := strings.Cut(rel, "/")
		p.names[where][top] = true
		if !n.Mode.IsDir() && !isSignal(where, rel) {
			p.files++
			p.total += n.Size
		}
		if where == "pgdata" {
			switch rel {
			case ".":
				r.owner = n
			case "PG_VERSION":
				version = true
			case "postgresql.conf":
				r.conf = true
			case pg.ControlFile:
				r.control = n
			}
		}
		return nil
	})
	if err == nil && (!version || r.control.Path == "") {
		err = holdfast.Errorf(holdfast.CodeInvalid, "the set is no physical backup: it has no PG_VERSION or no %s", pg.ControlFile)
	}
	return p, err
}

// split says to which target a node belongs ("pgdata", an oid, or "holdfast") and
// its place there. The set comes from outside: what no backup of ours holds is
// refused.
func split(n engine.Node) (where, rel string, err error) {
	bad := func(why string) (string, string, error) {
		return "", "", holdfast.Errorf(holdfast.CodeInvalid, "the set holds %q, which %s", n.Path, why)
	}
	if n.Path == "" || path.Clean(n.Path) != n.Path || path.IsAbs(n.Path) || n.Path == ".." || strings.HasPrefix(n.Path, "../") ||
		strings.ContainsRune(n.Path, 0) {
		return bad("is no clean path")
	}
	if !n.Mode.IsDir() && !n.Mode.IsRegular() {
		return bad("is neither a file nor a directory")
	}
	parts := strings.SplitN(n.Path, "/", 3)
	switch {
	case parts[0] == "holdfast":
		return "holdfast", n.Path, nil
	case n.Path == "pgdata":
		return "pgdata", ".", nil
	case parts[0] == "pgdata":
		rel = strings.TrimPrefix(n.Path, "pgdata/")
		if rel == markerName {
			return bad("has the name of a restore's marker")
		}
		return "pgdata", rel, nil
	case n.Path == "tablespaces":
		return "holdfast", n.Path, nil
	case parts[0] == "tablespaces":
		if _, ok := pg.ParseOID(parts[1]); !ok {
			return bad("is of no tablespace")
		}
		if len(parts) == 2 {
			return parts[1], ".", nil
		}
		if parts[2] == markerName {
			return bad("has the name of a restore's marker")
		}
		return parts[1], parts[2], nil
	}
	return bad("is no part of a physical backup")
}

// mapTablespaces finds a target for each tablespace of the set. The original path
// is never written without being named: it may be a live server's.
func (r *restore) mapTablespaces(ctx context.Context, p plan, own marker) error {
	original := map[string]string{}
	text, err := r.src.ReadFile(ctx, mapPlace, maxMap)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	links, err := pg.ParseTablespaceMap(string(text))
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the set's tablespace_map is not valid")
	}
	for _, l := range links {
		if !l.InPlace() {
			original[strconv.FormatUint(uint64(l.OID), 10)] = l.Path
		}
	}
	for where := range p.needs {
		if where != "pgdata" && original[where] == "" {
			original[where] = "unknown"
		}
	}
	var unmapped, flags []string
	for _, oid := range sortedKeys(original) {
		n, _ := pg.ParseOID(oid)
		dir, ok := r.req.Spec.Tablespaces[n]
		if !ok {
			unmapped = append(unmapped, fmt.Sprintf("%s (was %s)", oid, original[oid]))
			flags = append(flags, "--tablespace "+oid+"=DIR")
			continue
		}
		m := own
		m.Source = "tablespaces/" + oid
		t, err := r.find(dir, m)
		if t != nil && (err != nil || t.moves()) && t.adopt(r.data, oid, p.names[oid]) {
			err = nil
		}
		if err != nil {
			return err
		}
		r.spaces[oid] = t
	}
	if unmapped != nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "the set has tablespaces that need a directory: %s", strings.Join(unmapped, ", ")).
			WithHint("map each of them by its number to an empty directory of its own: %s", strings.Join(flags, " "))
	}
	for _, oid := range sortedOIDs(r.req.Spec.Tablespaces) {
		if original[strconv.FormatUint(uint64(oid), 10)] == "" {
			return holdfast.Errorf(holdfast.CodeInvalid, "the set has no tablespace %d", oid).WithHint("leave it out of the mapping")
		}
	}
	return r.refuseNested()
}

// refuseNested looks at the resolved paths: two that look apart may be one.
func (r *restore) refuseNested() error {
	all := r.targets()
	for i, a := range all {
		for _, b := range all[i+1:] {
			if a.path == b.path || below(a.path, b.path) || below(b.path, a.path) {
				return holdfast.Errorf(holdfast.CodeInvalid, "directories %s and %s lie inside each other", a.asked, b.asked).
					WithHint("give the data directory and each tablespace a directory of its own")
			}
		}
	}
	return nil
}

// continued prepares the directory of an earlier attempt: pg_control goes first,
// then whatever did not come from the set.
func (r *restore) continued(ctx context.Context) error {
	again := false
	for _, t := range r.targets() {
		again = again || t.again
	}
	if !again {
		return nil
	}
	if err := r.checkDelta(ctx, nil); err != nil { // a server may have been started meanwhile
		return errors.Join(err, r.unmark())
	}
	if err := r.data.root.Remove(pg.ControlFile); err == nil {
		if err := syncDir(r.data.root, path.Dir(pg.ControlFile)); err != nil {
			return err
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if r.req.Spec.Delta {
		r.step("stripped")
		return r.removeExtra(ctx)
	}
	for _, name := range []string{"postmaster.pid", "postmaster.opts"} {
		if _, err := r.data.root.Lstat(name); err == nil { // a server has been started there
			for _, t := range r.targets() {
				if err := t.clear(); err != nil {
					return err
				}
			}
			return nil
		}
	}
	if names, err := rootNames(r.data.root, "pg_tblspc"); err == nil {
		for _, name := range names {
			if fi, err := r.data.root.Lstat("pg_tblspc/" + name); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
				if err := r.data.root.Remove("pg_tblspc/" + name); err != nil {
					return err
				}
			}
		}
	}
	return r.trust(ctx)
}

// syncTargets makes everything durable that was written so far.
func (r *restore) syncTargets() error {
	for _, t := range r.targets() {
		if err := syncAll(t.lock); err != nil {
			return err
		}
	}
	return nil
}
