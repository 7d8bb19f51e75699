// Package objstore is the contract for where objects lie: a [Bucket] of named
// objects that are written once. Implementations and decorators pass the suite
// in objstoretest.
package objstore

import (
	"context"
	"io"
	"time"
)

// Info describes an object.
type Info struct {
	Name string
	Size int64
	// Modified is when it was written, to the second, by the store's clock; zero: the
	// store was not asked.
	Modified time.Time
}

// Bucket is a flat space of named objects. All methods may be called from
// several goroutines. Errors are [holdfast.Error] with CodeNotFound (no such
// object), CodeConflict (the name is taken), CodeExhausted (no room),
// CodeForbidden (the store refuses this to us), CodeInvalid (bad name or range),
// CodeUnavailable (may pass), or CodeInternal.
type Bucket interface {
	// Put writes an object. When it returns nil the object is durable, under its
	// name, whole; when it returns an error there is no object of that name, or
	// the whole one. An object is written once: CodeConflict when the name is
	// taken, whatever it holds. data is not kept.
	Put(ctx context.Context, name string, data []byte) error
	// Get reads length bytes from offset; length -1 means to the end. A range
	// that ends beyond the object is CodeInvalid. The caller closes the reader; a
	// truncated transfer is an error of Read, never an early io.EOF.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
	// Stat describes an object.
	Stat(ctx context.Context, name string) (Info, error)
	// List calls fn for every object whose name begins with prefix, in the order
	// of their names, once each. Objects put or deleted meanwhile may or may not
	// be seen; what is seen is durable, whoever put it. fn runs in the caller's
	// goroutine; its error ends the listing.
	List(ctx context.Context, prefix string, fn func(Info) error) error
	// Delete removes an object; deleting what is not there is no error. When it
	// returns nil the removal is durable; a store that keeps versions may have hidden
	// the object only (see [Versions]). What is under retention is CodeForbidden, and
	// [RetainedUntil] knows it.
	Delete(ctx context.Context, name string) error
}

// Room returns an error with CodeExhausted when the bucket knows that it has no room for a
// large object. nil: it has, or nobody knows.
func Room(ctx context.Context, b Bucket) error {
	if r, ok := b.(interface {
		Room(ctx context.Context) error
	}); ok {
		return r.Room(ctx)
	}
	return nil
}

// MaxName is the longest name in bytes.
const MaxName = 512

// ReadAll returns a whole object that is at most limit bytes large.
func ReadAll(ctx context.Context, b Bucket, name string, limit int64) (_ []byte, err error) {
	r, err := b.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer func() { err = firstError(err, r.Close()) }()
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, tooLarge(name, limit)
	}
	return data, nil
}
