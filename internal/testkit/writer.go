package testkit

import (
	"io"
	"sync"
)

// lockedWriter lets several goroutines write to one writer.
type lockedWriter struct {
	mu sync.Mutex // guards the field below
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
