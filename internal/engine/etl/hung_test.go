package etl_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// cable leads to a server until it is pulled: then it takes connections and bytes,
// and passes nothing.
type cable struct {
	dir    string // of its socket
	pulled chan struct{}
}

func newCable(t *testing.T, to *testkit.Postgres) *cable {
	t.Helper()
	c := &cable{dir: testkit.Dir(t), pulled: make(chan struct{})}
	name := fmt.Sprintf(".s.PGSQL.%d", to.Port)
	l, err := net.Listen("unix", filepath.Join(c.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = l.Close()
		close(ended)
		wg.Wait()
	})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", filepath.Join(to.SocketDir, name))
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { c.pass(ended, in, out) })
			wg.Go(func() { c.pass(ended, out, in) })
		}
	})
	return c
}

func (c *cable) pass(ended <-chan struct{}, from io.ReadCloser, to io.WriteCloser) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		select {
		case <-c.pulled:
			<-ended
			return
		default:
		}
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// TestKillHung kills executions whose servers do not answer any more.
func TestKillHung(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, s text); INSERT INTO a SELECT g, repeat('x', 200) FROM generate_series(1, 200000) g")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY, s text)")
	for i, hung := range [][]string{{"shop"}, {"dwh"}, {"shop", "dwh"}} {
		t.Run(fmt.Sprint(hung), func(t *testing.T) {
			t.Parallel()
			req := p.order(t, `
extract: [{name: a, connection: shop, query: "select id, s from a where pg_sleep(0.0001) is not null"}]
load: [{from: a, connection: dwh, table: a}]
`)
			req.Job += holdfast.JobID(i)
			req.Execution += holdfast.ExecutionID(i)
			cables := map[string]*cable{"shop": newCable(t, p.shop), "dwh": newCable(t, p.dwh)}
			sites := map[string]engine.Site{}
			for slug, s := range req.Sites {
				s.Server.Host = cables[slug].dir
				sites[slug] = s
			}
			req.Sites = sites
			ctx, kill := context.WithCancelCause(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := etl.New(etl.Config{TempDir: t.TempDir()}).Run(ctx, req)
				ended <- err
			}()
			time.Sleep(2 * time.Second)
			for _, slug := range hung {
				close(cables[slug].pulled)
			}
			time.Sleep(time.Second)
			killed, start := errors.New("killed"), time.Now()
			kill(killed)
			err := <-ended
			took := time.Since(start)
			t.Logf("ended after %s", took)
			if took > 14*time.Second || !errors.Is(err, killed) {
				t.Errorf("ended %s after the kill, with %v", took, err)
			}
		})
	}
}
