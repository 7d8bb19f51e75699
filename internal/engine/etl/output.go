package etl

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// manifestName is the file of a version that says what it is.
const manifestName = "manifest.json"

// maxManifest bounds a manifest that is read, in bytes.
const maxManifest = 16 << 20

// manifest says what a version holds, and who wrote it. The rename that makes the
// version visible commits rows, counters and fence together.
type manifest struct {
	Format       int                  `json:"format"` // 1
	Installation string               `json:"installation"`
	Job          holdfast.JobID       `json:"job"`
	Flow         string               `json:"flow"`
	Execution    holdfast.ExecutionID `json:"execution"`
	Fence        holdfast.Fence       `json:"fence"`
	Created      time.Time            `json:"created"`
	Read         int64                `json:"read"`
	Rows         int64                `json:"rows"`
	Rejected     int64                `json:"rejected,omitempty"`
	Columns      []engine.Column      `json:"columns"`
	Counters     map[string]counted   `json:"counters,omitempty"` // by extract
	Files        []written            `json:"files"`
}

// counted is a counter in a manifest.
type counted struct {
	Value     string               `json:"value"`
	Execution holdfast.ExecutionID `json:"execution"` // zero: a person set it
	Updated   time.Time            `json:"updated"`
	Basis     string               `json:"basis,omitempty"` // see [flow.basis]; empty: an earlier release wrote it
}

// written is a file of a version.
type written struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Rows   int64  `json:"rows"`
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

// makeDirs makes the directories of a path that are missing, each durable in the
// one above it.
func makeDirs(root *os.Root, name, shown string) error {
	info, err := root.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fileError(err, path.Join(shown, name))
	}
	above := path.Dir(path.Clean(name))
	if above != "." {
		if err := makeDirs(root, above, shown); err != nil {
			return err
		}
	}
	if err := root.Mkdir(name, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return fileError(err, path.Join(shown, name))
	}
	dir, err := root.OpenRoot(above)
	if err != nil {
		return fileError(err, path.Join(shown, above))
	}
	defer dir.Close() //nolint:errcheck // nothing was written through it
	return syncDir(dir, path.Join(shown, above))
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
	file, err := o.root.Open(name)
	if err != nil {
		return fileError(err, path.Join(o.shown, name))
	}
	defer file.Close() //nolint:errcheck // only read
	o.text, err = io.ReadAll(io.LimitReader(file, maxManifest))
	if err == nil {
		err = json.Unmarshal(o.text, &o.last)
	}
	if err != nil {
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
func (o *output) values() (map[string]string, error) {
	all := map[string]string{}
	for extract, c := range o.last.Counters {
		all[extract] = c.Value
		if in := o.f.input(extract); in != nil {
			if err := o.f.checkBasis(in, nil, c.Basis); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// done reports whether the execution has written its version before, with an
// earlier fence.
func (o *output) done() bool {
	if o.last.Execution != o.f.e.req.Execution || o.f.e.service() {
		return false
	}
	m := o.last
	o.f.adopt(state{units: 1, done: true, read: m.Read, loaded: m.Rows, rejected: m.Rejected})
	return true
}

// writeFiles does the one unit of a flow whose target is a directory.
func (f *flow) writeFiles(ctx context.Context) (err error) {
	open := func() (*output, error) { return f.openOutput(true) }
	if f.e.req.Simulate {
		open = f.openSimulated
	}
	o, err := open()
	if err != nil {
		return err
	}
	defer o.close()
	if !f.e.req.Simulate {
		if err := o.mayWrite(); err != nil {
			return err
		}
	}
	if o.done() {
		return nil
	}
	f.e.p.step("locked")
	before, err := o.values()
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
	v, err := o.begin()
	if err != nil {
		return err
	}
	defer v.drop()
	defer func() { // who has taken the version away is the reason, whatever failed
		if err != nil && !f.e.req.Simulate && !errors.Is(err, engine.ErrStale) && errors.Is(o.mayWrite(), engine.ErrStale) {
			err = fmt.Errorf("%w: %w", engine.ErrStale, err)
		}
	}()
	c, err := v.write(ctx, w)
	if err != nil {
		return err
	}
	if err := f.checkEmpty(c); err != nil {
		return err
	}
	f.e.p.step("loaded")
	if err := v.finish(c, w.after); err != nil {
		return err
	}
	f.e.p.step("booked")
	s := state{units: f.result.Units + 1, done: true, read: f.result.Read + c.read, loaded: f.result.Loaded + c.loaded, rejected: f.result.Rejected + c.rejected}
	if !f.e.req.Simulate {
		if err := v.commit(); err != nil {
			return err
		}
	}
	f.e.p.step("committed")
	f.adopt(s)
	f.moved(before, w.after)
	f.e.log.InfoContext(ctx, "version committed", "flow", f.plan.Load.Name, "version", v.number, "read", c.read, "loaded", c.loaded,
		"rejected", c.rejected, "bytes", v.file.Size, "simulated", f.e.req.Simulate)
	if err := o.prune(ctx); err != nil {
		f.e.warn(ctx, "versions beyond those to keep were not all removed", "flow", f.plan.Load.Name, "error", err)
	}
	return nil
}

// version is one that is being written.
type version struct {
	o       *output
	number  int
	home    *os.Root // where its directory is until the commit; a simulation's is elsewhere
	temp    string   // its name there
	shown   string
	dir     *os.Root
	columns []engine.Column
	file    written
}

// begin makes the directory of the next version. [engine.ErrStale] when it is not
// ours to write.
func (o *output) begin() (v *version, err error) {
	req := o.f.e.req
	v = &version{o: o, number: o.newest + 1, temp: fenced{req.Execution, req.Fence}.temp()}
	place := o.shown
	if req.Simulate {
		place = o.f.e.p.temp()
		sweepTemp(place, simulatedPrefix)
		v.temp = fmt.Sprintf("%s%016x", simulatedPrefix, rand.Uint64())
	} else if err := o.take(v.temp); err != nil { // of an earlier round
		return nil, err
	}
	v.shown = path.Join(place, v.temp)
	if v.home, err = os.OpenRoot(place); err != nil {
		return nil, fileError(err, place)
	}
	if err = v.home.Mkdir(v.temp, 0o750); err == nil {
		v.dir, err = v.home.OpenRoot(v.temp)
	}
	switch {
	case err != nil:
		err = fileError(err, v.shown)
	case !req.Simulate:
		if err = o.mayWrite(); err == nil {
			err = o.unchanged()
		}
	}
	if err != nil {
		v.drop()
		return nil, err
	}
	return v, nil
}

// drop removes what was not committed.
func (v *version) drop() {
	if v.dir != nil {
		_ = v.dir.Close()
	}
	_ = v.home.RemoveAll(v.temp) // the next version's begin tries again
	_ = v.home.Close()
}

// finish makes the version complete and durable under its temporary name.
func (v *version) finish(c counts, counters map[string]string) error {
	req, now := v.o.f.e.req, time.Now().UTC()
	m := manifest{
		Format: 1, Installation: req.Installation, Job: req.Job, Flow: v.o.f.plan.Load.Name, Execution: req.Execution, Fence: req.Fence, Created: now,
		Read: c.read, Rows: c.loaded, Rejected: c.rejected, Columns: v.columns, Counters: map[string]counted{}, Files: []written{v.file},
	}
	maps.Copy(m.Counters, v.o.last.Counters)
	for extract, value := range counters {
		m.Counters[extract] = counted{Value: value, Execution: req.Execution, Updated: now, Basis: v.o.f.basis(v.o.f.input(extract), nil)}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	switch {
	case err != nil:
		return fmt.Errorf("write the manifest: %w", err)
	case len(text) >= maxManifest:
		return holdfast.Errorf(holdfast.CodeInvalid, "the manifest of flow %s would have %d bytes", m.Flow, len(text)).
			WithHint("its counters are too long: move files that were loaded to another directory")
	}
	return writeDurably(v.dir, manifestName, append(text, '\n'), v.shown)
}

// writeDurably writes a small file into a directory, and the directory's entries.
func writeDurably(dir *os.Root, name string, text []byte, shown string) error {
	file, err := dir.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return fileError(err, path.Join(shown, name))
	}
	_, err = file.Write(text)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fileError(err, path.Join(shown, name))
	}
	return syncDir(dir, shown)
}

func syncDir(dir *os.Root, shown string) error {
	d, err := dir.Open(".")
	if err != nil {
		return fileError(err, shown)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fileError(err, shown)
	}
	return nil
}

// commit gives the version its name. [engine.ErrStale] when it is not ours to write
// any longer: then there may be nothing left to give a name to.
func (v *version) commit() error {
	if err := v.o.mayWrite(); err != nil {
		return err
	}
	if err := v.o.unchanged(); err != nil {
		return err
	}
	err := v.o.root.Rename(v.temp, nameOf(v.number))
	switch {
	case errors.Is(err, fs.ErrExist), isNotEmpty(err), errors.Is(err, fs.ErrNotExist):
		return engine.ErrStale
	case err != nil:
		return fileError(err, path.Join(v.o.shown, nameOf(v.number)))
	}
	return syncDir(v.o.root, v.o.shown)
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

// create makes the version's file of rows.
func (v *version) create(extension string) (*os.File, error) {
	v.file.Name = "rows." + extension
	file, err := v.dir.OpenFile(v.file.Name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o640)
	if err != nil {
		return nil, fileError(err, path.Join(v.shown, v.file.Name))
	}
	return file, nil
}

// write writes the rows, and makes them durable.
func (v *version) write(ctx context.Context, w *work) (c counts, err error) {
	format := v.o.f.plan.Load.Output.Format
	file, err := v.create(string(format))
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	switch {
	case format == definition.FormatCSV:
		c, err = v.writeCSV(ctx, w, file)
	case v.o.f.needsEngine():
		c, err = v.writeByEngine(ctx, file)
	default:
		c, err = v.writeParquet(ctx, w, file)
	}
	if err != nil {
		return c, err
	}
	if err := w.feeding.wait(); err != nil {
		return c, err
	}
	w.sum(&c)
	if err := v.keepRejects(w); err != nil {
		return c, err
	}
	if err := file.Sync(); err != nil {
		return c, fileError(err, path.Join(v.shown, v.file.Name))
	}
	v.file.Rows = c.loaded
	return c, v.sum(file)
}

// sum reads the file back: its hash says what the disk holds.
func (v *version) sum(file *os.File) error {
	shown := path.Join(v.shown, v.file.Name)
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fileError(err, shown)
	}
	h := sha256.New()
	n, err := io.Copy(h, file)
	if err != nil {
		return fileError(err, shown)
	}
	v.file.Size, v.file.SHA256 = n, hex.EncodeToString(h.Sum(nil))
	return nil
}

// writeByEngine lets the engine write Parquet.
func (v *version) writeByEngine(ctx context.Context, file *os.File) (counts, error) {
	f := v.o.f
	columns, err := f.e.child.Columns(ctx, f.engineResult())
	if err != nil {
		return counts{}, err
	}
	for _, c := range columns {
		v.columns = append(v.columns, engine.Column{Name: c.Name, Type: c.Type})
	}
	n, err := f.e.child.WriteParquet(ctx, f.engineResult(), file)
	return counts{loaded: n}, err
}

// diskWriter buffers writes to a file, and says what went wrong with it.
type diskWriter struct {
	*bufio.Writer
	file  *os.File
	shown string
}

func (v *version) disk(file *os.File) *diskWriter {
	return &diskWriter{Writer: bufio.NewWriterSize(file, 1<<20), file: file, shown: path.Join(v.shown, v.file.Name)}
}

func (d *diskWriter) Write(b []byte) (int, error) {
	n, err := d.Writer.Write(b)
	if err != nil {
		err = fileError(err, d.shown)
	}
	return n, err
}

func (d *diskWriter) Flush() error {
	if err := d.Writer.Flush(); err != nil {
		return fileError(err, d.shown)
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
	m := o.last
	m.Counters = maps.Clone(m.Counters)
	if m.Counters == nil {
		m.Counters = map[string]counted{}
	}
	m.Counters[extract] = counted{Value: value, Updated: time.Now().UTC(), Basis: o.f.basis(o.f.input(extract), nil)}
	if value == "" {
		delete(m.Counters, extract)
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	dir, err := o.root.OpenRoot(nameOf(o.newest))
	if err != nil {
		return fileError(err, path.Join(o.shown, nameOf(o.newest)))
	}
	defer dir.Close() //nolint:errcheck // what was written is durable by then
	shown := path.Join(o.shown, nameOf(o.newest))
	if err := writeDurably(dir, manifestName+".new", append(text, '\n'), shown); err != nil {
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
