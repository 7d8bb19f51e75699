package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

type execution struct {
	ID      int64  `json:"id"`
	State   string `json:"state"`
	Outcome string `json:"outcome"`
	Detail  string `json:"detail"`
	Set     int64  `json:"set_id"`
}

type backupSet struct {
	ID       int64 `json:"id"`
	Bytes    int64 `json:"bytes"`
	Physical struct {
		Tablespaces []struct {
			OID  uint32 `json:"oid"`
			Path string `json:"path"`
		} `json:"tablespaces"`
	} `json:"physical"`
}

func source(t *testing.T) *testkit.Postgres {
	t.Helper()
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Password: password, Tablespaces: 1})
	pg.Exec(t, "", `CREATE TABLE documents (id bigint PRIMARY KEY, title text NOT NULL, body jsonb, picture bytea) TABLESPACE ts1`)
	pg.Exec(t, "", `INSERT INTO documents SELECT i, 'Title ' || i, jsonb_build_object('n', i), decode(repeat(md5(i::text), 20), 'hex')
		FROM generate_series(1, 20000) i`)
	pg.Exec(t, "", `SELECT lo_from_bytea(0, decode(repeat(md5('large'), 5000), 'hex'))`)
	return pg
}

// TestBackupRestoreAndRestoreWithoutServer is the main job.
func TestBackupRestoreAndRestoreWithoutServer(t *testing.T) {
	t.Parallel()
	restic := testkit.Require(t, "restic")
	pg := source(t)
	want := pg.Content(t)
	r := newRig(t)
	r.up()
	r.register(pg)

	info, err := os.Stat(r.path("main.kit"))
	noError(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the recovery kit has mode %o", info.Mode().Perm())
	}
	r.want(0, "site", "test", "berlin")
	r.checkAnonymous()

	var e execution
	r.ask(&e, "job", "run", "berlin/nightly", "--wait")
	if e.Outcome != "SUCCEEDED" {
		t.Fatalf("got %+v", e)
	}
	var s backupSet
	r.ask(&s, "set", "show", fmt.Sprint(e.Set))
	if len(s.Physical.Tablespaces) != 1 || s.Bytes == 0 {
		t.Fatalf("got %+v", s)
	}
	if log := r.want(0, "execution", "log", fmt.Sprint(e.ID)).stdout; !strings.Contains(log, "backup started") {
		t.Errorf("the log does not tell of the backup:\n%s", log)
	}
	space := func(name string) string { return fmt.Sprintf("%d=%s", s.Physical.Tablespaces[0].OID, r.path(name)) }

	first := r.path("restores/first")
	r.want(0, "restore", "latest", "--site", "berlin", "--to", first, "--tablespace", space("restores/first-ts1"), "--wait")
	restored(t, first, want)

	r.down()
	if strings.Contains(r.serve.text(), password) {
		t.Error("the server's log shows the site's password")
	}
	noError(t, os.Rename(r.state, r.path("state.away")))

	kit, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	check := testkit.Command(t, restic, "--no-cache", "-r", r.path("repository"), "check", "--read-data")
	check.Env = append(check.Env, "RESTIC_PASSWORD="+field(t, string(kit), "Password"))
	if res := finish(t, check); res.code != 0 {
		t.Errorf("restic check: %s%s", res.stdout, res.stderr)
	}

	var sets []struct {
		Set, Site string
	}
	r.ask(&sets, "restore", "--offline", "--kit", r.path("main.kit"), "list")
	if len(sets) != 1 || sets[0].Set != fmt.Sprint(e.Set) || sets[0].Site != "berlin" {
		t.Errorf("the kit lists %+v", sets)
	}
	// The repository has moved as well.
	noError(t, os.Rename(r.path("repository"), r.path("moved")))
	second := r.path("second")
	r.refuse(4, []string{"--repository"}, "restore", "--offline", "--kit", r.path("main.kit"), "latest", "--to", second)
	r.want(0, "restore", "--offline", "--kit", r.path("main.kit"), "--repository", r.path("moved"), sets[0].Set,
		"--to", second, "--tablespace", space("second-ts1"))
	restored(t, second, want)
}

// checkAnonymous looks at what the server tells who shows no token.
func (r *rig) checkAnonymous() {
	r.t.Helper()
	token := strings.TrimSpace(r.want(0, "token", "create", "script", "--role", "reader", "--expires", "1h").stdout)
	for _, c := range []struct {
		path, token string
		want        int
	}{
		{"/healthz", "", 200},
		{"/readyz", "", 200},
		{"/api/v1/sites", "", 401},
		{"/data-protection/v2/sites/berlin/jobs", "", 401},
		{"/api/v1/sites", token, 200},
		{"/data-protection/v2/sites/berlin/jobs", token, 200},
	} {
		req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url()+c.path, nil)
		noError(r.t, err)
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		resp, err := http.DefaultClient.Do(req)
		noError(r.t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		noError(r.t, err)
		noError(r.t, resp.Body.Close())
		if resp.StatusCode != c.want {
			r.t.Errorf("%s with token %t: got %d, want %d", c.path, c.token != "", resp.StatusCode, c.want)
		}
	}
	r.want(0, "token", "revoke", "1001")
}

// field returns a line of a recovery kit.
func field(t *testing.T, kit, name string) string {
	t.Helper()
	for line := range strings.Lines(kit) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("the recovery kit has no line %s:\n%s", name, kit)
	return ""
}

// spaceOf is the flag that puts a set's tablespace into a directory.
func (r *rig) spaceOf(set int64, dir string) string {
	r.t.Helper()
	var s backupSet
	r.ask(&s, "set", "show", fmt.Sprint(set))
	if len(s.Physical.Tablespaces) != 1 {
		r.t.Fatalf("got %+v", s)
	}
	return fmt.Sprintf("%d=%s", s.Physical.Tablespaces[0].OID, r.path(dir))
}

// restored starts a server on what was restored and compares all of its rows.
func restored(t *testing.T, dir string, want map[string]testkit.Content) {
	t.Helper()
	if _, err := testkit.TryRun(t, testkit.PGBin(t, "pg_verifybackup"), "--quiet", dir); err != nil {
		t.Errorf("%s: %v", filepath.Base(dir), err)
	}
	// The source asks for a password; whoever starts a copy decides that anew.
	noError(t, os.WriteFile(filepath.Join(dir, "pg_hba.conf"), []byte("local all all trust\n"), 0o600))
	copied := testkit.StartRestored(t, dir)
	if got := copied.Content(t); !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got %v, want %v", filepath.Base(dir), got, want)
	}
	copied.Stop(t, testkit.Fast)
}

// A server that is asked to end, or killed, while a backup runs loses nothing:
// the execution goes on with the next server.
func TestServerEndsWhileABackupRuns(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			pg := source(t)
			r := newRig(t)
			r.up("--drain", "0s")
			r.register(pg)
			var e execution
			r.ask(&e, "job", "run", "nightly")
			if code := r.serve.stop(sig); sig == syscall.SIGTERM && code != 0 {
				t.Fatalf("the server ended with code %d", code)
			}
			r.up()
			r.want(0, "execution", "watch", fmt.Sprint(e.ID))
			var all []execution
			r.ask(&all, "execution", "list")
			if len(all) != 1 || all[0].Outcome != "SUCCEEDED" {
				t.Errorf("got %+v", all)
			}
			r.down()
		})
	}
}

// A watch goes on when the server does.
func TestWatchSurvivesARestart(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up("--no-worker")
	r.register(pg)
	var e execution
	r.ask(&e, "job", "run", "nightly")
	watch := make(chan result, 1)
	cmd := r.command("execution", "watch", fmt.Sprint(e.ID))
	go func() { watch <- finish(t, cmd) }()
	time.Sleep(300 * time.Millisecond) // so that it watches; too early only tests less
	r.down()
	r.up()
	if res := <-watch; res.code != 0 || !strings.Contains(res.stdout, "SUCCEEDED") {
		t.Errorf("got code %d\n%s%s", res.code, res.stdout, res.stderr)
	}
	r.down()
}

// A worker of its own joins once, does the work of its host, and comes back
// without a token.
func TestWorkerOnItsOwn(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up("--no-worker", "--listen-workers", "127.0.0.1:0")
	noError(t, os.WriteFile(r.path("password"), []byte(password), 0o644))
	r.want(0, "host", "add", "db1", "--remote")
	r.want(0, "repository", "create", "main", "--location", r.path("repository"), "--kit", r.path("main.kit"))
	r.want(0, append([]string{"site", "add", "berlin", "--host", "db1", "--repository", "main", "--password-file", r.path("password")}, server(pg)...)...)
	r.want(0, "job", "create", "--site", "berlin", "--name", "nightly")
	r.refuse(1, []string{"worker"}, "site", "test", "berlin") // nobody stands on the host

	state := r.path("worker")
	r.refuse(4, []string{"not joined"}, "worker", "--state", state)
	token := strings.TrimSpace(r.want(0, "worker", "invite", "w1", "--host", "db1").stdout)
	w := r.start("worker", "--state", state, "--join", token)
	r.want(0, "site", "test", "berlin")
	r.want(0, "job", "run", "nightly", "--wait")
	if code := w.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the worker ended with code %d", code)
	}
	r.refuse(5, []string{"used"}, "worker", "--state", r.path("other"), "--join", token)
	r.refuse(5, []string{"joined"}, "worker", "--state", state, "--join", token)
	w = r.start("worker", "--state", state)
	r.want(0, "job", "run", "nightly", "--wait")
	r.want(0, "worker", "remove", "w1")
	if code := w.stop(syscall.SIGTERM); code != 0 {
		t.Errorf("the removed worker ended with code %d", code)
	}
	r.refuse(5, []string{"refuses"}, "worker", "--state", state)
	r.down()
}

// Stock restic sends SIGHUP to whoever holds a lock on its own host, to see
// whether it is alive. That must not end the server.
func TestResticUnlockWhileABackupRuns(t *testing.T) {
	t.Parallel()
	restic := testkit.Require(t, "restic")
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	kit, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	var e execution
	r.ask(&e, "job", "run", "nightly")
	for unlocked := 0; ; unlocked++ {
		unlock := testkit.Command(t, restic, "--no-cache", "-r", r.path("repository"), "unlock")
		unlock.Env = append(unlock.Env, "RESTIC_PASSWORD="+field(t, string(kit), "Password"))
		if res := finish(t, unlock); res.code != 0 {
			t.Fatalf("restic unlock: %s%s", res.stdout, res.stderr)
		}
		r.ask(&e, "execution", "show", fmt.Sprint(e.ID))
		if e.Outcome != "" && unlocked > 0 {
			break
		}
	}
	noError(t, r.serve.cmd.Process.Signal(syscall.SIGHUP)) // whether or not restic met a lock
	if r.want(0, "execution", "watch", fmt.Sprint(e.ID)); e.Outcome != "SUCCEEDED" {
		t.Errorf("got %+v", e)
	}
	r.down()
}

// A damaged page is named by the backup, and whoever restores the set hears of it.
func TestDamagedSetSaysSo(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Password: password})
	pg.Exec(t, "", "CREATE TABLE broken AS SELECT i, md5(i::text) FROM generate_series(1, 5000) i")
	file := filepath.Join(pg.DataDir, pg.Value(t, "", "SELECT pg_relation_filepath('broken')"))
	pg.Stop(t, testkit.Fast)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	noError(t, err)
	_, err = f.WriteAt([]byte("damage"), 3*8192+4000)
	noError(t, err)
	noError(t, f.Close())
	pg.Start(t)

	r := newRig(t)
	r.up()
	r.register(pg)
	res := r.try("job", "run", "nightly", "--wait")
	if res.code != 3 || !strings.Contains(res.stdout+res.stderr, "broken") || !strings.Contains(res.stdout+res.stderr, "block 3") {
		t.Errorf("the backup: got code %d\n%s%s", res.code, res.stdout, res.stderr)
	}
	res = r.try("restore", "latest", "--site", "berlin", "--to", r.path("restores/first"), "--wait")
	if res.code != 3 || !strings.Contains(res.stdout+res.stderr, "was damaged when it was taken") {
		t.Errorf("the restore: got code %d\n%s%s", res.code, res.stdout, res.stderr)
	}
	r.down()
	res = r.try("restore", "--offline", "--kit", r.path("main.kit"), "list")
	if res.code != 0 || !strings.Contains(res.stdout, "DAMAGED") {
		t.Errorf("the kit's list: got code %d\n%s%s", res.code, res.stdout, res.stderr)
	}
	res = r.try("restore", "--offline", "--kit", r.path("main.kit"), "latest", "--to", r.path("second"))
	if res.code != 3 || !strings.Contains(res.stderr, "was damaged when it was taken") {
		t.Errorf("the restore offline: got code %d\n%s%s", res.code, res.stdout, res.stderr)
	}
}
