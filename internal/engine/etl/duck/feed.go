package duck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"github.com/holdfast-backup/holdfast"
)

// Feed is the way into a relation: what is written is rows in the form of
// PostgreSQL's COPY ... TO STDOUT: in binary, or as CSV of a session whose timezone is
// UTC and whose DateStyle and IntervalStyle are ISO and postgres.
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
	filling  []byte        // the writer's
	full     chan []byte   // on their way; nil after Close
	empty    chan []byte   // to be used again
	sent     chan struct{} // closed when nothing is sent any more
	failure  error         // of sending; before sent is closed
	spill    bool          // the engine has all that it needs, and what is sent goes nowhere

	mu     sync.Mutex // guards the fields below
	closed bool       // by Close: no more rows are missing
	cause  error      // why rows are missing
	result error      // before over is closed
}

// Feed declares a relation that is fed through a pipe, as [FormatCopy], or as
// [FormatBinary] when each of its columns' types is [Binary]. These types are
// PostgreSQL's; see [TypeOf]. A kept relation is complete when Close has returned
// nil. A streamed one can be read once, by the request that reads what leads from it,
// and writes block until then; see the package.
//
// Kept relations may be fed at once with others.
func (c *Client) Feed(ctx context.Context, relation string, columns []Column, as Format, streamed bool) (*Feed, error) {
	theirs, ours, err := newPipe()
	if err != nil {
		return nil, err
	}
	widen(ours)
	defer func() { _ = theirs.Close() }()
	f := &Feed{
		c: c, ctx: ctx, relation: relation, pipe: ours, over: make(chan struct{}),
		full: make(chan []byte, feedQueue), empty: make(chan []byte, feedQueue+2), sent: make(chan struct{}),
	}
	if err := c.declare(ctx, f, &Input{Relation: relation, Columns: columns, Format: as, Streamed: streamed}, theirs); err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	go f.run(f.full)
	f.unwatch = context.AfterFunc(ctx, func() { f.Abort(context.Cause(ctx)) })
	return f, nil
}

// declare asks the child for the relation of a feed.
func (c *Client) declare(ctx context.Context, f *Feed, in *Input, pipe *os.File) error {
	c.mu.Lock()
	if c.feeds[f.relation] != nil {
		c.mu.Unlock()
		return holdfast.Errorf(holdfast.CodeInvalid, "the relation %s is fed already", f.relation)
	}
	c.feeds[f.relation] = f
	c.mu.Unlock()

	req := &Request{Input: in}
	var err error
	if in.Streamed {
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

const (
	// feedBuffer is what goes through the pipe at once, in bytes: who copies from a
	// server writes row by row.
	feedBuffer = 256 << 10
	// feedQueue is how many of them wait. The engine fills a buffer of up to 32 MiB
	// before it looks at a row, and then reads nothing until it has seen them all:
	// without so much in between, it and the source would work by turns.
	feedQueue = 128
)

// Write gives bytes of rows to the engine; they may end in the middle of one, and go
// on their way when there are enough of them. Its error is that of the request that
// reads them. When that ended well without them, they are dropped.
func (f *Feed) Write(p []byte) (int, error) {
	if cause := f.cut(); cause != nil {
		return 0, cause
	}
	if f.full == nil {
		return 0, os.ErrClosed
	}
	n := len(p)
	for len(p) > 0 {
		if f.filling == nil {
			select {
			case f.filling = <-f.empty:
			default:
				f.filling = make([]byte, 0, feedBuffer)
			}
		}
		k := min(len(p), feedBuffer-len(f.filling))
		f.filling, p = append(f.filling, p[:k]...), p[k:]
		if len(f.filling) == feedBuffer {
			if err := f.queue(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// queue puts what was written on its way.
func (f *Feed) queue() error {
	select {
	case f.full <- f.filling:
		f.filling = nil
		return nil
	case <-f.sent:
		return f.failure
	}
}

// run sends what is on its way, up to the first error or the end of the context.
func (f *Feed) run(full <-chan []byte) {
	defer close(f.sent)
	for {
		select {
		case chunk, ok := <-full:
			if !ok {
				return
			}
			if f.failure = f.send(chunk); f.failure != nil {
				return
			}
			f.empty <- chunk[:0] // there is room for all
		case <-f.ctx.Done():
			f.failure = context.Cause(f.ctx)
			return
		}
	}
}

// flush sends what was written, and ends the sending.
func (f *Feed) flush() error {
	var err error
	if len(f.filling) > 0 {
		err = f.queue()
	}
	if f.full != nil {
		close(f.full)
		f.full, f.filling = nil, nil
	}
	<-f.sent
	return cmp.Or(f.failure, err)
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
