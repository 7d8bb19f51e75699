package pgphysical

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is written past the page cache. Measured on an ext4 on a virtual disk: copying a
// restored cluster into the cache took more of the processors than decrypting,
// decompressing and verifying it together, and pushed out what other programs of
// the machine had there.
const (
	directFile  = 1 << 20   // bytes of a file, from which on it is tried
	directWrite = 256 << 10 // bytes of one write: small ones are better gathered by the kernel
	directAlign = 64 << 10  // of offset and length: no page of any machine is written both ways at once
	memoryAlign = 4096      // of the memory: what every block device takes
)

// direct writes one file past the page cache, where that can be. It may be used by
// several goroutines.
type direct struct {
	file *os.File
	off  atomic.Bool // the file system has refused
}

// directFlag is what opens a file so.
const directFlag = unix.O_DIRECT

func newDirect(f *os.File) *direct { return &direct{file: f} }

// aligned has memory for what does not lie well.
var aligned = sync.Pool{New: func() any { return new(room) }}

type room struct{ bytes []byte }

// get returns n bytes at an address that the kernel takes.
func (r *room) get(n int) []byte {
	if len(r.bytes) < n+memoryAlign {
		r.bytes = make([]byte, n+memoryAlign)
	}
	skip := (memoryAlign - address(r.bytes)%memoryAlign) % memoryAlign
	return r.bytes[skip : skip+uintptr(n)]
}

func address(p []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p))) } //nolint:gosec // only to be divided

// WriteAt writes as much of the beginning of p as goes past the cache, and returns how
// much that was: none is no error.
func (d *direct) WriteAt(p []byte, offset int64) (int, error) {
	n := len(p) &^ (directAlign - 1)
	if d == nil || n < directWrite || offset%directAlign != 0 || d.off.Load() {
		return 0, nil
	}
	p = p[:n]
	if address(p)%memoryAlign != 0 {
		r := aligned.Get().(*room) //nolint:forcetypeassert // there is nothing else in it
		defer aligned.Put(r)
		p = r.get(n)[:copy(r.get(n), p)]
	}
	n, err := d.file.WriteAt(p, offset)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		d.off.Store(true)
		return 0, nil
	}
	return n, err
}

// Close closes it.
func (d *direct) Close() error {
	if d == nil {
		return nil
	}
	return d.file.Close()
}
