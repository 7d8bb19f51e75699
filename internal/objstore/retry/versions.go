package retry

import (
	"context"
	"crypto/sha256"
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

// Changed implements [objstore.Versions].
func (v *Versions) Changed(ctx context.Context, prefix string, since time.Time) (all []objstore.Changed, err error) {
	err = v.b.again(ctx, "list versions", prefix, func(int) (err error) {
		all, err = v.v.Changed(ctx, prefix, since)
		return err
	})
	return all, err
}

// Sum implements [objstore.Versions].
func (v *Versions) Sum(ctx context.Context, name string, of objstore.Version) (sum [sha256.Size]byte, err error) {
	err = v.b.again(ctx, "read a version", name, func(int) (err error) {
		sum, err = v.v.Sum(ctx, name, of)
		return err
	})
	return sum, err
}

// Undelete implements [objstore.Versions].
func (v *Versions) Undelete(ctx context.Context, c objstore.Changed) (id string, err error) {
	err = v.b.again(ctx, "undelete", c.Name, func(int) (err error) {
		id, err = v.v.Undelete(ctx, c)
		return err
	})
	return id, err
}

// Restore implements [objstore.Versions]. A try that was heard all the same leaves one
// more copy.
func (v *Versions) Restore(ctx context.Context, name string, of objstore.Version) error {
	return v.b.again(ctx, "restore", name, func(int) error { return v.v.Restore(ctx, name, of) })
}
