package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestBadInput is what people get wrong: each is refused with a word on what to
// do, and leaves nothing behind.
func TestBadInput(t *testing.T) {
	t.Parallel()
	pg := source(t)
	r := newRig(t)
	r.up()
	r.register(pg)
	r.want(0, "job", "run", "nightly", "--wait")

	t.Run("words", func(t *testing.T) {
		r := *r
		r.t = t
		r.refuse(2, []string{"rnu"}, "job", "rnu", "nightly")
		r.refuse(2, []string{"--site"}, "job", "create", "--name", "x")
		r.refuse(2, []string{"unknown flag"}, "host", "list", "--long")
		r.refuse(2, []string{"one argument"}, "host", "add")
		r.refuse(2, []string{"xml"}, "host", "list", "-o", "xml")
		r.refuse(2, []string{"token"}, "--server", r.url(), "host", "list")
		r.refuse(2, []string{"a b"}, "host", "add", "a b")
		r.refuse(2, []string{"priority"}, "job", "update", "nightly", "--priority", "9")
		r.refuse(2, []string{"reader, operator or admin"}, "token", "create", "x", "--role", "owner")
	})
	t.Run("unknown ids", func(t *testing.T) {
		r := *r
		r.t = t
		for _, args := range [][]string{
			{"host", "remove", "9999"},
			{"site", "show", "paris"},
			{"site", "test", "9999"},
			{"repository", "show", "9999"},
			{"job", "run", "weekly"},
			{"job", "run", "berlin/weekly"},
			{"job", "delete", "9999", "--yes"},
			{"worker", "remove", "w9"},
		} {
			r.refuse(4, nil, args...)
		}
		for _, args := range [][]string{
			{"execution", "show", "9999"},
			{"execution", "kill", "9999"},
			{"execution", "log", "9999"},
			{"set", "show", "9999"},
			{"token", "revoke", "9999"},
			{"restore", "9999", "--to", r.path("restores/none")},
		} {
			if res := r.want(4, args...); !strings.Contains(res.stderr, "9999") {
				t.Errorf("%v: the error does not name the id: %s", args, res.stderr)
			}
		}
	})
	t.Run("names that are taken", func(t *testing.T) {
		r := *r
		r.t = t
		r.refuse(5, []string{"db1"}, "host", "add", "db1")
		r.refuse(5, []string{"nightly"}, "job", "create", "--site", "berlin", "--name", "nightly")
		r.refuse(5, []string{"main.kit"}, "repository", "create", "other", "--location", r.path("other"), "--kit", r.path("main.kit"))
		r.refuse(5, []string{"repository"}, "repository", "create", "other", "--location", r.path("repository"), "--kit", r.path("other.kit"))
		missing(t, r.path("other"), r.path("other.kit"))
	})
	t.Run("second server", func(t *testing.T) {
		r := *r
		r.t = t
		host, err := os.Hostname()
		noError(t, err)
		r.refuse(5, []string{fmt.Sprintf("pid %d on %s", r.serve.cmd.Process.Pid, host)}, "serve", "--listen", "127.0.0.1:0")
		r.want(0, "host", "list")
	})
	t.Run("configuration", func(t *testing.T) {
		r := *r
		r.t = t
		file := r.path("bad.yaml")
		noError(t, os.WriteFile(file, []byte("worker:\n  slot: 3\n"), 0o644))
		r.refuse(2, []string{"worker.slot", "worker.slots"}, "serve", "--state", r.path("state2"), "--config", file)
		r.refuse(2, []string{"listen"}, "serve", "--state", r.path("state2"), "--listen", "nonsense")
		missing(t, r.path("state2"))
	})
	t.Run("invalid JSON", func(t *testing.T) {
		r := *r
		r.t = t
		token := strings.TrimSpace(r.want(0, "token", "create", "script", "--role", "operator").stdout)
		for path, body := range map[string]string{
			"/api/v1/executions": `{"job":`,
			"/data-protection/v2/sites/berlin/jobs/1001/execute": `{"run_type":`,
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url()+path, strings.NewReader(body))
			noError(t, err)
			req.Header.Set("Authorization", "Bearer "+token)
			req.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(req)
			noError(t, err)
			answer, err := io.ReadAll(resp.Body)
			noError(t, err)
			noError(t, resp.Body.Close())
			if resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: got %d: %s", path, resp.StatusCode, answer)
			}
		}
		var all []execution
		r.ask(&all, "execution", "list")
		if len(all) != 1 {
			t.Errorf("there are %d executions, want 1", len(all))
		}
	})
	t.Run("restore", func(t *testing.T) {
		r := *r
		r.t = t
		r.badRestores(pg)
	})
	t.Run("site", func(t *testing.T) {
		r := *r
		r.t = t
		r.badSites(pg)
	})
	r.down()
}

// badRestores are those that a worker, or the command itself, must refuse.
func (r *rig) badRestores(pg *testkit.Postgres) {
	t := r.t
	t.Helper()
	var s backupSet
	r.ask(&s, "set", "show", "1001")
	oid := s.Physical.Tablespaces[0].OID
	space := func(dir string) string { return fmt.Sprintf("%d=%s", oid, dir) }
	full := r.path("restores/full")
	noError(t, os.MkdirAll(full, 0o755))
	noError(t, os.WriteFile(filepath.Join(full, "mine"), []byte("precious"), 0o644))
	link := r.path("restores/link")
	noError(t, os.Symlink(r.dir, link))

	cases := []struct {
		name, to, tablespace, words string
	}{
		{"outside of the roots", r.path("outside"), space(r.path("restores/a-ts")), "restores"},
		{"outside of the roots, through a link", filepath.Join(link, "outside"), space(r.path("restores/b-ts")), "restores"},
		{"tablespace outside of the roots", r.path("restores/c"), space(r.path("outside")), "restores"},
		{"directory that is not empty", full, space(r.path("restores/d-ts")), "not empty"},
		{"over the running server", pg.DataDir, space(r.path("restores/e-ts")), ""},
		{"no directory for a tablespace", r.path("restores/f"), "", "tablespace"},
	}
	for _, c := range cases {
		args := []string{"restore", "1001", "--to", c.to, "--wait"}
		if c.tablespace != "" {
			args = append(args, "--tablespace", c.tablespace)
		}
		res := r.try(args...)
		if res.code != 1 && res.code != 2 || !strings.Contains(res.stderr, c.words) {
			t.Errorf("%s: got code %d\n%s", c.name, res.code, res.stderr)
		}
	}
	missing(t, r.path("outside"), r.path("restores/c"), r.path("restores/f"))
	if b, err := os.ReadFile(filepath.Join(full, "mine")); err != nil || string(b) != "precious" {
		t.Errorf("what lay in the directory is gone: %v", err)
	}
	r.refuse(2, []string{"OID=DIR"}, "restore", "1001", "--to", r.path("restores/g"), "--tablespace", "x")
	r.refuse(2, []string{"--to"}, "restore", "1001")
	r.refuse(2, []string{"--kit"}, "restore", "--offline", "latest", "--to", r.path("restores/g"))

	kit, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	offline := func(text string) []string {
		file := r.path("bad.kit")
		noError(t, os.WriteFile(file, []byte(text), 0o644))
		return []string{"restore", "--offline", "--kit", file, "latest", "--to", r.path("restores/h"), "--tablespace", space(r.path("restores/h-ts"))}
	}
	r.refuse(2, []string{"recovery kit"}, offline("nothing")...)
	r.refuse(2, []string{"Check"}, offline(strings.Replace(string(kit), "Password: ", "Password: x", 1))...)
	r.refuse(4, nil, "restore", "--offline", "--kit", r.path("main.kit"), "9999", "--to", r.path("restores/h"))
	r.refuse(2, []string{"not empty"}, "restore", "--offline", "--kit", r.path("main.kit"), "1001", "--to", full, "--tablespace", space(r.path("restores/h-ts")))
	r.refuse(4, []string{"no backup set"}, "restore", "--offline", "--kit", r.path("main.kit"), "latest", "--site", "nowhere", "--to", r.path("restores/h"))
	missing(t, r.path("restores/h"), r.path("restores/h-ts"))
}

// badSites are sites that cannot be backed up as they are registered.
func (r *rig) badSites(pg *testkit.Postgres) {
	t := r.t
	t.Helper()
	wrong := r.path("wrong")
	noError(t, os.WriteFile(wrong, []byte("not-the-password"), 0o644))
	stale := r.path("stale")
	testkit.Run(t, "cp", "-a", pg.DataDir, stale)
	noError(t, os.Remove(filepath.Join(stale, "postmaster.pid")))
	noError(t, os.Mkdir(r.path("elsewhere"), 0o755))

	cases := []struct {
		name, words string
		args        []string
	}{
		{"password", "password", append([]string{"--password-file", wrong}, server(pg)...)},
		{"unreachable", "", append(append([]string{"--password-file", r.path("password")}, server(pg)...), "--pg-port", "1")},
		{"elsewhere", "data directory", append(append([]string{"--password-file", r.path("password")}, server(pg)...), "--data-dir", r.path("elsewhere"))},
		{"stale", "", append(append([]string{"--password-file", r.path("password")}, server(pg)...), "--data-dir", stale)},
	}
	for _, c := range cases {
		r.want(0, append([]string{"site", "add", c.name, "--host", "db1", "--repository", "main"}, c.args...)...)
		res := r.try("site", "test", c.name)
		if res.code == 0 || !strings.Contains(res.stdout+res.stderr, c.words) {
			t.Errorf("site test %s: got code %d\n%s%s", c.name, res.code, res.stdout, res.stderr)
		}
	}
	for name, words := range map[string]string{"password": "password", "elsewhere": "data directory", "stale": "data directory"} {
		r.want(0, "job", "create", "--site", name, "--name", "once")
		// None of these passes by itself: it is told at once, and not tried again.
		res := r.want(1, "job", "run", name+"/once", "--wait")
		if said := res.stdout + res.stderr; !strings.Contains(said, words) {
			t.Errorf("%s: the error has no %q: %s", name, words, said)
		}
	}
	var sets []backupSet
	r.ask(&sets, "set", "list")
	if len(sets) != 1 {
		t.Errorf("there are %d sets, want the 1 from before", len(sets))
	}
}

// missing checks that nothing was written.
func missing(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); err == nil {
			t.Errorf("%s was made", p)
		}
	}
}
