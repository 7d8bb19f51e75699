package limit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/limit"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
)

func TestBucket(t *testing.T) {
	t.Parallel()
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
		t.Helper()
		return limit.New(0).Wrap(mem.New())
	})
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
		t.Helper()
		return limit.New(1 << 30).Wrap(mem.New())
	})
}

// TestAllowance moves three megabytes through two buckets that share one allowance
// of ten a second, of which a quarter comes at once.
func TestAllowance(t *testing.T) {
	t.Parallel()
	l := limit.New(10 << 20)
	a, b := l.Wrap(mem.New()), l.Wrap(mem.New())
	data := make([]byte, 1<<20)
	begin := time.Now()
	for _, err := range []error{a.Put(t.Context(), "x", data), b.Put(t.Context(), "x", data)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := objstore.ReadAll(t.Context(), a, "x", 1<<20); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 270*time.Millisecond {
		t.Errorf("3 MiB passed in %s at 10 MiB/s", took)
	}
}

// TestSet frees a transfer that would take hours.
func TestSet(t *testing.T) {
	t.Parallel()
	l := limit.New(100)
	b := l.Wrap(mem.New())
	put := make(chan error)
	go func() { put <- b.Put(t.Context(), "x", make([]byte, 2<<20)) }()
	select {
	case err := <-put:
		t.Fatalf("it passed at once: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(cause) })
	if err := b.Put(ctx, "y", make([]byte, 1<<20)); !errors.Is(err, cause) {
		t.Errorf("got %v, want the context's cause", err)
	}
	l.Set(0)
	if err := b.Put(t.Context(), "z", make([]byte, 1<<20)); err != nil {
		t.Errorf("without a limit: %v", err)
	}
	select {
	case err := <-put:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Error("a transfer that was under way does not hear that the limit is gone")
	}
}
