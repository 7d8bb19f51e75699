package etl

import (
	"context"
	"errors"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// source is a database that a flow reads: one transaction for all that the flow
// reads there, so that its extracts fit each other. It can write nothing.
type source struct {
	e    *execution
	conn *pgx.Conn
	tx   pgx.Tx
	// Who holds the locks of what is read. While rows stream, nobody can ask.
	pid         int32
	transaction string
}

func (e *execution) openSource(ctx context.Context, p place) (*source, error) {
	conn, err := e.connect(ctx, p)
	if err != nil {
		return nil, err
	}
	s := &source{e: e, conn: conn}
	if err := s.begin(ctx); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// begin begins the one transaction.
func (s *source) begin(ctx context.Context) (err error) {
	if s.tx, err = s.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}); err != nil {
		return queryError(err, "begin a transaction")
	}
	return set(ctx, s.tx, bind.Settings(s.e.plan.Parameters))
}

func (s *source) close(ctx context.Context) { pgsession.Close(ctx, s.conn) }

// notNull reports whether a column of an input is never NULL, because the table that
// it is declares so. In a query an outer join may make NULL of such a column.
func (s *source) notNull(ctx context.Context, in *definition.Input, c column) (bool, error) {
	if c.table == 0 || in.Extract.Table == "" || len(in.Steps) > 0 {
		return false, nil
	}
	var is bool
	err := s.tx.QueryRow(ctx, `SELECT a.attnotnull AND c.relkind IN ('r', 'p') FROM pg_catalog.pg_attribute a
		JOIN pg_catalog.pg_class c ON c.oid = a.attrelid WHERE a.attrelid = $1 AND a.attnum = $2`, c.table, int16(c.number)).Scan(&is)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, queryError(err, "look at the columns of an extract")
	}
	return is, nil
}

// set gives settings values that last as long as the transaction.
func set(ctx context.Context, tx pgx.Tx, settings [][2]string) error {
	names, values := make([]string, len(settings)), make([]string, len(settings))
	for i, s := range settings {
		names[i], values[i] = s[0], s[1]
	}
	_, err := tx.Exec(ctx, "SELECT pg_catalog.set_config(n, v, true) FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS s (n, v)", names, values)
	if err != nil {
		return queryError(err, "take the parameters' values")
	}
	return nil
}

// bound returns SQL in which parameters are read from the transaction's settings.
func (e *execution) bound(sql string) (string, error) {
	return bind.Postgres(sql, e.types(), e.plan.Parameters)
}

// types returns the type of each parameter.
func (e *execution) types() map[string]string {
	all := map[string]string{}
	for name, p := range e.plan.Definition.Parameters {
		all[name] = p.Type
	}
	return all
}

// format is how rows stand in a COPY stream.
type format string

const (
	binary format = "binary" // needs the same built-in types at both ends
	text   format = "text"
	csv    format = "csv" // NULL is an empty field without quotes
)

// copyTo sends the rows of a SELECT, and returns how many there were, and their
// bytes. The server sends each row in a message of its own, which is one Write; in
// binary, the stream's end has one, too.
func (s *source) copyTo(ctx context.Context, w io.Writer, sql string, as format) (n, bytes int64, err error) {
	m := &meter{w: w, report: s.e.req.Report, perRow: true}
	n, err = rows.FromQuery(s.conn.PgConn(), "COPY (\n"+sql+"\n) TO STDOUT (FORMAT "+string(as)+")")(ctx, m)
	m.flush()
	s.e.bytes.Add(m.total)
	if err != nil {
		return 0, m.total, queryError(err, "send rows")
	}
	s.e.req.Report.Done(n-m.rows, 0)
	return n, m.total, nil
}

// meter counts what goes through it, and reports from time to time.
type meter struct {
	w      io.Writer
	report interface{ Done(rows, bytes int64) }
	perRow bool  // each Write is a row, but for the last, which may be one
	writes int64 // so far
	rows   int64 // that were reported
	bytes  int64 // that were not
	total  int64 // bytes that were reported
}

// meterBytes is how much goes through a meter between two reports.
const meterBytes = 1 << 20

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.writes++
	m.bytes += int64(n)
	if m.bytes >= meterBytes {
		m.flush()
	}
	return n, err
}

func (m *meter) flush() {
	var rows int64
	if m.perRow {
		rows = max(m.writes-1-m.rows, 0)
	}
	m.report.Done(rows, m.bytes)
	m.rows += rows
	m.total += m.bytes
	m.bytes = 0
}
