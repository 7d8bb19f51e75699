package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/objstore/s3/s3test"
)

// TestOnlyMaintenanceDeletes gives the repository an access key that may delete locks
// alone, and the worker that is marked for maintenance one that may delete.
func TestOnlyMaintenanceDeletes(t *testing.T) {
	t.Parallel()
	pg := source(t)
	store := s3test.Start(t)
	owner := store.Config(t)
	r := newInStore(t, pg, store, store.AppendOnly(t, owner, "a/main/locks/"))
	r.want(0, "job", "update", "berlin/nightly", "--retain", "1")
	first, second := r.backup("full"), r.backup("delta")
	time.Sleep(3 * time.Second) // the reaper has tried
	check(t, "the state of what has expired, with a key that may not delete", r.stateOf(first.Set), "EXPIRED")
	r.want(0, "repository", "check", "main", "--read-data")
	r.down()

	r.env = []string{"HOLDFAST_WORKER_MAINTENANCE_ACCESS_KEY=" + owner.AccessKey, "HOLDFAST_WORKER_MAINTENANCE_SECRET_KEY=" + owner.SecretKey.Reveal()}
	r.up()
	r.until(first.Set, "DELETED")
	r.want(0, "worker", "maintenance", "local", "--off")
	third := r.backup("delta")
	time.Sleep(3 * time.Second)
	check(t, "the state of what has expired, without a worker for maintenance", r.stateOf(second.Set), "EXPIRED")
	r.want(0, "worker", "maintenance", "local")
	r.until(second.Set, "DELETED")
	check(t, "the state of the newest", r.stateOf(third.Set), "COMPLETE")
	r.down()
	if strings.Contains(r.serve.text(), owner.SecretKey.Reveal()) {
		t.Error("the server's log shows the secret of the key that may delete")
	}
}

// stateOf is the state of the copy of a set.
func (r *rig) stateOf(set int64) string {
	r.t.Helper()
	var s struct {
		Copies []struct{ State string }
	}
	r.ask(&s, "set", "show", fmt.Sprint(set))
	return s.Copies[0].State
}

// until waits for the state.
func (r *rig) until(set int64, state string) {
	r.t.Helper()
	for deadline := time.Now().Add(readyLimit); r.stateOf(set) != state; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("set %d is %s, and not %s", set, r.stateOf(set), state)
		}
	}
}
