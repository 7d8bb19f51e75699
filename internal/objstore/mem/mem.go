// Package mem keeps objects in memory, for tests and as the model that other
// buckets are compared with.
package mem

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// Bucket is an [objstore.Bucket] in memory. It lasts as long as the value.
type Bucket struct {
	mu      sync.RWMutex      // guards the fields below
	objects map[string][]byte // never changed in place
}

// New returns an empty bucket.
func New() *Bucket { return &Bucket{objects: map[string][]byte{}} }

// Put implements [objstore.Bucket].
func (b *Bucket) Put(ctx context.Context, name string, data []byte) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.objects[name]; ok {
		return objstore.Exists(name)
	}
	b.objects[name] = bytes.Clone(data)
	return nil
}

// Get implements [objstore.Bucket].
func (b *Bucket) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := begin(ctx, name); err != nil {
		return nil, err
	}
	data, ok := b.object(name)
	if !ok {
		return nil, objstore.NotFound(name)
	}
	n, err := objstore.Range(name, int64(len(data)), offset, length)
	if err != nil {
		return nil, err
	}
	return &reader{ctx: ctx, r: bytes.NewReader(data[offset : offset+n])}, nil
}

// Stat implements [objstore.Bucket].
func (b *Bucket) Stat(ctx context.Context, name string) (objstore.Info, error) {
	if err := begin(ctx, name); err != nil {
		return objstore.Info{}, err
	}
	data, ok := b.object(name)
	if !ok {
		return objstore.Info{}, objstore.NotFound(name)
	}
	return objstore.Info{Name: name, Size: int64(len(data))}, nil
}

// List implements [objstore.Bucket].
func (b *Bucket) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	b.mu.RLock()
	names := slices.Sorted(maps.Keys(b.objects))
	b.mu.RUnlock()
	for _, name := range names {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		data, ok := b.object(name)
		if !ok || !strings.HasPrefix(name, prefix) {
			continue
		}
		if err := fn(objstore.Info{Name: name, Size: int64(len(data))}); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// Delete implements [objstore.Bucket].
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := begin(ctx, name); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, name)
	return nil
}

// Replace overwrites or makes an object, as damage or an attacker would: no
// Bucket method can.
func (b *Bucket) Replace(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[name] = bytes.Clone(data)
}

// Clone returns a copy that changes on its own from now on.
func (b *Bucket) Clone() *Bucket {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return &Bucket{objects: maps.Clone(b.objects)}
}

func (b *Bucket) object(name string) ([]byte, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	data, ok := b.objects[name]
	return data, ok
}

func begin(ctx context.Context, name string) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return objstore.CheckName(name)
}

// reader ends with the cause of its context when that is over, as a transfer
// over a network would.
type reader struct {
	ctx context.Context //nolint:containedctx // it is the context of the one call that made the reader
	r   *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := context.Cause(r.ctx); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (*reader) Close() error { return nil }
