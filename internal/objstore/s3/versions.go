package s3

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

var _ objstore.Versions = (*Bucket)(nil)

// versionsHint names the rights of [objstore.Versions], as Amazon calls them.
const versionsHint = "the access key needs s3:GetBucketVersioning, s3:ListBucketVersions and s3:DeleteObjectVersion for this; the store's owner has them"

// Deleted implements [objstore.Versions]. Servers list versions and markers of a page
// each in an order of its own, so what was deleted is found first, and then what lies
// below.
func (b *Bucket) Deleted(ctx context.Context, prefix string, since time.Time) ([]objstore.Deleted, error) {
	if err := b.checkVersions(ctx, prefix); err != nil {
		return nil, err
	}
	found := map[string]*hidden{}
	err := b.versions(ctx, prefix, func(name string, v minio.ObjectInfo) {
		if !v.IsDeleteMarker {
			return
		}
		h := found[name]
		if h == nil {
			h = &hidden{}
			found[name] = h
		}
		h.markers = append(h.markers, v)
		h.deleted = h.deleted || v.IsLatest
	})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	err = b.versions(ctx, prefix, func(name string, v minio.ObjectInfo) {
		if h := found[name]; h != nil && !v.IsDeleteMarker && (h.newest == nil || v.LastModified.After(h.newest.LastModified)) {
			h.newest = &v
		}
	})
	if err != nil {
		return nil, err
	}
	var out []objstore.Deleted
	for name, h := range found {
		if d := h.object(name); h.deleted && !d.Time.Before(since.Truncate(time.Second)) {
			out = append(out, d)
		}
	}
	return out, nil
}

// hidden is what is known of a name that has delete markers.
type hidden struct {
	markers []minio.ObjectInfo
	newest  *minio.ObjectInfo // version that is none
	deleted bool              // a marker is the latest of all
}

// object takes all markers: without them the newest version is the object. It was
// deleted by the first one above that version. Servers that keep objects as files may
// tell a marker's time by when the object was put, and the version's by when it was
// deleted: the later of the two is right for all.
func (h *hidden) object(name string) objstore.Deleted {
	d := objstore.Deleted{Name: name, Gone: h.newest == nil}
	var written, first time.Time
	if h.newest != nil {
		d.Size, written = h.newest.Size, h.newest.LastModified
	}
	for _, m := range h.markers {
		// One at a page's edge may come twice. One without an id cannot be taken away:
		// a delete that names no version would make another marker.
		if m.VersionID != "" && !slices.Contains(d.Markers, m.VersionID) {
			d.Markers = append(d.Markers, m.VersionID)
		}
		if !m.LastModified.Before(written) && (first.IsZero() || m.LastModified.Before(first)) {
			first = m.LastModified
		}
	}
	if d.Time = first; first.IsZero() {
		d.Time = written
	}
	return d
}

// checkVersions refuses a bucket that keeps no versions.
func (b *Bucket) checkVersions(ctx context.Context, prefix string) error {
	v, err := b.core.GetBucketVersioning(ctx, b.cfg.Bucket)
	if err != nil {
		return b.refusedVersions(ctx, err, prefix)
	}
	if v.Status == "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "bucket %s on %s keeps no versions: what was deleted there is gone", b.cfg.Bucket, b.cfg.Endpoint).
			WithHint("turn on versioning for the bucket before the next time")
	}
	return nil
}

// versions calls fn for each version of each object whose name begins with prefix.
func (b *Bucket) versions(ctx context.Context, prefix string, fn func(name string, v minio.ObjectInfo)) error {
	ctx, cancel := context.WithCancel(ctx) // what the iterator has begun ends with us
	defer cancel()
	root := b.key("")
	for v := range b.core.ListObjectsIter(ctx, b.cfg.Bucket, minio.ListObjectsOptions{Prefix: root + prefix, Recursive: true, WithVersions: true}) {
		if v.Err != nil {
			return b.refusedVersions(ctx, v.Err, prefix)
		}
		if name, ok := strings.CutPrefix(v.Key, root); ok && objstore.CheckName(name) == nil {
			fn(name, v)
		}
	}
	return context.Cause(ctx)
}

// Undelete implements [objstore.Versions].
func (b *Bucket) Undelete(ctx context.Context, d objstore.Deleted) error {
	if err := begin(ctx, d.Name); err != nil {
		return err
	}
	if len(d.Markers) == 0 {
		return holdfast.Errorf(holdfast.CodeUnavailable, "the store gives its delete marker of %s no version id, so that it cannot be taken away", d.Name)
	}
	for _, id := range d.Markers {
		err := b.core.RemoveObject(ctx, b.cfg.Bucket, b.key(d.Name), minio.RemoveObjectOptions{VersionID: id})
		if err := b.refusedVersions(ctx, err, d.Name); err != nil {
			// Servers differ in what they say of a marker that is gone.
			if _, there := b.Stat(ctx, d.Name); there != nil {
				return err
			}
			return nil
		}
	}
	return nil
}

// refusedVersions is failure, with the rights that this takes.
func (b *Bucket) refusedVersions(ctx context.Context, err error, name string) error {
	code := minio.ToErrorResponse(err).Code
	err = b.failure(ctx, err, name)
	if e, ok := errors.AsType[*holdfast.Error](err); ok && code == "AccessDenied" {
		return e.WithHint(versionsHint)
	}
	return err
}
