package etl

import (
	"context"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// writeCSV writes CSV with a line of names. NULL is nothing, and an empty text is
// "".
func (v *version) writeCSV(ctx context.Context, w *work, file *os.File) (counts, error) {
	d := v.disk(file)
	v.describe(w.feed.columns)
	names := make([]string, len(w.feed.columns))
	for i, c := range w.feed.columns {
		names[i] = field(c.name)
	}
	if _, err := io.WriteString(d, strings.Join(names, ",")+"\n"); err != nil {
		return counts{}, err
	}
	c, err := v.copy(ctx, w.feed, w.feed.compile, way{format: csv}, rows.CSV{}, func(r io.Reader) (int64, error) {
		_, err := io.CopyBuffer(struct{ io.Writer }{d}, struct{ io.Reader }{r}, make([]byte, 256<<10))
		return -1, err
	})
	return c, errors.Join(err, d.Flush())
}

// writeParquet writes Parquet without the engine. What Parquet has no type for is
// written as text.
func (v *version) writeParquet(ctx context.Context, w *work, file *os.File) (counts, error) {
	d := v.disk(file)
	v.describe(w.feed.columns)
	columns := make([]column, len(w.feed.columns))
	casts := map[string]string{}
	var into []rows.Column
	for i, c := range w.feed.columns {
		if _, ok := parquetOf(c); !ok {
			c = column{name: c.name, oid: pgtype.TextOID, typ: "text", full: "text"}
			casts[c.name] = "text"
		}
		columns[i] = c
		into = append(into, c.row())
	}
	compile := w.feed.compile
	if compile != nil {
		compile = func([]rows.Column) (*rows.Program, error) { return w.feed.compile(into) }
	}
	// A file that was read in several parts is several streams, and one file again.
	var out *parquetWriter
	c, err := v.copy(ctx, w.feed, compile, way{format: binary, casts: casts}, rows.Binary{}, func(r io.Reader) (int64, error) {
		if out == nil {
			out = newParquetWriter(d, columns)
		}
		return out.run(r)
	})
	if err != nil {
		return c, err
	}
	if out == nil {
		out = newParquetWriter(d, columns)
	}
	return c, errors.Join(out.close(), d.Flush())
}

// copy moves the feed's rows to take.
func (v *version) copy(ctx context.Context, fd feed, compile func([]rows.Column) (*rows.Program, error), w way, as rows.Format, take func(io.Reader) (int64, error)) (c counts, err error) {
	for _, p := range fd.parts {
		if compile != nil {
			if w.program, err = compile(nil); err != nil {
				return c, err
			}
		}
		one, err := p.move(ctx, w, as, func(_ context.Context, r io.Reader) (int64, error) { return take(r) })
		if err != nil {
			return c, err
		}
		c.add(one)
	}
	return c, nil
}

// describe notes the columns for the manifest.
func (v *version) describe(columns []column) {
	v.columns = []engine.Column{}
	for _, c := range columns {
		v.columns = append(v.columns, engine.Column{Name: c.name, Type: c.full})
	}
}

// keepRejects writes what was rejected beside the rows: there is no table for it.
func (v *version) keepRejects(w *work) error {
	for _, r := range w.readings {
		if r.rejects == nil || r.rejects.count == 0 {
			continue
		}
		if err := r.rejects.limits(); err != nil {
			return err
		}
		name := "rejects-" + r.in.Extract.Name + ".csv"
		text, err := r.rejects.text()
		if err != nil {
			return err
		}
		const head = "installation,job,job_name,flow,execution,extract,line,column_name,reason,raw\n"
		shown := v.shown
		file, err := v.dir.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o640)
		if err != nil {
			return fileError(err, path.Join(shown, name))
		}
		_, err = io.WriteString(file, head)
		if err == nil {
			_, err = io.Copy(file, text)
		}
		if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
			return fileError(err, path.Join(shown, name))
		}
	}
	return nil
}

// isNotEmpty reports whether a rename has found a directory with something in it.
func isNotEmpty(err error) bool { return errors.Is(err, syscall.ENOTEMPTY) }
