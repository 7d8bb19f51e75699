package duck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Drain is the way out of a relation: rows in the form that PostgreSQL's
// COPY ... FROM STDIN (format csv) reads, with the columns in the relation's order.
// One goroutine reads. The end is io.EOF when all rows have come, and only then.
type Drain struct {
	c       *Client
	ctx     context.Context //nolint:containedctx // a reader has no other way to its caller's
	pipe    *os.File
	unwatch func() bool
	id      uint64
	will    <-chan answer

	finished bool
	rows     int64
	err      error // after finished: io.EOF for a good end
}

// Drain computes a relation and returns its rows as they come, as CSV. Close it.
func (c *Client) Drain(ctx context.Context, relation string) (*Drain, error) {
	return c.output(ctx, relation, FormatCopy)
}

// DrainBinary is [Client.Drain] in the form of PostgreSQL's COPY ... (format binary),
// for columns that are all [Column.Binary]. Where the engine is not ordered, rows come
// from several of its threads.
func (c *Client) DrainBinary(ctx context.Context, relation string) (*Drain, error) {
	return c.output(ctx, relation, FormatBinary)
}

func (c *Client) output(ctx context.Context, relation string, format Format) (*Drain, error) {
	ours, theirs, err := newPipe()
	if err != nil {
		return nil, err
	}
	widen(ours)
	defer func() { _ = theirs.Close() }()
	req := &Request{Output: &Output{Relation: relation, Format: format}}
	will, err := c.send(ctx, req, []*os.File{theirs})
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	d := &Drain{c: c, ctx: ctx, pipe: ours, id: req.ID, will: will}
	// A read that waits for rows returns when the context ends.
	d.unwatch = context.AfterFunc(ctx, func() { _ = ours.SetReadDeadline(time.Unix(1, 0)) })
	return d, nil
}

// Read returns bytes of rows.
func (d *Drain) Read(p []byte) (int, error) {
	if d.finished {
		return 0, d.err
	}
	n, err := d.pipe.Read(p)
	if err == nil {
		return n, nil
	}
	d.finish(nil)
	if errors.Is(d.err, io.EOF) && !errors.Is(err, io.EOF) {
		d.err = fmt.Errorf("read rows of the engine: %w", err)
	}
	return n, d.err
}

// finish waits for what the engine says of the rows.
func (d *Drain) finish(instead error) {
	d.finished = true
	d.unwatch()
	_ = d.pipe.Close() // an engine that still writes finds nobody
	r, err := d.c.await(d.ctx, d.id, d.will)
	switch {
	case instead != nil:
		d.err = instead
	case err != nil:
		d.err = err
	default:
		d.rows, d.err = r.Rows, io.EOF
	}
}

// Close ends the drain. Rows that were not read are given up.
func (d *Drain) Close() error {
	if d.finished {
		return nil
	}
	// The request is answered in any case; this makes it soon. A child that has ended
	// answers, too.
	_ = d.c.cancel(d.ctx, d.id)
	d.finish(os.ErrClosed)
	return nil
}

// Rows returns how many rows there were, after the end.
func (d *Drain) Rows() int64 { return d.rows }
