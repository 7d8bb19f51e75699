package etl

import (
	"context"
	stdcsv "encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// Limits of a preview.
const (
	previewLimit = time.Minute
	previewInput = 10_000 // rows of each extract, from which all that follows is computed
	previewRows  = 1000   // rows of each relation that are shown
	previewValue = 1 << 10
)

// Preview reads the first rows of each relation that the definition names. What
// steps make is made of the first 10,000 rows of each extract, and of the first of
// several files. Nothing is kept, and no counter is looked at.
func (p *Pipeline) Preview(ctx context.Context, req engine.ETL, n int) ([]engine.Relation, error) {
	ctx, cancel := context.WithTimeout(ctx, previewLimit)
	defer cancel()
	if req.Report == nil {
		req.Report = silence{}
	}
	e, err := p.prepare(req)
	if err != nil {
		return nil, err
	}
	v := &preview{n: min(max(n, 1), previewRows), found: map[string]engine.Relation{}}
	e.preview, e.owner.Job = true, 0 // it stands in no execution's way, and none ends it
	defer e.closeEngine(ctx)
	for _, f := range e.flows {
		if err := f.show(ctx, v); err != nil {
			return nil, e.mask.error(err)
		}
	}
	var all []engine.Relation
	for _, name := range e.relations() {
		if r, ok := v.found[name]; ok {
			e.mask.rows(r.Rows)
			r.Reason = e.mask.text(r.Reason)
			all = append(all, r)
		}
	}
	return all, nil
}

// silence is a report that nobody reads.
type silence struct{}

func (silence) Phase(string)       {}
func (silence) Total(int64, int64) {}
func (silence) Done(int64, int64)  {}

// preview collects relations.
type preview struct {
	n     int
	found map[string]engine.Relation
}

// relations are the names of the definition's relations, in its order.
func (e *execution) relations() []string {
	var all []string
	for _, x := range e.plan.Definition.Extract {
		all = append(all, x.Name)
	}
	for _, t := range e.plan.Definition.Transform {
		all = append(all, t.Name)
	}
	return all
}

// show previews what a flow reads and makes.
func (f *flow) show(ctx context.Context, v *preview) (err error) {
	f.sources = map[place]*source{}
	defer f.closeSources(ctx)
	w := &work{}
	defer func() { err = errors.Join(err, w.close()) }()
	for i := range f.plan.Inputs {
		r, err := f.read(ctx, i, nil)
		w.readings = append(w.readings, r)
		if err != nil {
			return err
		}
		r.rejects = &rejects{f: f, extract: r.in.Extract} // bad rows are left out
		if err := r.show(ctx, v); err != nil {
			return err
		}
	}
	if f.needsEngine() {
		if err := f.showEngine(ctx, v, w); err != nil {
			return err
		}
	} else if err := w.readings[0].showRows(ctx, v); err != nil {
		return err
	}
	w.showRejects(v)
	if len(f.plan.Target) == 0 {
		return nil
	}
	return f.showTarget(ctx, v, w)
}

// showRejects says which rows were left out of what was read.
func (w *work) showRejects(v *preview) {
	for _, r := range w.readings {
		if rel, ok := v.found[r.in.Name]; ok && rel.Reason == "" && r.rejects.count > 0 {
			rel.Rejected, rel.Reason = r.rejects.count, r.rejects.first
			v.found[r.in.Name] = rel
		}
	}
}

// show previews an extract in a database, and its steps there.
func (r *reading) show(ctx context.Context, v *preview) error {
	if r.src == nil {
		return nil
	}
	for i := range len(r.in.Steps) + 1 {
		part := *r.in
		part.Steps = r.in.Steps[:i]
		name := r.in.Extract.Name
		if i > 0 {
			name = part.Steps[i-1].Name
		}
		sql, err := r.f.e.bound(part.Query(limited(r.in.Base)))
		if err != nil {
			return err
		}
		if err := v.query(ctx, r.src.tx, name, sql); err != nil {
			return err
		}
	}
	return nil
}

// limited is a SELECT of the first rows of another one.
func limited(sql string) string {
	return fmt.Sprintf("SELECT * FROM (\n%s\n) AS q LIMIT %d", sql, previewInput)
}

// query previews a SELECT.
func (v *preview) query(ctx context.Context, tx pgx.Tx, name, sql string) error {
	if _, ok := v.found[name]; ok {
		return nil
	}
	columns, err := describe(ctx, tx.Conn(), sql, "relation "+name)
	if err != nil {
		return err
	}
	rel := engine.Relation{Name: name, Rows: [][]*string{}}
	for _, c := range columns {
		rel.Columns = append(rel.Columns, engine.Column{Name: c.name, Type: c.full})
	}
	found, err := tx.Query(ctx, fmt.Sprintf("SELECT * FROM (\n%s\n) AS q LIMIT %d", sql, v.n), pgx.QueryResultFormats{pgx.TextFormatCode})
	if err != nil {
		return queryError(err, "preview relation "+name)
	}
	defer found.Close()
	for found.Next() {
		row := make([]*string, len(columns))
		for i, raw := range found.RawValues() {
			if raw != nil {
				s := clip(string(raw), previewValue)
				row[i] = &s
			}
		}
		rel.Rows = append(rel.Rows, row)
	}
	if err := found.Err(); err != nil {
		return queryError(err, "preview relation "+name)
	}
	v.found[name] = rel
	return nil
}

// showEngine previews what stands in the engine.
func (f *flow) showEngine(ctx context.Context, v *preview, w *work) error {
	c, err := f.computed(ctx, w)
	if err != nil {
		return err
	}
	var names []string
	for _, in := range f.plan.Inputs {
		names = append(names, in.Name)
	}
	for _, s := range f.plan.Engine {
		if !s.Assert {
			names = append(names, s.Name)
		}
	}
	for _, name := range names {
		if _, ok := v.found[name]; ok {
			continue
		}
		columns, found, err := c.Rows(ctx, name, v.n)
		if err != nil {
			return err
		}
		rel := engine.Relation{Name: name, Rows: found}
		for _, col := range columns {
			rel.Columns = append(rel.Columns, engine.Column{Name: col.Name, Type: col.Type})
		}
		v.found[name] = rel
	}
	return nil
}

// errEnough ends a preview of a file.
var errEnough = errors.New("there are enough rows")

// noValue stands for NULL between two of our own hands. Nobody's text is like it.
const noValue = "holdfast-null-5d1f0c62b8a94e37"

// showRows previews rows of CSV, and what row steps make of rows.
func (r *reading) showRows(ctx context.Context, v *preview) error {
	if _, ok := v.found[r.in.Name]; ok {
		return nil
	}
	fd, err := r.feed()
	if err != nil || fd.compile == nil {
		return err
	}
	rel := engine.Relation{Name: r.in.Name, Rows: [][]*string{}}
	for _, c := range fd.columns {
		rel.Columns = append(rel.Columns, engine.Column{Name: c.name, Type: c.full})
	}
	for _, p := range fd.parts {
		program, err := fd.compile(nil)
		if err != nil {
			return err
		}
		err = rows.Transfer{
			From: func(ctx context.Context, w io.Writer) (int64, error) { return p.send(ctx, w, binary, nil) },
			To: func(_ context.Context, from io.Reader) (int64, error) {
				rel.Rows, err = readValues(from, rel.Rows, v.n)
				return -1, err
			},
			Program: program, In: p.in, Out: rows.CSV{Null: noValue}, Reject: p.rejects.of(p.name),
		}.Run(ctx)
		if err != nil && !errors.Is(err, errEnough) {
			return partError(err, p.name)
		}
	}
	v.found[r.in.Name] = rel
	return nil
}

// readValues reads CSV of ours. A database's rows are read to their end, so that
// its session stays good: there are not many.
func readValues(from io.Reader, all [][]*string, n int) ([][]*string, error) {
	lines := stdcsv.NewReader(from)
	lines.ReuseRecord = true
	for count := 0; ; count++ {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		if count > previewInput {
			return all, errEnough
		}
		if len(all) == n {
			continue
		}
		row := make([]*string, len(record))
		for i, value := range record {
			if value != noValue {
				s := clip(value, previewValue)
				row[i] = &s
			}
		}
		all = append(all, row)
	}
}

// showTarget previews steps in the target, in a transaction that is rolled back.
func (f *flow) showTarget(ctx context.Context, v *preview, w *work) error {
	conn, err := f.e.connect(ctx, placeOf(f.e.plan.Definition.Connections[f.plan.Load.Connection]))
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	f.conn = conn
	tx, err := conn.Begin(ctx)
	if err != nil {
		return queryError(err, "begin a transaction")
	}
	defer rollback(ctx, tx)
	if err := set(ctx, tx, bind.Settings(f.e.plan.Parameters)); err != nil {
		return err
	}
	var fd feed
	if f.needsEngine() {
		fd, err = f.drainFeed(ctx, f.e.child)
	} else {
		fd, err = w.readings[0].feed()
	}
	if err != nil {
		return err
	}
	if _, err := f.arrive(ctx, tx, f.plan.Arrived, fd); err != nil {
		return err
	}
	for _, s := range f.plan.Target {
		if s.Assert {
			continue
		}
		if err := f.makeStep(ctx, tx, s); err != nil {
			return err
		}
		if err := v.query(ctx, tx, s.Name, "SELECT * FROM pg_temp."+definition.QuoteIdentifier(s.Name)); err != nil {
			return err
		}
	}
	return nil
}

// firstOf keeps the first of several files, for a preview.
func firstOf(files []inputFile) []inputFile {
	if len(files) > 1 {
		closeFiles(files[1:])
	}
	return slices.Clip(files[:min(len(files), 1)])
}
