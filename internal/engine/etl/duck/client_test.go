package duck_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

const mib = 1 << 20

// start starts a child with the limits of a small execution.
func start(t testing.TB, log ...testkit.LogOption) *duck.Client {
	t.Helper()
	return startWith(t, duck.Config{Memory: 256 * mib, Temp: 1 << 30, Threads: 2}, log...)
}

func startWith(t testing.TB, c duck.Config, log ...testkit.LogOption) *duck.Client {
	t.Helper()
	c.Binary = ducktest.Binary(t)
	if c.TempDir == "" {
		c.TempDir = t.TempDir()
	}
	c.Log = testkit.Logger(t, log...)
	client, err := duck.Start(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// feed declares a relation and gives it rows as CSV; a streamed one in the background.
func feed(t testing.TB, c *duck.Client, relation string, streamed bool, csv string, columns ...duck.Column) {
	t.Helper()
	feedAs(t, c, relation, duck.FormatCopy, streamed, csv, columns...)
}

func feedAs(t testing.TB, c *duck.Client, relation string, as duck.Format, streamed bool, rows string, columns ...duck.Column) {
	t.Helper()
	f, err := c.Feed(t.Context(), relation, columns, as, streamed)
	if err != nil {
		t.Fatal(err)
	}
	write := func() error {
		_, err := io.Copy(f, strings.NewReader(rows))
		return errors.Join(err, f.Close())
	}
	if !streamed {
		if err := write(); err != nil {
			t.Fatal(err)
		}
		return
	}
	done := make(chan error, 1)
	go func() { done <- write() }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("feed %s: %v", relation, err)
		}
	})
}

func column(name, typ string) duck.Column { return duck.Column{Name: name, Type: typ} }

// drain returns what leaves a relation.
func drain(t testing.TB, c *duck.Client, relation string) string {
	t.Helper()
	d, err := c.Drain(t.Context(), relation)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func step(t testing.TB, c *duck.Client, name, sql string, streamed bool) int64 {
	t.Helper()
	n, err := c.Step(t.Context(), name, sql, streamed)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return n
}

func TestChildAnswers(t *testing.T) {
	c := start(t)
	if got := c.Opened(); got.Protocol != duck.Protocol || got.DuckDB != "v1.5.5" {
		t.Errorf("got %+v, want protocol %d of DuckDB v1.5.5", got, duck.Protocol)
	}
	version, err := duck.Version(t.Context(), ducktest.Binary(t))
	if err != nil || !strings.Contains(version, "DuckDB v1.5.5") {
		t.Errorf("got the version %q, %v", version, err)
	}
	feed(t, c, "orders", true, "1,2,a\n2,3,b\n3,4,a\n", column("id", "bigint"), column("qty", "integer"), column("who", "text"))
	feed(t, c, "people", false, "a,Anna\nb,Berta\n", column("who", "text"), column("name", "text"))
	step(t, c, "named", "select o.id, p.name, o.qty * 2 as double from orders o join people p using (who)", true)
	step(t, c, "few", "select * from named where id < 3", true)
	if got, want := drain(t, c, "few"), "1,Anna,4\n2,Berta,6\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	start := time.Now()
	if err := c.Close(); err != nil || time.Since(start) > 3*time.Second {
		t.Errorf("closed after %s: %v", time.Since(start), err)
	}
}
