package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	logBuffer  = 1 << 20  // bytes that wait to be acknowledged
	logPiece   = 64 << 10 // sent at once
	flushLimit = 2 * time.Second
)

// shipper sends an execution's log to the control plane. Writing never waits:
// while the buffer is full, lines are dropped, and a note says how many.
type shipper struct {
	line    *line
	subject string
	fence   holdfast.Fence
	wake    chan struct{}
	stop    context.CancelFunc
	ended   chan struct{}

	mu      sync.Mutex // guards the fields below
	buf     []byte     // what is not acknowledged
	base    int64      // offset of buf
	dropped int        // lines
	dead    bool       // nobody wants it any more
	empty   chan struct{}
}

func newShipper(ctx context.Context, line *line, subject string, fence holdfast.Fence) *shipper {
	ctx, stop := context.WithCancel(ctx)
	s := &shipper{
		line: line, subject: subject, fence: fence, stop: stop,
		wake: make(chan struct{}, 1), ended: make(chan struct{}), empty: make(chan struct{}),
	}
	close(s.empty)
	go s.loop(ctx)
	return s
}

// Write takes one line.
func (s *shipper) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return len(line), nil
	}
	note := ""
	if s.dropped > 0 {
		note = fmt.Sprintf("[%d lines of the log dropped: the control plane did not take them in time]\n", s.dropped)
	}
	if len(s.buf)+len(note)+len(line) > logBuffer {
		s.dropped++
		return len(line), nil
	}
	if len(s.buf) == 0 {
		s.empty = make(chan struct{})
	}
	s.dropped = 0
	s.buf = append(append(s.buf, note...), line...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return len(line), nil
}

// flush waits until everything is acknowledged, at most for the limit.
func (s *shipper) flush(ctx context.Context, limit time.Duration) {
	s.mu.Lock()
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return
	default:
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-empty:
	case <-ctx.Done():
	case <-t.C:
	}
}

// close gives the last lines a moment, and ends the shipper.
func (s *shipper) close() {
	s.flush(context.Background(), flushLimit)
	s.stop()
	<-s.ended
}

func (s *shipper) loop(ctx context.Context) {
	defer close(s.ended)
	lost, failures := false, 0
	for wait := retryFirst; ; {
		c := s.next(lost)
		if c == nil {
			select {
			case <-ctx.Done():
				return
			case <-s.wake:
			}
			continue
		}
		reply, err := request[wire.ChunkReply](ctx, s.line, s.subject, c, requestLimit)
		if err == nil {
			err = reply.Failure.Err()
		}
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			lost = s.acknowledge(reply.Next)
			wait = retryFirst
			continue
		case !passing(err, &failures):
			s.kill()
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jitter(wait)):
		}
		wait = min(2*wait, retryMost)
	}
}

// next returns the next piece; nil when there is none.
func (s *shipper) next(lost bool) *wire.Chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.buf) == 0 {
		return nil
	}
	data := append([]byte(nil), s.buf[:min(len(s.buf), logPiece)]...)
	return &wire.Chunk{Fence: s.fence, Offset: s.base, Data: data, Lost: lost}
}

// acknowledge lets go of what the control plane has. It reports whether the
// control plane lacks bytes that we have let go of before.
func (s *shipper) acknowledge(next int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if next < s.base {
		return true
	}
	n := min(next-s.base, int64(len(s.buf)))
	s.buf = s.buf[n:]
	s.base += n
	if len(s.buf) == 0 {
		s.buf = nil
		s.signalEmpty()
	}
	return false
}

// kill ends the shipping: the order is outdated.
func (s *shipper) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead, s.buf = true, nil
	s.signalEmpty()
}

// signalEmpty is called with mu held.
func (s *shipper) signalEmpty() {
	select {
	case <-s.empty:
	default:
		close(s.empty)
	}
}
