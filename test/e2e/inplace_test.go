package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// upFor starts the server with a restore root for the place of the cluster.
func (r *rig) upFor(pg *testkit.Postgres, args ...string) {
	r.t.Helper()
	r.up(append([]string{"--restore-root", filepath.Dir(pg.DataDir)}, args...)...)
}

func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	pg := source(t)
	want := pg.Content(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.want(0, "job", "run", "nightly", "--wait")
	pg.Exec(t, "", "DELETE FROM documents")

	inPlace := []string{"restore", "latest", "--site", "berlin", "--in-place", "--wait"}
	r.refuse(1, []string{"allowed restore root", "add " + filepath.Dir(pg.DataDir)}, inPlace...)
	r.down()
	r.upFor(pg)
	r.refuse(1, []string{"a PostgreSQL server runs in directory " + pg.DataDir, "stop the server"}, inPlace...)
	if got := pg.Value(t, "", "SELECT count(*) FROM documents"); got != "0" {
		t.Errorf("the refused restore has touched the server: got %s rows", got)
	}

	pg.Stop(t, testkit.Kill)
	var e execution
	for end := time.Now().Add(20 * time.Second); ; { // the last processes of a killed server end by themselves
		res := r.try(append(inPlace, "-o", "json")...)
		if res.code == 0 {
			r.ask(&e, "execution", "show", jsonNumber(t, res.stdout, "id"))
			break
		}
		if !strings.Contains(res.stderr, "works in directory") || time.Now().After(end) {
			t.Fatalf("got code %d\n%s", res.code, res.stderr)
		}
	}
	kept := fmt.Sprintf("%s.before-%d", pg.DataDir, e.ID)
	for _, w := range []string{kept, fmt.Sprintf("%s.before-%d", pg.Tablespaces[0], e.ID), "remove it when it is no longer needed"} {
		if !strings.Contains(e.Detail, w) {
			t.Errorf("got detail %q, want %q in it", e.Detail, w)
		}
	}
	if _, err := os.Stat(filepath.Join(kept, "postmaster.pid")); err != nil {
		t.Errorf("the old content is not whole: %v", err)
	}
	checkPlace(t, pg, want)

	// Another site's set goes into the same place.
	other := source(t)
	other.Exec(t, "", "UPDATE documents SET title = 'of the other site'")
	r.want(0, append([]string{"site", "add", "paris", "--host", "db1", "--repository", "main", "--password-file", r.path("password")}, server(other)...)...)
	r.want(0, "job", "create", "--site", "paris", "--name", "weekly")
	var made execution
	r.ask(&made, "job", "run", "weekly", "--wait")
	pg.Stop(t, testkit.Fast)
	oid, _, _ := strings.Cut(r.spaceOf(made.Set, ""), "=")
	r.refuse(2, []string{"no directory is given"}, "restore", fmt.Sprint(made.Set), "--in-place", "--site", "berlin", "--wait")
	r.refuse(1, []string{"no tablespace of the cluster"}, "restore", fmt.Sprint(made.Set), "--in-place", "--site", "berlin", "--wait",
		"--tablespace", oid+"="+filepath.Join(filepath.Dir(pg.DataDir), "s")) // the directory of its socket
	r.want(0, "restore", fmt.Sprint(made.Set), "--in-place", "--site", "berlin", "--wait", "--tablespace", oid+"="+pg.Tablespaces[0])
	wantOther := other.Content(t)
	other.Stop(t, testkit.Fast)
	noError(t, os.WriteFile(filepath.Join(pg.DataDir, "pg_hba.conf"), []byte("local all all trust\n"), 0o600))
	copied := testkit.StartRestored(t, pg.DataDir)
	if got := copied.Content(t); !reflect.DeepEqual(got, wantOther) {
		t.Errorf("got %v, want %v", got, wantOther)
	}
	copied.Stop(t, testkit.Fast)
	r.down()
}

// checkPlace starts the server in its place, and compares all of its rows.
func checkPlace(t *testing.T, pg *testkit.Postgres, want map[string]testkit.Content) {
	t.Helper()
	if _, err := testkit.TryRun(t, testkit.PGBin(t, "pg_verifybackup"), "--quiet", pg.DataDir); err != nil {
		t.Error(err)
	}
	pg.Start(t)
	if got := pg.Content(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// jsonNumber returns a member of an object that stands on a line of its own.
func jsonNumber(t *testing.T, text, name string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), fmt.Sprintf("%q: ", name)); ok {
			return strings.TrimSuffix(v, ",")
		}
	}
	t.Fatalf("no %q in %s", name, text)
	return ""
}

// The server is killed again and again while it restores in place: it goes on, and
// moves the old content once.
func TestServerIsKilledWhileItRestoresInPlace(t *testing.T) {
	t.Parallel()
	pg := source(t)
	pg.Exec(t, "", "CREATE TABLE more AS SELECT i, repeat(md5(i::text), 10) AS v FROM generate_series(1, 100000) i")
	want := pg.Content(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.want(0, "job", "run", "nightly", "--wait")
	pg.Exec(t, "", "DROP TABLE documents")
	pg.Stop(t, testkit.Fast)
	r.down()
	r.upFor(pg)
	var e execution
	r.ask(&e, "restore", "latest", "--site", "berlin", "--in-place")
	for _, wait := range []time.Duration{30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		time.Sleep(wait)
		r.serve.stop(syscall.SIGKILL)
		r.upFor(pg)
	}
	r.want(0, "execution", "watch", fmt.Sprint(e.ID))
	r.ask(&e, "execution", "show", fmt.Sprint(e.ID))
	kept := fmt.Sprintf("%s.before-%d", pg.DataDir, e.ID)
	old, err := filepath.Glob(pg.DataDir + ".*")
	noError(t, err)
	if e.Outcome != "SUCCEEDED" || !reflect.DeepEqual(old, []string{kept}) || !strings.Contains(e.Detail, kept) {
		t.Errorf("got %+v, moved aside %v, want %s", e, old, kept)
	}
	checkPlace(t, pg, want)
	r.down()
}

// A restore in place that is killed says where the old content is, and how to have
// it back.
func TestKilledRestoreInPlaceIsUndoneByHand(t *testing.T) {
	t.Parallel()
	pg := source(t)
	pg.Exec(t, "", "CREATE TABLE more AS SELECT i, repeat(md5(i::text), 10) AS v FROM generate_series(1, 200000) i")
	r := newRig(t)
	r.upFor(pg)
	r.register(pg)
	r.want(0, "job", "run", "nightly", "--wait")
	pg.Exec(t, "", "DELETE FROM documents WHERE id > 7")
	want := pg.Content(t)
	pg.Stop(t, testkit.Fast)
	var e execution
	r.ask(&e, "restore", "latest", "--site", "berlin", "--in-place")
	for end := time.Now().Add(endLimit); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(pg.DataDir, ".holdfast-restore")); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the restore does not begin")
		}
	}
	r.want(0, "execution", "kill", fmt.Sprint(e.ID))
	r.try("execution", "watch", fmt.Sprint(e.ID))
	r.ask(&e, "execution", "show", fmt.Sprint(e.ID))
	_, command, ok := strings.Cut(e.Detail, "to have it back: ")
	if e.Outcome != "KILLED" || !ok {
		t.Fatalf("got %+v, want how to have the old content back", e)
	}
	testkit.Run(t, "sh", "-c", command)
	pg.Start(t)
	if got := pg.Content(t); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.down()
}
