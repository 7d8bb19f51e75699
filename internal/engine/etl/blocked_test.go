package etl_test

import (
	"bytes"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
)

// text is what a log has written.
type text struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (l *text) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Whoever holds a lock that the claim waits for is named while it waits.
func TestWhoBlocksTheClaim(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: replace}]\n")
	run(t, req)
	req.Execution++
	log, report := &text{}, &enginetest.Report{}
	req.Log, req.Report = slog.New(slog.NewTextHandler(log, nil)), report
	blocker := p.dwh.Connect(t)
	if _, err := blocker.Exec(t.Context(), "SET application_name = 'a nightly job'; BEGIN; LOCK TABLE holdfast_etl.execution"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := etl.New(etl.Config{}).Run(t.Context(), req)
		ended <- err
	}()
	phase(t, report, regexp.MustCompile(`^claim, blocked by process \d+ \(a nightly job\) since 20\d\d-\d\d-\d\dT.*Z$`))
	if _, err := blocker.Exec(t.Context(), "COMMIT"); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := log.String(); !strings.Contains(got, "a lock in the target is waited for") || !strings.Contains(got, `application="a nightly job"`) {
		t.Errorf("got the log %s", got)
	}
	p.nothingLeft(t)
}
