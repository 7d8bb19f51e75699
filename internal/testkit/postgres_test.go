package testkit_test

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func TestPostgresLivesAndRecovers(t *testing.T) {
	p := testkit.StartPostgres(t, testkit.PostgresOptions{
		Tablespaces: 2, TCP: true, Conf: map[string]string{"application_name": "it's"},
	})
	if got := p.Value(t, "", "SHOW data_checksums"); got != "on" {
		t.Errorf("data_checksums: got %q, want on", got)
	}
	if got := p.Value(t, "", "SELECT count(*) FROM pg_tablespace WHERE spcname ~ '^ts[12]$'"); got != "2" {
		t.Errorf("got %s tablespaces, want 2", got)
	}
	p.Exec(t, "", "CREATE TABLE kept (id int) TABLESPACE ts2; INSERT INTO kept SELECT generate_series(1, 100)")
	p.Exec(t, "", "INSERT INTO kept VALUES ($1)", 101)
	before := p.Content(t)
	first := p.Pid()
	for _, mode := range []testkit.StopMode{testkit.Smart, testkit.Fast, testkit.Immediate, testkit.Kill} {
		p.Stop(t, mode)
		p.Start(t)
		if got := p.Content(t); !maps.Equal(got, before) {
			t.Errorf("after %s: got %v, want %v", mode, got, before)
		}
	}
	if p.Pid() == first {
		t.Error("the process is still the first one")
	}
	var n int
	if err := p.Connect(t).QueryRow(t.Context(), "SELECT count(*) FROM kept").Scan(&n); err != nil || n != 101 {
		t.Errorf("got %d rows, %v, want 101", n, err)
	}
}

func TestPostgresAsksForThePassword(t *testing.T) {
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Password: `it's a \ secret`, NoChecksums: true})
	if got := p.Value(t, "", "SHOW data_checksums"); got != "off" {
		t.Errorf("data_checksums: got %q, want off", got)
	}
	out, err := testkit.TryRun(t, testkit.PGBin(t, "psql"), "-w", "-h", p.SocketDir, "-p", p.Value(t, "", "SHOW port"), "-c", "SELECT 1", "postgres")
	if err == nil {
		t.Errorf("a session without the password got %q", out)
	}
}

func TestContentHashSeesEveryChange(t *testing.T) {
	p := testkit.StartPostgres(t, testkit.PostgresOptions{})
	p.Exec(t, "", "CREATE DATABASE other")
	p.Exec(t, "other", `CREATE SCHEMA "odd ""schema"; CREATE TABLE "odd ""schema"."T" (id serial, v jsonb, b bytea);
		INSERT INTO "odd ""schema"."T" (v, b) VALUES ('{"a": 1}', '\x00ff'), ('{"a": 1}', '\x00ff'), (NULL, '');
		SELECT lo_from_bytea(4242, '\x0102')`)
	seen := map[string]string{}
	for _, change := range []string{
		"",
		`UPDATE "odd ""schema"."T" SET b = '\x00fe' WHERE id = 1`,
		`INSERT INTO "odd ""schema"."T" (v) VALUES (NULL)`,
		`DELETE FROM "odd ""schema"."T" WHERE id = 3`,
		`SELECT lo_put(4242, 0, '\x09')`,
		`SELECT nextval('"odd ""schema"."T_id_seq"')`,
	} {
		if change != "" {
			p.Exec(t, "other", change)
		}
		content := testkit.ContentHash(t, p.ConnectTo(t, "other"))
		if len(content) != 3 {
			t.Errorf("got %d entries, want the table, its sequence and the large objects: %v", len(content), content)
		}
		var all strings.Builder
		for _, k := range []string{`odd "schema.T`, `odd "schema.T_id_seq`, "large objects"} {
			all.WriteString(content[k].Sum + " ")
		}
		if earlier, ok := seen[all.String()]; ok {
			t.Errorf("the hash after %q is that after %q", change, earlier)
		}
		seen[all.String()] = change
	}
	before := testkit.ContentHash(t, p.ConnectTo(t, "other"))
	p.Exec(t, "other", `VACUUM FULL "odd ""schema"."T"`)
	if after := testkit.ContentHash(t, p.ConnectTo(t, "other")); !maps.Equal(before, after) {
		t.Errorf("moved rows: got %v, want %v", after, before)
	}
}

func TestRestoredServerStartsBesideItsSource(t *testing.T) {
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	p.Exec(t, "", "CREATE TABLE kept (id int) TABLESPACE ts1; INSERT INTO kept VALUES (1)")
	dir := testkit.Dir(t)
	testkit.Run(t, testkit.PGBin(t, "pg_basebackup"), "-D", filepath.Join(dir, "data"), "-d", p.ConnString(""),
		"-T", p.Tablespaces[0]+"="+filepath.Join(dir, "ts1"), "-c", "fast")
	testkit.Run(t, testkit.PGBin(t, "pg_verifybackup"), filepath.Join(dir, "data"))
	if os.Geteuid() == 0 { // a restore by root leaves root's files
		if err := os.Chown(filepath.Join(dir, "data"), 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	r := testkit.StartRestored(t, filepath.Join(dir, "data"))
	if got, want := r.Content(t), p.Content(t); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// childWaits, in the environment, makes a test start a server, say where it
// is, and wait to be killed.
const childWaits = "HOLDFAST_TEST_WAIT_WITH_SERVER"

func TestServerGoesDownWithAKilledTest(t *testing.T) {
	if os.Getenv(childWaits) != "" {
		p := testkit.StartPostgres(t, testkit.PostgresOptions{})
		fmt.Printf("\nserver %d %s\n", p.Pid(), filepath.Dir(p.DataDir))
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerGoesDownWithAKilledTest$")
	cmd.Env = append(os.Environ(), childWaits+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	var dir string
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "server %d %s", &pid, &dir) // other lines are the test framework's
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if pid == 0 {
		t.Fatal("the child has started no server")
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(30 * time.Second); syscall.Kill(pid, 0) == nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the server outlives its test")
		}
	}
}
