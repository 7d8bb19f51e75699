package repository

import (
	"context"
	"sync"
)

// gauge counts what is under way and lets callers wait until nothing is.
type gauge struct {
	mu      sync.Mutex // guards the fields below
	n       int
	waiters []chan struct{}
}

func (g *gauge) add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n += n
	if g.n > 0 {
		return
	}
	for _, w := range g.waiters {
		close(w)
	}
	g.waiters = nil
}

// wait returns when nothing is under way, or with the error of whichever of the
// two ends first.
func (g *gauge) wait(ctx context.Context, failed <-chan struct{}, cause func() error) error {
	g.mu.Lock()
	if g.n <= 0 {
		g.mu.Unlock()
		return nil
	}
	w := make(chan struct{})
	g.waiters = append(g.waiters, w)
	g.mu.Unlock()
	select {
	case <-w:
		return nil
	case <-failed:
		return cause()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
