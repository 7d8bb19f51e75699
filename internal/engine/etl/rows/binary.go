package rows

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-backup/holdfast"
)

// The format of COPY (FORMAT binary). Source: PostgreSQL's documentation of COPY,
// "Binary Format".
const (
	signature    = "PGCOPY\n\xff\r\n\x00"
	headerBytes  = len(signature) + 8 // flags and the length of the extension follow
	flagOIDs     = 1 << 16
	criticalBits = 0xffff0000
	maxExtension = 1 << 20
	maxColumns   = 1664    // MaxTupleAttributeNumber: of a query's result
	maxRow       = 1 << 30 // a server's messages end there
)

// Binary is the format of COPY (FORMAT binary).
type Binary struct{}

func (Binary) reader(r io.Reader, columns []Column) (source, error) {
	if len(columns) > maxColumns {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the rows have %d columns, and a server gives at most %d", len(columns), maxColumns)
	}
	return &tuples{r: NewReader(r, len(columns))}, nil
}

func (Binary) writer(w io.Writer, columns []Column) (sink, error) {
	if len(columns) > maxColumns {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the rows have %d columns, and a server takes at most %d", len(columns), maxColumns)
	}
	return &tupleSink{NewWriter(w)}, nil
}

// tuples is a Reader as a source.
type tuples struct{ r *Reader }

func (t *tuples) next() ([][]byte, error) { return t.r.Next() }
func (t *tuples) line() int64             { return t.r.rows }
func (t *tuples) raw() []byte             { return nil }

// tupleSink is a Writer as a sink.
type tupleSink struct{ w *Writer }

func (t *tupleSink) write(values [][]byte) error { return t.w.Write(values) }
func (t *tupleSink) close() error                { return t.w.Close() }

// window is the unread part of a stream: what is needed of it is read ahead, and
// no more memory is taken than bytes have come, but for a factor of two.
type window struct {
	r        io.Reader
	buf      []byte
	pos, end int
	eof      bool
}

// rest returns what is there.
func (w *window) rest() []byte { return w.buf[w.pos:w.end] }

// more reads at least one byte more, or returns io.EOF.
func (w *window) more() error {
	if w.eof {
		return io.EOF
	}
	if w.end == len(w.buf) {
		w.room()
	}
	for range 100 {
		n, err := w.r.Read(w.buf[w.end:])
		w.end += n
		if errors.Is(err, io.EOF) {
			w.eof = true
		} else if err != nil {
			return err
		}
		if n > 0 {
			return nil
		}
		if w.eof {
			return io.EOF
		}
	}
	return io.ErrNoProgress
}

// room makes place behind the unread bytes.
func (w *window) room() {
	unread := w.end - w.pos
	size := len(w.buf)
	switch {
	case size == 0 || size > chunkBytes && unread < chunkBytes/2:
		size = chunkBytes // the first time, or after a long row
	case unread > size/2:
		size *= 2
	}
	to := w.buf
	if size != len(w.buf) {
		to = make([]byte, size)
	}
	copy(to, w.rest())
	w.buf, w.pos, w.end = to, 0, unread
}

// Reader reads the tuples of COPY (FORMAT binary). What it reads is not trusted.
type Reader struct {
	w       window
	columns int
	values  [][]byte
	started bool
	rows    int64
}

// NewReader returns a Reader of rows with so many columns.
func NewReader(r io.Reader, columns int) *Reader {
	return &Reader{w: window{r: r}, columns: columns, values: make([][]byte, columns)}
}

// Next returns the values of the next row, nil for NULL. They are good until the
// next call. After the last row, with its trailer, Next returns io.EOF; a stream
// that ends earlier is an error that wraps io.ErrUnexpectedEOF.
func (r *Reader) Next() ([][]byte, error) {
	if !r.started {
		if err := r.header(); err != nil {
			return nil, err
		}
		r.started = true
	}
	r.rows++
	for {
		n, err := r.parse(r.w.rest())
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.w.pos += n
			return r.values, nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// fill reads on within a row.
func (r *Reader) fill() error {
	if r.w.end-r.w.pos > maxRow {
		return r.fault("is longer than 1 GiB")
	}
	switch err := r.w.more(); {
	case err == nil:
		return nil
	case !errors.Is(err, io.EOF):
		return err
	default:
		return fmt.Errorf("row %d of the binary rows: %w", r.rows, io.ErrUnexpectedEOF)
	}
}

// parse reads a row into values and returns its length; 0 when b holds only a part
// of it.
func (r *Reader) parse(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, nil
	}
	if n := int(int16(binary.BigEndian.Uint16(b))); n != r.columns || n < 0 {
		return 0, r.other(n, b[2:])
	}
	pos := 2
	for i := range r.values {
		if len(b)-pos < 4 {
			return 0, nil
		}
		size := int(int32(binary.BigEndian.Uint32(b[pos:])))
		pos += 4
		switch {
		case size == -1:
			r.values[i] = nil
		case size < 0 || size > maxRow:
			return 0, r.fault(fmt.Sprintf("has a value of %d bytes", size))
		case len(b)-pos < size:
			return 0, nil
		default:
			r.values[i] = b[pos : pos+size : pos+size]
			pos += size
		}
	}
	return pos, nil
}

// other says what a count is that is not the number of columns: the trailer, which
// nothing may follow, or a fault.
func (r *Reader) other(n int, rest []byte) error {
	if n != -1 {
		return r.fault(fmt.Sprintf("has %d columns, and not %d", n, r.columns))
	}
	if len(rest) > 0 {
		return r.fault("comes after the end of the rows")
	}
	r.w.pos += 2
	switch err := r.w.more(); {
	case errors.Is(err, io.EOF):
		r.w.buf = nil
		return io.EOF
	case err != nil:
		return err
	}
	return r.fault("comes after the end of the rows")
}

// header reads what comes before the rows.
func (r *Reader) header() error {
	for len(r.w.rest()) < headerBytes {
		if err := r.fill(); err != nil {
			return err
		}
	}
	h := r.w.rest()
	if !bytes.HasPrefix(h, []byte(signature)) {
		return holdfast.Errorf(holdfast.CodeInvalid, "the rows do not begin as COPY's binary format does").WithHint("read them with COPY ... (FORMAT binary)")
	}
	flags := binary.BigEndian.Uint32(h[len(signature):])
	if flags&flagOIDs != 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the rows come with OIDs, which PostgreSQL has not had since release 12").WithHint("read them without OIDS")
	}
	if flags&criticalBits != 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the binary rows have the unknown flags %#x", flags)
	}
	extension := binary.BigEndian.Uint32(h[len(signature)+4:])
	if extension > maxExtension {
		return holdfast.Errorf(holdfast.CodeInvalid, "the header of the binary rows has %d bytes more than it should", extension)
	}
	for len(r.w.rest()) < headerBytes+int(extension) {
		if err := r.fill(); err != nil {
			return err
		}
	}
	r.w.pos += headerBytes + int(extension)
	return nil
}

func (r *Reader) fault(what string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "row %d of the binary rows %s", r.rows, what)
}

// Writer writes the tuples of COPY (FORMAT binary). Its errors are those of the
// writer below it.
type Writer struct {
	buffer
}

// NewWriter returns a Writer. What it wrote is complete after Close only.
func NewWriter(w io.Writer) *Writer {
	b := newBuffer(w)
	b.buf = append(b.buf, signature...)
	b.buf = append(b.buf, 0, 0, 0, 0, 0, 0, 0, 0)
	return &Writer{b}
}

// Write writes a row; nil is NULL.
func (w *Writer) Write(values [][]byte) error {
	size := 2 + 4*len(values)
	for _, v := range values {
		size += len(v)
	}
	if err := w.reserve(size); err != nil {
		return err
	}
	b := binary.BigEndian.AppendUint16(w.buf, uint16(len(values)))
	for _, v := range values {
		if v == nil {
			b = append(b, 0xff, 0xff, 0xff, 0xff)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	w.buf = b
	return nil
}

// Close writes the trailer. It does not close the writer below.
func (w *Writer) Close() error {
	w.buf = append(w.buf, 0xff, 0xff)
	return w.flush()
}

// buffer collects what is written to chunks.
type buffer struct {
	w    io.Writer
	pipe *pipe // w, when it is one: then chunks are handed over, not copied
	buf  []byte
}

func newBuffer(w io.Writer) buffer {
	p, _ := w.(*pipe)
	return buffer{w: w, pipe: p, buf: make([]byte, 0, chunkBytes)}
}

// reserve makes room for n bytes. More than a chunk is room that is not used again.
func (b *buffer) reserve(n int) error {
	if len(b.buf)+n <= cap(b.buf) {
		return nil
	}
	if err := b.flush(); err != nil {
		return err
	}
	if n > cap(b.buf) {
		b.buf = make([]byte, 0, n)
	}
	return nil
}

// flush gives away what is there.
func (b *buffer) flush() (err error) {
	if len(b.buf) == 0 {
		return nil
	}
	if b.pipe != nil {
		b.buf, err = b.pipe.swap(b.buf)
		return err
	}
	_, err = b.w.Write(b.buf)
	if b.buf = b.buf[:0]; cap(b.buf) > chunkBytes {
		b.buf = make([]byte, 0, chunkBytes)
	}
	return err
}
