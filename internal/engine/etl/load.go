package etl

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// feed is where a unit's rows come from.
type feed struct {
	columns []column
	format  format // of what parts send, or of what their programs make of it
	// written says that text is what somebody has written: it may stand for a value of
	// any type.
	written bool
	// casts says that parts can cast columns to other types, and send text, too.
	casts bool
	// binary says that parts can send binary rows instead.
	binary bool
	// compile makes the program that the parts' rows go through, into columns of these
	// types, or without any into the feed's own. Nil: they go as they are.
	compile func(into []rows.Column) (*rows.Program, error)
	parts   []part
}

// part is one stream of rows. A feed has several when it reads several files.
type part struct {
	name string // of the file, for messages; empty: there is one part
	in   rows.Format
	// rejects takes rows that go no further; nil: the first is an error.
	rejects *rejects
	// report takes rows that send does not report; may be nil.
	report engine.Report
	// send writes the rows, and returns how many there were, or -1 when it does not
	// know.
	send func(ctx context.Context, w io.Writer, as format, casts map[string]string) (read int64, err error)
}

// saw notes how many rows the part had.
func (p part) saw(read int64) {
	p.rejects.saw(read)
	if p.report != nil {
		p.report.Done(read, 0)
	}
}

// counts are what a unit did.
type counts struct{ read, loaded, rejected, deleted, duplicates int64 }

func (c *counts) add(o counts) {
	c.read, c.loaded, c.rejected = c.read+o.read, c.loaded+o.loaded, c.rejected+o.rejected
	c.deleted, c.duplicates = c.deleted+o.deleted, c.duplicates+o.duplicates
}

// way is how rows get from a feed into a table.
type way struct {
	format  format // in which the table takes them
	casts   map[string]string
	program *rows.Program
	// sent is the format in which parts send them when that is another; of feeds whose
	// parts know several.
	sent format
}

// pour sends a feed into COPY FROM STDIN.
func pour(ctx context.Context, conn *pgx.Conn, into string, columns []string, fd feed, w way) (counts, error) {
	copyFrom := rows.IntoTable(conn.PgConn(), "COPY "+into+" ("+quoted(columns)+") FROM STDIN (FORMAT "+string(w.format)+")")
	var c counts
	for _, p := range fd.parts {
		one, err := p.move(ctx, w, rows.Binary{}, func(ctx context.Context, r io.Reader) (int64, error) {
			n, err := copyFrom(ctx, r)
			if err != nil {
				return -1, queryError(err, "load rows into "+into)
			}
			return n, nil
		})
		if err != nil {
			return c, err
		}
		c.add(one)
	}
	return c, nil
}

// move sends the part on its way to a drain. A drain that does not know how many
// rows it took has taken all that came.
func (p part) move(ctx context.Context, w way, out rows.Format, to rows.Drain) (counts, error) {
	var seen rows.Counters
	var read, taken int64
	in := p.in
	if w.sent == binary {
		in = rows.Binary{}
	}
	err := rows.Transfer{
		From: func(ctx context.Context, to io.Writer) (_ int64, err error) {
			read, err = p.send(ctx, to, cmp.Or(w.sent, w.format), w.casts)
			return read, err
		},
		To: func(ctx context.Context, r io.Reader) (_ int64, err error) {
			taken, err = to(ctx, r)
			return taken, err
		},
		Program: w.program, In: in, Out: out, Reject: p.rejects.of(p.name), Counters: &seen,
	}.Run(ctx)
	if err != nil {
		return counts{}, partError(err, p.name)
	}
	written := read
	if w.program != nil {
		read, written = seen.Read.Load(), seen.Written.Load()
	}
	if taken < 0 {
		taken = written
	}
	p.saw(read)
	return counts{read: read, loaded: taken, rejected: seen.Rejected.Load()}, nil
}

// partError says which file or which step an error is about.
func partError(err error, name string) error {
	e, ok := errors.AsType[*holdfast.Error](err)
	if name == "" || !ok {
		return err
	}
	return holdfast.Wrap(e.Code, err, "%s: %s", name, e.Msg).WithHint("%s", e.Hint)
}

// load puts a feed's rows into the table, in the transaction.
func (f *flow) load(ctx context.Context, tx pgx.Tx, t *target, fd feed) (counts, error) {
	if len(f.plan.Target) > 0 {
		return f.loadByTarget(ctx, tx, t, fd)
	}
	m, err := t.match(ctx, tx.Conn(), f.plan.Load.Name, fd.columns, fd.written || fd.format == csv)
	if err != nil {
		return counts{}, err
	}
	switch f.plan.Load.Mode {
	case definition.LoadAppend:
		return f.copyInto(ctx, tx, t, t.sql, m, fd)
	case definition.LoadReplace:
		return f.replace(ctx, tx, t, m, fd)
	case definition.LoadUpsert, definition.LoadMerge:
		return f.loadByKey(ctx, tx, t, m, fd)
	}
	return counts{}, holdfast.Errorf(holdfast.CodeInvalid, "load %s: the mode %q is unknown", f.plan.Load.Name, f.plan.Load.Mode)
}

// stage is a temporary table of a unit.
const stage = "holdfast_stage"

// copyInto copies the feed into a table that has the target's columns. What cannot
// be cast on its way goes through a table with the feed's own types.
func (f *flow) copyInto(ctx context.Context, tx pgx.Tx, t *target, into string, m mapping, fd feed) (counts, error) {
	w, ok := direct(t, m, fd)
	if ok {
		return pour(ctx, tx.Conn(), into, m.columns, fd, w)
	}
	const own = "holdfast_arrived"
	c, err := f.arrive(ctx, tx, own, fd)
	if err != nil {
		return c, err
	}
	tag, err := tx.Exec(ctx, insertSQL(into, m.columns, strings.Join(m.parses, ", "), "pg_temp."+own))
	if err != nil {
		return c, f.misfit(queryError(err, "load rows into "+t.name), assigned(t, fd.columns))
	}
	c.loaded = tag.RowsAffected()
	return c, drop(ctx, tx, own)
}

// direct finds a way for the rows to arrive with the target's types.
func direct(t *target, m mapping, fd feed) (way, bool) {
	switch {
	case fd.compile != nil:
		p, err := fd.compile(t.rowColumns(m.columns))
		return way{format: binary, program: p}, err == nil
	case fd.format == binary && !m.same:
		return way{format: text, casts: m.casts}, fd.casts
	case fd.format == csv && m.readable:
		to := t.rowColumns(m.columns)
		if p := converter(fd, to); p != nil {
			w := way{format: binary, sent: binary}
			if p.Changes() {
				w.program = p
			}
			return w, true
		}
		if p := parser(fd.columns, to); p != nil {
			return way{format: binary, program: p, sent: csv}, true
		}
		return way{format: csv}, true
	case fd.format == csv:
		return way{}, false
	}
	return way{format: fd.format, casts: m.casts}, fd.casts || len(m.casts) == 0
}

// parsed are the types whose text is made their binary form here, and not by the
// target: it is the slower end of a load, and takes twice as long for text.
var parsed = []uint32{
	pgtype.BoolOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID,
	pgtype.TextOID, pgtype.VarcharOID, pgtype.UUIDOID, pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID, pgtype.ByteaOID,
	pgtype.JSONOID, pgtype.JSONBOID,
}

// converter makes a feed's binary rows ones of the target's types; nil when it cannot.
func converter(fd feed, to []rows.Column) *rows.Program {
	if !fd.binary {
		return nil
	}
	from := make([]rows.Column, len(fd.columns))
	for i, c := range fd.columns {
		if c.oid == pgtype.TextOID && to[i].OID != pgtype.TextOID && to[i].OID != pgtype.VarcharOID {
			return nil // see parser
		}
		from[i] = c.row()
	}
	p, err := rows.Compile(from, nil, nil)
	if err != nil || p.Into(to) != nil {
		return nil
	}
	return p
}

// parser reads the engine's text of columns as values of the target's types; nil when
// it knows too little of one: what the engine calls text may be text of any type, of
// which the target itself knows best what it takes.
func parser(from []column, to []rows.Column) *rows.Program {
	for i, c := range to {
		if !slices.Contains(parsed, c.OID) || from[i].oid == pgtype.TextOID && c.OID != pgtype.TextOID && c.OID != pgtype.VarcharOID {
			return nil
		}
	}
	p, err := rows.Compile(to, nil, nil)
	if err != nil {
		return nil
	}
	return p
}

// arrive makes a temporary table with the feed's own columns and fills it. Types
// that the target does not know arrive as text.
func (f *flow) arrive(ctx context.Context, tx pgx.Tx, name string, fd feed) (counts, error) {
	defs := make([]string, len(fd.columns))
	w := way{format: fd.format}
	for i, c := range fd.columns {
		typ := c.full
		if !c.builtIn() {
			typ = "text"
			if w.format == binary {
				w.format = text
			}
		}
		defs[i] = definition.QuoteIdentifier(c.name) + " " + typ
	}
	if fd.compile != nil {
		var err error
		if w.program, err = fd.compile(nil); err != nil {
			return counts{}, err
		}
	}
	quotedName := definition.QuoteIdentifier(name)
	if _, err := tx.Exec(ctx, "CREATE TEMP TABLE "+quotedName+" ("+strings.Join(defs, ", ")+") ON COMMIT DROP"); err != nil {
		return counts{}, queryError(err, "make a temporary table in the target")
	}
	return pour(ctx, tx.Conn(), "pg_temp."+quotedName, names(fd.columns), fd, w)
}

func insertSQL(into string, columns []string, values, from string) string {
	return "INSERT INTO " + into + " (" + quoted(columns) + ") OVERRIDING SYSTEM VALUE SELECT " + values + " FROM " + from
}

// drop removes a temporary table: a simulation's units share a transaction.
func drop(ctx context.Context, tx pgx.Tx, names ...string) error {
	for _, n := range names {
		if _, err := tx.Exec(ctx, "DROP TABLE pg_temp."+definition.QuoteIdentifier(n)); err != nil {
			return queryError(err, "drop a temporary table of the target")
		}
	}
	return nil
}
