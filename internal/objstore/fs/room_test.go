package fs_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/objstore/limit"
	"github.com/holdfast-backup/holdfast/internal/objstore/retry"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestReserve fills a file system with large objects: what makes room fits in all the same.
func TestReserve(t *testing.T) {
	t.Parallel()
	const total = 40 << 20
	dir := filepath.Join(testkit.SmallFS(t, total), "b")
	inner, err := fs.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := retry.Wrap(limit.New(0).Wrap(inner), retry.Options{})
	if err := objstore.Room(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	large := bytes.Repeat([]byte("x"), 1<<20)
	for n := 0; ; n++ {
		err := b.Put(t.Context(), fmt.Sprintf("data/%d", n), large)
		if err == nil {
			continue
		}
		if holdfast.ErrorCode(err) != holdfast.CodeExhausted || holdfast.ErrorHint(err) == "" || n < 30 {
			t.Fatalf("after %d objects: got %v", n, err)
		}
		break
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if free := int64(st.Bavail) * int64(st.Bsize); free < total/20 || free > total/20+2<<20 { //nolint:gosec,unconvert // small
		t.Errorf("%d bytes of %d are free", free, total)
	}
	for n := range 10 {
		if err := b.Put(t.Context(), fmt.Sprintf("locks/%d", n), large[:100_000]); err != nil {
			t.Error(err)
		}
	}
	if err := b.Put(t.Context(), "data/last", large); holdfast.ErrorCode(err) != holdfast.CodeExhausted {
		t.Errorf("a large object into the reserve: got %v", err)
	}
	if err := objstore.Room(t.Context(), b); holdfast.ErrorCode(err) != holdfast.CodeExhausted {
		t.Errorf("room: got %v", err)
	}
}
