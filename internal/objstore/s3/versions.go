package s3

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

var _ objstore.Versions = (*Bucket)(nil)

// versionsHint names the rights of [objstore.Versions], as Amazon calls them.
const versionsHint = "the access key needs s3:GetBucketVersioning, s3:ListBucketVersions, s3:GetObjectVersion, s3:PutObject and s3:DeleteObjectVersion for this; the store's owner has them"

// Changed implements [objstore.Versions]. Servers list versions and markers of a page
// each in an order of its own, so all are collected before any is judged.
func (b *Bucket) Changed(ctx context.Context, prefix string, since time.Time) ([]objstore.Changed, error) {
	if err := b.checkVersions(ctx, prefix); err != nil {
		return nil, err
	}
	found := map[string]*history{}
	err := b.versions(ctx, prefix, func(name string, v minio.ObjectInfo) {
		h := found[name]
		if h == nil {
			h = &history{}
			found[name] = h
		}
		h.add(v)
	})
	if err != nil {
		return nil, err
	}
	var out []objstore.Changed
	for name, h := range found {
		if c, changed := h.object(name); changed && !c.Time.Before(since.Truncate(time.Second)) {
			out = append(out, c)
		}
	}
	return out, nil
}

// history is what is known of a name.
type history struct {
	versions, markers []minio.ObjectInfo
}

func (h *history) add(v minio.ObjectInfo) {
	if v.IsDeleteMarker {
		h.markers = append(h.markers, v)
	} else {
		h.versions = append(h.versions, v)
	}
}

// once leaves out what came twice, as it may at a page's edge.
func once(all []minio.ObjectInfo) []minio.ObjectInfo {
	if len(all) < 2 {
		return all
	}
	known := map[string]bool{}
	return slices.DeleteFunc(all, func(v minio.ObjectInfo) bool {
		again := v.VersionID != "" && known[v.VersionID]
		known[v.VersionID] = true
		return again
	})
}

// object describes a name, and reports whether it has been anything else than it is.
// It was deleted by the first marker above its newest version. Servers that keep objects
// as files may tell a marker's time by when the object was put, and the version's by when
// it was deleted: the later of the two is right for all.
func (h *history) object(name string) (_ objstore.Changed, changed bool) {
	h.versions, h.markers = once(h.versions), once(h.markers)
	slices.SortStableFunc(h.versions, func(a, b minio.ObjectInfo) int {
		if a.IsLatest != b.IsLatest {
			if a.IsLatest {
				return -1
			}
			return 1
		}
		return b.LastModified.Compare(a.LastModified)
	})
	c := objstore.Changed{Name: name}
	for _, v := range h.versions {
		c.Versions = append(c.Versions, objstore.Version{ID: v.VersionID, Size: v.Size, Time: v.LastModified.UTC()})
	}
	var written, first time.Time
	if len(h.versions) > 0 {
		written = h.versions[0].LastModified
	}
	for _, m := range h.markers {
		c.Deleted = c.Deleted || m.IsLatest
		// One without an id cannot be taken away: a delete that names no version would
		// make another marker.
		if m.VersionID != "" {
			c.Markers = append(c.Markers, m.VersionID)
		}
		if !m.LastModified.Before(written) && (first.IsZero() || m.LastModified.Before(first)) {
			first = m.LastModified
		}
	}
	if c.Time = first; first.IsZero() || !c.Deleted {
		c.Time = written
	}
	return c, c.Deleted || len(h.versions) > 1 || len(h.markers) > 0
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

// Sum implements [objstore.Versions].
func (b *Bucket) Sum(ctx context.Context, name string, v objstore.Version) (sum [sha256.Size]byte, err error) {
	if err := begin(ctx, name); err != nil {
		return sum, err
	}
	body, info, _, err := b.core.GetObject(ctx, b.cfg.Bucket, b.key(name), minio.GetObjectOptions{VersionID: v.ID})
	if err != nil {
		return sum, b.refusedVersions(ctx, err, name)
	}
	r := &reader{ctx: ctx, b: b, name: name, body: body, left: info.Size}
	h := sha256.New()
	_, err = io.Copy(h, r)
	if err = errors.Join(err, r.Close()); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// Undelete implements [objstore.Versions].
func (b *Bucket) Undelete(ctx context.Context, c objstore.Changed) (string, error) {
	if err := begin(ctx, c.Name); err != nil {
		return "", err
	}
	if len(c.Markers) == 0 {
		return "", holdfast.Errorf(holdfast.CodeUnavailable, "the store gives its delete marker of %s no version id, so that it cannot be taken away", c.Name)
	}
	var failed error // servers differ in what they say of a marker that is gone
	for _, id := range c.Markers {
		err := b.core.RemoveObject(ctx, b.cfg.Bucket, b.key(c.Name), minio.RemoveObjectOptions{VersionID: id})
		if failed = b.refusedVersions(ctx, err, c.Name); failed != nil {
			break
		}
	}
	info, err := b.core.StatObject(ctx, b.cfg.Bucket, b.key(c.Name), minio.StatObjectOptions{})
	if err != nil && failed != nil {
		return "", failed
	}
	return info.VersionID, b.failure(ctx, err, c.Name)
}

// Restore implements [objstore.Versions]. The server copies.
func (b *Bucket) Restore(ctx context.Context, name string, v objstore.Version) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	headers := map[string]string{"x-amz-metadata-directive": "REPLACE", "Content-Type": contentType}
	if b.cfg.StorageClass != "" {
		headers["x-amz-storage-class"] = b.cfg.StorageClass
	}
	if b.sse != nil {
		h := http.Header{}
		b.sse.Marshal(h)
		for k := range h {
			headers[k] = h.Get(k)
		}
	}
	got, err := b.core.CopyObject(ctx, b.cfg.Bucket, b.key(name), b.cfg.Bucket, b.key(name), headers, minio.CopySrcOptions{VersionID: v.ID}, minio.PutObjectOptions{})
	if err != nil {
		return b.refusedVersions(ctx, err, name)
	}
	if got.ETag == "" { // an answer that began well, and ended as an error
		return holdfast.Errorf(holdfast.CodeUnavailable, "%s has not copied object %s", b.cfg.Endpoint, name)
	}
	info, err := b.Stat(ctx, name)
	if err == nil && info.Size != v.Size {
		err = holdfast.Errorf(holdfast.CodeUnavailable, "object %s on %s has %d bytes after %d were copied", name, b.cfg.Endpoint, info.Size, v.Size)
	}
	return err
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
