package objstore

import (
	"context"
	"io"
)

// Parts is what a store can do that takes an object in several requests, for those
// that are too large to be held in memory. Nothing is there under the name until
// Complete; then it is whole. An object of that name is overwritten: the caller takes a
// name that nobody else does.
type Parts interface {
	// Begin returns the id of an upload.
	Begin(ctx context.Context, name string) (id string, err error)
	// Part uploads one part, counted from 1, and returns its tag. The same part again
	// replaces the one before.
	Part(ctx context.Context, name, id string, n int, data io.ReadSeeker, size int64) (tag string, err error)
	// Complete makes one object of the parts, of which tags are in order.
	Complete(ctx context.Context, name, id string, tags []string) error
	// Abort gives up what was uploaded.
	Abort(ctx context.Context, name, id string) error
}
