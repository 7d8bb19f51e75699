package retry

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Versions tries again what failed with CodeUnavailable.
type Versions struct {
	v objstore.Versions
	b *Bucket // for its pauses
}

var _ objstore.Versions = (*Versions)(nil)

// WrapVersions returns versions that are asked again.
func WrapVersions(v objstore.Versions, o Options) *Versions {
	return &Versions{v: v, b: Wrap(nil, o)}
}

// Deleted implements [objstore.Versions].
func (v *Versions) Deleted(ctx context.Context, prefix string, since time.Time) (all []objstore.Deleted, err error) {
	err = v.b.again(ctx, "list deleted", prefix, func(int) (err error) {
		all, err = v.v.Deleted(ctx, prefix, since)
		return err
	})
	return all, err
}

// Undelete implements [objstore.Versions].
func (v *Versions) Undelete(ctx context.Context, d objstore.Deleted) error {
	return v.b.again(ctx, "undelete", d.Name, func(int) error { return v.v.Undelete(ctx, d) })
}
