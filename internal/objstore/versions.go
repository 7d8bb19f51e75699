package objstore

import (
	"context"
	"time"
)

// Versions is what a store that keeps versions can do beside being a [Bucket]: there a
// delete leaves a marker, below which the object stays.
type Versions interface {
	// Deleted returns the objects whose name begins with prefix and which were deleted
	// at since or later, by the store's clock, to the second, in no order. CodeInvalid
	// when the store keeps no versions, CodeForbidden when it does not show them to us.
	Deleted(ctx context.Context, prefix string, since time.Time) ([]Deleted, error)
	// Undelete takes the markers away, so that the newest version is the object again.
	// It is no error when they are gone.
	Undelete(ctx context.Context, d Deleted) error
}

// Deleted is an object below delete markers.
type Deleted struct {
	Name    string
	Time    time.Time // of the first delete since it was written, by the store's clock
	Size    int64     // of the version that comes back
	Markers []string  // ids of their versions
	Gone    bool      // there is no version that could come back
}
