package pgphysical_test

import (
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

func siteOf(p *testkit.Postgres) engine.Site {
	return engine.Site{
		ID: 1001, Slug: "berlin", DataDir: p.DataDir, Password: holdfast.NewSecret(p.Password),
		Server: holdfast.Server{Host: p.SocketDir, Port: p.Port, User: p.User, Database: "postgres"},
	}
}

func backupOf(t *testing.T, p *testkit.Postgres, log ...testkit.LogOption) engine.Backup {
	t.Helper()
	return engine.Backup{
		Site: siteOf(p), Installation: "here", Execution: 1001, Fence: 1, RunType: holdfast.RunFull, Report: &enginetest.Report{}, Log: testkit.Logger(t, log...),
	}
}

// restoreTo asks for a restore to a directory of its own below a fresh root.
func restoreTo(t *testing.T, tablespaces ...uint32) engine.Restore {
	t.Helper()
	root := testkit.Dir(t)
	spec := holdfast.RestoreSpec{Set: 1001, Directory: filepath.Join(root, "restored")}
	for i, oid := range tablespaces {
		if spec.Tablespaces == nil {
			spec.Tablespaces = map[uint32]string{}
		}
		spec.Tablespaces[oid] = filepath.Join(root, "space"+string(rune('a'+i)))
	}
	return engine.Restore{
		Execution: 1002, Fence: 1, Spec: spec, Roots: []string{root}, Report: &enginetest.Report{}, Log: testkit.Logger(t),
	}
}

// wantError checks an error's code, and that its text and hint hold the words.
func wantError(t *testing.T, err error, code holdfast.Code, words ...string) {
	t.Helper()
	if holdfast.ErrorCode(err) != code {
		t.Errorf("got error %v (%s), want %s", err, holdfast.ErrorCode(err), code)
		return
	}
	text := holdfast.ErrorMessage(err) + "\n" + holdfast.ErrorHint(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("got error %q, want %q in it", text, w)
		}
	}
}

// verify fails the test unless our verifier and pg_verifybackup find the restored
// directory whole.
func verify(t *testing.T, dir string, more ...string) {
	t.Helper()
	v, err := pgphysical.Verify(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if !v.OK() || v.Files == 0 {
		t.Errorf("our verifier: %d files, problems %q", v.Files, v.Problems)
	}
	testkit.Run(t, testkit.PGBin(t, "pg_verifybackup"), append(more, dir)...)
}

// nothingLeft fails the test when a session, slot or backup mode of ours is on the
// server.
func nothingLeft(t *testing.T, p *testkit.Postgres) {
	t.Helper()
	rows := p.Rows(t, "", `SELECT 'session ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'holdfast % fence %'
		UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots`)
	if len(rows) != 0 {
		t.Errorf("left on the server: %v", rows)
	}
}

// writeFile writes a file that belongs to the user that PostgreSQL runs as.
func writeFile(t *testing.T, name, content string) {
	t.Helper()
	uid, gid := testkit.Owner(t)
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(name, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
