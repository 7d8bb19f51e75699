package etl

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// reading is what one unit reads of one input: rows of a database, or files.
type reading struct {
	f       *flow
	in      *definition.Input
	src     *source // nil for files
	sql     string  // bound
	files   []inputFile
	fits    bool     // they are Parquet, and have the declared types
	columns []column // as they come, before row steps; of files as the target's server knows their types
	rejects *rejects // nil: the first bad row fails the unit
	read    int64    // rows; set when they have been read by way of the engine
	bytes   int64    // that came from a database

	transforms []rows.TransformCounts // of all programs of the row steps

	after   string // counter; empty: it does not move
	nothing bool   // an incremental extract has nothing new
	last    bool
}

// read finds what the next unit reads of an input. What it returns beside an error
// is to be closed, too.
func (f *flow) read(ctx context.Context, number int, counters map[string]string) (r *reading, err error) {
	in := &f.plan.Inputs[number]
	r = &reading{f: f, in: in, last: true, rejects: f.newRejects(in)}
	if in.Extract.File != nil {
		r.files, r.after, err = f.openFiles(ctx, in, counters[in.Extract.Name])
		if f.e.preview {
			r.files = firstOf(r.files)
		}
		r.nothing = in.Extract.Incremental != nil && len(r.files) == 0
		return r, err
	}
	if r.src, err = f.source(ctx, in.Extract.Connection); err != nil {
		return r, err
	}
	defer func() { err = r.explain(err) }()
	base := in.Base
	if f.e.preview {
		base = limited(base)
	} else if in.Extract.Incremental != nil {
		if base, err = f.readNew(ctx, r, number, counters); err != nil {
			return r, err
		}
	}
	if r.sql, err = f.e.bound(in.Query(base)); err != nil {
		return r, err
	}
	r.columns, err = describe(ctx, r.src.conn, r.sql, "extract "+in.Extract.Name)
	return r, err
}

// readNew returns the SELECT of an extract's new rows.
func (f *flow) readNew(ctx context.Context, r *reading, number int, counters map[string]string) (string, error) {
	t := f.trackers[r.in.Extract.Name]
	if t == nil {
		var err error
		if t, err = f.track(ctx, r.src, r.in, number); err != nil {
			return "", err
		}
		f.trackers[r.in.Extract.Name] = t
	}
	counter, ok := counters[r.in.Extract.Name]
	i, err := t.next(ctx, t.last(counter, ok), f.unitRows())
	if err != nil {
		return "", err
	}
	if r.nothing, r.last = i.upto == nil, i.last; r.nothing {
		return "SELECT * FROM (\n" + t.base + "\n) AS q WHERE false", nil
	}
	r.after = i.upto.String()
	if f.byKey() {
		return i.sql + i.order, nil // so that the last of several rows with one key is the newest
	}
	return i.sql, nil
}

// feed is what an input brings when no engine is between it and the target.
func (r *reading) feed() (feed, error) {
	if r.in.Extract.File != nil {
		return r.fileFeed()
	}
	fd := feed{columns: r.columns, format: binary, casts: true}
	p := part{send: func(ctx context.Context, w io.Writer, as format, casts map[string]string) (int64, error) {
		n, err := r.copyTo(ctx, w, r.cast(casts), as)
		return n, r.f.misfit(err, casts)
	}}
	if len(r.in.Rows) > 0 {
		plain := r.plain()
		fd.compile = r.compiler(plain)
		program, err := fd.compile(nil)
		if err != nil {
			return fd, err
		}
		fd.columns, fd.casts = columnsOf(program), false
		p = part{in: rows.Binary{}, rejects: r.rejects, send: func(ctx context.Context, w io.Writer, _ format, _ map[string]string) (int64, error) {
			return r.copyTo(ctx, w, r.cast(textCasts(r.columns)), binary)
		}}
	}
	fd.parts = []part{p}
	return fd, nil
}

// compiler compiles the input's row steps for columns.
func (r *reading) compiler(columns []rows.Column) func([]rows.Column) (*rows.Program, error) {
	return func(into []rows.Column) (*rows.Program, error) {
		p, err := rows.Compile(columns, r.in.Rows, r.f.e.plan.Parameters)
		if err != nil {
			return nil, err
		}
		if r.transforms == nil {
			r.transforms = p.Counts()
		}
		p.CountInto(r.transforms)
		if into != nil {
			err = p.Into(into)
		}
		return p, err
	}
}

// textCasts casts what only its own server understands to text.
func textCasts(columns []column) map[string]string {
	casts := map[string]string{}
	for _, c := range columns {
		if !c.builtIn() {
			casts[c.name] = "text"
		}
	}
	return casts
}

// plain are the columns with [textCasts].
func (r *reading) plain() []rows.Column {
	all := make([]rows.Column, len(r.columns))
	for i, c := range r.columns {
		if c.builtIn() {
			all[i] = c.row()
		} else {
			all[i] = rows.Column{Name: c.name, OID: pgtype.TextOID, Type: "text"}
		}
	}
	return all
}

// modifier is what stands between parentheses in a type.
var modifier = regexp.MustCompile(`\([^)]*\)`)

// columnsOf are a program's columns.
func columnsOf(p *rows.Program) []column {
	all := make([]column, len(p.Columns()))
	for i, c := range p.Columns() {
		all[i] = column{name: c.Name, oid: c.OID, typ: modifier.ReplaceAllString(c.Type, ""), full: c.Type, textual: c.Textual}
	}
	return all
}

// copyTo sends the rows of a SELECT from the input's source.
func (r *reading) copyTo(ctx context.Context, w io.Writer, sql string, as format) (int64, error) {
	n, bytes, err := r.src.copyTo(ctx, w, sql, as)
	r.bytes += bytes
	return n, r.explain(err)
}

// denied is what a server that speaks English says of what it refuses.
var denied = regexp.MustCompile(`^permission denied for (table|view|materialized view|foreign table|schema|sequence|function) (.+)$`)

// explain says of which source an error is, and what to do about names that are not
// there and missing rights.
func (r *reading) explain(err error) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	e, known := errors.AsType[*holdfast.Error](err)
	if !ok || !known {
		return err
	}
	site, cfg := r.f.e.plan.Definition.Connections[r.in.Extract.Connection].Site, r.src.conn.Config()
	out := holdfast.Wrap(e.Code, err, "extract %s, site %s, database %s: %s", r.in.Extract.Name, site, cfg.Database, e.Msg).WithHint("%s", e.Hint)
	switch pe.Code {
	case "42501": // insufficient_privilege
		return out.WithHint("as its owner run in the database %s: %s", cfg.Database, r.grants(pe.Message, definition.QuoteIdentifier(cfg.User)))
	case "42P01", "3F000": // undefined_table, invalid_schema_name
		return out.WithHint("check the name: its case counts where it is quoted or in table, and without a schema it is looked for in the search_path of the user %s", cfg.User)
	}
	return out
}

// grants is SQL that gives the source's user what an extract needs.
func (r *reading) grants(message, to string) string {
	if t, err := definition.ParseTable(r.in.Extract.Table); err == nil {
		s := "GRANT SELECT ON TABLE " + t.SQL() + " TO " + to
		if t.Schema != "" {
			s = "GRANT USAGE ON SCHEMA " + definition.QuoteIdentifier(t.Schema) + " TO " + to + "; " + s
		}
		return s
	}
	right, kind, name := "SELECT", "TABLE", "…"
	if m := denied.FindStringSubmatch(message); m != nil {
		name = definition.QuoteIdentifier(m[2])
		switch m[1] {
		case "schema":
			right, kind = "USAGE", "SCHEMA"
		case "sequence":
			kind = "SEQUENCE"
		case "function":
			right, kind, name = "EXECUTE", "FUNCTION", m[2]
		}
	}
	return "GRANT " + right + " ON " + kind + " " + name + " TO " + to
}

// cast is the SELECT with some columns cast.
func (r *reading) cast(casts map[string]string) string {
	if len(casts) == 0 {
		return r.sql
	}
	all := make([]string, len(r.columns))
	for i, c := range r.columns {
		all[i] = "q." + definition.QuoteIdentifier(c.name)
		if t, ok := casts[c.name]; ok {
			all[i] += "::" + t
		}
	}
	return "SELECT " + strings.Join(all, ", ") + " FROM (\n" + r.sql + "\n) AS q"
}

// fileFeed reads files of CSV or JSON, one after the other.
func (r *reading) fileFeed() (feed, error) {
	columns, err := fieldColumns(r.in.Extract.File.Fields)
	if err != nil {
		return feed{}, err
	}
	fd := feed{format: binary, written: true, compile: r.compiler(columns)}
	program, err := fd.compile(nil)
	if err != nil {
		return fd, err
	}
	fd.columns = columnsOf(program)
	for _, file := range r.files {
		fd.parts = append(fd.parts, part{
			name: file.name, report: r.f.e.req.Report, in: formatOf(r.in.Extract.File), rejects: r.rejects,
			send: func(ctx context.Context, w io.Writer, _ format, _ map[string]string) (int64, error) {
				return -1, r.f.e.copyFile(ctx, w, file.file)
			},
		})
	}
	return fd, nil
}

// formatOf is how rows stand in files of CSV or JSON.
func formatOf(f *definition.File) rows.Format {
	if f.Format == definition.FormatJSON {
		return rows.JSON{}
	}
	c := rows.CSV{Header: f.Header, Null: f.Null}
	if f.Comma != "" {
		c.Comma = f.Comma[0]
	}
	return c
}

// fieldColumns are the columns of a file, with built-in types. What cannot be read as
// its type here is text, and the target reads it.
func fieldColumns(fields []definition.Field) ([]rows.Column, error) {
	all := make([]rows.Column, len(fields))
	for i, f := range fields {
		c, err := rows.NewColumn(f.Name, f.Type)
		if err != nil {
			return nil, err
		}
		if all[i] = c; !rows.Readable(c) {
			all[i] = rows.Column{Name: c.Name, OID: pgtype.TextOID, Type: "text"}
		}
	}
	return all, nil
}
