package pgphysical_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestDeltaRestore writes a set over a copy that has gone on: what is extra goes, what
// other names lead to stays as it is, and what is interrupted starts only when
// another one has finished it.
func TestDeltaRestore(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 1)
	e := pgphysical.New(pgphysical.Options{})
	req := restoreTo(t, p.oids...)
	enginetest.RestoreAll(t, e, req, p.src.Source())
	req.Spec.Delta = true
	dir := req.Spec.Directory

	r := testkit.StartRestored(t, dir)
	refuse := func(code holdfast.Code, words ...string) {
		t.Helper()
		_, err := e.Restore(t.Context(), req, p.src.Source())
		wantError(t, err, code, words...)
		if exists(filepath.Join(dir, ".holdfast-restore")) || !exists(filepath.Join(dir, "global/pg_control")) {
			t.Error("what was refused has left something")
		}
	}
	refuse(holdfast.CodeConflict, "a PostgreSQL server runs in directory")
	r.Exec(t, "", "UPDATE a SET v = 'changed'")
	r.Exec(t, "", "CREATE TABLE extra AS SELECT i FROM generate_series(1, 10000) i")
	extra := filepath.Join(dir, r.Value(t, "", "SELECT pg_relation_filepath('extra')"))
	r.Stop(t, testkit.Fast)

	elsewhere := filepath.Join(testkit.Dir(t), "other name")
	version := filepath.Join(dir, "PG_VERSION")
	for _, err := range []error{
		os.Link(version, elsewhere), os.WriteFile(version, []byte("99\n"), 0o600), os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o600),
		os.Symlink("/", filepath.Join(dir, "pg_link")), os.Remove(filepath.Join(dir, "base/1/PG_VERSION")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	stranger := filepath.Join(dir, "my backups")
	if err := os.Mkdir(stranger, 0o700); err != nil {
		t.Fatal(err)
	}
	refuse(holdfast.CodeInvalid, "my backups", "move it away")
	if err := os.Remove(stranger); err != nil {
		t.Fatal(err)
	}
	req.Repository = filepath.Join(dir, "base")
	refuse(holdfast.CodeInvalid, "the repository", "lies in directory")
	req.Repository = ""

	broken := p.src.Source()
	died := errors.New("the line is dead")
	broken.BeforeFetch = func(_ context.Context, path string) error {
		if path == "pgdata/base/1/PG_VERSION" {
			return died
		}
		return nil
	}
	if _, err := e.Restore(t.Context(), req, broken); !errors.Is(err, died) {
		t.Fatalf("got %v", err)
	}
	if exists(filepath.Join(dir, "global/pg_control")) || !exists(filepath.Join(dir, ".holdfast-restore")) {
		t.Error("what was interrupted could be started")
	}
	plain := req
	plain.Spec.Delta = false
	plain.Execution++
	_, err := e.Restore(t.Context(), plain, p.src.Source())
	wantError(t, err, holdfast.CodeConflict, "unfinished restore")

	req.Execution += 2 // another one
	enginetest.RestoreAll(t, e, req, p.src.Source())
	verify(t, dir)
	if exists(extra) || exists(filepath.Join(dir, "standby.signal")) || exists(filepath.Join(dir, "pg_link")) {
		t.Error("what is not in the set is there")
	}
	if got := readFile(t, elsewhere); got != "99\n" {
		t.Errorf("the other name of a file has %q", got)
	}
	r = testkit.StartRestored(t, dir)
	if got := r.Content(t); !reflect.DeepEqual(got, p.want) {
		t.Errorf("got %v, want %v", got, p.want)
	}
	r.Stop(t, testkit.Fast)
}

// TestDeltaRestoreRefuses: nothing is written over but a copy of the same cluster.
func TestDeltaRestoreRefuses(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 0)
	other := testkit.StartPostgres(t, testkit.PostgresOptions{})
	other.Stop(t, testkit.Fast)
	e := pgphysical.New(pgphysical.Options{})
	for name, c := range map[string]struct {
		edit  func(*engine.Restore)
		words string
	}{
		"another cluster": {func(r *engine.Restore) { r.Spec.Directory, r.Roots = other.DataDir, nil }, "holds another cluster"},
		"no cluster":      {func(*engine.Restore) {}, "holds no PostgreSQL cluster"},
		"in place": {func(r *engine.Restore) {
			*r = p.inPlace(t)
			r.Spec.Delta = true
		}, "not done in place"},
	} {
		req := restoreTo(t)
		req.Spec.Delta = true
		if err := os.MkdirAll(req.Spec.Directory, 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(req.Spec.Directory, "precious"), "x")
		c.edit(&req)
		_, err := e.Restore(t.Context(), req, p.src.Source())
		wantError(t, err, holdfast.CodeInvalid, c.words)
		if name == "no cluster" && readFile(t, filepath.Join(req.Spec.Directory, "precious")) != "x" {
			t.Error("a file was changed")
		}
	}
	if !exists(filepath.Join(other.DataDir, "global/pg_control")) || exists(filepath.Join(other.DataDir, ".holdfast-restore")) {
		t.Error("another cluster was touched")
	}
}
