// Package retry is a Bucket around a Bucket that tries again what may pass.
package retry

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Options say how often, and after what pauses. The zero value of each means its
// default.
type Options struct {
	Tries int           // of a call, and of a reader that gets nowhere; 8
	First time.Duration // pause, which doubles each time; 250 ms
	Most  time.Duration // a pause; 30 s
	Log   *slog.Logger  // nil: nothing is logged
}

// Bucket tries again what failed with CodeUnavailable.
type Bucket struct {
	b objstore.Bucket
	o Options
}

var _ objstore.Bucket = (*Bucket)(nil)

// Wrap returns a bucket that tries again.
func Wrap(b objstore.Bucket, o Options) *Bucket {
	if o.Tries <= 0 {
		o.Tries = 8
	}
	if o.First <= 0 {
		o.First = 250 * time.Millisecond
	}
	if o.Most <= 0 {
		o.Most = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Bucket{b: b, o: o}
}

// Room is as [objstore.Room] says.
func (b *Bucket) Room(ctx context.Context) error { return objstore.Room(ctx, b.b) }

// pause waits before a try, counted from 1; false: there are none left, or ctx has
// ended. Half of a pause is by chance, so that many callers do not come together.
func (b *Bucket) pause(ctx context.Context, what, name string, try int, err error) bool {
	if holdfast.ErrorCode(err) != holdfast.CodeUnavailable || try >= b.o.Tries || ctx.Err() != nil {
		return false
	}
	d := b.o.Most
	if shift := try - 1; shift < 32 {
		d = min(d, b.o.First<<shift)
	}
	d = d/2 + rand.N(d/2+1)
	b.o.Log.DebugContext(ctx, "object store is asked again", "call", what, "object", name, "try", try+1, "pause", d, "error", err)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// again makes a call until it succeeds, fails for good, or has been tried enough.
func (b *Bucket) again(ctx context.Context, what, name string, call func(try int) error) error {
	for try := 1; ; try++ {
		err := call(try)
		if err == nil || !b.pause(ctx, what, name, try, err) {
			return last(ctx, err)
		}
	}
}

// last is what a call ends with: when its context has ended, that is why it was not
// tried again.
func last(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && holdfast.ErrorCode(err) == holdfast.CodeUnavailable {
		return context.Cause(ctx)
	}
	return err
}

// Put implements [objstore.Bucket]. A try that failed may have been heard all the
// same: when the name is taken after one, by these bytes, they count as ours.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	return b.again(ctx, "put", name, func(try int) error {
		err := b.b.Put(ctx, name, data)
		if try == 1 || holdfast.ErrorCode(err) != holdfast.CodeConflict {
			return err
		}
		there, readErr := objstore.ReadAll(ctx, b.b, name, int64(len(data)))
		switch {
		case readErr == nil && bytes.Equal(there, data):
			return nil
		case holdfast.ErrorCode(readErr) == holdfast.CodeUnavailable:
			return readErr
		}
		return err
	})
}

// Get implements [objstore.Bucket]. The reader goes on where a transfer broke off.
func (b *Bucket) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	r := &reader{ctx: ctx, b: b, name: name, offset: offset, length: length}
	err := b.again(ctx, "get", name, func(int) (err error) {
		r.r, err = b.b.Get(ctx, name, offset, length)
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Stat implements [objstore.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (info objstore.Info, err error) {
	err = b.again(ctx, "stat", name, func(int) (err error) {
		info, err = b.b.Stat(ctx, name)
		return err
	})
	return info, err
}

// List implements [objstore.Bucket]. A listing that broke off is begun anew, without
// what fn has seen; tries count from the last object that was new.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	shown := ""      // the last one that fn has seen; no object has an empty name
	var stopped bool // by fn: its error is not ours to try again
	for try := 1; ; try++ {
		err := b.b.List(ctx, prefix, func(i objstore.Info) error {
			if i.Name <= shown {
				return nil
			}
			shown, try = i.Name, 1
			err := fn(i)
			stopped = err != nil
			return err
		})
		if err == nil || stopped || !b.pause(ctx, "list", prefix, try, err) {
			return last(ctx, err)
		}
	}
}

// Delete implements [objstore.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	return b.again(ctx, "delete", name, func(int) error { return b.b.Delete(ctx, name) })
}

// reader reads on from where it was when a transfer breaks off.
type reader struct {
	ctx            context.Context //nolint:containedctx // it is the context of the one call that made the reader
	b              *Bucket
	name           string
	r              io.ReadCloser // nil: it broke off
	offset, length int64         // of what has not been read; length -1: to the end
	try            int           // since something came
}

func (r *reader) Read(p []byte) (int, error) {
	for {
		if r.r == nil {
			var err error
			if r.r, err = r.b.b.Get(r.ctx, r.name, r.offset, r.length); err != nil {
				r.r = nil
				if r.retry(err) {
					continue
				}
				return 0, last(r.ctx, err)
			}
		}
		n, err := r.r.Read(p)
		if n > 0 {
			r.offset, r.try = r.offset+int64(n), 0
			if r.length > 0 {
				r.length -= int64(n)
			}
		}
		if err == nil || holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
			return n, err
		}
		_ = r.r.Close() // it has failed
		r.r = nil
		if n > 0 {
			return n, nil // what follows is read by the next call
		}
		if !r.retry(err) {
			return 0, last(r.ctx, err)
		}
	}
}

func (r *reader) retry(err error) bool {
	r.try++
	return r.b.pause(r.ctx, "read", r.name, r.try, err)
}

func (r *reader) Close() error {
	if r.r == nil {
		return nil
	}
	return r.r.Close()
}
