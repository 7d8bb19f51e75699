package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// A repository whose disk is full fails the backup with a word on what to do,
// and keeps what it held.
func TestRepositoryDiskIsFull(t *testing.T) {
	t.Parallel()
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

// While the disk of the metadata is full, a submit is told so and changes
// nothing, and a backup that runs goes on; it ends well once there is room.
func TestStateDiskIsFull(t *testing.T) {
	t.Parallel()
	pg := source(t)
	pg.Exec(t, "", `CREATE TABLE noise AS SELECT gen_random_uuid() AS a, gen_random_uuid() AS b FROM generate_series(1, 2000000)`)
	r := newRig(t)
	r.state = testkit.SmallFS(t, 24<<20) + "/state"
	r.up()
	r.register(pg)
	r.want(0, "job", "create", "--site", "berlin", "--name", "other")
	token := strings.TrimSpace(r.want(0, "token", "create", "script", "--role", "operator").stdout)

	var running execution
	r.ask(&running, "job", "run", "nightly")
	filler := filepath.Join(filepath.Dir(r.state), "filler")
	fill(t, filler)
	if got := submit(t, r.url()+"/data-protection/v2/sites/berlin/jobs/1002/execute", token); got != http.StatusInsufficientStorage {
		t.Errorf("the submit on a full disk: got %d, want %d", got, http.StatusInsufficientStorage)
	}
	time.Sleep(3 * time.Second) // the backup works, and meets the full disk
	noError(t, os.Remove(filler))
	r.want(0, "execution", "watch", fmt.Sprint(running.ID))
	var all []execution
	r.ask(&all, "execution", "list")
	if len(all) != 1 || all[0].Outcome != "SUCCEEDED" {
		t.Errorf("got %+v, want the running backup alone, and that it has succeeded", all)
	}
	if got := submit(t, r.url()+"/data-protection/v2/sites/berlin/jobs/1002/execute", token); got != http.StatusAccepted {
		t.Errorf("the submit after that: got %d, want %d", got, http.StatusAccepted)
	}
	r.want(0, "execution", "watch", fmt.Sprint(running.ID+1))
	r.down()
}

// fill writes a file until there is no room.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	noError(t, err)
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else {
			noError(t, err)
		}
	}
	noError(t, f.Close())
}

// submit asks for a run as a vendor's script does.
func submit(t *testing.T, url, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"run_type":"FULL"}`))
	noError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	noError(t, err)
	noError(t, resp.Body.Close())
	return resp.StatusCode
}
