package direct

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	minWrite    = 256 << 10 // bytes of one write: small ones are better gathered by the kernel
	fileAlign   = 64 << 10  // of offset and length: no page of any machine is written both ways at once
	memoryAlign = 4096      // of the memory: what every block device takes
)

// MinFile is how many bytes a file has at least for which it is worth to be tried.
const MinFile = 1 << 20

// Flag is what opens a file so. Many file systems refuse it.
const Flag = unix.O_DIRECT

// Writer writes one file past the page cache, where that can be. It may be used by several
// goroutines. nil writes nothing.
type Writer struct {
	file *os.File
	off  atomic.Bool // the file system has refused
}

// New returns a writer of a file that was opened with [Flag].
func New(f *os.File) *Writer { return &Writer{file: f} }

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
// much that was: none is no error, and the rest is for another handle of the file.
func (d *Writer) WriteAt(p []byte, offset int64) (int, error) {
	n := len(p) &^ (fileAlign - 1)
	if d == nil || n < minWrite || offset%fileAlign != 0 || d.off.Load() {
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

// Close closes the file.
func (d *Writer) Close() error {
	if d == nil {
		return nil
	}
	return d.file.Close()
}
