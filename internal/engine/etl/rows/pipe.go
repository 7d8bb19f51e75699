package rows

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkBytes = 256 << 10
	chunksHeld = 4 // in a pipe, besides one at each end
)

// errReaderGone is what a writer gets when nobody reads any more.
var errReaderGone = errors.New("nobody reads the rows any more")

// pipe carries bytes from one goroutine to another in chunks: an io.Pipe would
// wake the reader for each row. It ends with its context.
type pipe struct {
	ctx  context.Context //nolint:containedctx // a pipe lives in one call of Transfer.Run, and io.Reader takes no context
	full chan []byte
	free chan []byte
	gone chan struct{} // closed when nobody reads

	filling []byte // the writer's
	err     error  // the writer's last word, set before full is closed; nil means io.EOF

	mu      sync.Mutex // guards the fields below, and is held while a Read is under way
	reading []byte     // what is left of the reader's chunk
	chunk   []byte     // the reader's chunk, to be used again
	closed  sync.Once
}

func newPipe(ctx context.Context) *pipe {
	return &pipe{
		ctx: ctx, full: make(chan []byte, chunksHeld), free: make(chan []byte, chunksHeld+2), gone: make(chan struct{}),
	}
}

// Write takes all of b, and hands full chunks over.
func (p *pipe) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if p.filling == nil {
			p.filling = p.empty()
		}
		k := copy(p.filling[len(p.filling):cap(p.filling)], b)
		p.filling, b = p.filling[:len(p.filling)+k], b[k:]
		if len(p.filling) == cap(p.filling) {
			if err := p.send(p.filling); err != nil {
				return n - len(b), err
			}
			p.filling = nil
		}
	}
	return n, nil
}

// empty returns a chunk with nothing in it.
func (p *pipe) empty() []byte {
	select {
	case c := <-p.free:
		return c[:0]
	default:
		return make([]byte, 0, chunkBytes)
	}
}

// swap takes a chunk over and returns an empty one; it saves a copy.
func (p *pipe) swap(full []byte) ([]byte, error) {
	if err := p.send(full); err != nil {
		return nil, err
	}
	return p.empty(), nil
}

func (p *pipe) send(chunk []byte) error {
	select {
	case p.full <- chunk:
		return nil
	case <-p.gone:
		return errReaderGone
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
}

// closeWrite says that nothing follows; with an error, that what came is not all.
func (p *pipe) closeWrite(err error) {
	if err == nil && len(p.filling) > 0 {
		err = p.send(p.filling)
	}
	p.err = err
	close(p.full)
}

// Read gives what was written.
func (p *pipe) Read(b []byte) (int, error) { return p.readUntil(b, nil) }

// readUntil is Read that comes back with nothing when tired says so.
func (p *pipe) readUntil(b []byte, tired <-chan time.Time) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.reading) == 0 {
		p.recycle()
		select {
		case c, ok := <-p.full:
			if !ok {
				return 0, p.end()
			}
			p.chunk, p.reading = c, c
		case <-tired:
			return 0, nil
		case <-p.gone:
			return 0, io.ErrClosedPipe
		case <-p.ctx.Done():
			return 0, context.Cause(p.ctx)
		}
	}
	n := copy(b, p.reading)
	p.reading = p.reading[n:]
	return n, nil
}

// recycle gives the chunk that was read back to the writer. A longer one held a
// long row, and is not kept.
func (p *pipe) recycle() {
	if cap(p.chunk) == chunkBytes {
		select {
		case p.free <- p.chunk:
		default: // there are enough
		}
	}
	p.chunk = nil
}

func (p *pipe) end() error {
	if p.err != nil {
		return p.err
	}
	return io.EOF
}

// closeRead says that nobody reads any more, and waits for a Read that is under
// way in another goroutine.
func (p *pipe) closeRead() {
	p.closed.Do(func() { close(p.gone) })
	p.mu.Lock()
	p.mu.Unlock() //nolint:staticcheck // to wait is all
}

// meter counts what is written, and tells it from time to time. When rows is not nil,
// a write is a row: so a server sends them, but for the beginning and the end of the
// stream.
type meter struct {
	w     io.Writer
	bytes *atomic.Int64
	rows  *atomic.Int64
	wrote int64 // writes

	untold, untoldRows int64
}

func (m *meter) Write(b []byte) (int, error) {
	n, err := m.w.Write(b)
	m.untold += int64(n)
	if m.rows != nil {
		m.untoldRows++
		m.wrote++
	}
	if m.untold >= chunkBytes {
		m.tell()
	}
	return n, err
}

// tell brings the counters up to date.
func (m *meter) tell() {
	m.bytes.Add(m.untold)
	if m.rows != nil {
		m.rows.Add(m.untoldRows)
	}
	m.untold, m.untoldRows = 0, 0
}

// gauge counts what is read.
type gauge struct {
	p     *pipe
	bytes *atomic.Int64
}

func (g *gauge) Read(b []byte) (int, error) { return g.readUntil(b, nil) }

func (g *gauge) readUntil(b []byte, tired <-chan time.Time) (int, error) {
	n, err := g.p.readUntil(b, tired)
	g.bytes.Add(int64(n))
	return n, err
}

// patience is how long a server's error may wait for the next rows to come.
const patience = time.Second

// restless reads nothing from time to time. CopyFrom looks for the server's error
// between two reads only, and would wait for a source that is silent for long.
type restless struct{ g *gauge }

func (r restless) Read(b []byte) (int, error) {
	tired := time.NewTimer(patience)
	defer tired.Stop()
	return r.g.readUntil(b, tired.C)
}
