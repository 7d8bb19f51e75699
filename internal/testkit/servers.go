package testkit

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Servers are PostgreSQL servers that tests of one package take in turn, each for itself
// until it has ended: making a cluster takes longer than most tests. The zero value has
// none yet. Close is for TestMain.
type Servers struct {
	mu   sync.Mutex // guards the fields below
	idle []*Postgres
	all  []*lasting
}

// Take returns a server as [StartPostgres] does, with nothing in it. It goes back when
// the test ends, unless the test has stopped it.
func (s *Servers) Take(t testing.TB) *Postgres {
	t.Helper()
	p := s.take()
	if p == nil {
		l := &lasting{TB: t}
		p = StartPostgres(l, PostgresOptions{})
		l.TB = nil
		s.mu.Lock()
		s.all = append(s.all, l)
		s.mu.Unlock()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log ends with:\n%s", p.Log(40))
		}
		if p.cmd == nil {
			return
		}
		if err := p.clear(); err != nil {
			t.Errorf("clear the server for the next test: %v", err)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle = append(s.idle, p)
	})
	return p
}

func (s *Servers) take() *Postgres {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		return nil
	}
	p := s.idle[len(s.idle)-1]
	s.idle = s.idle[:len(s.idle)-1]
	return p
}

// Close stops the servers, and removes what is theirs.
func (s *Servers) Close() {
	for _, l := range s.all {
		l.end()
	}
}

// clear makes the server as good as new, but for its settings: databases and roles go.
func (p *Postgres) clear() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopLimit)
	defer cancel()
	conn, err := pgx.Connect(ctx, p.ConnString("template1"))
	if err != nil {
		return err
	}
	rows, err := conn.Query(ctx, `SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database WHERE NOT datistemplate
		UNION ALL SELECT 'CREATE DATABASE postgres TEMPLATE template0'
		UNION ALL SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE oid >= 16384
		UNION ALL SELECT format('ALTER ROLE %I RESET ALL', current_user)`)
	var all []string
	if err == nil {
		all, err = pgx.CollectRows(rows, pgx.RowTo[string])
	}
	for _, sql := range all {
		if err == nil {
			_, err = conn.Exec(ctx, sql)
		}
	}
	return firstError(err, conn.Close(ctx))
}

// lasting is a test that has no end: what belongs to it lasts until end is called. While
// TB is set, that test fails for it.
type lasting struct {
	testing.TB
	mu    sync.Mutex // guards the field below
	after []func()
}

func (l *lasting) Helper()                  {}
func (l *lasting) Failed() bool             { return false }
func (l *lasting) Context() context.Context { return context.Background() }
func (l *lasting) Errorf(f string, a ...any) {
	_, _ = fmt.Fprintf(os.Stderr, f+"\n", a...)
}

func (l *lasting) Cleanup(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after = append(l.after, f)
}

func (l *lasting) Fatal(a ...any) {
	if l.TB == nil {
		panic(fmt.Sprint(a...))
	}
	l.TB.Fatal(a...)
}

func (l *lasting) Fatalf(f string, a ...any) {
	if l.TB == nil {
		panic(fmt.Sprintf(f, a...))
	}
	l.TB.Fatalf(f, a...)
}

func (l *lasting) end() {
	for _, f := range slices.Backward(l.after) {
		f()
	}
}
