package s3

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // it is the protocol's check of a transfer
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Bucket is an [objstore.Bucket] on a server.
type Bucket struct {
	cfg       Config
	core      minio.Core
	transport *http.Transport
	sse       encrypt.ServerSide
}

var _ objstore.Bucket = (*Bucket)(nil)

// Open makes a bucket's client. It asks the server nothing. CodeInvalid when the
// configuration is none.
func Open(c Config) (*Bucket, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	t, err := c.transport()
	if err != nil {
		return nil, err
	}
	client, err := minio.New(c.Endpoint, c.options(t))
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "%s cannot be used as the address of an S3 server", c.Endpoint)
	}
	b := &Bucket{cfg: c, core: minio.Core{Client: client}, transport: t}
	b.sse, err = c.encryption()
	return b, err
}

// Close gives back idle connections.
func (b *Bucket) Close() { b.transport.CloseIdleConnections() }

// key is an object's name on the server.
func (b *Bucket) key(name string) string {
	if b.cfg.Prefix == "" {
		return name
	}
	return b.cfg.Prefix + "/" + name
}

// begin refuses what need not be asked.
func begin(ctx context.Context, name string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return objstore.CheckName(name)
}

// Put implements [objstore.Bucket]. An object is one request: its transfer is
// checked by MD5, which buckets with object lock ask for.
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	r := bytes.NewReader(data)
	sum, err := sumOf(r)
	if err != nil {
		return err
	}
	o := b.putOptions()
	o.SetMatchETagExcept("*")
	_, err = b.core.PutObject(ctx, b.cfg.Bucket, b.key(name), r, int64(len(data)), sum, "", o)
	if err = b.failure(ctx, err, name); isRetained(err) {
		return objstore.Exists(name) // what is under retention is there
	}
	return err
}

const contentType = "application/octet-stream"

func (b *Bucket) putOptions() minio.PutObjectOptions {
	return minio.PutObjectOptions{
		ContentType: contentType, StorageClass: b.cfg.StorageClass, ServerSideEncryption: b.sse, DisableContentSha256: !b.cfg.Plain,
	}
}

// sumOf is the MD5 of what is sent, as its header has it.
func sumOf(r io.ReadSeeker) (string, error) {
	h := md5.New() //nolint:gosec // as above
	if _, err := io.Copy(h, r); err != nil {
		return "", err
	}
	_, err := r.Seek(0, io.SeekStart)
	return base64.StdEncoding.EncodeToString(h.Sum(nil)), err
}

// Get implements [objstore.Bucket].
func (b *Bucket) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, name); err != nil {
		return nil, err
	}
	if offset < 0 || length < -1 || length > 0 && offset > maxOffset-length {
		return nil, b.refuseRange(ctx, name, offset, length)
	}
	if length == 0 {
		return b.nothing(ctx, name, offset, length)
	}
	var o minio.GetObjectOptions
	if length > 0 {
		if err := o.SetRange(offset, offset+length-1); err != nil {
			return nil, objstore.BadRange(name, offset, length)
		}
	} else if offset > 0 {
		if err := o.SetRange(offset, 0); err != nil {
			return nil, objstore.BadRange(name, offset, length)
		}
	}
	body, info, _, err := b.core.GetObject(ctx, b.cfg.Bucket, b.key(name), o)
	switch {
	case err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return b.nothing(ctx, name, offset, length)
	case err != nil:
		return nil, b.failure(ctx, err, name)
	case length > 0 && info.Size < length: // the server cuts what goes beyond the end
		return nil, errors.Join(objstore.BadRange(name, offset, length), body.Close())
	}
	return &reader{ctx: ctx, b: b, name: name, body: body, left: info.Size}, nil
}

// maxOffset is the last byte that a range can name.
const maxOffset = 1<<63 - 1

// nothing answers for a range that holds no bytes, if the object has such a one.
func (b *Bucket) nothing(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	info, err := b.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	n, err := objstore.Range(name, info.Size, offset, length)
	if err != nil {
		return nil, err
	}
	if n > 0 { // it has grown since: objects do not
		return nil, holdfast.Errorf(holdfast.CodeInternal, "object %s on %s changes while it is read", name, b.cfg.Endpoint)
	}
	return io.NopCloser(strings.NewReader("")), nil
}

// refuseRange is the error for a range that no object has, or for an object that
// does not exist.
func (b *Bucket) refuseRange(ctx context.Context, name string, offset, length int64) error {
	if _, err := b.Stat(ctx, name); err != nil {
		return err
	}
	return objstore.BadRange(name, offset, length)
}

// Stat implements [objstore.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, err
	}
	info, err := b.core.StatObject(ctx, b.cfg.Bucket, b.key(name), minio.StatObjectOptions{})
	if err != nil {
		return objstore.Info{}, b.failure(ctx, err, name)
	}
	return objstore.Info{Name: name, Size: info.Size, Modified: seconds(info.LastModified)}, nil
}

// List implements [objstore.Bucket]. A server that lists in another order is
// refused: CodeInternal.
func (b *Bucket) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if !possible(prefix) {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx) // what the iterator has begun ends with us
	defer cancel()
	root := b.key("")
	last := ""
	for o := range b.core.ListObjectsIter(ctx, b.cfg.Bucket, minio.ListObjectsOptions{Prefix: root + prefix, Recursive: true}) {
		if o.Err != nil {
			return b.failure(ctx, o.Err, prefix)
		}
		name, ok := strings.CutPrefix(o.Key, root)
		if !ok || objstore.CheckName(name) != nil {
			continue // somebody else's, or a directory's placeholder
		}
		if name <= last {
			return holdfast.Errorf(holdfast.CodeInternal, "%s lists objects out of order: %s before %s", b.cfg.Endpoint, last, name).
				WithHint("use a general purpose bucket")
		}
		last = name
		if err := fn(objstore.Info{Name: name, Size: o.Size, Modified: seconds(o.LastModified)}); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// seconds is a time as all calls tell it: a listing has fractions that a HEAD leaves out.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// possible reports whether any object's name can begin with the prefix. Servers that
// keep objects in directories refuse the others in their own ways.
func possible(prefix string) bool {
	if strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") || strings.ContainsAny(prefix, "\x00\\") {
		return false
	}
	parts := strings.Split(prefix, "/")
	for _, p := range parts[:len(parts)-1] { // the last may go on
		if p == "." || p == ".." {
			return false
		}
	}
	return true
}

// Delete implements [objstore.Bucket]. Where the bucket keeps versions, the object
// stays below a delete marker.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	err := b.failure(ctx, b.core.RemoveObject(ctx, b.cfg.Bucket, b.key(name), minio.RemoveObjectOptions{}), name)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return nil
	case isRetained(err):
		return b.retained(ctx, name)
	}
	return err
}

func isRetained(err error) bool {
	_, ok := objstore.RetainedUntil(err)
	return ok
}

// retained is the error for an object under retention, with the time until when, if the
// server tells it to us.
func (b *Bucket) retained(ctx context.Context, name string) error {
	info, err := b.core.StatObject(ctx, b.cfg.Bucket, b.key(name), minio.StatObjectOptions{})
	if err != nil {
		return objstore.Retained(name, time.Time{})
	}
	until, err := time.Parse(time.RFC3339, info.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil { // it does not say
		until = time.Time{}
	}
	return objstore.Retained(name, until)
}

// CheckConditions finds a server that overwrites objects although it was told not
// to: CodeInvalid. It writes and deletes an object of this name.
func (b *Bucket) CheckConditions(ctx context.Context, name string) (err error) {
	if err := b.Put(ctx, name, []byte("first")); err != nil {
		return err
	}
	defer func() {
		gone := b.Delete(context.WithoutCancel(ctx), name)
		if isRetained(gone) { // then so would be each lock
			gone = holdfast.Wrap(holdfast.CodeInvalid, gone, "%s, bucket %s keeps objects from being deleted, and keeps no versions of them", b.cfg.Endpoint, b.cfg.Bucket).
				WithHint("turn on versioning for the bucket: object lock then protects the versions, and names can be given up")
		}
		err = errors.Join(err, gone)
	}()
	err = b.Put(ctx, name, []byte("second"))
	if err == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s overwrites objects although it was asked not to", b.cfg.Endpoint).
			WithHint("use a server that knows conditional writes (If-None-Match)")
	}
	if holdfast.ErrorCode(err) == holdfast.CodeConflict {
		return nil
	}
	return err
}
