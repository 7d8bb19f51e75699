package etl_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

// heard keeps what is logged.
type heard struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

// Write implements io.Writer.
func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.b.Write(p)
}

// Each idle round of a service logged a line, with the sums of the execution.
func TestIdleRoundsLogNothing(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT g FROM generate_series(1, 5) AS g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY)")
	req := p.order(t, `
mode: service
service: {interval: 100ms}
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: id}}]
load: [{from: a, connection: dwh, table: a}]
`)
	var log heard
	rounds, stop := 0, make(chan struct{})
	req.Log, req.Stop = slog.New(slog.NewTextHandler(&log, nil)), stop
	req.Round = func() {
		switch rounds++; rounds {
		case 5:
			p.shop.Exec(t, "", "INSERT INTO a VALUES (6), (7)")
		case 10:
			close(stop)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := etl.New(etl.Config{}).Run(ctx, req); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(log.b.String()) {
		if _, rest, ok := strings.Cut(line, `msg="flow ended"`); ok {
			got = append(got, rest)
		}
	}
	if len(got) != 2 || !strings.Contains(got[0], "read=5 loaded=5") || !strings.Contains(got[1], "read=2 loaded=2") {
		t.Errorf("got %q, want two rounds with their own rows", got)
	}
}
