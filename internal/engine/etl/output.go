package etl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// versions is where a flow writes: a directory, or a prefix in a bucket.
type versions interface {
	// mayWrite is [engine.ErrStale] when it is no longer ours.
	mayWrite(ctx context.Context) error
	// done reports whether the execution has written its version before, with an
	// earlier fence.
	done() bool
	// values are the counters' values in the newest version.
	values(ctx context.Context) (map[string]string, error)
	// begin makes room for the next version.
	begin(ctx context.Context) (*version, error)
	// commit makes a version that is finished the newest one.
	commit(ctx context.Context, v *version) error
	// prune removes versions beyond those that stay.
	prune(ctx context.Context) error
	close()
}

// inDirectory is an output as versions.
type inDirectory struct{ *output }

func (d inDirectory) mayWrite(context.Context) error             { return d.output.mayWrite() }
func (d inDirectory) begin(context.Context) (*version, error)    { return d.output.begin() }
func (d inDirectory) commit(_ context.Context, v *version) error { return v.commit() }

// openVersions opens where the flow writes.
func (f *flow) openVersions(ctx context.Context) (versions, error) {
	if f.bucket() != nil {
		return f.openBucketOutput(ctx)
	}
	open := func() (*output, error) { return f.openOutput(true) }
	if f.e.req.Simulate {
		open = f.openSimulated
	}
	o, err := open()
	return inDirectory{o}, err
}

// output is the directory of a flow's versions.
type output struct {
	f     *flow
	root  *os.Root
	shown string
	// newest version, and what it says of itself; 0: there is none.
	newest int
	last   manifest
	text   []byte // of the manifest
}

var versionName = regexp.MustCompile(`^v[0-9]{9}$`)

func nameOf(version int) string { return fmt.Sprintf("v%09d", version) }

// openOutput opens the directory, and makes it when create says so.
func (f *flow) openOutput(create bool) (*output, error) {
	dir := f.e.plan.Definition.Connections[f.plan.Load.Connection].Directory
	parent, err := f.e.openRoot(dir)
	if err != nil {
		return nil, err
	}
	defer parent.Close() //nolint:errcheck // nothing was written
	o := &output{f: f, shown: path.Join(dir, f.plan.Load.Output.Path)}
	if create {
		if err := makeDirs(parent, f.plan.Load.Output.Path, dir); err != nil {
			return nil, err
		}
	}
	o.root, err = parent.OpenRoot(f.plan.Load.Output.Path)
	if err != nil {
		if !create && errors.Is(err, fs.ErrNotExist) {
			return nil, nil //nolint:nilnil // nothing was written yet
		}
		return nil, fileError(err, o.shown)
	}
	if err := o.look(); err != nil {
		o.close()
		return nil, err
	}
	return o, nil
}

func (o *output) close() {
	if o.root != nil {
		_ = o.root.Close()
	}
}

// openSimulated opens the directory of a simulation, which may be missing, and does
// not make it.
func (f *flow) openSimulated() (*output, error) {
	if err := f.mayMake(); err != nil {
		return nil, err
	}
	o, err := f.openOutput(false)
	if o == nil && err == nil {
		o = &output{f: f, shown: f.result.Target}
	}
	return o, err
}

// versions lists the versions, the oldest first.
func (o *output) versions() ([]int, error) {
	entries, err := fs.ReadDir(o.root.FS(), ".")
	if err != nil {
		return nil, fileError(err, o.shown)
	}
	var all []int
	for _, e := range entries {
		if n, err := strconv.Atoi(strings.TrimPrefix(e.Name(), "v")); err == nil && versionName.MatchString(e.Name()) {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// look finds the newest version and reads its manifest.
func (o *output) look() error {
	all, err := o.versions()
	if err != nil {
		return err
	}
	o.newest, o.last, o.text = 0, manifest{}, nil
	if len(all) == 0 {
		return nil
	}
	o.newest = all[len(all)-1]
	name := path.Join(nameOf(o.newest), manifestName)
	if o.text, err = readSmall(o.root, name); err != nil {
		return fileError(err, path.Join(o.shown, name))
	}
	if err = json.Unmarshal(o.text, &o.last); err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s is no manifest of an ETL", path.Join(o.shown, name)).
			WithHint("move the version away; without it the flow goes on from the one before")
	}
	return o.owned(o.last.Installation, o.last.Job, o.last.Flow)
}

// owned fails when the directory is that of another flow.
func (o *output) owned(installation string, job holdfast.JobID, flow string) error {
	req := o.f.e.req
	if installation != req.Installation || job != req.Job || flow != o.f.plan.Load.Name {
		return holdfast.Errorf(holdfast.CodeConflict, "%s belongs to flow %s of job %d", o.shown, flow, job).
			WithHint("let each flow write to a directory of its own")
	}
	return nil
}

// unchanged fails when the newest version is no longer what we have started from: a
// person has set a counter, or has moved versions.
func (o *output) unchanged() error {
	now := output{f: o.f, root: o.root, shown: o.shown}
	if err := now.look(); err != nil {
		return err
	}
	if now.newest != o.newest || !bytes.Equal(now.text, o.text) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "the newest version in %s, or its counter, has changed meanwhile", o.shown).
			WithHint("the next attempt goes on from what is there now")
	}
	return nil
}

// values are the counters' values, of which each is still what the flow counts by.
func (o *output) values(ctx context.Context) (map[string]string, error) {
	all := map[string]string{}
	for extract, c := range o.last.Counters {
		all[extract] = c.Value
		if in := o.f.input(extract); in != nil {
			if err := o.f.checkBasis(ctx, in, nil, c.Basis); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// done reports whether the execution has written its version before, with an
// earlier fence.
func (o *output) done() bool {
	if (holder{o.last.Execution, o.last.Identity}) != holderOf(o.f.e.req) || o.f.e.service() {
		return false
	}
	m := o.last
	o.f.adopt(state{units: 1, done: true, read: m.Read, loaded: m.Rows, rejected: m.Rejected})
	return true
}

// writeFiles does the one unit of a flow that writes files.
func (f *flow) writeFiles(ctx context.Context) (err error) {
	o, err := f.openVersions(ctx)
	if err != nil {
		return err
	}
	defer o.close()
	if !f.e.req.Simulate {
		if err := o.mayWrite(ctx); err != nil {
			return err
		}
	}
	if o.done() {
		return nil
	}
	f.e.p.step("locked")
	before, err := o.values(ctx)
	if err != nil {
		return err
	}
	w, err := f.look(ctx, before)
	defer func() { err = errors.Join(err, w.close()) }()
	if err != nil {
		return err
	}
	if w.nothing {
		return nil
	}
	f.e.req.Report.Phase("load")
	v, err := o.begin(ctx)
	if err != nil {
		return err
	}
	defer v.drop()
	defer func() { // who has taken the version away is the reason, whatever failed
		if err != nil && !f.e.req.Simulate && !errors.Is(err, engine.ErrStale) && errors.Is(o.mayWrite(ctx), engine.ErrStale) {
			err = fmt.Errorf("%w: %w", engine.ErrStale, err)
		}
	}()
	c, err := v.write(ctx, w)
	if err != nil {
		return err
	}
	if err := f.checkRead(ctx, c); err != nil {
		return err
	}
	f.e.p.step("loaded")
	if err := v.finish(c, w.after); err != nil {
		return err
	}
	f.e.p.step("booked")
	s := state{units: f.result.Units + 1, done: true, read: f.result.Read + c.read, loaded: f.result.Loaded + c.loaded, rejected: f.result.Rejected + c.rejected}
	if !f.e.req.Simulate {
		if err := o.commit(ctx, v); err != nil {
			return err
		}
	}
	f.e.p.step("committed")
	f.adopt(s)
	f.phases.add(w, c)
	f.moved(before, w.after)
	f.e.log.InfoContext(ctx, "version committed", "flow", f.plan.Load.Name, "version", v.number, "read", c.read, "loaded", c.loaded,
		"rejected", c.rejected, "bytes", v.file.Size, "simulated", f.e.req.Simulate)
	if err := o.prune(ctx); err != nil {
		f.e.warn(ctx, "versions beyond those to keep were not all removed", "flow", f.plan.Load.Name, "error", err)
	}
	return nil
}

// prune removes versions beyond those that stay.
func (o *output) prune(ctx context.Context) error {
	kept := o.f.plan.Load.Output.MaxKept
	if kept == 0 || o.f.e.req.Simulate {
		return nil
	}
	all, err := o.versions()
	if err != nil {
		return err
	}
	for _, n := range all[:max(0, len(all)-kept)] {
		if err := o.take(nameOf(n)); err != nil {
			return err
		}
		o.f.e.log.InfoContext(ctx, "old version removed", "flow", o.f.plan.Load.Name, "version", n)
	}
	return nil
}

// setCounter replaces the newest manifest by one with another counter. CodeConflict
// when a version is being written: who writes it looks at the manifest after it has
// begun and before it commits, and we look for it before and after.
func (o *output) setCounter(extract, value string) error {
	busy, err := o.writing()
	switch {
	case err != nil:
		return err
	case busy:
		return holdfast.Errorf(holdfast.CodeConflict, "an execution of the job is loading this flow").WithHint("stop it, or wait until it has ended; then set the counter")
	}
	m := o.f.withCounter(o.last, extract, value)
	text, err := m.encode()
	if err != nil {
		return err
	}
	dir, err := o.root.OpenRoot(nameOf(o.newest))
	if err != nil {
		return fileError(err, path.Join(o.shown, nameOf(o.newest)))
	}
	defer dir.Close() //nolint:errcheck // what was written is durable by then
	shown := path.Join(o.shown, nameOf(o.newest))
	if err := writeDurably(dir, manifestName+".new", text, shown); err != nil {
		return err
	}
	if err := dir.Rename(manifestName+".new", manifestName); err != nil {
		return fileError(err, path.Join(shown, manifestName))
	}
	if err := syncDir(dir, shown); err != nil {
		return err
	}
	all, err := o.versions()
	if err == nil {
		busy, err = o.writing()
	}
	if err == nil && (busy || len(all) == 0 || all[len(all)-1] != o.newest) {
		return holdfast.Errorf(holdfast.CodeConflict, "an execution of the job has begun to load this flow meanwhile").
			WithHint("look at the counter when it has ended, and set it again")
	}
	return err
}
