package pgphysical_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// load writes to the table load until stop is called; every row counts how many
// came before it, so that a copy can be checked for holes.
func load(t *testing.T, p *testkit.Postgres) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	conn := p.Connect(t)
	n := 0
	wg.Go(func() {
		for ctx.Err() == nil {
			_, err := conn.Exec(context.WithoutCancel(ctx), "WITH u AS (UPDATE hot SET n = n + 1 WHERE id % 97 = $1 % 97) INSERT INTO load VALUES ($1, repeat(md5($1::text), 20))", n)
			if err != nil {
				t.Errorf("load: %v", err)
				return
			}
			n++
		}
	})
	return func() int {
		cancel()
		wg.Wait()
		return n
	}
}

func setUp(t *testing.T, p *testkit.Postgres) {
	t.Helper()
	p.Exec(t, "", `CREATE DATABASE "odd ""name"" ü"`)
	p.Exec(t, "", `CREATE TABLE load (n int PRIMARY KEY, t text);
		CREATE TABLE hot AS SELECT id, 0 AS n, repeat('x', 300) AS pad FROM generate_series(1, 20000) id;
		CREATE TABLE docs (id serial PRIMARY KEY, j jsonb, b bytea) TABLESPACE ts1;
		INSERT INTO docs (j, b) SELECT jsonb_build_object('i', i), sha256(i::text::bytea) FROM generate_series(1, 5000) i;
		CREATE UNLOGGED TABLE fleeting AS SELECT i FROM generate_series(1, 5000) i;
		CREATE INDEX ON fleeting (i);
		SELECT lo_from_bytea(0, repeat('large', 10000)::bytea) FROM generate_series(1, 20)`)
	p.Exec(t, `odd "name" ü`, `CREATE TABLE "Täble ""x""" AS SELECT i FROM generate_series(1, 1000) i`)
	p.Exec(t, "", "CHECKPOINT")
	for name, content := range map[string]string{"odd \"name\"\\\n": "quoted", "not\xffutf-8": "bytes", "empty": ""} {
		writeFile(t, filepath.Join(p.DataDir, name), content)
	}
	uid, gid := testkit.Owner(t)
	for _, dir := range []string{"an empty directory", "pg_replslot/left", "base/pgsql_tmp"} {
		if err := os.MkdirAll(filepath.Join(p.DataDir, dir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(p.DataDir, dir), uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	writeFile(t, filepath.Join(p.DataDir, "backup_label.old"), "from a backup long ago")
	writeFile(t, filepath.Join(p.DataDir, "base/pgsql_tmp/pgsql_tmp123.0"), "spilled")
}

func TestRoundTripUnderLoad(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 2, Conf: map[string]string{"archive_mode": "on", "archive_command": "false"}})
	setUp(t, p)
	if err := os.Remove(filepath.Join(p.DataDir, "pg_replslot/left")); err != nil {
		t.Fatal(err)
	}
	spaces := spacesOf(t, p)
	fleeting := p.Value(t, "", "SELECT pg_relation_filepath('fleeting')")

	stop := load(t, p)
	sink := enginetest.NewDirSink(t)
	res := enginetest.BackUp(t, pgphysical.New(pgphysical.Options{TempDir: t.TempDir()}), backupOf(t, p), sink)
	written := stop()
	nothingLeft(t, p)

	if len(res.Warnings) != 0 || res.Damaged != "" || res.Physical == nil {
		t.Fatalf("got result %+v", res)
	}
	if f := res.Physical; f.Timeline != 1 || f.StopLSN <= f.StartLSN || f.Version/10000 != testkit.DefaultMajor || len(f.Tablespaces) != 2 ||
		strconv.FormatUint(f.SystemIdentifier, 10) != p.Value(t, "", "SELECT system_identifier FROM pg_control_system()") {
		t.Errorf("got facts %+v", f)
	}
	for path, want := range map[string]bool{
		"pgdata/PG_VERSION": true, "pgdata/global/pg_control": true, "pgdata/backup_label": true, "pgdata/backup_manifest": true,
		"pgdata/an empty directory": true, "pgdata/pg_replslot": true, "pgdata/pg_wal/archive_status": true, "pgdata/pg_tblspc": true,
		"holdfast/tablespace_map": true, "pgdata/" + fleeting + "_init": true, "pgdata/not\xffutf-8": true,
		"pgdata/" + fleeting: false, "pgdata/" + fleeting + "_fsm": false, "pgdata/postmaster.pid": false, "pgdata/tablespace_map": false,
		"pgdata/backup_label.old": false, "pgdata/base/pgsql_tmp": false, "pgdata/postmaster.opts": false,
		"pgdata/pg_tblspc/" + strconv.Itoa(int(spaces[0])): false,
	} {
		if got := exists(filepath.Join(sink.Dir(), path)); got != want {
			t.Errorf("the set holds %q: %v, want %v", path, got, want)
		}
	}

	req := restoreTo(t, spaces...)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	verify(t, req.Spec.Directory)

	want := p.Content(t)
	p.Stop(t, testkit.Fast)
	if err := os.Rename(p.Tablespaces[0], p.Tablespaces[0]+".away"); err != nil { // the copy must not need the source's
		t.Fatal(err)
	}
	r := testkit.StartRestored(t, req.Spec.Directory)
	testkit.Run(t, testkit.PGBin(t, "pg_amcheck"), "--all", "--install-missing", "--heapallindexed", "-h", r.SocketDir, "-p", strconv.Itoa(int(r.Port)), "-U", r.User)
	if got := r.Value(t, "", "SHOW archive_mode"); got != "off" {
		t.Errorf("the copy archives: archive_mode is %s", got)
	}
	if got := r.Value(t, "", "SELECT count(*) FROM fleeting"); got != "0" {
		t.Errorf("the unlogged table has %s rows, want none", got)
	}
	rows := r.Value(t, "", "SELECT count(*) || ' ' || coalesce(max(n) + 1, 0) FROM load")
	count, next, _ := strings.Cut(rows, " ")
	if n, err := strconv.Atoi(count); err != nil || count != next || n > written {
		t.Errorf("the copy holds %s rows of the load, the highest is before %s; %d were written", count, next, written)
	}
	got := r.Content(t)
	for _, moved := range []string{"postgres/public.load", "postgres/public.hot", "postgres/public.fleeting"} {
		delete(got, moved)
		delete(want, moved)
	}
	if !maps.Equal(got, want) {
		t.Errorf("the copy holds %v, want %v", got, want)
	}
}

// spacesOf returns the oids of the server's tablespaces, in order.
func spacesOf(t *testing.T, p *testkit.Postgres) (oids []uint32) {
	t.Helper()
	for _, row := range p.Rows(t, "", "SELECT oid FROM pg_tablespace WHERE spcname LIKE 'ts%' ORDER BY oid") {
		n, err := strconv.ParseUint(row[0], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		oids = append(oids, uint32(n))
	}
	return oids
}
