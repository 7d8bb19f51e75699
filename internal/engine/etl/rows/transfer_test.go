package rows_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// noLeak fails the test when goroutines are left of what it did.
func noLeak(t *testing.T) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		deadline := time.Now().Add(10 * time.Second)
		for runtime.NumGoroutine() > before {
			if time.Now().After(deadline) {
				stacks := make([]byte, 1<<20)
				t.Errorf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, stacks[:runtime.Stack(stacks, true)])
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
}

// connect opens a session that may be broken by the test.
func connect(t testing.TB, pg *testkit.Postgres) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pg.ConnString(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

var (
	id     = rows.Column{Name: "id", OID: 20, Type: "bigint"}
	label  = rows.Column{Name: "label", OID: 25, Type: "text"}
	orders = []rows.Column{id, label}
)

// filter keeps rows with an id above n.
func filter(t testing.TB, n string) *rows.Program {
	t.Helper()
	p, err := rows.Compile(orders, shaped(definition.RowStep{Filter: &definition.Check{Column: "id", Op: ">", Values: []string{n}}}), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func copyOut(where string) string {
	return "copy (select i::bigint, 'label ' || i from (select generate_series(1, " + where + ") i) s) to stdout (format binary)"
}

const copyIn = "copy orders from stdin (format binary)"

func TestTransferCountsWhatItMoves(t *testing.T) {
	pg, conn := server(t)
	exec(t, conn, "create table orders (id bigint, label text)")
	src, dst := connect(t, pg), connect(t, pg)
	for _, c := range []struct {
		name           string
		program        *rows.Program
		n              string
		read, filtered int64
	}{
		{"relay", nil, "100000", 100000, 0},
		{"relay of nothing", nil, "0", 0, 0},
		{"filter", filter(t, "1000"), "100000", 100000, 1000},
		{"filter of nothing", filter(t, "1000"), "0", 0, 0},
		{"all are left out", filter(t, "1000"), "1000", 1000, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			exec(t, conn, "truncate orders")
			var n rows.Counters
			err := rows.Transfer{
				From: rows.FromQuery(src.PgConn(), copyOut(c.n)), To: rows.IntoTable(dst.PgConn(), copyIn),
				Program: c.program, In: rows.Binary{}, Out: rows.Binary{}, Counters: &n,
			}.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprint(n.Read.Load(), n.Filtered.Load(), n.Rejected.Load(), n.Written.Load())
			want := fmt.Sprint(c.read, c.filtered, 0, c.read-c.filtered)
			if got != want {
				t.Errorf("counted %s, want %s", got, want)
			}
			if in, out := n.BytesRead.Load(), n.BytesWritten.Load(); c.program == nil && in != out || in < 21 || out < 21 {
				t.Errorf("counted %d and %d bytes", in, out)
			}
			if got, want := texts(t, conn, "select count(*) from orders where label = 'label ' || id")[0], fmt.Sprint(c.read-c.filtered); got != want {
				t.Errorf("got %s rows, want %s", got, want)
			}
		})
	}
}

func TestTheFirstFailureIsTheTransfers(t *testing.T) {
	pg, conn := server(t)
	exec(t, conn, "create table orders (id bigint primary key, label text); insert into orders values (50000, 'there')")
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		t    func(src, dst *pgconn.PgConn) rows.Transfer
		want string
	}{
		{"the source's query", func(src, dst *pgconn.PgConn) rows.Transfer {
			return rows.Transfer{From: rows.FromQuery(src, "copy (select case when i = 90000 then 1/(i-90000) else i+1000000 end::bigint, 'x' from (select generate_series(1, 100000) i) s) to stdout (format binary)"), To: rows.IntoTable(dst, copyIn)}
		}, "division by zero"},
		{"the target's key", func(src, dst *pgconn.PgConn) rows.Transfer {
			return rows.Transfer{From: rows.FromQuery(src, copyOut("100000000")), To: rows.IntoTable(dst, copyIn)}
		}, "duplicate key"},
		{"the target's key, while the source is silent", func(src, dst *pgconn.PgConn) rows.Transfer {
			sql := "copy (select i::bigint, case when i > 200000 then pg_sleep(60)::text end from (select generate_series(1, 200001) i) s) to stdout (format binary)"
			return rows.Transfer{From: rows.FromQuery(src, sql), To: rows.IntoTable(dst, copyIn), Program: filter(t, "0"), In: rows.Binary{}, Out: rows.Binary{}}
		}, "duplicate key"},
		{"the target's key, when the source has become silent", func(src, dst *pgconn.PgConn) rows.Transfer {
			sql := "copy (select i::bigint, case when i > 50600 then pg_sleep(60)::text else repeat('x', 1000) end from (select generate_series(1, 50601) i) s) to stdout (format binary)"
			return rows.Transfer{From: rows.FromQuery(src, sql), To: rows.IntoTable(dst, copyIn)}
		}, "duplicate key"},
		{"the rows", func(src, dst *pgconn.PgConn) rows.Transfer {
			sql := "copy (select i::bigint, 'x' from (select generate_series(1, 100000000) i) s) to stdout (format csv)"
			return rows.Transfer{From: rows.FromQuery(src, sql), To: rows.IntoTable(dst, copyIn), Program: filter(t, "0"), In: rows.Binary{}, Out: rows.Binary{}}
		}, "do not begin as COPY's binary format"},
		{"who is told of rejects", func(src, dst *pgconn.PgConn) rows.Transfer {
			p, err := rows.Compile(orders, shaped(definition.RowStep{Reject: &definition.Check{Column: "id", Op: "<", Values: []string{"1000"}}}), nil)
			if err != nil {
				t.Fatal(err)
			}
			return rows.Transfer{
				From: rows.FromQuery(src, copyOut("100000000")), To: rows.IntoTable(dst, copyIn), Program: p, In: rows.Binary{}, Out: rows.Binary{},
				Reject: func(rows.Reject) error { return broken },
			}
		}, "broken"},
		{"no table", func(src, dst *pgconn.PgConn) rows.Transfer {
			return rows.Transfer{From: rows.FromQuery(src, copyOut("100000000")), To: rows.IntoTable(dst, "copy missing from stdin")}
		}, `relation "missing" does not exist`},
		{"a writer", func(src, _ *pgconn.PgConn) rows.Transfer {
			return rows.Transfer{From: rows.FromQuery(src, copyOut("100000000")), To: intoWriter(failing{})}
		}, "disk is full"},
	} {
		t.Run(c.name, func(t *testing.T) {
			noLeak(t)
			src, dst := connect(t, pg), connect(t, pg)
			began := time.Now()
			err := c.t(src.PgConn(), dst.PgConn()).Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("it took %s", d)
			}
			if n := texts(t, conn, "select count(*) from orders")[0]; n != "1" {
				t.Errorf("%s rows are left, want the one that was there", n)
			}
			_ = src.Close(t.Context())
			_ = dst.Close(t.Context())
		})
	}
}

// failing is a file on a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk is full") }
func (failing) Close() error              { return nil }

func TestACancelledTransferLeavesNothing(t *testing.T) {
	pg, conn := server(t)
	exec(t, conn, "create table orders (id bigint, label text)")
	stopped := errors.New("killed by an operator")
	for _, c := range []struct{ name, source string }{
		{"in the middle of many rows", copyOut("1000000000")},
		{"before the first row", "copy (select 1::bigint, pg_sleep(600)::text) to stdout (format binary)"},
		{"while the source sorts", "copy (select i::bigint, 'x' from (select generate_series(1, 100000000) i) s order by md5(i::text)) to stdout (format binary)"},
	} {
		for name, p := range map[string]*rows.Program{"relayed": nil, "changed": filter(t, "0")} {
			t.Run(c.name+", "+name, func(t *testing.T) {
				noLeak(t)
				src, dst := connect(t, pg), connect(t, pg)
				ctx, cancel := context.WithCancelCause(t.Context())
				timer := time.AfterFunc(300*time.Millisecond, func() { cancel(stopped) })
				defer timer.Stop()
				began := time.Now()
				err := rows.Transfer{
					From: rows.FromQuery(src.PgConn(), c.source), To: rows.IntoTable(dst.PgConn(), copyIn), Program: p, In: rows.Binary{}, Out: rows.Binary{},
				}.Run(ctx)
				if !errors.Is(err, stopped) {
					t.Errorf("got %v, want the cause of the end", err)
				}
				if d := time.Since(began); d > 5*time.Second {
					t.Errorf("it took %s to end", d)
				}
				// The server may take a moment to see that its client has gone.
				deadline := time.Now().Add(5 * time.Second)
				for texts(t, conn, "select count(*) from pg_stat_activity where state = 'active' and query like 'copy%'")[0] != "0" {
					if time.Now().After(deadline) {
						t.Fatal("the server still works for the transfer")
					}
					time.Sleep(10 * time.Millisecond)
				}
				if n := texts(t, conn, "select count(*) from orders")[0]; n != "0" {
					t.Errorf("%s rows are left", n)
				}
			})
		}
	}
}

func TestATargetThatWaitsIsCancelled(t *testing.T) {
	noLeak(t)
	pg, conn := server(t)
	exec(t, conn, "create table orders (id bigint, label text)")
	exec(t, conn, "begin; lock table orders")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	src, dst := connect(t, pg), connect(t, pg)
	err := rows.Transfer{From: rows.FromQuery(src.PgConn(), copyOut("100000000")), To: rows.IntoTable(dst.PgConn(), copyIn)}.Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	exec(t, conn, "rollback")
}

func TestFilesAndPipes(t *testing.T) {
	noLeak(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := filter(t, "1")
	done := make(chan error, 1)
	var out closer
	go func() {
		done <- rows.Transfer{
			From: fromReader(r), To: intoWriter(&out), Program: p, In: rows.CSV{}, Out: rows.CSV{Header: true},
		}.Run(context.WithoutCancel(t.Context()))
	}()
	if _, err := io.WriteString(w, "1,one\n2,\"two\"\n3,\n"); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "id,label\n2,two\n3,\n"; got != want || out.closed != 1 {
		t.Errorf("got %q, closed %d times, want %q, closed once", got, out.closed, want)
	}
}

// closer counts how often it is closed.
type closer struct {
	bytes.Buffer
	closed int
}

func (c *closer) Close() error { c.closed++; return nil }

func TestAPipeThatNobodyWritesToIsLeft(t *testing.T) {
	noLeak(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = rows.Transfer{From: fromReader(r), To: intoWriter(&closer{})}.Run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

// fromReader returns a [rows.Feed] that reads r to its end. It closes r, at the latest when
// its context ends, so that a Read that waits comes back.
func fromReader(r io.ReadCloser) rows.Feed {
	return func(ctx context.Context, w io.Writer) (_ int64, err error) {
		stop := context.AfterFunc(ctx, func() { _ = r.Close() }) // the reader tells what it missed
		defer func() {
			if stop() {
				err = errors.Join(err, r.Close())
			}
		}()
		if _, err := io.CopyBuffer(onlyWriter{w}, r, make([]byte, 256<<10)); err != nil {
			return -1, fmt.Errorf("read the rows: %w", err)
		}
		return -1, nil
	}
}

// intoWriter returns a [rows.Drain] that writes to w. It closes w, at the latest when its
// context ends, so that a Write that waits comes back. What was written is complete
// only when the drain returns no error.
func intoWriter(w io.WriteCloser) rows.Drain {
	return func(ctx context.Context, r io.Reader) (_ int64, err error) {
		stop := context.AfterFunc(ctx, func() { _ = w.Close() }) // the writer tells what it missed
		defer func() {
			if stop() {
				err = errors.Join(err, w.Close())
			}
		}()
		if _, err := io.CopyBuffer(onlyWriter{w}, r, make([]byte, 256<<10)); err != nil {
			return -1, fmt.Errorf("write the rows: %w", err)
		}
		return -1, nil
	}
}

// onlyWriter hides a ReadFrom: io.CopyBuffer then uses its buffer.
type onlyWriter struct{ io.Writer }
