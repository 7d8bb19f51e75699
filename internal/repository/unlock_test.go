package repository

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
)

func TestUnlock(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	old := now.Add(-31 * time.Minute)
	dead := 0
	want := map[string]string{} // why a lock is stale, by its id
	for _, c := range []struct {
		lock  lockJSON
		stale string
	}{
		{lockJSON{Time: now, Hostname: "other", PID: 7, Holder: "you"}, ""},
		{lockJSON{Time: now.Add(-29 * time.Minute), Hostname: "other", PID: 7, Exclusive: true}, ""},
		{lockJSON{Time: now, Hostname: host, PID: os.Getpid()}, ""},
		{lockJSON{Time: old, Hostname: "other", PID: 7, Holder: "you"}, StaleOld},
		{lockJSON{Time: old, Hostname: host, PID: os.Getpid()}, StaleOld},
		{lockJSON{Time: now, Hostname: host, PID: gone.Process.Pid, Holder: "dead", PIDSpace: pidSpace(), Started: 1}, StaleDead},
		{lockJSON{Time: now, Hostname: "renamed", PID: gone.Process.Pid, Holder: "dead", PIDSpace: pidSpace()}, StaleDead},
		// Its id was given to another process, ours or somebody's.
		{lockJSON{Time: now, Hostname: host, PID: os.Getpid(), Holder: "dead", PIDSpace: pidSpace(), Started: 1}, StaleDead},
		{lockJSON{Time: now, Hostname: host, PID: os.Getppid(), Holder: "dead", PIDSpace: pidSpace(), Started: processStart(os.Getppid()) - 1}, StaleDead},
		{lockJSON{Time: now, Hostname: host, PID: os.Getppid(), Holder: "other", PIDSpace: pidSpace(), Started: processStart(os.Getppid())}, ""},
		// In a container of the same name, on a machine of the same name, or after a new boot.
		{lockJSON{Time: now, Hostname: host, PID: gone.Process.Pid, Holder: "other", PIDSpace: pidSpace() + "1", Started: 1}, ""},
		// Our older versions, and other programs, say nothing of where.
		{lockJSON{Time: now, Hostname: host, PID: gone.Process.Pid, Holder: "other"}, ""},
		{lockJSON{Time: now, Hostname: host, PID: gone.Process.Pid, Exclusive: true}, ""},
	} {
		c.lock.Username = "anna"
		want[putLock(t, r, c.lock).String()] = c.stale
		if c.stale != "" {
			dead++
		}
	}
	junk := kindLock().prefix + "ab" + "00000000000000000000000000000000000000000000000000000000000000"
	if err := r.bucket.Put(t.Context(), junk, []byte("junk")); err != nil {
		t.Fatal(err)
	}
	locks, err := r.Locks(t.Context())
	if err != nil || len(locks) != len(want)+1 {
		t.Fatalf("got %v, error %v", locks, err)
	}
	for _, l := range locks {
		if l.Unreadable != nil {
			if kindLock().prefix+l.ID != junk || l.Stale != "" {
				t.Errorf("got %+v", l)
			}
			continue
		}
		if why, ok := want[l.ID]; !ok || l.Stale != why || l.Username != "anna" || l.Time.IsZero() {
			t.Errorf("got %+v, want it stale: %q", l, why)
		}
	}
	removed, err := r.Unlock(t.Context(), false)
	if err != nil || len(removed) != dead {
		t.Fatalf("got %+v, error %v", removed, err)
	}
	for _, l := range removed {
		if l.Stale == "" {
			t.Errorf("it removed %+v", l)
		}
	}
	if left := names(t, r.bucket, "locks/"); len(left) != len(locks)-dead || !slices.Contains(left, junk) {
		t.Errorf("left: %v", left)
	}
	removed, err = r.Unlock(t.Context(), true)
	if err != nil || len(removed) != len(locks)-dead {
		t.Errorf("got %+v, error %v", removed, err)
	}
	if removed, err := r.Unlock(t.Context(), true); err != nil || len(removed) != 0 {
		t.Errorf("got %+v, error %v", removed, err)
	}
	restic(t, dir, "check")
}

// TestLockSaysWhere: a lock of ours names where its process id means something.
func TestLockSaysWhere(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	newWriter(t, r)
	ids, err := list(t.Context(), r.bucket, kindLock())
	if err != nil || len(ids) != 1 {
		t.Fatalf("got %v, error %v", ids, err)
	}
	data, err := r.load(t.Context(), kindLock(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := parseLock(data)
	if err != nil || l.PIDSpace == "" || l.PIDSpace != pidSpace() || l.Started == 0 || l.Started != processStart(os.Getpid()) || l.dead() {
		t.Errorf("got %s, error %v", data, err)
	}
	restic(t, dir, "list", "locks")
}

// TestUnlockOfALiveWriter: its backup fails, and says why.
func TestUnlockOfALiveWriter(t *testing.T) {
	t.Parallel()
	r, _ := newDirRepository(t)
	w := newWriter(t, r)
	if removed, err := r.Unlock(t.Context(), false); err != nil || len(removed) != 0 {
		t.Errorf("got %+v, error %v", removed, err)
	}
	if removed, err := r.Unlock(t.Context(), true); err != nil || len(removed) != 1 || removed[0].Holder != "test/writer" {
		t.Errorf("got %+v, error %v", removed, err)
	}
	_, err := w.Commit(t.Context(), testCommit(), intendNothing)
	wantError(t, err, holdfast.CodeConflict, "removed our lock")
}
