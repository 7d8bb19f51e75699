package etl_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// served is a service at work.
type served struct {
	stop, rounds chan struct{}
	changed      chan map[string]string
	ended        chan error
	res          engine.Result // when it has ended
}

// serve starts a service. It is ended with the test at the latest.
func serve(t *testing.T, ctx context.Context, req engine.ETL) *served {
	t.Helper()
	return serveWith(t, ctx, etl.Config{}, req)
}

func serveWith(t *testing.T, ctx context.Context, c etl.Config, req engine.ETL) *served {
	t.Helper()
	s := &served{stop: make(chan struct{}), rounds: make(chan struct{}, 10_000), changed: make(chan map[string]string), ended: make(chan error, 1)}
	req.Stop, req.Changed = s.stop, s.changed
	req.Round = func() { s.rounds <- struct{}{} }
	go func() {
		var err error
		s.res, err = etl.New(c).Run(ctx, req)
		s.ended <- err
	}()
	return s
}

// wait waits until the target has so many rows.
func (s *served) wait(t *testing.T, dwh *testkit.Postgres, sql, want string) {
	t.Helper()
	got := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if got = dwh.Value(t, "", sql); got == want {
			return
		}
		select {
		case err := <-s.ended:
			t.Fatalf("the service has ended: %v", err)
		default:
		}
	}
	t.Fatalf("%s: got %s, want %s", sql, got, want)
}

// end waits for the end.
func (s *served) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the service does not end")
		return nil
	}
}

const service = `
mode: service
service: {interval: 100ms, idle_backoff: 200ms}
parameters: {least: {type: integer, default: 0}}
extract: [{name: a, connection: shop, query: "select * from a where v >= :least", incremental: {strategy: column, column: id}}]
load: [{from: a, connection: dwh, table: a}]
`

func TestService(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	table := "CREATE TABLE a (id int PRIMARY KEY, v int); "
	p.shop.Exec(t, "", table+"INSERT INTO a SELECT g, g FROM generate_series(1, 10) AS g")
	p.dwh.Exec(t, "", table)
	const count = "SELECT count(*) FROM a"

	s := serve(t, t.Context(), p.order(t, service, testkit.Expect("do not fit")))
	s.wait(t, p.dwh, count, "10")
	for i := 11; i <= 15; i++ {
		p.shop.Exec(t, "", "INSERT INTO a VALUES ($1, $1)", i)
		s.wait(t, p.dwh, count, fmt.Sprint(i))
	}
	s.changed <- map[string]string{"least": "many"} // refused, and the service goes on
	s.changed <- map[string]string{"least": "1000"}
	p.shop.Exec(t, "", "INSERT INTO a VALUES (16, 16), (17, 1000)")
	s.wait(t, p.dwh, count, "16")
	close(s.stop)
	if err := s.end(t); err != nil {
		t.Errorf("a stop is a good end: got %v", err)
	}
	same(t, p.shop, "SELECT * FROM a WHERE id <> 16", p.dwh, "SELECT * FROM a")
	if f := s.res.Flows[0]; f.Loaded != 16 || s.res.Rounds != int64(len(s.rounds)) || s.res.Rounds < 7 {
		t.Errorf("got flow %+v, %d rounds, %d told", f, s.res.Rounds, len(s.rounds))
	}
	p.nothingLeft(t)

	t.Run("the next fence goes on", func(t *testing.T) {
		req := p.order(t, service)
		req.Fence = 2
		ctx, cancel := context.WithCancelCause(t.Context())
		s := serve(t, ctx, req)
		p.shop.Exec(t, "", "INSERT INTO a VALUES (18, 18)")
		s.wait(t, p.dwh, count, "17")
		cause := fmt.Errorf("killed: %w", engine.ErrWish)
		cancel(cause)
		if err := s.end(t); !errors.Is(err, cause) {
			t.Errorf("got %v, want the context's cause", err)
		}
		p.nothingLeft(t)
	})
}

// TestServiceStopsInItsRound stops a service while a unit is at work: the unit is
// finished and committed, and its round is one like any other.
func TestServiceStopsInItsRound(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a AS SELECT 1 AS id")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	s := serve(t, t.Context(), p.order(t, `
mode: service
service: {interval: 100ms}
extract: [{name: a, connection: shop, query: "select a.* from a, pg_sleep(1)"}]
load: [{from: a, connection: dwh, table: a, mode: replace}]
`))
	s.wait(t, p.shop, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "1")
	close(s.stop)
	if err := s.end(t); err != nil {
		t.Errorf("a stop is a good end: got %v", err)
	}
	if f := s.res.Flows[0]; f.Loaded != 1 || s.res.Rounds != 1 || len(s.rounds) != 1 {
		t.Errorf("got flow %+v, %d rounds, %d told; want one of each", f, s.res.Rounds, len(s.rounds))
	}
	p.nothingLeft(t)
}

// phase waits until the newest phase is one that the pattern matches.
func phase(t *testing.T, r *enginetest.Report, pattern *regexp.Regexp) {
	t.Helper()
	var phases []string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if phases = r.Phases(); len(phases) > 0 && pattern.MatchString(phases[len(phases)-1]) {
			return
		}
	}
	t.Fatalf("phases: got %q, want %s", phases[max(len(phases)-10, 0):], pattern)
}

// TestServiceWaits lets a service's target be away for longer than it takes to give
// up, and then fail a unit that has read its rows.
func TestServiceWaits(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	table := "CREATE TABLE a (id int PRIMARY KEY, v int); "
	p.shop.Exec(t, "", table+"INSERT INTO a SELECT g, g FROM generate_series(1, 100) AS g")
	p.dwh.Exec(t, "", table)
	report := &enginetest.Report{}
	req := p.order(t, service, testkit.Expect("round failed, and is tried again"))
	req.Report = report
	s := serveWith(t, t.Context(), etl.Config{Backoff: 300 * time.Millisecond}, req)
	s.wait(t, p.dwh, "SELECT count(*) FROM a", "100")
	p.dwh.Stop(t, testkit.Fast)
	phase(t, report, regexp.MustCompile("^retry in 4.8s, after 5 failed rounds: "))
	p.dwh.Start(t)
	phase(t, report, regexp.MustCompile("^wait$"))

	p.dwh.Exec(t, "", "ALTER TABLE a ADD CHECK (v < 1000)")
	p.shop.Exec(t, "", "INSERT INTO a SELECT g, g FROM generate_series(101, 1000) AS g")
	phase(t, report, regexp.MustCompile("^retry in 600ms, after 2 failed rounds: .*check constraint"))
	if done, _, _, _ := report.Counts(); done != 100 {
		t.Errorf("rows done: got %d, want the 100 that are committed", done)
	}
	p.dwh.Exec(t, "", "ALTER TABLE a DROP CONSTRAINT a_v_check")
	s.wait(t, p.dwh, "SELECT count(*) FROM a", "1000")
	close(s.stop)
	if err := s.end(t); err != nil {
		t.Errorf("got %v, want a good end", err)
	}
	if done, _, _, _ := report.Counts(); done != 1000 {
		t.Errorf("rows done: got %d, want 1000", done)
	}
}

func TestServiceComesBackAndGivesUp(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	table := "CREATE TABLE a (id int PRIMARY KEY, v int); "
	p.shop.Exec(t, "", table+"INSERT INTO a VALUES (1, 1)")
	p.dwh.Exec(t, "", table)
	const count = "SELECT count(*) FROM a"
	report := &enginetest.Report{}
	req := p.order(t, service, testkit.Expect("round failed, and is tried again"))
	req.Report = report
	s := serve(t, t.Context(), req)
	s.wait(t, p.dwh, count, "1")
	p.shop.Stop(t, testkit.Fast)
	phase(t, report, regexp.MustCompile("^retry in 1s, after a failed round: .*(cannot be reached|is shutting down)"))
	p.shop.Start(t)
	p.shop.Exec(t, "", "INSERT INTO a VALUES (2, 2)")
	s.wait(t, p.dwh, count, "2")
	if done, _, _, _ := report.Counts(); done != 2 {
		t.Errorf("rows done: got %d, want those that are committed", done)
	}
	p.dwh.Exec(t, "", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'holdfast%'")
	p.shop.Exec(t, "", "INSERT INTO a VALUES (3, 3)")
	s.wait(t, p.dwh, count, "3")
	p.dwh.Exec(t, "", "BEGIN; DROP TABLE a; "+table+"DROP SCHEMA holdfast_etl CASCADE; COMMIT") // as a restore of the target would
	s.wait(t, p.dwh, count, "3")
	p.dwh.Exec(t, "", "ALTER TABLE a RENAME TO gone")
	err := s.end(t)
	wantError(t, err, holdfast.CodeInvalid, "given up", "no table")
	if !strings.Contains(fmt.Sprint(err), "a") || s.res.Flows[0].Loaded < 3 {
		t.Errorf("got %v, flows %+v", err, s.res.Flows)
	}
	p.nothingLeft(t)
}
