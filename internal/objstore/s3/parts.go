package s3

import (
	"context"
	"io"

	"github.com/minio/minio-go/v7"

	"github.com/holdfast-backup/holdfast/internal/objstore"
)

var _ objstore.Parts = (*Bucket)(nil)

// Begin implements [objstore.Parts].
func (b *Bucket) Begin(ctx context.Context, name string) (string, error) {
	if err := begin(ctx, name); err != nil {
		return "", err
	}
	id, err := b.core.NewMultipartUpload(ctx, b.cfg.Bucket, b.key(name), b.putOptions())
	return id, b.failure(ctx, err, name)
}

// Part implements [objstore.Parts].
func (b *Bucket) Part(ctx context.Context, name, id string, n int, data io.ReadSeeker, size int64) (string, error) {
	if err := begin(ctx, name); err != nil {
		return "", err
	}
	sum, err := sumOf(data)
	if err != nil {
		return "", err
	}
	p, err := b.core.PutObjectPart(ctx, b.cfg.Bucket, b.key(name), id, n, data, size, minio.PutObjectPartOptions{Md5Base64: sum, DisableContentSha256: !b.cfg.Plain})
	return p.ETag, b.failure(ctx, err, name)
}

// Complete implements [objstore.Parts].
func (b *Bucket) Complete(ctx context.Context, name, id string, tags []string) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	parts := make([]minio.CompletePart, len(tags))
	for i, tag := range tags {
		parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: tag}
	}
	_, err := b.core.CompleteMultipartUpload(ctx, b.cfg.Bucket, b.key(name), id, parts, minio.PutObjectOptions{})
	if err != nil && minio.ToErrorResponse(err).Code == "NoSuchUpload" {
		// A try before this one may have been heard: then the object is there.
		_, err := b.Stat(ctx, name)
		return err
	}
	return b.failure(ctx, err, name)
}

// Abort implements [objstore.Parts].
func (b *Bucket) Abort(ctx context.Context, name, id string) error {
	return b.failure(ctx, b.core.AbortMultipartUpload(ctx, b.cfg.Bucket, b.key(name), id), name)
}
