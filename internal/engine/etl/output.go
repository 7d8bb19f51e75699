package etl

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
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

func (o *output) close() { _ = o.root.Close() }

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
	o.newest, o.last = 0, manifest{}
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
	text, err := io.ReadAll(io.LimitReader(file, maxManifest))
	if err == nil {
		err = json.Unmarshal(text, &o.last)
	}
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "%s is no manifest of an ETL", path.Join(o.shown, name)).
			WithHint("move the version away; without it the flow goes on from the one before")
	}
	req := o.f.e.req
	if o.last.Installation != req.Installation || o.last.Job != req.Job || o.last.Flow != o.f.plan.Load.Name {
		return holdfast.Errorf(holdfast.CodeConflict, "%s belongs to flow %s of job %d", o.shown, o.last.Flow, o.last.Job).
			WithHint("let each flow write to a directory of its own")
	}
	return nil
}

// values are the counters' values.
func (o *output) values() map[string]string {
	all := map[string]string{}
	for extract, c := range o.last.Counters {
		all[extract] = c.Value
	}
	return all
}

// claim reports whether the execution has written its version before, with an
// earlier fence. [engine.ErrStale] when a later one has.
func (o *output) claim() (done bool, err error) {
	req := o.f.e.req
	switch {
	case o.last.Execution != req.Execution || o.f.e.service():
		return false, nil
	case o.last.Fence > req.Fence:
		return false, engine.ErrStale
	}
	m := o.last
	o.f.adopt(state{units: 1, done: true, read: m.Read, loaded: m.Rows, rejected: m.Rejected})
	return true, nil
}

// writeFiles does the one unit of a flow whose target is a directory.
func (f *flow) writeFiles(ctx context.Context) (err error) {
	o, err := f.openOutput(true)
	if err != nil {
		return err
	}
	defer o.close()
	if done, err := o.claim(); done || err != nil {
		return err
	}
	f.e.p.step("locked")
	before := o.values()
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
		if done, err := v.commit(); done || err != nil {
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
	temp    string // its directory until the commit
	dir     *os.Root
	columns []engine.Column
	file    written
}

// begin makes the directory of the next version. [engine.ErrStale] when our fence
// is closed.
func (o *output) begin() (v *version, err error) {
	v = &version{o: o, number: o.newest + 1, temp: fmt.Sprintf("%s%d-%d", tempPrefix, o.f.e.req.Execution, o.f.e.req.Fence)}
	if err := o.remove(v.temp); err != nil { // of an earlier round
		return nil, err
	}
	if err := o.root.Mkdir(v.temp, 0o750); err != nil {
		return nil, fileError(err, path.Join(o.shown, v.temp))
	}
	if v.dir, err = o.root.OpenRoot(v.temp); err != nil {
		return nil, fileError(err, path.Join(o.shown, v.temp))
	}
	if err = o.mayWrite(); err == nil {
		err = o.closeOthers()
	}
	if err != nil {
		v.drop()
		return nil, err
	}
	return v, nil
}

// drop removes what was not committed.
func (v *version) drop() {
	_ = v.dir.Close()
	_ = v.o.root.RemoveAll(v.temp) // the next version's begin tries again
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
		m.Counters[extract] = counted{Value: value, Execution: req.Execution, Updated: now}
	}
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	return writeDurably(v.dir, manifestName, append(text, '\n'), path.Join(v.o.shown, v.temp))
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

// commit gives the version its name. done is true when an earlier fence of the same
// execution has committed meanwhile.
func (v *version) commit() (done bool, err error) {
	all, err := v.o.versions()
	if err != nil {
		return false, err
	}
	taken := len(all) > 0 && all[len(all)-1] >= v.number
	if !taken {
		err := v.o.root.Rename(v.temp, nameOf(v.number))
		switch {
		case err == nil:
			return false, syncDir(v.o.root, v.o.shown)
		case !errors.Is(err, fs.ErrExist) && !isNotEmpty(err) && !errors.Is(err, fs.ErrNotExist):
			return false, fileError(err, path.Join(v.o.shown, nameOf(v.number)))
		}
		// Somebody else has taken the name, or has removed what we wrote: he is newer.
	}
	if err := v.o.look(); err != nil {
		return false, err
	}
	if done, err := v.o.claim(); done || err != nil {
		return done, err
	}
	return false, engine.ErrStale
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
		if err := o.root.RemoveAll(nameOf(n)); err != nil {
			return fileError(err, path.Join(o.shown, nameOf(n)))
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
		return nil, fileError(err, path.Join(v.o.shown, v.temp, v.file.Name))
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
		return c, fileError(err, path.Join(v.o.shown, v.temp, v.file.Name))
	}
	v.file.Rows = c.loaded
	return c, v.sum(file)
}

// sum reads the file back: its hash says what the disk holds.
func (v *version) sum(file *os.File) error {
	shown := path.Join(v.o.shown, v.temp, v.file.Name)
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
	return &diskWriter{Writer: bufio.NewWriterSize(file, 1<<20), file: file, shown: path.Join(v.o.shown, v.temp, v.file.Name)}
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

// setCounter replaces the newest manifest by one with another counter.
func (o *output) setCounter(extract, value string) error {
	m := o.last
	m.Counters = maps.Clone(m.Counters)
	if m.Counters == nil {
		m.Counters = map[string]counted{}
	}
	m.Counters[extract] = counted{Value: value, Updated: time.Now().UTC()}
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
	return syncDir(dir, shown)
}
