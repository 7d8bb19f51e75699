package pgphysical_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// chain is a cluster and its newest set.
type chain struct {
	*testkit.Postgres
	src *enginetest.DirSource
	res engine.Result
}

// age lets the times of the cluster's files become old enough to be trusted.
func (c *chain) age(t *testing.T) {
	t.Helper()
	c.Exec(t, "", "CHECKPOINT")
	time.Sleep(2100 * time.Millisecond)
}

// next takes the next set, with the newest one as its base.
func (c *chain) next(t *testing.T, o pgphysical.Options) engine.Result {
	t.Helper()
	req := backupOf(t, c.Postgres)
	sink := enginetest.NewDirSink(t)
	if c.src != nil {
		req.RunType = holdfast.RunDelta
		req.Base = &engine.Base{Set: 1001, Source: c.src, Result: c.res}
		sink.BuildOn(c.src)
	}
	c.res = enginetest.BackUp(t, pgphysical.New(o), req, sink)
	c.src = sink.Source()
	if c.res.Reading == nil {
		t.Fatal("the result does not say how the files were read")
	}
	return c.res
}

// restored restores the newest set and compares it with the server, which is stopped.
func (c *chain) restored(t *testing.T) {
	t.Helper()
	want := c.Content(t)
	req := restoreTo(t, spacesOf(t, c.Postgres)...)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, c.src)
	verify(t, req.Spec.Directory)
	r := testkit.StartRestored(t, req.Spec.Directory)
	if got := r.Content(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.Stop(t, testkit.Fast)
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{Postgres: testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1, Conf: map[string]string{"autovacuum": "off"}})}
	c.Exec(t, "", `CREATE TABLE still AS SELECT i, md5(i::text) AS v FROM generate_series(1, 50000) i;
		CREATE TABLE apart TABLESPACE ts1 AS SELECT i, md5(i::text) AS v FROM generate_series(1, 20000) i;
		CREATE TABLE moves AS SELECT i, md5(i::text) AS v FROM generate_series(1, 20000) i`)
	c.Exec(t, "", "VACUUM (FREEZE)")
	return c
}

// TestDeltaTrustsStat: what has not changed is not read, what has changed is, and
// the set restores whole.
func TestDeltaTrustsStat(t *testing.T) {
	t.Parallel()
	c := newChain(t)
	c.age(t)
	full := c.next(t, pgphysical.Options{})
	if full.Reading.Files != 0 || full.Reading.Trusting != 0 || full.Reading.Directory == "" {
		t.Fatalf("the FULL says %+v", full.Reading)
	}
	if r := full.Reading; r.Began.Time.After(full.Started) { // the server's clock is this machine's
		t.Errorf("files are older than %v, and the checkpoint began at %v", r.Began.Time, full.Started)
	}
	second := c.next(t, pgphysical.Options{})
	if r := second.Reading; r.Trusting != 1 || r.Bytes < second.Bytes-20<<20 || r.Files < second.Files/2 { // the rest is WAL
		t.Errorf("nothing has changed: %+v of %d files, %d bytes", r, second.Files, second.Bytes)
	}

	// The content of one file is changed, and its mtime set back by hand.
	moves := filepath.Join(c.DataDir, c.Value(t, "", "SELECT pg_relation_filepath('moves')"))
	before, err := os.Stat(moves)
	if err != nil {
		t.Fatal(err)
	}
	c.Exec(t, "", "UPDATE still SET v = 'changed' WHERE i % 1000 = 0")
	c.Exec(t, "", "DELETE FROM moves WHERE i % 7 = 0") // in place: the size stays
	c.Exec(t, "", "CHECKPOINT")
	if err := os.Chtimes(moves, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(moves)
	if err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		t.Fatalf("the file has %v, error %v", after, err)
	}
	third := c.next(t, pgphysical.Options{})
	if r := third.Reading; r.Trusting != 2 || r.Bytes < 1<<20 {
		t.Errorf("two tables have changed: %+v", r)
	}
	c.restored(t)

	// When the ground on which this stands has moved, every file is read.
	newest, res := c.src, c.res
	back := c.next(t, pgphysical.Options{Clock: func() engine.Moment {
		return engine.Moment{Time: time.Now().Add(-time.Hour), Boot: "here", Uptime: time.Hour}
	}})
	if back.Reading.Files != 0 || back.Reading.Trusting != 0 {
		t.Errorf("the clock has gone back: %+v", back.Reading)
	}
	c.src, c.res = newest, res
	c.src.Remove("pgdata/backup_manifest")
	if r := c.next(t, pgphysical.Options{}).Reading; r.Files != 0 || r.Trusting != 0 {
		t.Errorf("the base has no manifest: %+v", r)
	}
}

// TestDeltaAfterARestoreInPlace: sizes and times of restored files mean nothing for
// a set that was taken of the directory before.
func TestDeltaAfterARestoreInPlace(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	c := &chain{Postgres: p.Postgres}
	c.age(t)
	c.next(t, pgphysical.Options{})
	p.Stop(t, testkit.Fast)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), p.inPlace(t), p.src.Source())
	p.Start(t)
	if r := c.next(t, pgphysical.Options{}).Reading; r.Files != 0 || r.Trusting != 0 {
		t.Errorf("the directory was restored: %+v", r)
	}
}
