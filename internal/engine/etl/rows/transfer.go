package rows

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Feed writes all the bytes of a source to w and returns how many rows these were,
// or -1 when it does not know. It ends soon after ctx has ended, or w has failed.
type Feed func(ctx context.Context, w io.Writer) (rows int64, err error)

// Drain gives all the bytes of r to a target and returns how many rows it took, or
// -1 when it does not know. An error of r ends it with an error, and nothing may be
// kept then. It ends soon after ctx has ended.
type Drain func(ctx context.Context, r io.Reader) (rows int64, err error)

// Counters tell how far a transfer has come, also while it runs. Transfers may
// share them one after the other: they add.
type Counters struct {
	Read     atomic.Int64 // rows, also those that were filtered or rejected
	Filtered atomic.Int64 // rows that a filter left out
	Rejected atomic.Int64 // rows
	Written  atomic.Int64 // rows that were given to the target; it has not committed them

	BytesRead    atomic.Int64
	BytesWritten atomic.Int64
}

// Reject is a row that goes no further.
type Reject struct {
	Line   int64  // of a file, where the row begins; or the row's number; from 1
	Column string // empty when the row as a whole is bad
	Reason string
	Raw    string // the row as it came, at most MaxRaw bytes: a line of CSV, or a JSON object of text
}

// MaxRaw bounds what of a row a [Reject] keeps, in bytes.
const MaxRaw = 8 << 10

// Transfer moves the rows of one source to one target.
type Transfer struct {
	From Feed
	To   Drain
	// Program is what becomes of the rows on their way. Nil: the bytes pass as they
	// are, and In, Out and Reject are not looked at.
	Program *Program
	In, Out Format
	// Reject is told of each row that goes no further; its error ends the transfer.
	// Nil: the first such row does, with an error of the code invalid.
	Reject   func(Reject) error
	Counters *Counters // may be nil
}

// Run moves all rows. It returns when no goroutine of the transfer is left, and
// soon after ctx has ended, then with the cause; a server that does not answer any
// more may take 2 s of it, after those that the session's own watch over ctx takes. The error is that of the part which failed first: the
// others fail in its wake. A session that was interrupted is closed; what the server
// did for it is cancelled, and its transaction rolled back.
func (t Transfer) Run(ctx context.Context) error {
	c := t.Counters
	if c == nil {
		c = new(Counters)
	}
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	in := newPipe(inner)
	out := in
	if t.Program != nil {
		out = newPipe(inner)
		wg.Go(func() {
			defer in.closeRead()
			err := t.Program.Run(in, t.In, out, t.Out, c, t.Reject)
			if err != nil {
				cancel(failure{err}) // before the others hear of it
			}
			out.closeWrite(err)
		})
	}
	wg.Go(func() {
		m := &meter{w: in, bytes: &c.BytesRead}
		if t.Program == nil {
			m.rows = &c.Read
		}
		rows, err := t.From(inner, m)
		m.tell()
		if t.Program == nil && rows >= 0 {
			c.Read.Add(rows - m.wrote)
		}
		if err != nil {
			cancel(failure{err})
		}
		in.closeWrite(err)
	})
	wg.Go(func() {
		rows, err := t.To(inner, &gauge{p: out, bytes: &c.BytesWritten})
		if err != nil {
			cancel(failure{err})
		}
		out.closeRead()
		if t.Program == nil && err == nil && rows >= 0 {
			c.Written.Add(rows)
		}
	})
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if f, ok := errors.AsType[failure](context.Cause(inner)); ok {
		return f.error
	}
	return nil
}

// failure tells the first failure of a part from the end of the caller's context.
type failure struct{ error }

// cleanupLimit bounds the wait for an interrupted session to be gone. pgx gives
// itself 15 s to cancel what the server does for it, and goes on without us.
const cleanupLimit = 2 * time.Second

// gone waits until a session that a copy has interrupted is gone.
func gone(conn *pgconn.PgConn) {
	if !conn.IsClosed() {
		return
	}
	limit := time.NewTimer(cleanupLimit)
	defer limit.Stop()
	select {
	case <-conn.CleanupDone():
	case <-limit.C:
	}
}

// FromQuery returns a Feed that runs COPY ... TO STDOUT. When it is interrupted, the
// server's work is cancelled and the session closed.
func FromQuery(conn *pgconn.PgConn, sql string) Feed {
	return func(ctx context.Context, w io.Writer) (int64, error) {
		tag, err := conn.CopyTo(ctx, w, sql)
		if err != nil {
			gone(conn)
			return -1, err
		}
		return tag.RowsAffected(), nil
	}
}

// IntoTable returns a Drain that runs COPY ... FROM STDIN. When it is interrupted,
// the session is closed; when the source fails, the server fails the statement.
func IntoTable(conn *pgconn.PgConn, sql string) Drain {
	return func(ctx context.Context, r io.Reader) (int64, error) {
		if g, ok := r.(*gauge); ok {
			r = restless{g}
		}
		tag, err := conn.CopyFrom(ctx, r, sql)
		if err != nil {
			gone(conn)
			return -1, err
		}
		return tag.RowsAffected(), nil
	}
}
