package objstore

import (
	"context"
	"crypto/sha256"
	"time"
)

// Versions is what a store that keeps versions can do beside being a [Bucket]: there a
// delete leaves a marker, below which the object stays, and so does what is overwritten.
type Versions interface {
	// Changed returns the objects whose name begins with prefix and which were deleted, or
	// written over what was there, at since or later, by the store's clock, to the second,
	// in no order. It holds all that the store has below prefix. CodeInvalid when the store
	// keeps no versions, CodeForbidden when it does not show them to us.
	Changed(ctx context.Context, prefix string, since time.Time) ([]Changed, error)
	// Sum returns the SHA-256 of a version.
	Sum(ctx context.Context, name string, v Version) ([sha256.Size]byte, error)
	// Undelete takes the markers away, so that the newest version is the object again, and
	// returns the id of that version. It is no error when they are gone.
	Undelete(ctx context.Context, c Changed) (id string, err error)
	// Restore makes a version the object again: a copy of it becomes the newest. Nothing
	// is taken away.
	Restore(ctx context.Context, name string, v Version) error
}

// Changed is an object that is not what it was.
type Changed struct {
	Name     string
	Time     time.Time // of the first delete since it was written, or when it was written anew; by the store's clock
	Deleted  bool      // a marker hides it
	Versions []Version // that are no markers, the newest first, as far as the store's times tell
	Markers  []string  // ids of their versions
}

// Version is one of an object's contents.
type Version struct {
	ID   string
	Size int64
	Time time.Time // when it was written, by the store's clock; some tell when it was overwritten
}
