package pgphysical_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func move(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestLinksThatLeadBackAreNotFollowed: two links to the directory that holds them
// double what is walked with each level.
func TestLinksThatLeadBackAreNotFollowed(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	for name, target := range map[string]string{
		"loop1": ".", "loop2": ".", "self": "self", "base/up1": "..", "base/up2": "..", "base/99": "nowhere/..", "dangling": "/nowhere",
	} {
		symlink(t, target, filepath.Join(p.DataDir, name))
	}
	_, err := pgphysical.New(pgphysical.Options{}).Backup(t.Context(), backupOf(t, p), enginetest.NewDirSink(t))
	wantError(t, err, holdfast.CodeInvalid, "base/99 is a symbolic link", "must see what the server sees")
	nothingLeft(t, p)
	put(t, filepath.Join(p.DataDir, "base/99"), "")

	sink := enginetest.NewDirSink(t)
	res := enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	want := []string{
		`symbolic link "base/up1" in the data directory was left out; it leads to ".."`,
		`symbolic link "base/up2" in the data directory was left out; it leads to ".."`,
		`symbolic link "dangling" in the data directory was left out; it leads to "/nowhere"`,
		`symbolic link "loop1" in the data directory was left out; it leads to "."`,
		`symbolic link "loop2" in the data directory was left out; it leads to "."`,
		`symbolic link "self" in the data directory was left out; it leads to "self"`,
	}
	if !slices.Equal(res.Warnings, want) {
		t.Errorf("got warnings %q, want %q", res.Warnings, want)
	}
	req := restoreTo(t)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	verify(t, req.Spec.Directory)
}

// TestRestoredLinksStart: what the server needs is in the set, wherever links had
// led to it, and what it may not read is not.
func TestRestoredLinksStart(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Exec(t, "", "CREATE TABLE a AS SELECT i FROM generate_series(1, 1000) i")
	oid := p.Value(t, "", "SELECT oid FROM pg_database WHERE datname = 'postgres'")
	p.AppendConf(t, "include_dir 'conf.d'\ninclude_dir 'empty.d'\ninclude 'sub/linked.conf'\n")
	p.Stop(t, testkit.Fast)
	away, data := filepath.Join(testkit.Dir(t), "away"), p.DataDir
	uid, gid := testkit.Owner(t)
	for _, dir := range []string{away, filepath.Join(away, "conf.d"), filepath.Join(away, "empty.d"), filepath.Join(away, "logs"), filepath.Join(data, "sub")} {
		mkdir(t, dir)
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"postgresql.conf", "pg_xact", "base/" + oid} {
		to := filepath.Join(away, filepath.Base(name))
		move(t, filepath.Join(data, name), to)
		symlink(t, to, filepath.Join(data, name))
	}
	writeFile(t, filepath.Join(away, "conf.d/10.conf"), "work_mem = '7MB'\n")
	writeFile(t, filepath.Join(away, "linked.conf"), "temp_buffers = '5MB'\n")
	writeFile(t, filepath.Join(away, "logs/today"), "started")
	if err := os.WriteFile(filepath.Join(away, "secret"), []byte("root's"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"conf.d": "conf.d", "empty.d": "empty.d", "sub/linked.conf": "linked.conf", "log": "logs", "secret": "secret",
	} {
		symlink(t, filepath.Join(away, target), filepath.Join(data, name))
	}
	p.Start(t)

	sink := enginetest.NewDirSink(t)
	res := enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	left := []string{"conf.d", "empty.d", "sub/linked.conf"}
	if os.Geteuid() == 0 {
		left = []string{"conf.d", "empty.d", "secret", "sub/linked.conf"}
	}
	var got []string
	for _, w := range res.Warnings {
		got = append(got, strings.Split(w, `"`)[1])
	}
	if !slices.Equal(got, left) {
		t.Errorf("links left out: %q, want %q", res.Warnings, left)
	}
	if !exists(filepath.Join(sink.Dir(), "pgdata/log")) || exists(filepath.Join(sink.Dir(), "pgdata/log/today")) {
		t.Error("want the log directory in the set, and no logs")
	}
	p.Stop(t, testkit.Fast)
	if err := os.RemoveAll(away); err != nil { // the copy must not need it
		t.Fatal(err)
	}
	req := restoreTo(t)
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	verify(t, req.Spec.Directory)
	r := testkit.StartRestored(t, req.Spec.Directory)
	for query, want := range map[string]string{"SHOW work_mem": "7MB", "SHOW temp_buffers": "5MB", "SELECT count(*) FROM a": "1000"} {
		if got := r.Value(t, "", query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}
