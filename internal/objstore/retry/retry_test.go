package retry_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
)

var errBusy = holdfast.Errorf(holdfast.CodeUnavailable, "the store is busy")

var quick = retry.Options{Tries: 60, First: time.Microsecond, Most: 10 * time.Microsecond}

// moody fails every other call by chance: before it was made, after, or in its
// middle.
type moody struct {
	objstore.Bucket
	mu  sync.Mutex // guards rng
	rng *rand.Rand
}

func (m *moody) mood() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rng.IntN(6)
}

func (m *moody) call(do func() error) error {
	switch m.mood() {
	case 0, 1:
		return errBusy
	case 2:
		if err := do(); err != nil {
			return err
		}
		return errBusy
	}
	return do()
}

// Put fails no put of a name that is taken: whether the same bytes are ours cannot be
// told after a failure, and the suite puts them twice.
func (m *moody) Put(ctx context.Context, name string, data []byte) error {
	if _, err := m.Bucket.Stat(ctx, name); err == nil {
		return m.Bucket.Put(ctx, name, data)
	}
	return m.call(func() error { return m.Bucket.Put(ctx, name, data) })
}

func (m *moody) Stat(ctx context.Context, name string) (i objstore.Info, err error) {
	err = m.call(func() (err error) { i, err = m.Bucket.Stat(ctx, name); return err })
	return i, err
}

func (m *moody) Delete(ctx context.Context, name string) error {
	return m.call(func() error { return m.Bucket.Delete(ctx, name) })
}

func (m *moody) List(ctx context.Context, prefix string, fn func(objstore.Info) error) error {
	if m.mood() > 2 {
		return m.Bucket.List(ctx, prefix, fn)
	}
	m.mu.Lock()
	left := m.rng.IntN(100) // objects until it breaks off
	m.mu.Unlock()
	return m.Bucket.List(ctx, prefix, func(i objstore.Info) error {
		if left--; left < 0 {
			return errBusy
		}
		return fn(i)
	})
}

func (m *moody) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if m.mood() == 0 {
		return nil, errBusy
	}
	r, err := m.Bucket.Get(ctx, name, offset, length)
	if err != nil || m.mood() > 2 {
		return r, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &breaking{ReadCloser: r, left: m.rng.Int64N(5000)}, nil
}

// breaking breaks off.
type breaking struct {
	io.ReadCloser
	left int64
}

func (b *breaking) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, errBusy
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

func TestBucket(t *testing.T) {
	t.Parallel()
	for seed := range uint64(20) {
		objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
			t.Helper()
			return retry.Wrap(&moody{Bucket: mem.New(), rng: rand.New(rand.NewPCG(seed, 1))}, quick)
		})
	}
}

func TestTries(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New(), fault.On(fault.Put, fault.Every, errBusy), fault.On(fault.Get, 1, holdfast.Errorf(holdfast.CodeForbidden, "no")))
	r := retry.Wrap(b, retry.Options{Tries: 3, First: time.Microsecond})
	if err := r.Put(t.Context(), "a", nil); holdfast.ErrorCode(err) != holdfast.CodeUnavailable || b.Calls(fault.Put) != 3 {
		t.Errorf("got %v after %d calls, want the last of 3 errors", err, b.Calls(fault.Put))
	}
	if _, err := r.Get(t.Context(), "a", 0, -1); holdfast.ErrorCode(err) != holdfast.CodeForbidden || b.Calls(fault.Get) != 1 {
		t.Errorf("got %v after %d calls: what will not pass is not tried again", err, b.Calls(fault.Get))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	slow := retry.Wrap(b, retry.Options{First: time.Hour, Most: time.Hour})
	begin := time.Now()
	if err := slow.Put(ctx, "a", nil); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("got %v after %s: a pause ends with the context", err, time.Since(begin))
	}
}

// TestPutOfAnother does not take another's object for ours.
func TestPutOfAnother(t *testing.T) {
	t.Parallel()
	inner := mem.New()
	b := fault.Wrap(inner, fault.On(fault.Put, 1, errBusy), fault.Call(fault.Put, 2, func(string) { inner.Replace("a", []byte("theirs")) }))
	if err := retry.Wrap(b, quick).Put(t.Context(), "a", []byte("ours")); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v, want a conflict", err)
	}
	b = fault.Wrap(mem.New(), fault.Torn(fault.Put, 1, errBusy))
	if err := retry.Wrap(b, quick).Put(t.Context(), "a", []byte("ours")); err != nil {
		t.Errorf("a put that was heard, and not answered: %v", err)
	}
	if got, err := objstore.ReadAll(t.Context(), b, "a", 10); err != nil || !bytes.Equal(got, []byte("ours")) {
		t.Errorf("got %q, %v", got, err)
	}
}
