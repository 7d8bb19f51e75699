package testkit

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// ConnString returns how to reach a database of the server, in libpq's keywords;
// empty means the database postgres.
func (p *Postgres) ConnString(db string) string {
	if db == "" {
		db = "postgres"
	}
	s := fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=disable", quote(p.SocketDir), p.Port, quote(p.User), quote(db))
	if p.Password != "" {
		s += " password=" + quote(p.Password)
	}
	return s
}

// quote quotes a value of a connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// Connect opens a session in the database postgres that ends with the test.
func (p *Postgres) Connect(t testing.TB) *pgx.Conn {
	t.Helper()
	return p.ConnectTo(t, "")
}

// ConnectTo opens a session in a database; the session ends with the test.
func (p *Postgres) ConnectTo(t testing.TB, db string) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.ConnString(db))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), stopLimit)
		defer cancel()
		_ = conn.Close(ctx) // the server may have gone
	})
	return conn
}

// Exec runs SQL in a session of its own; without arguments it may be several
// statements. An empty db means the database postgres.
func (p *Postgres) Exec(t testing.TB, db, sql string, args ...any) {
	t.Helper()
	p.session(t, db, func(ctx context.Context, conn *pgx.Conn) error {
		if len(args) == 0 {
			_, err := conn.PgConn().Exec(ctx, sql).ReadAll()
			return err
		}
		_, err := conn.Exec(ctx, sql, args...)
		return err
	})
}

// Rows runs a query in a session of its own and returns every value as text; a
// null is empty.
func (p *Postgres) Rows(t testing.TB, db, sql string, args ...any) [][]string {
	t.Helper()
	var all [][]string
	p.session(t, db, func(ctx context.Context, conn *pgx.Conn) (err error) {
		all, err = textRows(ctx, conn, sql, args...)
		return err
	})
	return all
}

// Value returns the first value of a query's only row, as text.
func (p *Postgres) Value(t testing.TB, db, sql string, args ...any) string {
	t.Helper()
	rows := p.Rows(t, db, sql, args...)
	if len(rows) != 1 || len(rows[0]) == 0 {
		t.Fatalf("%s: got %d rows, want 1", sql, len(rows))
	}
	return rows[0][0]
}

func (p *Postgres) session(t testing.TB, db string, fn func(context.Context, *pgx.Conn) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), queryLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.ConnString(db))
	if err != nil {
		t.Fatal(err)
	}
	if err := firstError(fn(ctx, conn), conn.Close(ctx)); err != nil {
		t.Fatal(err)
	}
}

// textRows returns every value of a query as the server writes it.
func textRows(ctx context.Context, conn *pgx.Conn, sql string, args ...any) ([][]string, error) {
	rows, err := conn.Query(ctx, sql, append([]any{pgx.QueryResultFormats{pgx.TextFormatCode}}, args...)...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all [][]string
	for rows.Next() {
		var row []string
		for _, v := range rows.RawValues() {
			row = append(row, string(v))
		}
		all = append(all, row)
	}
	return all, rows.Err()
}
