package repository

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
)

// forgetful keeps of packs only that they were there.
type forgetful struct{ objstore.Bucket }

func (f forgetful) Put(ctx context.Context, name string, data []byte) error {
	if strings.HasPrefix(name, "data/") {
		data = data[:1]
	}
	return f.Bucket.Put(ctx, name, data)
}

// stamped is a large file in little memory: the same noise in each block, with a
// number that makes it another one.
type stamped struct {
	noise []byte
	file  uint64
}

func (s stamped) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, s.noise[off%blockSize:])
	if off%blockSize == 0 && n >= 16 {
		binary.LittleEndian.PutUint64(p, s.file)
		binary.LittleEndian.PutUint64(p[8:], uint64(off))
	}
	if n < len(p) {
		return n, io.ErrUnexpectedEOF
	}
	return n, nil
}

func (stamped) Close() error { return nil }

// TestMemoryIsFlat: a backup takes the same memory however large it is.
func TestMemoryIsFlat(t *testing.T) {
	r := newRepository(t, forgetful{mem.New()})
	w := newWriter(t, r)
	base := noise(blockSize, 1)
	const files, size = 8, 128 << 20
	var most uint64
	before := heapInUse()
	for i := range files {
		err := w.Add(t.Context(), engine.File{
			Node: engine.Node{Path: fmt.Sprint(i), Size: size, ModTime: testTime},
			Open: func() (engine.Content, error) { return stamped{base, uint64(i)}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, heapInUse())
	}
	if _, err := w.Commit(t.Context(), testCommit(), intendNothing); err != nil {
		t.Fatal(err)
	}
	if got := w.Stats(); got.NewBlobs != files*size/blockSize {
		t.Errorf("stored %d blobs", got.NewBlobs)
	}
	if grown := int64(most) - int64(before); grown > packBuffers*packBuffer+16<<20 {
		t.Errorf("a backup of %d MiB took %d MiB", files*size>>20, grown>>20)
	}
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
