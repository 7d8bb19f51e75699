package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// A repository whose disk is full fails the backup with a word on what to do,
// and keeps what it held.
func TestRepositoryDiskIsFull(t *testing.T) {
	pg := source(t)
	r := newRig(t)
	disk := testkit.SmallFS(t, 24<<20)
	r.up()
	noError(t, os.WriteFile(r.path("password"), []byte(password), 0o644))
	r.want(0, "host", "add", "db1")
	r.want(0, "repository", "create", "small", "--location", disk+"/repository", "--kit", r.path("small.kit"))
	r.want(0, append([]string{"site", "add", "berlin", "--host", "db1", "--repository", "small", "--password-file", r.path("password")}, server(pg)...)...)
	r.want(0, "job", "create", "--site", "berlin", "--name", "nightly")
	r.want(0, "job", "run", "nightly", "--wait")

	pg.Exec(t, "", `CREATE TABLE noise AS SELECT gen_random_uuid() AS a, gen_random_uuid() AS b, gen_random_uuid() AS c FROM generate_series(1, 600000)`)
	res := r.try("job", "run", "nightly", "--wait")
	if res.code != 1 || !strings.Contains(res.stderr, "FAILED") || !strings.Contains(res.stderr, "make room") {
		t.Errorf("got code %d, want 1 and a word about the disk\n%s", res.code, res.stderr)
	}
	var sets []backupSet
	r.ask(&sets, "set", "list")
	if len(sets) != 1 || sets[0].ID != 1001 {
		t.Errorf("got %+v, want the set from before alone", sets)
	}
	r.want(0, "restore", "1001", "--to", r.path("restores/a"), "--wait", "--tablespace", r.spaceOf(1001, "restores/a-ts"))
	r.down()
}
