package duck

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/holdfast-backup/holdfast"
)

// Feed is the way into a relation: what is written is rows in the form of
// PostgreSQL's COPY ... TO STDOUT (format csv), of a session whose timezone is UTC
// and whose DateStyle and IntervalStyle are ISO and postgres.
//
// One goroutine writes. Close tells the engine that these were all rows; a source
// that has failed is told by Abort instead, or by the end of the context: then
// whatever has read the rows fails, however far it has come.
type Feed struct {
	c        *Client
	ctx      context.Context //nolint:containedctx // a writer has no other way to its caller's
	relation string
	pipe     *os.File
	unwatch  func() bool
	id       uint64
	will     <-chan answer // of a kept relation; nil for a streamed one
	over     chan struct{} // closed when the rows have been read, or never will be
	rows     int64
	buffer   []byte
	spill    bool // the engine has all that it needs, and writes go nowhere

	mu     sync.Mutex // guards the fields below
	closed bool       // by Close: no more rows are missing
	cause  error      // why rows are missing
	result error      // before over is closed
}

// Feed declares a relation that is fed through a pipe. The types of its columns are
// PostgreSQL's; see [TypeOf]. A kept relation is complete when Close has returned
// nil. A streamed one can be read once, by the request that reads what leads from it,
// and writes block until then; see the package.
//
// Kept relations may be fed at once with others.
func (c *Client) Feed(ctx context.Context, relation string, columns []Column, streamed bool) (*Feed, error) {
	theirs, ours, err := newPipe()
	if err != nil {
		return nil, err
	}
	widen(ours)
	defer func() { _ = theirs.Close() }()
	f := &Feed{c: c, ctx: ctx, relation: relation, pipe: ours, over: make(chan struct{})}
	if err := c.declare(ctx, f, columns, streamed, theirs); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	f.unwatch = context.AfterFunc(ctx, func() { f.Abort(context.Cause(ctx)) })
	return f, nil
}

// declare asks the child for the relation of a feed.
func (c *Client) declare(ctx context.Context, f *Feed, columns []Column, streamed bool, pipe *os.File) error {
	c.mu.Lock()
	if c.feeds[f.relation] != nil {
		c.mu.Unlock()
		return holdfast.Errorf(holdfast.CodeInvalid, "the relation %s is fed already", f.relation)
	}
	c.feeds[f.relation] = f
	c.mu.Unlock()

	req := &Request{Input: &Input{Relation: f.relation, Columns: columns, Format: FormatCopy, Streamed: streamed}}
	var err error
	if streamed {
		_, err = c.call(ctx, req, pipe)
	} else {
		f.will, err = c.send(ctx, req, []*os.File{pipe})
		f.id = req.ID
	}
	if err != nil {
		c.mu.Lock()
		if c.feeds[f.relation] == f {
			delete(c.feeds, f.relation)
		}
		c.mu.Unlock()
	}
	return err
}

// feedBuffer is what goes through the pipe at once, in bytes: who copies from a server
// writes row by row.
const feedBuffer = 256 << 10

// Write gives bytes of rows to the engine; they may end in the middle of one, and go
// on their way when there are enough of them. Its error is that of the request that
// reads them. When that ended well without them, they are dropped.
func (f *Feed) Write(p []byte) (int, error) {
	if cause := f.cut(); cause != nil {
		return 0, cause
	}
	if len(f.buffer)+len(p) > feedBuffer {
		if err := f.flush(); err != nil {
			return 0, err
		}
	}
	if len(p) < feedBuffer {
		f.buffer = append(f.buffer, p...)
		return len(p), nil
	}
	if err := f.send(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush sends what was written.
func (f *Feed) flush() error {
	defer func() { f.buffer = f.buffer[:0] }()
	return f.send(f.buffer)
}

// send writes into the pipe.
func (f *Feed) send(p []byte) error {
	if len(p) == 0 || f.spill {
		return nil
	}
	_, err := f.pipe.Write(p)
	if err == nil {
		return nil
	}
	if !errors.Is(err, syscall.EPIPE) {
		if cause := f.cut(); cause != nil {
			return cause
		}
		err = fmt.Errorf("feed %s: %w", f.relation, err)
		f.Abort(err) // rows are missing, and nobody is to take this for their end
		return err
	}
	// Its reader has gone, and is about to say why.
	select {
	case <-f.over:
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spill = f.result == nil
	return f.result
}

// Close ends the rows. For a kept relation it waits until the engine has them all,
// and returns its error. For a streamed one it returns the error of what has read
// them, when that is known by now.
func (f *Feed) Close() error {
	if err := f.flush(); err != nil {
		f.Abort(err)
	}
	f.mu.Lock()
	first := !f.closed && f.cause == nil
	if first {
		f.closed = true
	}
	cause, will := f.cause, f.will
	f.will = nil
	f.mu.Unlock()
	f.unwatch()
	if first {
		_ = f.pipe.Close() // the engine's answer says what became of the rows
	}
	if will != nil {
		r, err := f.c.await(f.ctx, f.id, will)
		if err == nil {
			f.rows = r.Rows
		}
		return err
	}
	if cause != nil {
		return cause
	}
	select {
	case <-f.over:
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.result
	default:
		return nil
	}
}

// Abort says that rows are missing, and why: what reads the relation fails with this
// error. After Close it does nothing.
func (f *Feed) Abort(cause error) {
	if cause == nil {
		cause = holdfast.Errorf(holdfast.CodeInternal, "the feed of %s was given up", f.relation)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.cause != nil {
		return
	}
	f.cause = cause // before the engine sees an end
	_ = f.pipe.Close()
}

// Rows returns how many rows the engine has read, after Close of a kept relation.
func (f *Feed) Rows() int64 { return f.rows }

// cut returns why rows are missing; nil when none are.
func (f *Feed) cut() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.cause
}

// settle says what became of the rows, once.
func (f *Feed) settle(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.result = err
	close(f.over)
}
