// Package fault is a Bucket around a Bucket that fails, delays, tears or damages
// the calls that a test names.
package fault

import (
	"context"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Op is an operation of a bucket.
type Op string

// The operations.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// Every means all calls, where the number of one is asked for.
const Every = 0

// Fault is what happens to the n-th call of an operation, counted from 1.
type Fault struct {
	op     Op
	n      int
	prefix string

	before func(ctx context.Context, name string) error // an error is the call's, which is not made
	after  error                                        // the call is made, and fails
	reader func(io.ReadCloser) io.ReadCloser
}

// On fails a call with err; nothing else happens.
func On(op Op, n int, err error) Fault {
	return Fault{op: op, n: n, before: func(context.Context, string) error { return err }}
}

// Torn makes a call and then fails it with err: a put object is there although
// its writer was told that it is not.
func Torn(op Op, n int, err error) Fault { return Fault{op: op, n: n, after: err} }

// Delay makes a call later.
func Delay(op Op, n int, d time.Duration) Fault {
	return Fault{op: op, n: n, before: func(ctx context.Context, _ string) error {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return nil
		}
	}}
}

// Call calls fn with the object's name, or the listing's prefix, before a call
// is made. fn may wait, look, or end the process.
func Call(op Op, n int, fn func(name string)) Fault {
	return Fault{op: op, n: n, before: func(_ context.Context, name string) error {
		fn(name)
		return nil
	}}
}

// Truncate ends what a get reads after so many bytes with err: a cut connection.
func Truncate(n int, after int64, err error) Fault {
	return Fault{op: Get, n: n, reader: func(r io.ReadCloser) io.ReadCloser {
		return &truncated{ReadCloser: r, left: after, err: err}
	}}
}

// Flip turns one bit over in the byte at offset of what a get reads.
func Flip(n int, offset int64) Fault {
	return Fault{op: Get, n: n, reader: func(r io.ReadCloser) io.ReadCloser {
		return &flipped{ReadCloser: r, at: offset}
	}}
}

// Named limits the fault to objects whose names begin with prefix; no other call
// counts.
func (f Fault) Named(prefix string) Fault {
	f.prefix = prefix
	return f
}

// Bucket is an [objstore.Bucket] with faults.
type Bucket struct {
	b objstore.Bucket

	mu     sync.Mutex // guards the fields below
	faults []*counted
	calls  map[Op]int
}

type counted struct {
	Fault
	seen int
}

// Wrap puts faults into a bucket.
func Wrap(b objstore.Bucket, faults ...Fault) *Bucket {
	w := &Bucket{b: b, calls: map[Op]int{}}
	w.Add(faults...)
	return w
}

// Room is as [objstore.Room] says.
func (b *Bucket) Room(ctx context.Context) error { return objstore.Room(ctx, b.b) }

// Add puts in more faults; they count from now on.
func (b *Bucket) Add(faults ...Fault) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range faults {
		b.faults = append(b.faults, &counted{Fault: f})
	}
}

// Clear takes out all faults.
func (b *Bucket) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = nil
}

// Calls returns how often an operation has been called.
func (b *Bucket) Calls(op Op) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[op]
}

// due counts a call and returns the faults that it meets.
func (b *Bucket) due(op Op, name string) []Fault {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls[op]++
	var due []Fault
	for _, f := range b.faults {
		if f.op != op || !strings.HasPrefix(name, f.prefix) {
			continue
		}
		f.seen++
		if f.n == Every || f.n == f.seen {
			due = append(due, f.Fault)
		}
	}
	return due
}

// do makes a call with the faults that it meets.
func (b *Bucket) do(ctx context.Context, op Op, name string, call func() error) ([]Fault, error) {
	due := b.due(op, name)
	for _, f := range due {
		if f.before == nil {
			continue
		}
		if err := f.before(ctx, name); err != nil {
			return due, err
		}
	}
	if err := call(); err != nil {
		return due, err
	}
	for _, f := range due {
		if f.after != nil {
			return due, f.after
		}
	}
	return due, nil
}

// Put implements [objstore.Bucket].
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	_, err := b.do(ctx, Put, name, func() error { return b.b.Put(ctx, name, data) })
	return err
}

// Get implements [objstore.Bucket].
func (b *Bucket) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	var r io.ReadCloser
	due, err := b.do(ctx, Get, name, func() (err error) {
		r, err = b.b.Get(ctx, name, offset, length)
		return err
	})
	if err != nil {
		if r != nil {
			_ = r.Close() // the injected error is what counts
		}
		return nil, err
	}
	for _, f := range due {
		if f.reader != nil {
			r = f.reader(r)
		}
	}
	return r, nil
}

// Stat implements [objstore.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (info objstore.Info, err error) {
	_, err = b.do(ctx, Stat, name, func() (err error) {
		info, err = b.b.Stat(ctx, name)
		return err
	})
	return info, err
}

// List implements [objstore.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	_, err := b.do(ctx, List, prefix, func() error { return b.b.List(ctx, prefix, fn) })
	return err
}

// Delete implements [objstore.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	_, err := b.do(ctx, Delete, name, func() error { return b.b.Delete(ctx, name) })
	return err
}

// truncated ends early.
type truncated struct {
	io.ReadCloser
	left int64
	err  error
}

func (t *truncated) Read(p []byte) (int, error) {
	if t.left <= 0 {
		return 0, t.err
	}
	if int64(len(p)) > t.left {
		p = p[:t.left]
	}
	n, err := t.ReadCloser.Read(p)
	t.left -= int64(n)
	return n, err
}

// flipped turns a bit over.
type flipped struct {
	io.ReadCloser
	at int64 // bytes until the damaged one
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if f.at >= 0 && f.at < int64(n) {
		p[f.at] ^= 1
	}
	f.at -= int64(n)
	return n, err
}
