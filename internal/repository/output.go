package repository

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

// output is a file that is being restored.
type output struct {
	target *engine.Target
	size   int64
	single bool         // made of one blob
	left   atomic.Int32 // places not filled

	mu     sync.Mutex // guards the fields below
	opened bool
	file   engine.TargetFile
	err    error
	used   bool // it had content before
}

// open opens the target once and gives it its size.
func (o *output) open() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.opened {
		return o.err
	}
	o.opened = true
	o.file, o.err = o.target.Open()
	if o.err != nil {
		o.file = nil
		return o.err
	}
	var one [1]byte
	// What cannot be read may be anything: then every block is written, zeros too.
	n, err := o.file.ReadAt(one[:], 0)
	o.used = n > 0 || !errors.Is(err, io.EOF)
	if err := o.file.Truncate(o.size); err != nil {
		o.err = fmt.Errorf("set the size of %q: %w", o.target.Path, err)
	}
	return o.err
}

// holds reports whether the place has the right content from before. buf has
// the blob's size.
func (o *output) holds(id hash.ID, offset int64, buf []byte) bool {
	n, err := readFull(o.file, buf, offset)
	return err == nil && n == len(buf) && hash.Sum(buf) == id
}

// write puts a blob in its place. zero says that it holds nothing but zeros,
// which a new file has already.
func (o *output) write(data []byte, offset int64, zero bool) error {
	if zero && !o.used {
		return nil
	}
	if _, err := o.file.WriteAt(data, offset); err != nil {
		return fmt.Errorf("write %q at %d: %w", o.target.Path, offset, err)
	}
	return nil
}

// filled counts a place, and ends the file after the last one.
func (o *output) filled(bytes int64) error {
	if o.target.Progress != nil {
		o.target.Progress(bytes)
	}
	if o.left.Add(-1) > 0 {
		return nil
	}
	return o.finish()
}

// finish syncs and closes the file.
func (o *output) finish() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := o.file
	o.file = nil
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("finish %q: %w", o.target.Path, err)
	}
	return nil
}

// abandon closes a file that was opened and not finished.
func (o *output) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		_ = o.file.Close() // there is an error already
		o.file = nil
	}
}

// isZero reports whether there is nothing but zeros.
func isZero(data []byte) bool {
	var zeros [4096]byte
	for len(data) > len(zeros) {
		if !bytes.Equal(data[:len(zeros)], zeros[:]) {
			return false
		}
		data = data[len(zeros):]
	}
	return bytes.Equal(data, zeros[:len(data)])
}
