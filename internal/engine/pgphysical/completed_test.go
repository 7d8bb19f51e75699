package pgphysical_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// afterPrepare is a report that calls a function when everything has been looked
// at, just before the directories are opened.
type afterPrepare struct {
	enginetest.Report
	call func()
}

func (r *afterPrepare) Total(files, bytes int64) {
	r.Report.Total(files, bytes)
	if r.call != nil {
		r.call()
	}
	r.call = nil
}

// TestCompletedRestoreIsNotRefusedByNextFence: a worker that dies between the end
// of a restore and the report of it leaves a directory without markers.
func TestCompletedRestoreIsNotRefusedByNextFence(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	p.Exec(t, "", "CREATE TABLE a TABLESPACE ts1 AS SELECT i FROM generate_series(1, 1000) i")
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	e := pgphysical.New(pgphysical.Options{})
	req := restoreTo(t, spacesOf(t, p)...)
	p.Stop(t, testkit.Fast)
	req.Installation = "here"
	dir := req.Spec.Directory
	first := enginetest.RestoreAll(t, e, req, sink.Source())

	next := req
	next.Fence = 2
	again := func(t *testing.T) {
		t.Helper()
		before := tree(t, dir)
		next.Report = nil
		src := sink.Source()
		src.BeforeFetch = func(_ context.Context, path string) error {
			t.Errorf("%s was fetched again", path)
			return nil
		}
		if res := enginetest.RestoreAll(t, e, next, src); res.Files != first.Files || res.Bytes != first.Bytes {
			t.Errorf("the next fence reports %+v, the first %+v", res, first)
		}
		if after := tree(t, dir); after != before {
			t.Errorf("the next fence has left %q, before there was %q", after, before)
		}
		next.Report = &enginetest.Report{}
	}
	again(t)
	verify(t, dir)

	t.Run("another's", func(t *testing.T) {
		refusedRestore(t, req, sink.Source(), holdfast.CodeInvalid, "is not empty")
		for _, change := range []func(*engine.Restore){
			func(r *engine.Restore) { r.Execution = 1003 },
			func(r *engine.Restore) { r.Installation = "elsewhere" },
			func(r *engine.Restore) { r.Spec.Set = 1002 },
		} {
			other := next
			change(&other)
			refusedRestore(t, other, sink.Source(), holdfast.CodeInvalid, "is not empty")
		}
	})
	conf := readFile(t, filepath.Join(dir, "postgresql.auto.conf"))
	for name, c := range map[string]struct{ file, content string }{
		"without pg_control":       {"global/pg_control", ""},
		"with half a pg_control":   {"global/pg_control", strings.Repeat("\x00", 8192)},
		"with another label":       {"backup_label", "START WAL LOCATION: 0/1"},
		"without a label":          {"backup_label", ""},
		"without a receipt":        {"postgresql.auto.conf", "archive_mode = 'off'\n"},
		"restored by others since": {"postgresql.auto.conf", conf + strings.ReplaceAll(conf, "execution 1002", "execution 1003")},
		"with a marker of others":  {".holdfast-restore", `{"execution":1003,"fence":1,"set":1001,"source":"pgdata"}`},
	} {
		t.Run(name, func(t *testing.T) {
			path, old := filepath.Join(dir, c.file), ""
			if exists(path) {
				old = readFile(t, path)
			}
			put(t, path, c.content)
			if _, err := e.Restore(t.Context(), next, sink.Source()); err == nil {
				t.Error("a directory that is not proved to be ours was taken for a completed restore")
			}
			put(t, path, old)
		})
	}
	t.Run("completed in between", func(t *testing.T) {
		writeFile(t, filepath.Join(dir, ".holdfast-restore"), `{"execution":1002,"fence":1,"set":1001,"source":"pgdata"}`)
		late := next
		late.Report = &afterPrepare{call: func() { put(t, filepath.Join(dir, ".holdfast-restore"), "") }}
		enginetest.RestoreAll(t, e, late, sink.Source())
		verify(t, dir)
	})
	t.Run("a server was started", func(t *testing.T) {
		r := testkit.StartRestored(t, dir)
		again(t)
		refusedRestore(t, req, sink.Source(), holdfast.CodeConflict, "server runs in directory")
		if got := r.Value(t, "", "SELECT count(*) FROM a"); got != "1000" {
			t.Errorf("got %s rows, want 1000", got)
		}
		r.Stop(t, testkit.Fast)
		again(t)
		writeFile(t, filepath.Join(dir, "backup_label.old"), "START WAL LOCATION: 0/1")
		refusedRestore(t, next, sink.Source(), holdfast.CodeInvalid, "is not empty")
	})
}

// TestTornMarkerInAdoptedTablespace: one fence dies after it has removed the
// tablespace's marker, the next when it has made it again, before it was written.
func TestTornMarkerInAdoptedTablespace(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	e := pgphysical.New(pgphysical.Options{})
	oids := spacesOf(t, p)
	req := restoreTo(t, oids...)
	enginetest.RestoreAll(t, e, req, sink.Source())
	space := req.Spec.Tablespaces[oids[0]]
	torn := filepath.Join(space, ".holdfast-restore")
	writeFile(t, filepath.Join(req.Spec.Directory, ".holdfast-restore"), `{"execution":1002,"fence":2,"set":1001,"source":"pgdata"}`)
	writeFile(t, torn, "")
	next := req
	next.Fence = 3

	precious := filepath.Join(space, "precious")
	writeFile(t, precious, "data")
	refusedRestore(t, next, sink.Source(), holdfast.CodeInvalid, "is not empty")
	if err := os.Remove(torn); err != nil {
		t.Fatal(err)
	}
	refusedRestore(t, next, sink.Source(), holdfast.CodeInvalid, "is not empty")
	writeFile(t, torn, "")
	late := next
	put(t, precious, "")
	late.Report = &afterPrepare{call: func() { writeFile(t, precious, "data") }}
	_, err := e.Restore(t.Context(), late, sink.Source())
	wantError(t, err, holdfast.CodeInvalid, "is not empty")
	if readFile(t, precious) != "data" {
		t.Error("a foreign file was touched")
	}
	put(t, precious, "")
	writeFile(t, torn, "")

	enginetest.RestoreAll(t, e, next, sink.Source())
	verify(t, req.Spec.Directory)
	if exists(torn) {
		t.Error("the marker is still there")
	}
}

// TestTornMarkerInForeignDirectory: an empty marker proves nothing by itself.
func TestTornMarkerInForeignDirectory(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	sink := enginetest.NewDirSink(t)
	enginetest.BackUp(t, pgphysical.New(pgphysical.Options{}), backupOf(t, p), sink)
	oids := spacesOf(t, p)
	req := restoreTo(t, oids...)
	req.Fence = 2
	for _, dir := range []string{req.Spec.Directory, req.Spec.Tablespaces[oids[0]]} {
		mkdir(t, dir)
		writeFile(t, filepath.Join(dir, ".holdfast-restore"), "")
		writeFile(t, filepath.Join(dir, "precious"), "data")
		refusedRestore(t, req, sink.Source(), holdfast.CodeInvalid, "is not empty")
		put(t, filepath.Join(dir, "precious"), "")
	}
	enginetest.RestoreAll(t, pgphysical.New(pgphysical.Options{}), req, sink.Source())
	verify(t, req.Spec.Directory)
}
