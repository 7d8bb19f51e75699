package etl

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

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
	// manifest says what it holds, once it is finished.
	manifest manifest
}

// begin makes the directory of the next version. [engine.ErrStale] when it is not
// ours to write.
func (o *output) begin() (v *version, err error) {
	req := o.f.e.req
	v = &version{o: o, number: o.newest + 1, temp: fencedBy(req).temp()}
	place, open := o.shown, func() (*os.Root, error) { return o.root.OpenRoot(".") } // not by a path, which may lead elsewhere by now
	if req.Simulate {
		place = o.f.e.p.temp()
		open = func() (*os.Root, error) { return os.OpenRoot(place) }
		sweepTemp(place, simulatedPrefix)
		v.temp = fmt.Sprintf("%s%016x", simulatedPrefix, rand.Uint64())
	} else if err := o.take(v.temp); err != nil { // of an earlier round
		return nil, err
	}
	v.shown = path.Join(place, v.temp)
	if v.home, err = open(); err != nil {
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
		Format: 1, Installation: req.Installation, Job: req.Job, Flow: v.o.f.plan.Load.Name, Execution: req.Execution, Identity: req.Identity, Fence: req.Fence, Created: now,
		Read: c.read, Rows: c.loaded, Rejected: c.rejected, Columns: v.columns, Counters: map[string]counted{}, Files: []written{v.file},
	}
	maps.Copy(m.Counters, v.o.last.Counters)
	for extract, value := range counters {
		m.Counters[extract] = counted{Value: value, Execution: req.Execution, Updated: now, Basis: v.o.f.basis(v.o.f.input(extract), nil)}
	}
	text, err := m.encode()
	if err != nil {
		return err
	}
	v.manifest = m
	return writeDurably(v.dir, manifestName, text, v.shown)
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
	result, err := f.finite(ctx, columns)
	if err != nil {
		return counts{}, err
	}
	n, err := f.e.child.WriteParquet(ctx, result, file)
	return counts{loaded: n}, err
}

// finite makes infinite dates and times of the engine's result an error, as [parquetDate]
// and [parquetTime] do: in Parquet, the engine would write the largest number there is.
func (f *flow) finite(ctx context.Context, columns []duck.Column) (relation string, err error) {
	var checked []string
	for _, c := range columns {
		kind := "time"
		switch c.Type {
		case "date":
			kind = "date"
		case "timestamp", "timestamp without time zone", "timestamptz", "timestamp with time zone":
		default:
			continue
		}
		q := definition.QuoteIdentifier(c.Name)
		checked = append(checked, "CASE WHEN isinf("+q+") THEN error('infinity is no "+kind+" of Parquet') ELSE "+q+" END AS "+q)
	}
	if len(checked) == 0 {
		return f.engineResult(), nil
	}
	const name = "holdfast_finite"
	sql := "SELECT * REPLACE (" + strings.Join(checked, ", ") + ") FROM " + definition.QuoteIdentifier(f.engineResult())
	if _, err := f.e.child.Step(ctx, name, sql, true); err != nil {
		return "", partError(err, "the output's rows")
	}
	return name, nil
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
