package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// line is the connection to the control plane. When it breaks, those who wait
// for an answer hear of it at once: the answer will not come.
type line struct {
	conn *nats.Conn

	mu  sync.Mutex      // guards the fields below
	up  context.Context //nolint:containedctx // ends when the connection breaks, and is made anew
	cut context.CancelFunc
}

func newLine(conn *nats.Conn) *line {
	l := &line{conn: conn}
	l.up, l.cut = context.WithCancel(context.Background())
	return l
}

func (l *line) current() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.up
}

// watch follows the connection until ctx ends, and calls back when it has come
// up again.
func (l *line) watch(ctx context.Context, again func()) {
	status := l.conn.StatusChanged(nats.RECONNECTING, nats.CONNECTED)
	defer l.conn.RemoveStatusListener(status)
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-status:
			if s == nats.CONNECTED {
				again()
				continue
			}
			l.mu.Lock()
			l.cut()
			l.up, l.cut = context.WithCancel(context.Background()) //nolint:fatcontext // not nested: a new one takes the place of the old
			l.mu.Unlock()
		}
	}
}

// request asks the control plane once. CodeUnavailable when there is no answer
// within the limit.
func request[T any, M interface {
	*T
	wire.Message
}](ctx context.Context, l *line, subject string, m wire.Message, limit time.Duration) (T, error) {
	var zero T
	b, err := wire.Encode(m)
	if err != nil {
		return zero, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stop := context.AfterFunc(l.current(), cancel) //nolint:contextcheck // not of this request: it ends with the connection
	defer stop()
	reply, err := l.conn.RequestWithContext(ctx, subject, b)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return zero, holdfast.Wrap(holdfast.CodeUnavailable, err, "no control plane listens")
	case err != nil:
		return zero, holdfast.Wrap(holdfast.CodeUnavailable, err, "the control plane does not answer")
	}
	return wire.Decode[T, M](reply.Data)
}
