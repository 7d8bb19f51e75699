package fs_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
)

func open(t *testing.T, dir string) *fs.Bucket {
	t.Helper()
	b, err := fs.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestBucket(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Bucket {
		t.Helper()
		return open(t, t.TempDir())
	})
}
