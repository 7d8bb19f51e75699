package etl_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// pair is a server to read from and one to load into.
type pair struct{ shop, dwh *testkit.Postgres }

// servers are what the tests of the package take in turn.
var servers testkit.Servers

func startServer(t testing.TB) *testkit.Postgres {
	t.Helper()
	return servers.Take(t)
}

func startPair(t testing.TB) pair {
	t.Helper()
	return pair{startServer(t), startServer(t)}
}

func siteOf(p *testkit.Postgres, slug string) engine.Site {
	return engine.Site{
		Slug: slug, Password: holdfast.NewSecret(p.Password),
		Server: holdfast.Server{Host: p.SocketDir, Port: p.Port, User: p.User, Database: "postgres", SSLMode: "disable"},
	}
}

// connections is the head of every definition here.
const connections = `
apiVersion: holdfast/etl/v1
name: test
connections: {shop: {site: shop}, dwh: {site: dwh}}
`

// order asks for an execution of a definition without its head.
func (p pair) order(t testing.TB, definition string, log ...testkit.LogOption) engine.ETL {
	t.Helper()
	return engine.ETL{
		Installation: "here", Job: 1001, JobName: "test", Execution: 1001, Fence: 1, Definition: connections + definition,
		Sites:  map[string]engine.Site{"shop": siteOf(p.shop, "shop"), "dwh": siteOf(p.dwh, "dwh")},
		Report: &enginetest.Report{}, Log: testkit.Logger(t, log...), Stop: make(chan struct{}),
	}
}

// run does an execution, which must succeed.
func run(t testing.TB, req engine.ETL) engine.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	res, err := etl.New(etl.Config{TempDir: os.TempDir()}).Run(ctx, req)
	if err != nil {
		t.Fatalf("run: %v (hint: %s)", err, holdfast.ErrorHint(err))
	}
	return res
}

// fail does an execution, which must fail with the code and the words.
func fail(t testing.TB, req engine.ETL, code holdfast.Code, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := etl.New(etl.Config{}).Run(ctx, req)
	wantError(t, err, code, words...)
}

// wantError checks an error's code, and that its text and hint hold the words.
func wantError(t testing.TB, err error, code holdfast.Code, words ...string) {
	t.Helper()
	if holdfast.ErrorCode(err) != code {
		t.Errorf("got error %v (%s), want %s", err, holdfast.ErrorCode(err), code)
		return
	}
	text := holdfast.ErrorMessage(err) + "\n" + holdfast.ErrorHint(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("got error %q, want %q in it", text, w)
		}
	}
}

// same fails the test unless two queries give the same rows, each many times.
func same(t testing.TB, a *testkit.Postgres, asql string, b *testkit.Postgres, bsql string) {
	t.Helper()
	hash := func(p *testkit.Postgres, sql string) string {
		return strings.Join(p.Rows(t, "", "SELECT count(*), sum(hashtextextended(q::text, 1)), sum(hashtextextended(q::text, 2)) FROM ("+sql+") AS q")[0], " ")
	}
	if got, want := hash(b, bsql), hash(a, asql); got != want {
		t.Errorf("%s: got %s, want %s", bsql, got, want)
	}
}

// nothingLeft fails the test when a session of an execution is on a server.
func (p pair) nothingLeft(t testing.TB) {
	t.Helper()
	for _, s := range []*testkit.Postgres{p.shop, p.dwh} {
		// A session that we have closed is seen until its server has ended it.
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			rows := s.Rows(t, "", "SELECT application_name, query FROM pg_stat_activity WHERE application_name LIKE 'holdfast%'")
			if len(rows) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("sessions are left: %q", rows)
				break
			}
		}
	}
}

// childEnv makes the test binary a process that runs one execution.
const childEnv = "HOLDFAST_TEST_ETL"

// child is what such a process is told.
type child struct {
	Shop, DWH  engine.Site
	Definition string
	Execution  holdfast.ExecutionID
	Identity   string
	Fence      holdfast.Fence
	Roots      []string
	DuckBinary string
	FreezeAt   string // step at which the process stops itself, until it is told to go on
}

func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		code := m.Run()
		servers.Close()
		os.Exit(code)
	}
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		panic(err)
	}
	if err := c.run(); err != nil {
		_, _ = fmt.Fprintf(os.Stderr, "%s: %s\n", holdfast.ErrorCode(err), err)
		os.Exit(1)
	}
}

// run works in the child. It says its steps, so that the parent can choose a moment.
func (c child) run() error {
	p := etl.New(etl.Config{DuckBinary: c.DuckBinary, TempDir: os.TempDir(), Step: func(name string) {
		_, _ = fmt.Fprintln(os.Stdout, name)
		if name == c.FreezeAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			time.Sleep(100 * time.Millisecond) // the signal comes while we sleep
		}
	}})
	_, err := p.Run(context.Background(), engine.ETL{
		Installation: "here", Job: 1001, JobName: "test", Execution: c.Execution, Identity: c.Identity, Fence: c.Fence, Definition: c.Definition,
		Sites: map[string]engine.Site{"shop": c.Shop, "dwh": c.DWH}, Roots: c.Roots,
		Report: &enginetest.Report{}, Log: slog.New(slog.DiscardHandler), Stop: make(chan struct{}),
	})
	return err
}
