package pgphysical_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// refused takes a backup that must fail, and checks that it stored nothing and
// left nothing.
func refused(t *testing.T, p *testkit.Postgres, change func(*engine.Backup), code holdfast.Code, words ...string) {
	t.Helper()
	req := backupOf(t, p)
	change(&req)
	sink := enginetest.NewDirSink(t)
	_, err := pgphysical.New(pgphysical.Options{}).Backup(t.Context(), req, sink)
	wantError(t, err, code, words...)
	if paths := sink.Source().Paths(); len(paths) != 0 {
		t.Errorf("%d nodes were stored, want none", len(paths))
	}
	nothingLeft(t, p)
}

func TestBackupRefusesSite(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Password: "right", TCP: true})
	t.Run("wrong password", func(t *testing.T) {
		refused(t, p, func(b *engine.Backup) { b.Site.Password = holdfast.NewSecret("wrong") }, holdfast.CodeForbidden, "password of user postgres")
	})
	t.Run("nothing listens", func(t *testing.T) {
		refused(t, p, func(b *engine.Backup) { b.Site.Server.Host, b.Site.Server.Port = "127.0.0.1", 1 }, holdfast.CodeUnavailable, "127.0.0.1 port 1 cannot be reached")
	})
	t.Run("no such database", func(t *testing.T) {
		refused(t, p, func(b *engine.Backup) { b.Site.Server.Database = "nowhere" }, holdfast.CodeInvalid, "no database nowhere")
	})
	t.Run("no such user", func(t *testing.T) {
		refused(t, p, func(b *engine.Backup) { b.Site.Server.User = "nobody" }, holdfast.CodeForbidden, "nobody")
	})
	t.Run("no such directory", func(t *testing.T) {
		refused(t, p, func(b *engine.Backup) { b.Site.DataDir = "/nowhere" }, holdfast.CodeInvalid, "/nowhere does not exist", "SHOW data_directory")
	})
	t.Run("no data directory", func(t *testing.T) {
		dir := t.TempDir()
		refused(t, p, func(b *engine.Backup) { b.Site.DataDir = dir }, holdfast.CodeInvalid, "is no data directory")
	})
	t.Run("another cluster's directory", func(t *testing.T) {
		other := testkit.StartPostgres(t, testkit.PostgresOptions{})
		refused(t, p, func(b *engine.Backup) { b.Site.DataDir = other.DataDir }, holdfast.CodeInvalid, "another cluster's", p.DataDir)
	})
	t.Run("copy that was stopped", func(t *testing.T) {
		dir := copyOf(t, p.DataDir)
		if err := os.Remove(filepath.Join(dir, "postmaster.pid")); err != nil {
			t.Fatal(err)
		}
		refused(t, p, func(b *engine.Backup) { b.Site.DataDir = dir }, holdfast.CodeInvalid, "stale copy", p.DataDir)
	})
	t.Run("copy that was taken from the running server", func(t *testing.T) {
		dir := copyOf(t, p.DataDir)
		refused(t, p, func(b *engine.Backup) { b.Site.DataDir = dir }, holdfast.CodeInvalid, "stale copy", p.DataDir)
	})
	t.Run("rights", func(t *testing.T) {
		p.Exec(t, "", `CREATE ROLE "Weak" LOGIN PASSWORD 'weak'`)
		weak := func(b *engine.Backup) { b.Site.Server.User, b.Site.Password = "Weak", holdfast.NewSecret("weak") }
		grants := []string{
			`GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO "Weak";`,
			`GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop(boolean) TO "Weak";`,
			`GRANT pg_read_all_settings TO "Weak";`, `ALTER ROLE "Weak" REPLICATION;`,
		}
		refused(t, p, weak, holdfast.CodeForbidden, grants...)
		req := backupOf(t, p)
		weak(&req)
		found, err := pgphysical.New(pgphysical.Options{}).Test(t.Context(), req.Site)
		if err != nil {
			t.Fatal(err)
		}
		var fixes []string
		for _, f := range found {
			if !f.OK {
				fixes = append(fixes, f.Fix)
			}
		}
		if !slices.Equal(fixes, grants) {
			t.Errorf("a test of the site says %q, want %q", fixes, grants)
		}
		p.Exec(t, "", strings.Join(fixes, "\n"))
		enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), req, enginetest.NewDirSink(t))
	})
}

func TestBackupRefusesStandby(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Stop(t, testkit.Fast)
	writeFile(t, filepath.Join(p.DataDir, "standby.signal"), "")
	p.Start(t)
	refused(t, p, func(*engine.Backup) {}, holdfast.CodeInvalid, "standby", "primary")
}

// copyOf copies a data directory while its server may run.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(testkit.Dir(t), "copy")
	testkit.Run(t, testkit.Require(t, "cp"), "-a", dir, to)
	return to
}

func TestSiteTest(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Conf: map[string]string{"max_replication_slots": "0"}, NoChecksums: true, Password: "right"})
	e := pgphysical.New(pgphysical.Options{})
	found, err := e.Test(t.Context(), siteOf(p))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]engine.Finding{}
	for _, f := range found {
		got[f.Name] = f
	}
	for name, want := range map[string]bool{
		"connection": true, "version": true, "wal_level": true, "replication slots": false, "data checksums": true, "backup start": true,
		"backup stop": true, "settings": true, "replication": true, "slot function": true, "control function": true, "data directory": true,
	} {
		if f, ok := got[name]; !ok || f.OK != want || f.Text == "" || (f.Fix == "" && !f.OK) {
			t.Errorf("%s: got %+v, want OK %v", name, f, want)
		}
	}
	if f := got["data checksums"]; !strings.Contains(f.Text, "off") || !strings.Contains(f.Fix, "pg_checksums") {
		t.Errorf("checksums are off, and the test says %+v", f)
	}
	for want, change := range map[string]func(*engine.Site){
		"refuses the password": func(s *engine.Site) { s.Password = holdfast.NewSecret("wrong") },
		"cannot be reached":    func(s *engine.Site) { s.Server.Port = 1 },
	} {
		site := siteOf(p)
		change(&site)
		found, err := e.Test(t.Context(), site)
		if err != nil || len(found) != 1 || found[0].OK || !strings.Contains(found[0].Text, want) || found[0].Fix == "" {
			t.Errorf("%s: got %+v, %v", want, found, err)
		}
	}
}

func TestBadPageIsNamed(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Exec(t, "", "CREATE DATABASE shop")
	p.Exec(t, "shop", "CREATE TABLE orders AS SELECT i, repeat('x', 200) AS pad FROM generate_series(1, 20000) i")
	p.Exec(t, "shop", "CHECKPOINT")
	path := p.Value(t, "shop", "SELECT pg_relation_filepath('orders')")
	p.Stop(t, testkit.Fast)
	name := filepath.Join(p.DataDir, path)
	content := []byte(readFile(t, name))
	content[3*8192+5000] ^= 1
	content[70*8192+17] ^= 1 // in the header
	copy(content[90*8192:], "\xff\xff\xff\xff")
	writeFile(t, name, string(content))
	p.Start(t)

	sink := enginetest.NewDirSink(t)
	res := enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	var want []string
	for _, block := range []int{3, 70, 90} {
		want = append(want, fmt.Sprintf("page checksum does not match: database shop, relation public.orders, file %s, fork main, block %d", path, block))
	}
	if !slices.Equal(res.Warnings, want) {
		t.Errorf("got warnings %q, want %q", res.Warnings, want)
	}
	if !strings.Contains(res.Damaged, path) || !strings.Contains(res.Damaged, "3; ") {
		t.Errorf("got damage %q", res.Damaged)
	}
	// The set is what was on disk: it can be restored, and the manifest fits.
	req := restoreTo(t)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	verify(t, req.Spec.Directory)
}

// stuck is a sink whose first file is held until release is closed.
func stuck(t *testing.T) (sink *enginetest.DirSink, reached, release chan struct{}) {
	t.Helper()
	reached, release = make(chan struct{}), make(chan struct{})
	sink = enginetest.NewDirSink(t)
	var once sync.Once
	sink.Before = func(ctx context.Context, _ engine.Node) {
		once.Do(func() { close(reached) })
		select {
		case <-release:
		case <-ctx.Done():
		}
	}
	return sink, reached, release
}

// begin takes a backup in the background.
func begin(ctx context.Context, req engine.Backup, sink engine.Sink) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := pgphysical.New(pgphysical.Options{}).Backup(ctx, req, sink)
		done <- err
	}()
	return done
}

func await(t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("the backup does not end")
		return nil
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	cause := fmt.Errorf("killed by a test: %w", engine.ErrWish)
	for _, phase := range []string{"connect", "checkpoint", "copy", "stop", "wal", "finish"} {
		t.Run(phase, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			req := backupOf(t, p)
			req.Report = &enginetest.Report{OnPhase: func(name string) {
				if name == phase {
					cancel(cause)
				}
			}}
			if err := await(t, begin(ctx, req, enginetest.NewDirSink(t))); !errors.Is(err, engine.ErrWish) {
				t.Errorf("got %v, want the cause", err)
			}
			nothingLeft(t, p)
		})
	}
	t.Run("in the middle of a file", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		sink, reached, _ := stuck(t)
		done := begin(ctx, backupOf(t, p), sink)
		<-reached
		if n := p.Value(t, "", "SELECT count(*) FROM pg_replication_slots"); n != "1" {
			t.Errorf("the backup holds %s slots, want 1", n)
		}
		cancel(cause)
		if err := await(t, done); !errors.Is(err, engine.ErrWish) {
			t.Errorf("got %v, want the cause", err)
		}
		nothingLeft(t, p)
	})
}

func TestNextFenceEndsFrozenSession(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink, reached, release := stuck(t)
	old := begin(t.Context(), backupOf(t, p), sink)
	<-reached
	next := backupOf(t, p)
	next.Fence = 2
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), next, enginetest.NewDirSink(t))
	nothingLeft(t, p)
	close(release)
	if err := await(t, old); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("the older fence: got %v, want it to be void", err)
	}
}

func TestOlderFenceGivesWay(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink, reached, release := stuck(t)
	next := backupOf(t, p)
	next.Fence = 2
	done := begin(t.Context(), next, sink)
	<-reached
	_, err := pgphysical.New(pgphysical.Options{}).Backup(t.Context(), backupOf(t, p), enginetest.NewDirSink(t))
	if !errors.Is(err, engine.ErrStale) {
		t.Errorf("the older fence: got %v, want ErrStale", err)
	}
	if err := pgphysical.New(pgphysical.Options{}).Release(t.Context(), backupOf(t, p)); !errors.Is(err, engine.ErrStale) {
		t.Errorf("release of the older fence: got %v, want ErrStale", err)
	}
	close(release)
	if err := await(t, done); err != nil {
		t.Errorf("the newer fence was disturbed: %v", err)
	}
}

// TestTwoInstallationsOneServer: both are young, so both run their execution 1001.
func TestTwoInstallationsOneServer(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink, reached, release := stuck(t)
	done := begin(t.Context(), backupOf(t, p), sink)
	<-reached
	for _, fence := range []holdfast.Fence{1, 2} {
		other := backupOf(t, p)
		other.Installation, other.Fence = "elsewhere", fence
		if err := pgphysical.New(pgphysical.Options{}).Release(t.Context(), other); err != nil {
			t.Error(err)
		}
		enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), other, enginetest.NewDirSink(t))
	}
	close(release)
	if err := await(t, done); err != nil {
		t.Errorf("the other installation's execution has disturbed ours: %v", err)
	}
}

func TestRelease(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink, reached, release := stuck(t)
	defer close(release)
	other := backupOf(t, p)
	other.Execution = 10010 // whose name begins as ours
	otherSink, otherReached, otherRelease := stuck(t)
	done, otherDone := begin(t.Context(), backupOf(t, p), sink), begin(t.Context(), other, otherSink)
	<-reached
	<-otherReached
	if err := pgphysical.New(pgphysical.Options{}).Release(t.Context(), backupOf(t, p)); err != nil {
		t.Fatal(err)
	}
	if n := p.Value(t, "", "SELECT count(*) FROM pg_replication_slots"); n != "1" {
		t.Errorf("%s slots are left, want the other execution's only", n)
	}
	close(otherRelease)
	if err := await(t, otherDone); err != nil {
		t.Errorf("the other execution was disturbed: %v", err)
	}
	// The watch sees that the session has died, and ends the backup by itself.
	if err := await(t, done); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("the backup without its session: got %v, want it to be void", err)
	}
}

// TestWALSwitchWhileABackupRuns: after a switch, as archive_timeout makes one, the
// rest of the segment is zero, page headers and all.
func TestWALSwitchWhileABackupRuns(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"1", "16"} {
		t.Run(size+" MiB segments", func(t *testing.T) {
			p := testkit.StartPostgres(t, testkit.PostgresOptions{InitDB: []string{"--wal-segsize=" + size}})
			sink, reached, release := stuck(t)
			done := begin(t.Context(), backupOf(t, p), sink)
			<-reached
			for i := range 3 {
				p.Exec(t, "", fmt.Sprintf("CREATE TABLE switched%d AS SELECT i FROM generate_series(1, 10000) i", i))
				p.Exec(t, "", "SELECT pg_switch_wal()")
			}
			p.Exec(t, "", "INSERT INTO switched0 SELECT 1")
			close(release)
			if err := await(t, done); err != nil {
				t.Fatal(err)
			}
			req := restoreTo(t)
			enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
			verify(t, req.Spec.Directory)
			p.Stop(t, testkit.Fast)
			r := testkit.StartRestored(t, req.Spec.Directory)
			if got := r.Value(t, "", "SELECT count(*) FROM switched0"); got != "10001" {
				t.Errorf("the copy has %s rows, want 10001", got)
			}
		})
	}
}

func TestLostSlotVoidsBackup(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{
		InitDB: []string{"--wal-segsize=1"}, Conf: map[string]string{"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0", "max_wal_size": "2MB", "min_wal_size": "2MB"},
	})
	sink, reached, release := stuck(t)
	done := begin(t.Context(), backupOf(t, p), sink)
	<-reached
	for i := range 20 {
		p.Exec(t, "", fmt.Sprintf("CREATE TABLE filler%d AS SELECT repeat('x', 1000) FROM generate_series(1, 2000)", i))
		p.Exec(t, "", "CHECKPOINT")
	}
	close(release)
	err := await(t, done)
	wantError(t, err, holdfast.CodeUnavailable, "slot", "max_slot_wal_keep_size")
	nothingLeft(t, p)
}

func TestServerStopVoidsBackup(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink, reached, release := stuck(t)
	req := backupOf(t, p, testkit.Allow("cannot see whether"))
	done := begin(t.Context(), req, sink)
	<-reached
	p.Stop(t, testkit.Immediate)
	close(release)
	if err := await(t, done); holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("got %v, want an error that may pass", err)
	}
}

// TestTablespaceThatTheWorkerCannotSee: where the worker runs, the file system of
// a tablespace is not mounted. The link leads to an empty directory, and a backup
// that took it for a dropped one would lack its tables.
func TestTablespaceThatTheWorkerCannotSee(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	p.Exec(t, "", "CREATE TABLE a TABLESPACE ts1 AS SELECT i FROM generate_series(1, 1000) i")
	p.Exec(t, "", "CHECKPOINT")
	inside, err := filepath.Glob(filepath.Join(p.Tablespaces[0], "PG_*"))
	if err != nil || len(inside) != 1 {
		t.Fatalf("got %v, %v, want one directory", inside, err)
	}
	away := filepath.Join(filepath.Dir(p.Tablespaces[0]), "mounted elsewhere")
	if err := os.Rename(inside[0], away); err != nil {
		t.Fatal(err)
	}
	_, err = pgphysical.New(pgphysical.Options{}).Backup(t.Context(), backupOf(t, p), enginetest.NewDirSink(t))
	wantError(t, err, holdfast.CodeInvalid, "does not hold the cluster's files", "mount its file system")
	nothingLeft(t, p)
	if err := os.Rename(away, inside[0]); err != nil {
		t.Fatal(err)
	}
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), enginetest.NewDirSink(t))
}

// TestStrangersCannotEndABackup: any role may call its session what it likes.
func TestStrangersCannotEndABackup(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Exec(t, "", "CREATE ROLE stranger LOGIN")
	for _, fence := range []string{"1", "99"} {
		cfg, err := pgx.ParseConfig(p.ConnString(""))
		if err != nil {
			t.Fatal(err)
		}
		cfg.User, cfg.RuntimeParams = "stranger", map[string]string{"application_name": "holdfast fcec9150 execution 1001 fence " + fence}
		stranger, err := pgx.ConnectConfig(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), enginetest.NewDirSink(t))
		if err := stranger.Ping(t.Context()); err != nil {
			t.Errorf("the stranger's session was ended: %v", err)
		}
		if err := stranger.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestOddLayouts(t *testing.T) {
	t.Parallel()
	waldir := filepath.Join(testkit.Dir(t), "wal")
	p := testkit.StartPostgres(t, testkit.PostgresOptions{
		InitDB: []string{"--wal-segsize=1", "--waldir=" + waldir, "--allow-group-access"}, Tablespaces: 1,
		Conf: map[string]string{"allow_in_place_tablespaces": "on"},
	})
	p.Exec(t, "", "CREATE TABLESPACE inplace LOCATION ''")
	p.Exec(t, "", "CREATE TABLE a TABLESPACE inplace AS SELECT i FROM generate_series(1, 1000) i; CREATE TABLE b TABLESPACE ts1 AS SELECT i FROM generate_series(1, 1000) i")
	// Another cluster in the same tablespace directory is none of our business.
	foreign := filepath.Join(p.Tablespaces[0], "PG_14_202107181")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(foreign, "1"), "another cluster's")
	if err := os.Symlink("/nowhere", filepath.Join(p.DataDir, "dangling")); err != nil {
		t.Fatal(err)
	}
	spaces := spacesOf(t, p)
	inplace := p.Value(t, "", "SELECT oid FROM pg_tablespace WHERE spcname = 'inplace'")

	sink := enginetest.NewDirSink(t)
	res := enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	if len(res.Physical.Tablespaces) != 2 || res.Physical.Tablespaces[0].Path == "" || res.Physical.Tablespaces[1].Path != "" {
		t.Errorf("got tablespaces %+v, want one with a path and one in place", res.Physical.Tablespaces)
	}
	for _, path := range sink.Source().Paths() {
		if strings.Contains(path, "PG_14_") {
			t.Errorf("the set holds another cluster's %s", path)
		}
	}
	if !exists(filepath.Join(sink.Dir(), "pgdata/pg_tblspc", inplace)) {
		t.Error("the set lacks the tablespace in place")
	}
	req := restoreTo(t, spaces...)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	verify(t, req.Spec.Directory)
	fi, err := os.Stat(req.Spec.Directory)
	if err != nil || fi.Mode().Perm() != 0o750 {
		t.Errorf("the data directory has mode %v, %v, want that of the source, 0750", fi.Mode(), err)
	}
	p.Stop(t, testkit.Fast)
	r := testkit.StartRestored(t, req.Spec.Directory)
	if got := r.Value(t, "", "SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b)"); got != "2000" {
		t.Errorf("the copy has %s rows, want 2000", got)
	}
}

// A server without TLS is told from one that cannot be reached.
func TestServerWithoutTLS(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{TCP: true})
	b := backupOf(t, p)
	b.Site.Server.Host, b.Site.Server.SSLMode = "127.0.0.1", "require"
	_, err := pgphysical.New(pgphysical.Options{}).Backup(t.Context(), b, enginetest.NewDirSink(t))
	wantError(t, err, holdfast.CodeInvalid, "offers no TLS", "sslmode is require")
}
