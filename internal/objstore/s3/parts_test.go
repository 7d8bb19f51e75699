package s3_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
)

// flaky fails every other call, now before it was made and now after.
type flaky struct {
	objstore.Parts
	calls atomic.Int64
}

func (f *flaky) call(do func() error) error {
	busy := holdfast.Errorf(holdfast.CodeUnavailable, "the store is busy")
	switch f.calls.Add(1) % 4 {
	case 1:
		return busy
	case 3:
		if err := do(); err != nil {
			return err
		}
		return busy
	}
	return do()
}

func (f *flaky) Begin(ctx context.Context, name string) (id string, err error) {
	err = f.call(func() (err error) { id, err = f.Parts.Begin(ctx, name); return err })
	return id, err
}

func (f *flaky) Part(ctx context.Context, name, id string, n int, data io.ReadSeeker, size int64) (tag string, err error) {
	err = f.call(func() (err error) { tag, err = f.Parts.Part(ctx, name, id, n, data, size); return err })
	return tag, err
}

func (f *flaky) Complete(ctx context.Context, name, id string, tags []string) error {
	return f.call(func() error { return f.Parts.Complete(ctx, name, id, tags) })
}

// TestUpload puts objects of one part and of several, through a store that fails every
// other call, and leaves nothing of one that is given up.
func TestUpload(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	c := server.LockedConfig(t)
	b := open(t, c)
	quick := retry.Options{First: time.Millisecond, Tries: 20}
	u := retry.WrapParts(&flaky{Parts: b}, quick)
	data := make([]byte, 17<<20)
	for i := range data[:1<<20] {
		data[i] = byte(rand.Uint32())
		data[len(data)-1-i] = data[i]
	}
	for _, size := range []int{0, 1, len(data)} {
		name := fmt.Sprint("out/", size)
		if err := u.Upload(t.Context(), name, bytes.NewReader(data), int64(size)); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		if got, err := objstore.ReadAll(t.Context(), b, name, int64(size)); err != nil || !bytes.Equal(got, data[:size]) {
			t.Errorf("%d bytes: got %d others, %v", size, len(got), err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := fmt.Errorf("enough")
	cancel(stop)
	if err := u.Upload(ctx, "out/never", bytes.NewReader(data), 5); err == nil {
		t.Error("an upload whose context has ended succeeds")
	}
	if _, err := b.Stat(t.Context(), "out/never"); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		t.Errorf("what was given up: %v", err)
	}
}
