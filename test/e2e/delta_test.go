package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// written is what a restore says of what it wrote.
type written struct {
	execution
	Result struct {
		Bytes   int64 `json:"bytes"`
		Written int64 `json:"written"`
	} `json:"result"`
}

// TestRestoreByDelta restores over a stopped copy through the server: only what differs
// is written, and nothing but such a copy is written over.
func TestRestoreByDelta(t *testing.T) {
	t.Parallel()
	pg := source(t)
	want := pg.Content(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.want(0, "job", "run", "nightly", "--wait")
	to, space := r.path("restores/copy"), r.spaceOf(1001, "restores/copy-ts1")
	first := []string{"restore", "1001", "--to", to, "--tablespace", space, "--wait"}
	r.want(0, first...)
	r.refuse(1, []string{"is not empty"}, first...)
	over := append(first, "--delta")

	noError(t, os.WriteFile(filepath.Join(to, "pg_hba.conf"), []byte("local all all trust\n"), 0o600))
	copied := testkit.StartRestored(t, to)
	r.refuse(1, []string{"a PostgreSQL server runs in directory " + to, "stop it"}, over...)
	copied.Exec(t, "", "UPDATE documents SET title = 'changed' WHERE id % 100 = 0")
	copied.Exec(t, "", "CREATE TABLE extra AS SELECT i FROM generate_series(1, 1000) i")
	copied.Stop(t, testkit.Fast)
	var e written
	r.ask(&e, over...)
	if e.Result.Written == 0 || e.Result.Written > e.Result.Bytes/4 {
		t.Errorf("got %d of %d bytes written, want few: %s", e.Result.Written, e.Result.Bytes, e.Detail)
	}
	restored(t, to, want)

	noError(t, os.MkdirAll(r.path("restores/papers"), 0o777))
	noError(t, os.WriteFile(r.path("restores/papers/precious"), nil, 0o644))
	bad := func(code int, words []string, dir string, more ...string) {
		t.Helper()
		args := []string{"restore", "1001", "--delta", "--wait", "--tablespace", r.spaceOf(1001, "restores/bad-ts1")}
		r.refuse(code, words, append(append(args, more...), dir)...)
	}
	bad(1, []string{"holds no PostgreSQL cluster"}, "--to="+r.path("restores/papers"))
	bad(1, []string{"allowed restore root"}, "--to="+pg.DataDir)
	bad(2, []string{"the repository at"}, "--to="+r.path("repository"))
	bad(2, []string{"--delta does not go with --in-place"}, "--in-place")
	other := source(t)
	other.Stop(t, testkit.Fast)
	r.down()
	r.upFor(other)
	bad(1, []string{"holds another cluster"}, "--to="+other.DataDir)
	for _, kept := range []string{r.path("restores/papers/precious"), filepath.Join(other.DataDir, "global/pg_control")} {
		if _, err := os.Stat(kept); err != nil {
			t.Error(err)
		}
	}
	r.down()
}

// The server is killed while it restores over the site's own directory: that does not
// start then, and the next attempt comes to the end.
func TestServerIsKilledWhileItRestoresByDelta(t *testing.T) {
	t.Parallel()
	pg := source(t)
	pg.Exec(t, "", "CREATE TABLE more AS SELECT i, repeat(md5(i::text), 10) AS v FROM generate_series(1, 100000) i")
	want := pg.Content(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.want(0, "job", "run", "nightly", "--wait")
	r.want(0, "site", "update", "berlin", "--limit-rate", "2MiB") // so that there is a middle
	pg.Exec(t, "", "DROP TABLE more")
	pg.Stop(t, testkit.Fast)
	r.down()
	r.upFor(pg)
	oid := r.spaceOf(1001, "x")
	oid = oid[:len(oid)-len(r.path("x"))]
	var e written
	r.ask(&e, "restore", "latest", "--site", "berlin", "--to", pg.DataDir, "--delta", "--tablespace", oid+pg.Tablespaces[0])
	control := filepath.Join(pg.DataDir, "global/pg_control")
	for end := time.Now().Add(endLimit); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(control); err != nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the restore does not begin")
		}
	}
	time.Sleep(300 * time.Millisecond)
	r.serve.stop(syscall.SIGKILL)
	if _, err := os.Stat(control); err == nil {
		t.Error("what is half-written could be started")
	}
	r.upFor(pg)
	r.want(0, "execution", "watch", fmt.Sprint(e.ID))
	r.ask(&e, "execution", "show", fmt.Sprint(e.ID))
	if e.Outcome != "SUCCEEDED" || e.Result.Written == 0 || e.Result.Written > e.Result.Bytes {
		t.Errorf("got %+v", e)
	}
	checkPlace(t, pg, want)
	r.down()
}
