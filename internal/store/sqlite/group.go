package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast/internal/store"
)

// maxGroup bounds how many functions share one commit, and so how long the first
// of them waits for the last.
const maxGroup = 128

// errGone says that a caller's function did not return: it panicked, or ended
// its goroutine.
var errGone = errors.New("the function did not return")

// A request is one call of Update. Its function runs in the caller's own
// goroutine when its turn comes, so that a panic is the caller's.
type request struct {
	claimed atomic.Bool   // by the writer, for a turn; or by the caller, who leaves
	turn    chan *session // the caller may run its function
	ran     chan error    // how that went
	done    chan error    // what Update returns
	had     bool          // its turn at least once; for the writer alone
}

// writer runs the transactions of all callers on the one connection that writes.
type writer struct {
	db       *sql.DB
	conn     *conn // nil: to be connected; for run alone
	requests chan *request
	closing  <-chan struct{}
	stopped  chan struct{}

	checkpoint *checkpoint
	busy       time.Duration // how long the connection waits for a lock
}

func newWriter(db *sql.DB, closing <-chan struct{}, c *checkpoint, busy time.Duration) *writer {
	return &writer{
		db: db, requests: make(chan *request), closing: closing, stopped: make(chan struct{}), checkpoint: c, busy: busy,
	}
}

func (w *writer) update(ctx context.Context, fn func(store.Tx) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := &request{turn: make(chan *session, 1), ran: make(chan error, 1), done: make(chan error, 1)}
	select {
	case w.requests <- r:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.closing:
		return errClosed()
	}
	left := ctx.Done()
	for {
		select {
		case s := <-r.turn:
			left = nil // what has begun is waited for
			r.run(s, fn)
		case err := <-r.done:
			return err
		case <-left:
			if r.claimed.CompareAndSwap(false, true) {
				return context.Cause(ctx)
			}
			left = nil
		}
	}
}

// run calls fn and tells the writer how it went, whatever fn does.
func (r *request) run(s *session, fn func(store.Tx) error) {
	err := errGone
	defer func() {
		s.over = true
		r.ran <- err
	}()
	err = fn(tx{reader{s: s}})
}

// run serves until the store closes. ctx is never cancelled: each function has a
// context of its own, and a commit is not cut short.
func (w *writer) run(ctx context.Context) {
	defer close(w.stopped)
	defer func() {
		if w.conn != nil {
			_ = w.conn.close() // everything that was promised is durable
		}
	}()
	for {
		select {
		case r := <-w.requests:
			w.serve(ctx, w.gather(r))
			if w.conn != nil && w.checkpoint.after(ctx, w.conn, w.busy) != nil {
				w.reset() // the next transaction says what is wrong
			}
		case <-w.closing:
			return
		}
	}
}

// gather takes those who are waiting already.
func (w *writer) gather(first *request) []*request {
	group := []*request{first}
	for len(group) < maxGroup {
		select {
		case r := <-w.requests:
			group = append(group, r)
		default:
			return group
		}
	}
	return group
}

// serve runs the group in one transaction. When an error of one function has
// cost the whole transaction, those that went well before it run once more, each
// alone, and the rest in a transaction of its own.
func (w *writer) serve(ctx context.Context, group []*request) {
	for len(group) > 0 {
		lost, rest := w.transaction(ctx, group)
		for _, r := range lost {
			w.transaction(ctx, []*request{r}) // alone: nobody else can be lost
		}
		group = rest
	}
}

// verdict is a request together with how its function went.
type verdict struct {
	r   *request
	err error
}

// transaction runs the functions of the group, commits, and answers. lost are
// those that must run again, rest those whose turn has not come.
func (w *writer) transaction(ctx context.Context, group []*request) (lost, rest []*request) {
	if err := w.begin(ctx); err != nil {
		for _, r := range group {
			if r.claim() {
				r.done <- err
			}
		}
		return nil, nil
	}
	var verdicts []verdict
	for i, r := range group {
		err, spoilt := w.step(ctx, r)
		if spoilt {
			w.reset()
			for _, v := range verdicts {
				if v.err == nil {
					lost = append(lost, v.r)
				} else {
					v.r.done <- v.err
				}
			}
			r.done <- err
			return lost, group[i+1:]
		}
		if !errors.Is(err, errLeft) {
			verdicts = append(verdicts, verdict{r: r, err: err})
		}
	}
	err := w.commit(ctx)
	for _, v := range verdicts {
		if err != nil {
			v.r.done <- err // also to those who failed: they may have read what is not there now
			continue
		}
		v.r.done <- v.err
	}
	return nil, nil
}

// errLeft says that the caller did not wait for its turn.
var errLeft = errors.New("the caller has left")

// step gives one request its turn. spoilt is true when the transaction is lost.
func (w *writer) step(ctx context.Context, r *request) (err error, spoilt bool) { //nolint:revive // err is data here
	if !r.claim() {
		return errLeft, false
	}
	if err := w.conn.exec(ctx, "SAVEPOINT turn"); err != nil {
		return classify(err), true
	}
	s := &session{conn: w.conn}
	r.turn <- s
	err = <-r.ran
	if s.err != nil {
		if err == nil {
			err = s.err // it has ignored that its transaction is lost
		}
		return err, true
	}
	if err != nil {
		if undo := w.conn.exec(ctx, "ROLLBACK TO turn"); undo != nil {
			return err, true
		}
	}
	if release := w.conn.exec(ctx, "RELEASE turn"); release != nil {
		return errors.Join(err, classify(release)), true
	}
	return err, false
}

// claim reports whether the request's caller is there to run its function. One
// who has had a turn and must take another is.
func (r *request) claim() bool {
	if !r.had {
		r.had = r.claimed.CompareAndSwap(false, true)
	}
	return r.had
}

func (w *writer) begin(ctx context.Context) error {
	if w.conn == nil {
		c, err := connect(ctx, w.db)
		if err != nil {
			return err
		}
		w.conn = c
	}
	if err := w.conn.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		if c := resultCode(err) & 0xff; c != codeBusy && c != codeLocked {
			w.reset()
		}
		return classify(err)
	}
	return nil
}

func (w *writer) commit(ctx context.Context) error {
	if err := w.conn.exec(ctx, "COMMIT"); err != nil {
		w.reset()
		return classify(fmt.Errorf("commit: %w", err))
	}
	return nil
}

// reset closes the connection, which rolls back; the next transaction opens
// another.
func (w *writer) reset() {
	w.conn.discard()
	w.conn = nil
}
