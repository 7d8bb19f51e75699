package etl

import (
	"context"
	"io"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// feed is where a unit's rows come from.
type feed struct {
	columns []column
	// casts says that the feed can cast columns to other types as it sends them.
	casts bool
	// formats are those that it can send, the first before the others.
	formats []format
	// send writes the rows, and returns how many were read for them.
	send func(ctx context.Context, w io.Writer, as format, casts map[string]string) (read int64, err error)
}

// counts are what a unit did.
type counts struct{ read, loaded, rejected, deleted, duplicates int64 }

// pour sends a feed into COPY FROM STDIN.
func pour(ctx context.Context, conn *pgx.Conn, into string, columns []string, fd feed, as format, casts map[string]string) (read, loaded int64, err error) {
	err = rows.Transfer{
		From: func(ctx context.Context, w io.Writer) (int64, error) {
			n, err := fd.send(ctx, w, as, casts)
			read = n
			return n, err
		},
		To: func(ctx context.Context, r io.Reader) (int64, error) {
			tag, err := conn.PgConn().CopyFrom(ctx, r, "COPY "+into+" ("+quoted(columns)+") FROM STDIN (FORMAT "+string(as)+")")
			if err != nil {
				return 0, queryError(err, "load rows into "+into)
			}
			loaded = tag.RowsAffected()
			return loaded, nil
		},
	}.Run(ctx)
	return read, loaded, err
}

// choose picks how the rows travel: binary where both ends have the same types.
func choose(fd feed, same bool) format {
	if fd.formats[0] == binary && !same {
		return text
	}
	return fd.formats[0]
}

// load puts a feed's rows into the table, in the transaction.
func (f *flow) load(ctx context.Context, tx pgx.Tx, t *target, fd feed) (counts, error) {
	if len(f.plan.Target) > 0 {
		return f.loadByTarget(ctx, tx, t, fd)
	}
	m, err := t.match(ctx, tx.Conn(), f.plan.Load.Name, fd.columns)
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

// stage and arrived are temporary tables of a unit.
const stage = "holdfast_stage"

// copyInto copies the feed into a table that has the target's columns. A feed that
// cannot cast goes through a table with its own types when these are others.
func (f *flow) copyInto(ctx context.Context, tx pgx.Tx, t *target, into string, m mapping, fd feed) (counts, error) {
	if fd.formats[0] == binary && !fd.casts && (!m.same || len(m.casts) > 0) {
		const own = "holdfast_arrived"
		c, err := f.arrive(ctx, tx, own, fd)
		if err != nil {
			return c, err
		}
		tag, err := tx.Exec(ctx, insertSQL(into, m.columns, quoted(m.columns), "pg_temp."+own))
		if err != nil {
			return c, queryError(err, "load rows into "+t.name)
		}
		c.loaded = tag.RowsAffected()
		return c, drop(ctx, tx, own)
	}
	read, loaded, err := pour(ctx, tx.Conn(), into, m.columns, fd, choose(fd, m.same), m.casts)
	return counts{read: read, loaded: loaded}, err
}

// arrive makes a temporary table with the feed's own columns and fills it. Types
// that the target does not know arrive as text.
func (f *flow) arrive(ctx context.Context, tx pgx.Tx, name string, fd feed) (counts, error) {
	defs := make([]string, len(fd.columns))
	same := true
	for i, c := range fd.columns {
		typ := c.typ
		if !c.builtIn() {
			typ, same = "text", false
		}
		defs[i] = definition.QuoteIdentifier(c.name) + " " + typ
	}
	quotedName := definition.QuoteIdentifier(name)
	if _, err := tx.Exec(ctx, "CREATE TEMP TABLE "+quotedName+" ("+strings.Join(defs, ", ")+") ON COMMIT DROP"); err != nil {
		return counts{}, queryError(err, "make a temporary table in the target")
	}
	read, loaded, err := pour(ctx, tx.Conn(), "pg_temp."+quotedName, names(fd.columns), fd, choose(fd, same), nil)
	return counts{read: read, loaded: loaded}, err
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
