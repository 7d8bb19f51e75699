package mem_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/objstore/objstoretest"
)

func TestBucket(t *testing.T) {
	objstoretest.Run(t, func(*testing.T) objstore.Bucket { return mem.New() })
}

func TestCloneChangesOnItsOwn(t *testing.T) {
	a := mem.New()
	if err := a.Put(t.Context(), "config", []byte("a")); err != nil {
		t.Fatal(err)
	}
	b := a.Clone()
	b.Replace("config", []byte("b"))
	if err := b.Put(t.Context(), "other", nil); err != nil {
		t.Fatal(err)
	}
	got, err := objstore.ReadAll(t.Context(), a, "config", 10)
	if err != nil || string(got) != "a" {
		t.Errorf("got %q, %v, want %q", got, err, "a")
	}
	if _, err := a.Stat(t.Context(), "other"); err == nil {
		t.Error("a put into the clone shows in the original")
	}
}
