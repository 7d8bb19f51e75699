package worker

import (
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// pools is what the worker serves, with the bells that it listens to.
type pools struct {
	conn *nats.Conn

	mu     sync.Mutex // guards the fields below
	names  []string
	bells  map[string]*nats.Subscription
	closed bool
}

func newPools(conn *nats.Conn) *pools {
	return &pools{conn: conn, bells: map[string]*nats.Subscription{}}
}

// served returns the pools.
func (p *pools) served() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.names
}

// serve makes the names the pools from now on, and reports whether that changes
// anything. rung is called when one of their bells rings.
func (p *pools) serve(names []string, rung func()) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || slices.Equal(names, p.names) {
		return false, nil
	}
	for _, name := range names {
		if p.bells[name] != nil {
			continue
		}
		s, err := p.conn.Subscribe(wire.BellSubject(name), func(*nats.Msg) { rung() })
		if err != nil {
			return false, holdfast.Wrap(holdfast.CodeUnavailable, err, "subscribe to %s", wire.BellSubject(name))
		}
		p.bells[name] = s
	}
	for name, s := range p.bells {
		if !slices.Contains(names, name) {
			_ = s.Unsubscribe() // the connection may have gone
			delete(p.bells, name)
		}
	}
	p.names = slices.Clone(names)
	return true, nil
}

// close listens to nothing any more.
func (p *pools) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, s := range p.bells {
		_ = s.Unsubscribe() // the connection may have gone
	}
}
