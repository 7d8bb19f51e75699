package pgphysical_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// refusedRestore runs a restore that must fail, and checks that nothing was
// written.
func refusedRestore(t *testing.T, req engine.Restore, src engine.Source, code holdfast.Code, words ...string) {
	t.Helper()
	before := tree(t, filepath.Dir(req.Spec.Directory))
	_, err := pgphysical.New(pgphysical.Options{}).Restore(t.Context(), req, src)
	wantError(t, err, code, words...)
	if after := tree(t, filepath.Dir(req.Spec.Directory)); after != before {
		t.Errorf("the refused restore has left %q, before there was %q", after, before)
	}
}

// tree lists what lies below a directory.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil // a socket or a temporary file of a server that runs there
		}
		b.WriteString(path + "\n")
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return b.String()
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// refusal is a restore that a test spoils.
type refusal struct {
	*engine.Restore
	src *enginetest.DirSource
	t   *testing.T
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 2})
	p.Exec(t, "", "CREATE TABLE a TABLESPACE ts1 AS SELECT i FROM generate_series(1, 1000) i")
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	spaces := spacesOf(t, p)
	oid := strconv.FormatUint(uint64(spaces[0]), 10)

	for name, c := range map[string]struct {
		change func(r *refusal)
		code   holdfast.Code
		words  []string
	}{
		"outside of the roots": {func(r *refusal) {
			r.Roots = []string{filepath.Join(r.Roots[0], "other")}
		}, holdfast.CodeForbidden, []string{"does not lie below an allowed restore root", "choose a directory below"}},
		"no roots at all": {func(r *refusal) {
			r.Roots = []string{}
		}, holdfast.CodeForbidden, []string{"no restore root"}},
		"the root itself": {func(r *refusal) {
			r.Roots = []string{r.Spec.Directory}
			mkdir(r.t, r.Spec.Directory)
		}, holdfast.CodeForbidden, []string{"allowed restore root"}},
		"a name that begins as a root's": {func(r *refusal) {
			root := filepath.Join(r.Roots[0], "root")
			mkdir(r.t, root)
			r.Roots, r.Spec.Directory = []string{root}, root+"ed"
		}, holdfast.CodeForbidden, []string{"allowed restore root"}},
		"outside by a link": {func(r *refusal) {
			out := filepath.Join(r.Roots[0], "out")
			root := filepath.Join(r.Roots[0], "root")
			mkdir(r.t, out)
			mkdir(r.t, root)
			symlink(r.t, out, filepath.Join(root, "link"))
			r.Roots, r.Spec.Directory = []string{root}, filepath.Join(root, "link", "restored")
		}, holdfast.CodeForbidden, []string{"allowed restore root"}},
		"a link that leads nowhere": {func(r *refusal) {
			symlink(r.t, "/nowhere", r.Spec.Directory)
		}, holdfast.CodeInvalid, []string{"leads nowhere"}},
		"a tablespace outside of the roots": {func(r *refusal) {
			r.Spec.Tablespaces[spaces[1]] = r.t.TempDir()
		}, holdfast.CodeForbidden, []string{"allowed restore root"}},
		"a directory in a tablespace": {func(r *refusal) {
			r.Spec.Directory = filepath.Join(r.Roots[0], "space/inside")
			mkdir(r.t, filepath.Join(r.Roots[0], "space/PG_15_202209061"))
		}, holdfast.CodeConflict, []string{"which is a tablespace"}},
		"a tablespace's in a repository": {func(r *refusal) {
			r.Spec.Tablespaces[spaces[1]] = filepath.Join(r.Roots[0], "repository/inside")
			for _, name := range []string{"config", "keys", "snapshots", "index"} {
				mkdir(r.t, filepath.Join(r.Roots[0], "repository", name))
			}
		}, holdfast.CodeConflict, []string{"which is a repository"}},
		"a path with dots": {func(r *refusal) {
			r.Spec.Directory = r.Roots[0] + "/inside/../elsewhere"
		}, holdfast.CodeInvalid, []string{"clean absolute path"}},
		"a directory that is not empty": {func(r *refusal) {
			mkdir(r.t, r.Spec.Directory)
			writeFile(r.t, filepath.Join(r.Spec.Directory, "precious"), "data")
		}, holdfast.CodeInvalid, []string{"is not empty", "never overwrites"}},
		"a tablespace's that is not empty": {func(r *refusal) {
			mkdir(r.t, r.Spec.Tablespaces[spaces[0]])
			writeFile(r.t, filepath.Join(r.Spec.Tablespaces[spaces[0]], "precious"), "data")
		}, holdfast.CodeInvalid, []string{"is not empty"}},
		"a file": {func(r *refusal) {
			writeFile(r.t, r.Spec.Directory, "data")
		}, holdfast.CodeInvalid, []string{"is not a directory"}},
		"a marker that is not ours": {func(r *refusal) {
			mkdir(r.t, r.Spec.Directory)
			writeFile(r.t, filepath.Join(r.Spec.Directory, ".holdfast-restore"), `{"execution":77,"fence":1,"set":5,"source":"pgdata"}`)
		}, holdfast.CodeConflict, []string{"unfinished restore of set 5 by execution 77"}},
		"a marker that is none": {func(r *refusal) {
			mkdir(r.t, r.Spec.Directory)
			writeFile(r.t, filepath.Join(r.Spec.Directory, ".holdfast-restore"), `?`)
		}, holdfast.CodeInvalid, []string{"is not empty"}},
		"a running server's": {func(r *refusal) {
			r.Roots, r.Spec.Directory = []string{filepath.Dir(p.DataDir)}, p.DataDir
		}, holdfast.CodeConflict, []string{"server runs in directory", "stop it first"}},
		"inside a running server's": {func(r *refusal) {
			r.Roots, r.Spec.Directory = []string{filepath.Dir(p.DataDir)}, filepath.Join(p.DataDir, "base", "restored")
		}, holdfast.CodeConflict, []string{"in which a PostgreSQL server runs", "outside of it"}},
		"tablespaces without a directory": {func(r *refusal) {
			r.Spec.Tablespaces = nil
		}, holdfast.CodeInvalid, []string{oid + " (was " + p.Tablespaces[0] + ")", p.Tablespaces[1], "--tablespace " + oid + "=DIR"}},
		"a tablespace that the set has not": {func(r *refusal) {
			r.Spec.Tablespaces[99999] = filepath.Join(r.Roots[0], "more")
		}, holdfast.CodeInvalid, []string{"no tablespace 99999"}},
		"two directories that are one": {func(r *refusal) {
			mkdir(r.t, filepath.Join(r.Roots[0], "a"))
			symlink(r.t, "a", filepath.Join(r.Roots[0], "b"))
			r.Spec.Tablespaces[spaces[0]] = filepath.Join(r.Roots[0], "a/ts")
			r.Spec.Tablespaces[spaces[1]] = filepath.Join(r.Roots[0], "b/ts")
		}, holdfast.CodeInvalid, []string{"lie inside each other"}},
		"a full disk": {func(r *refusal) {
			r.src.Put(engine.Node{Path: "pgdata/huge", Size: 1 << 60})
		}, holdfast.CodeExhausted, []string{"are free", "make room"}},
		"no physical backup": {func(r *refusal) {
			r.src.Remove("pgdata/global/pg_control")
		}, holdfast.CodeInvalid, []string{"no physical backup"}},
		"a set that leads out": {func(r *refusal) {
			r.src.Put(engine.Node{Path: "pgdata/../../../etc/passwd"})
		}, holdfast.CodeInvalid, []string{"clean path"}},
		"a set with a link": {func(r *refusal) {
			r.src.Put(engine.Node{Path: "pgdata/base/link", Mode: fs.ModeSymlink, Link: "/etc"})
		}, holdfast.CodeInvalid, []string{"neither a file nor a directory"}},
		"a set with a marker": {func(r *refusal) {
			r.src.Put(engine.Node{Path: "pgdata/.holdfast-restore"})
		}, holdfast.CodeInvalid, []string{"marker"}},
		"a set with something else": {func(r *refusal) {
			r.src.Put(engine.Node{Path: "etc/passwd"})
		}, holdfast.CodeInvalid, []string{"no part of a physical backup"}},
	} {
		t.Run(name, func(t *testing.T) {
			req, src := restoreTo(t, spaces...), sink.Source()
			c.change(&refusal{Restore: &req, src: src, t: t})
			refusedRestore(t, req, src, c.code, c.words...)
		})
	}
	t.Run("a root in a server's state directory is fine", func(t *testing.T) {
		req := restoreTo(t, spaces...)
		writeFile(t, filepath.Join(req.Roots[0], "holdfast.db"), "")
		enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	})
	t.Run("any directory for an operator", func(t *testing.T) {
		req := restoreTo(t, spaces...)
		req.Roots = nil
		req.Spec.Directory = filepath.Join(filepath.Dir(req.Spec.Directory), "new", "parents", "restored")
		enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
		verify(t, req.Spec.Directory)
	})
	t.Run("a root that is a link", func(t *testing.T) {
		req := restoreTo(t, spaces...)
		link := filepath.Join(testkit.Dir(t), "link")
		symlink(t, req.Roots[0], link)
		req.Roots = []string{link}
		enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
		verify(t, req.Spec.Directory)
	})
}

func TestInterruptedRestoreContinues(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	p.Exec(t, "", "CREATE TABLE a TABLESPACE ts1 AS SELECT i FROM generate_series(1, 1000) i")
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	e := pgphysical.New(pgphysical.Options{})
	req := restoreTo(t, spacesOf(t, p)...)
	dir := req.Spec.Directory
	interrupted := errors.New("interrupted by the test")

	// Every file may be the last one that the first attempt writes.
	src := sink.Source()
	var fetched atomic.Int64
	src.BeforeFetch = func(context.Context, string) error {
		if fetched.Add(1) > 500 {
			return interrupted
		}
		return nil
	}
	if _, err := e.Restore(t.Context(), req, src); !errors.Is(err, interrupted) {
		t.Fatalf("got %v, want the interruption", err)
	}
	if exists(filepath.Join(dir, "global/pg_control")) || !exists(filepath.Join(dir, ".holdfast-restore")) {
		t.Error("an interrupted restore has its marker and no pg_control")
	}
	if out, err := testkit.TryRun(t, testkit.PGBin(t, "postgres"), "-D", dir, "-k", "/tmp"); err == nil {
		t.Errorf("a server started on half a restore: %s", out)
	}
	other := req
	other.Execution = 1003
	refusedRestore(t, other, sink.Source(), holdfast.CodeConflict, "unfinished restore")

	// pg_control is written, and the marker is still there: the next fence removes
	// it first. A file was cut short, another has an old attempt's content.
	next := req
	next.Fence = 2
	src = sink.Source()
	src.BeforeFetch = func(_ context.Context, path string) error {
		if path == "pgdata/global/pg_control" {
			return interrupted
		}
		return nil
	}
	if _, err := e.Restore(t.Context(), next, src); !errors.Is(err, interrupted) {
		t.Fatalf("got %v, want the interruption", err)
	}
	if _, err := e.Restore(t.Context(), req, sink.Source()); !errors.Is(err, engine.ErrStale) {
		t.Errorf("the older fence: got %v, want ErrStale", err)
	}
	writeFile(t, filepath.Join(dir, "global/pg_control"), "from an attempt that died just before its end")
	writeFile(t, filepath.Join(dir, "PG_VERSION"), "1")
	writeFile(t, filepath.Join(dir, "global/1262"), strings.Repeat("x", len(readFile(t, filepath.Join(dir, "global/1262")))))
	if err := os.Remove(filepath.Join(dir, "postgresql.conf")); err != nil {
		t.Fatal(err)
	}

	last := req
	last.Fence = 3
	src = sink.Source()
	fetched.Store(0)
	src.BeforeFetch = func(context.Context, string) error {
		fetched.Add(1)
		return nil
	}
	enginetest.RestoreAll(t, e, last, src)
	if n := fetched.Load(); n < 4 || n > 20 {
		t.Errorf("the last attempt fetched %d files, want only what was missing or wrong", n)
	}
	if exists(filepath.Join(dir, ".holdfast-restore")) {
		t.Error("the marker is still there")
	}
	verify(t, dir)

	// An attempt that died between removing the tablespace's marker and the data
	// directory's: the next one knows the tablespace by the link.
	writeFile(t, filepath.Join(dir, ".holdfast-restore"), `{"execution":1002,"fence":3,"set":1001,"source":"pgdata"}`)
	last.Fence = 4
	enginetest.RestoreAll(t, e, last, sink.Source())
	verify(t, dir)
	refusedRestore(t, req, sink.Source(), holdfast.CodeInvalid, "is not empty")
	p.Stop(t, testkit.Fast)
	r := testkit.StartRestored(t, dir)
	if got := r.Value(t, "", "SELECT count(*) FROM a"); got != "1000" {
		t.Errorf("got %s rows, want 1000", got)
	}
	if exists(filepath.Join(p.Tablespaces[0], ".holdfast-restore")) {
		t.Error("the source's tablespace was touched")
	}
}

func TestRestoreWaitsForLock(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	e := pgphysical.New(pgphysical.Options{})
	req := restoreTo(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	frozen, reached := sink.Source(), make(chan struct{}, 10)
	frozen.BeforeFetch = func(ctx context.Context, _ string) error {
		reached <- struct{}{}
		<-ctx.Done()
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := e.Restore(ctx, req, frozen)
		done <- err
	}()
	<-reached
	next := req
	next.Fence = 2
	_, err := e.Restore(t.Context(), next, sink.Source())
	wantError(t, err, holdfast.CodeUnavailable, "another process is writing")
	cancel(engine.ErrStale)
	if err := await(t, done); !errors.Is(err, engine.ErrStale) {
		t.Errorf("got %v, want the cause", err)
	}
	enginetest.RestoreAll(t, e, next, sink.Source())
	verify(t, req.Spec.Directory)
}

// put writes a file, or removes it when there is nothing to write.
func put(t *testing.T, name, content string) {
	t.Helper()
	if content != "" {
		writeFile(t, name, content)
	} else if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyFindsDamage(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	req := restoreTo(t)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	dir := req.Spec.Directory
	segments, err := filepath.Glob(filepath.Join(dir, "pg_wal", "0*"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("got segments %v, %v, want 1", segments, err)
	}
	for name, c := range map[string]struct {
		file   string
		change func(string) string // of its content; the empty string removes it
		want   string
	}{
		"a changed byte":      {"global/1262", func(s string) string { return s[:100] + "x" + s[101:] }, `"global/1262" has the checksum`},
		"a short file":        {"global/1262", func(s string) string { return s[:8000] }, `"global/1262" has 8000 bytes`},
		"a missing file":      {"global/1262", func(string) string { return "" }, `"global/1262" is missing`},
		"a further file":      {"base/further", func(string) string { return "x" }, `"base/further" is there`},
		"a torn pg_control":   {"global/pg_control", func(s string) string { return s[:50] + "x" + s[51:] }, `"global/pg_control" has the checksum`},
		"missing WAL":         {"pg_wal/" + filepath.Base(segments[0]), func(string) string { return "" }, "is missing"},
		"short WAL":           {"pg_wal/" + filepath.Base(segments[0]), func(s string) string { return s[:8192] }, "size of a segment"},
		"WAL of another time": {"pg_wal/" + filepath.Base(segments[0]), func(s string) string { return strings.Repeat("\x01", len(s)) }, "is damaged: a page"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, c.file)
			old, err := os.ReadFile(path)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			put(t, path, c.change(string(old)))
			v, err := pgphysical.Verify(t.Context(), dir)
			if err != nil || v.OK() || !strings.Contains(strings.Join(v.Problems, "\n"), c.want) {
				t.Errorf("got %+v, %v, want %q", v, err, c.want)
			}
			put(t, path, string(old))
		})
	}
	t.Run("a changed manifest", func(t *testing.T) {
		path := filepath.Join(dir, "backup_manifest")
		old := readFile(t, path)
		writeFile(t, path, strings.Replace(old, `"Size": 3`, `"Size": 4`, 1))
		_, err := pgphysical.Verify(t.Context(), dir)
		wantError(t, err, holdfast.CodeInvalid, "manifest", "checksum does not match")
		writeFile(t, path, old)
	})
	t.Run("no manifest", func(t *testing.T) {
		_, err := pgphysical.Verify(t.Context(), t.TempDir())
		wantError(t, err, holdfast.CodeInvalid, "backup_manifest does not exist")
	})
	verify(t, dir)
}

func TestConfigurationOutside(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Stop(t, testkit.Fast)
	data, conf, stray := p.DataDir, filepath.Join(testkit.Dir(t), "etc"), filepath.Join(testkit.Dir(t), "stray")
	uid, gid := testkit.Owner(t)
	for _, dir := range []string{conf, filepath.Join(conf, "conf.d"), stray} {
		mkdir(t, dir)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"postgresql.conf", "pg_hba.conf", "pg_ident.conf"} {
		writeFile(t, filepath.Join(conf, name), readFile(t, filepath.Join(data, name)))
		if err := os.Remove(filepath.Join(data, name)); err != nil {
			t.Fatal(err)
		}
	}
	p.DataDir = conf
	p.AppendConf(t, "data_directory = '"+data+"'\nhba_file = '"+conf+"/pg_hba.conf'\nident_file '"+conf+"/pg_ident.conf'\n"+
		"include_dir 'conf.d'\ninclude '"+stray+"/more.conf'\nexternal_pid_file = '"+stray+"/pid'\n")
	writeFile(t, filepath.Join(conf, "conf.d/10.conf"), "work_mem = '7MB'\n")
	writeFile(t, filepath.Join(conf, "conf.d/not-read"), "work_mem = 'nonsense'\n")
	writeFile(t, filepath.Join(stray, "more.conf"), "maintenance_work_mem = '9MB'\ninclude 'beside.conf'\n")
	writeFile(t, filepath.Join(stray, "beside.conf"), "temp_buffers = '5MB'\n")
	p.Start(t)

	backup := backupOf(t, p)
	backup.Site.DataDir = data
	sink := enginetest.NewDirSink(t)
	res := enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backup, sink)
	if len(res.Warnings) != 0 {
		t.Errorf("got warnings %q", res.Warnings)
	}
	p.Stop(t, testkit.Fast)
	if err := os.RemoveAll(stray); err != nil { // the copy must not need it
		t.Fatal(err)
	}
	if err := os.RemoveAll(conf); err != nil {
		t.Fatal(err)
	}

	t.Run("left out", func(t *testing.T) {
		req := restoreTo(t)
		res := enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
		verify(t, req.Spec.Directory)
		if !strings.Contains(res.Note, conf+"/postgresql.conf") || !strings.Contains(res.Note, "--configuration") {
			t.Errorf("got note %q", res.Note)
		}
		if exists(filepath.Join(req.Spec.Directory, "postgresql.conf")) {
			t.Error("the configuration was put back although nobody asked")
		}
	})
	t.Run("put back", func(t *testing.T) {
		req := restoreTo(t)
		req.Spec.Configuration = true
		if res := enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source()); res.Note != "" {
			t.Errorf("got note %q", res.Note)
		}
		r := testkit.StartRestored(t, req.Spec.Directory)
		for name, want := range map[string]string{
			"work_mem": "7MB", "maintenance_work_mem": "9MB", "temp_buffers": "5MB", "archive_mode": "off",
			"config_file": req.Spec.Directory + "/postgresql.conf", "hba_file": req.Spec.Directory + "/pg_hba.conf",
			"ident_file": req.Spec.Directory + "/pg_ident.conf",
		} {
			if got := r.Value(t, "", "SHOW "+name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	})
}
