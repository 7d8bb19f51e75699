package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// conn is one connection with the statements that were prepared on it. The text
// of every statement is a constant, so that there are only so many.
type conn struct {
	c     *sql.Conn
	stmts map[string]*sql.Stmt
}

func connect(ctx context.Context, db *sql.DB) (*conn, error) {
	c, err := db.Conn(ctx)
	if err != nil {
		return nil, classify(err)
	}
	return &conn{c: c, stmts: make(map[string]*sql.Stmt)}, nil
}

// prepared returns the statement, made at its first use.
func (c *conn) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if s, ok := c.stmts[text]; ok {
		return s, nil
	}
	s, err := c.c.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	c.stmts[text] = s
	return s, nil
}

// exec runs one statement that has no context of its own: those that begin and
// end transactions must not be cut short.
func (c *conn) exec(ctx context.Context, text string) error {
	s, err := c.prepared(ctx, text) //nolint:sqlclosecheck // kept for the connection's life
	if err != nil {
		return err
	}
	_, err = s.ExecContext(ctx)
	return err
}

// busyTimeout says how long the connection waits for a lock.
func (c *conn) busyTimeout(ctx context.Context, d time.Duration) error {
	_, err := c.c.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", d.Milliseconds()))
	return err
}

// close gives the connection back to its pool.
func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.c.Close())...)
}

// discard closes the connection for good, and rolls back what it was doing.
func (c *conn) discard() {
	for _, s := range c.stmts {
		_ = s.Close() // the connection goes anyway
	}
	_ = c.c.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.c.Close()
}

// session is what one function of View or Update may do on a connection.
type session struct {
	conn *conn
	view bool  // a read transaction of its own, which a context may interrupt
	err  error // the transaction is lost, for this reason
	over bool  // the function has returned
	// Of a view's snapshot; see anchors, directory and etlShelf.
	epoch, directory, etls int64
}

// ready returns the context for the driver. A statement inside a shared
// transaction is never interrupted: SQLite would roll back what others did in
// it.
func (s *session) ready(ctx context.Context) (context.Context, error) {
	switch {
	case s.over:
		return nil, holdfast.Errorf(holdfast.CodeInternal, "a transaction was used after its end")
	case s.err != nil:
		return nil, s.err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case s.view:
		return ctx, nil
	}
	return context.WithoutCancel(ctx), nil
}

// failed notes an error that ends the transaction.
func (s *session) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil && (resultCode(err)&0xff == codeInterrupt || errors.Is(err, ctx.Err())) {
		return context.Cause(ctx)
	}
	c := classify(err)
	if s.err == nil && spoils(err) {
		s.err = c
	}
	return c
}

// exec changes rows and returns how many.
func (s *session) exec(ctx context.Context, text string, args ...any) (int64, error) {
	r, err := s.run(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return n, s.wrap(ctx, err)
}

// insert makes one row and returns its id.
func (s *session) insert(ctx context.Context, text string, args ...any) (int64, error) {
	r, err := s.run(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	n, err := r.LastInsertId()
	return n, s.wrap(ctx, err)
}

func (s *session) run(ctx context.Context, text string, args ...any) (sql.Result, error) {
	inner, err := s.ready(ctx)
	if err != nil {
		return nil, err
	}
	st, err := s.conn.prepared(inner, text) //nolint:sqlclosecheck // kept for the connection's life
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	r, err := st.ExecContext(inner, args...)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return r, nil
}

func (s *session) wrap(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	return s.failed(ctx, err)
}

// each calls fn for every row.
func (s *session) each(ctx context.Context, fn func(*sql.Rows) error, text string, args ...any) (err error) {
	inner, err := s.ready(ctx)
	if err != nil {
		return err
	}
	st, err := s.conn.prepared(inner, text) //nolint:sqlclosecheck // kept for the connection's life
	if err != nil {
		return s.failed(ctx, err)
	}
	rows, err := st.QueryContext(inner, args...)
	if err != nil {
		return s.failed(ctx, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return s.wrap(ctx, rows.Err())
}

// many reads rows. fields lists where the columns of one go.
func many[T any](ctx context.Context, s *session, fields func(*T) []any, text string, args ...any) ([]T, error) {
	return about(ctx, s, 0, fields, text, args...)
}

// about is many for about n rows: long ones are not copied as the list grows.
func about[T any](ctx context.Context, s *session, n int, fields func(*T) []any, text string, args ...any) ([]T, error) {
	var out []T
	if n > 0 {
		out = make([]T, 0, n)
	}
	var v T
	dest := fields(&v) // each row is read into all of it
	err := s.each(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(dest...); err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		out = append(out, v)
		return nil
	}, text, args...)
	if err != nil || len(out) == 0 {
		return nil, err
	}
	return out, nil
}

// one reads the first row; what says what there is none of.
func one[T any](ctx context.Context, s *session, what string, fields func(*T) []any, text string, args ...any) (T, error) {
	var v T
	rows, err := many(ctx, s, fields, text, args...)
	if err != nil {
		return v, err
	}
	if len(rows) == 0 {
		return v, holdfast.Errorf(holdfast.CodeNotFound, "there is no %s", what)
	}
	return rows[0], nil
}

// number reads one number; no row and NULL are 0.
func (s *session) number(ctx context.Context, text string, args ...any) (int64, error) {
	var n sql.NullInt64
	err := s.each(ctx, func(rows *sql.Rows) error { return rows.Scan(&n) }, text, args...)
	return n.Int64, err
}

// taken puts words to a unique constraint, and keeps every other error.
func taken(err error, format string, args ...any) error {
	if err != nil && isUnique(err) {
		return holdfast.Wrap(holdfast.CodeConflict, err, "%s", "there is already a "+fmt.Sprintf(format, args...))
	}
	return err
}

// changed turns a change of no row into CodeNotFound.
func changed(n int64, err error, format string, args ...any) error {
	if err == nil && n == 0 {
		return holdfast.Errorf(holdfast.CodeNotFound, "there is no %s", fmt.Sprintf(format, args...))
	}
	return err
}
