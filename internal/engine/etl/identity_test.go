package etl_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
)

// The metadata database goes back to an older copy of itself, and numbers come again:
// what another execution with the number has loaded is not what this one is to load.
// Counters belong to flows, and go on; the old execution may not come back.
func TestNumberComesAgain(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	l := newLake(t, s3test.Start(t).Config(t))
	root := t.TempDir()
	l.put(t, "in/1.csv", "1,one\n")
	p.shop.Exec(t, "", "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a VALUES (1), (2)")
	p.dwh.Exec(t, "", "CREATE TABLE whole (id int); CREATE TABLE fresh (id int)")
	tables := p.order(t, `
extract: [{name: a, connection: shop, table: a}, {name: b, connection: shop, table: a, incremental: {strategy: column, column: id}}]
load: [{from: a, connection: dwh, table: whole}, {from: b, connection: dwh, table: fresh}]
`)
	tables.Fence = 3
	files := toFiles(t, p.shop, root, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: lake, output: {path: a, format: csv}}]\n")
	files.Fence = 3
	bucket := l.order(t, copyOrders, 1001)
	bucket.Fence = 3
	all := []engine.ETL{tables, files, bucket}
	want := func(when string, whole, fresh, version int) {
		t.Helper()
		got := fmt.Sprint(p.dwh.Rows(t, "", "SELECT (SELECT count(*) FROM whole), (SELECT count(*) FROM fresh)"), entries(t, filepath.Join(root, "a")))
		w := fmt.Sprintf("[[%d %d]]", whole, fresh)
		for v := 1; v <= version; v++ {
			if v > 1 {
				w += " "
			}
			w += fmt.Sprintf("v%09d", v)
		}
		if got != w {
			t.Errorf("%s: got %s, want %s", when, got, w)
		}
		if v, _, _ := l.newest(t, "out/a"); v != version {
			t.Errorf("%s: got version %d in the bucket, want %d", when, v, version)
		}
	}
	as := func(identity string, fence holdfast.Fence) []engine.ETL {
		out := make([]engine.ETL, len(all))
		for i, req := range all {
			req.Identity, req.Fence = identity, fence
			out[i] = req
		}
		return out
	}
	for _, req := range as("first", 3) {
		run(t, req)
	}
	want("the first", 2, 2, 1)
	p.shop.Exec(t, "", "INSERT INTO a VALUES (3)")
	l.put(t, "in/2.csv", "2,two\n")
	for _, req := range as("second", 1) { // a lower fence than the other's
		run(t, req)
	}
	want("the second", 5, 3, 2)
	for _, req := range as("second", 2) { // the same, again
		run(t, req)
	}
	want("its next fence", 5, 3, 2)
	for _, req := range as("first", 4) {
		if _, err := etl.New(etl.Config{TempDir: os.TempDir()}).Run(t.Context(), req); !errors.Is(err, engine.ErrStale) {
			t.Errorf("the first comes back: got %v, want that it is stale", err)
		}
	}
	// One that is released before it has claimed may not claim later.
	for _, req := range as("third", 1) {
		if err := etl.New(etl.Config{}).Release(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		if _, err := etl.New(etl.Config{TempDir: os.TempDir()}).Run(t.Context(), req); !errors.Is(err, engine.ErrStale) {
			t.Errorf("a released one: got %v, want that it is stale", err)
		}
	}
	want("after those that are stale", 5, 3, 2)
	// Another installation has books of its own, whatever numbers it gives.
	elsewhere := as("second", 1)[0]
	elsewhere.Installation = "elsewhere"
	run(t, elsewhere)
	want("another installation", 8, 6, 2)
	p.nothingLeft(t)
}

// An execution of an older history of the numbers is frozen at each of its steps, and
// wakes up after the one that has its number and its fence now: it changes nothing.
func TestNumberComesAgainThawed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 1000)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a}]\n")
	for i, step := range []string{"locked", "loaded", "booked"} {
		p.dwh.Exec(t, "", "TRUNCATE a")
		old := req
		old.Execution, old.Identity, old.Fence = holdfast.ExecutionID(2000+i), "old", 7
		at, thaw, over := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			_, err := etl.New(etl.Config{Step: func(name string) {
				if name == step {
					close(at)
					<-thaw
				}
			}}).Run(context.WithoutCancel(t.Context()), old)
			over <- err
		}()
		<-at
		next := old
		next.Identity = "next"
		run(t, next)
		close(thaw)
		if err := <-over; err == nil {
			t.Errorf("%s: the thawed one succeeded", step)
		}
		same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
		p.nothingLeft(t)
	}
}
