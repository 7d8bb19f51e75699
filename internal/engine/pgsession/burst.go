package pgsession

import (
	"net"
	"sync/atomic"
	"time"
)

// A server sends 8 KiB at a time
// (https://github.com/postgres/postgres/blob/REL_17_STABLE/src/backend/libpq/pqcomm.c),
// and whoever reads each of them at once is woken so often that both sides pay for it:
// a third of the system time of a copy between two servers of one machine.
const (
	burstAfter = 1 << 20                // bytes without a write between them: the server sends a copy
	burstPause = 250 * time.Microsecond // in which a fast one fills a quarter of its socket's buffer of 208 KiB
	burstBytes = 256 << 10              // that one read may bring
)

// sendBytes is how much a connection to a server of the same machine holds on its way
// there: with the 208 KiB of a socket, a load and the server work by turns.
const sendBytes = 1 << 20

// buffered widens a socket's buffer. One that stays narrow is slower, and works; TCP
// widens its own.
func buffered(conn net.Conn) net.Conn {
	if u, ok := conn.(*net.UnixConn); ok {
		_ = u.SetWriteBuffer(sendBytes)
	}
	return conn
}

// burst is a connection that reads what a server sends without pause in large pieces.
// It costs no question an answer: those are short, or follow a write.
type burst struct {
	net.Conn
	run  atomic.Int64 // bytes that were read since the last write
	held []byte
	rest []byte // of held: what nobody has taken yet
}

// Read implements [net.Conn].
func (b *burst) Read(p []byte) (int, error) {
	if len(b.rest) == 0 && b.run.Load() < burstAfter {
		n, err := b.Conn.Read(p)
		b.run.Add(int64(n))
		return n, err
	}
	if len(b.rest) == 0 {
		if b.held == nil {
			b.held = make([]byte, burstBytes)
		}
		pause(burstPause)
		n, err := b.Conn.Read(b.held)
		if n == 0 {
			return 0, err
		}
		b.rest = b.held[:n] // an error comes again with the next read
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Write implements [net.Conn].
func (b *burst) Write(p []byte) (int, error) {
	b.run.Store(0)
	return b.Conn.Write(p)
}
