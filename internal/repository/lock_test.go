package repository

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fault"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/repository/hash"
)

func putLock(t testing.TB, r *Repository, l lockJSON) hash.ID {
	t.Helper()
	plain, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	id, err := r.save(t.Context(), kindLock(), plain)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOtherLocks(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.CommandContext(t.Context(), "true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	dead := gone.Process.Pid
	now := time.Now()
	for _, c := range []struct {
		name    string
		lock    lockJSON
		refused bool
		removed bool
	}{
		{"shared", lockJSON{Time: now, Hostname: "other", PID: 7}, false, false},
		{"exclusive", lockJSON{Time: now, Exclusive: true, Hostname: "other", Username: "anna", PID: 7}, true, false},
		{"exclusive and stale", lockJSON{Time: now.Add(-time.Hour), Exclusive: true, Hostname: "other", Username: "anna", PID: 7}, true, false},
		{"exclusive and stale here", lockJSON{Time: now.Add(-time.Hour), Exclusive: true, Hostname: host, PID: os.Getppid()}, true, false},
		{"exclusive, of a process that is not here", lockJSON{Time: now, Exclusive: true, Hostname: host, PID: dead}, true, false},
		{"ours, alive elsewhere", lockJSON{Time: now, Hostname: "other", PID: dead, Holder: "me"}, false, false},
		{"ours, alive here", lockJSON{Time: now, Hostname: host, PID: os.Getpid(), Holder: "me", PIDSpace: pidSpace(), Started: processStart(os.Getpid())}, false, false},
		{"ours, dead here", lockJSON{Time: now, Hostname: host, PID: dead, Holder: "me", PIDSpace: pidSpace(), Started: 1}, false, true},
		{"ours, whose id another process has", lockJSON{Time: now, Hostname: host, PID: os.Getpid(), Holder: "me", PIDSpace: pidSpace(), Started: 1}, false, true},
		{"ours, in a container of the same name", lockJSON{Time: now, Hostname: host, PID: dead, Holder: "me", PIDSpace: pidSpace() + "1", Started: 1}, false, false},
		{"ours, of an older version", lockJSON{Time: now, Hostname: host, PID: dead, Holder: "me"}, false, false},
		{"ours, stale", lockJSON{Time: now.Add(-time.Hour), Hostname: "other", PID: 7, Holder: "me"}, false, true},
		{"another holder's, dead here", lockJSON{Time: now, Hostname: host, PID: dead, Holder: "you", PIDSpace: pidSpace(), Started: 1}, false, false},
		{"another holder's, stale", lockJSON{Time: now.Add(-time.Hour), Hostname: "other", Holder: "you"}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := mem.New()
			r := newRepository(t, b)
			other := putLock(t, r, c.lock)
			var log bytes.Buffer
			w, err := r.NewWriter(t.Context(), WriterOptions{Holder: "me", Log: slog.New(slog.NewTextHandler(&log, nil))})
			if said := strings.Contains(log.String(), "lock of a dead holder removed"); said != c.removed {
				t.Errorf("the log: %q", log.String())
			}
			if c.refused {
				wantError(t, err, holdfast.CodeConflict, "locked exclusively by process ")
				if c.lock.Username != "" {
					wantError(t, err, holdfast.CodeConflict, "process 7 on other, user anna")
				}
				if holdfast.ErrorHint(err) == "" {
					t.Error("no hint")
				}
			} else if err != nil {
				t.Fatal(err)
			} else if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			left := names(t, b, "locks/")
			if (len(left) == 0) != c.removed || (len(left) > 0 && left[0] != kindLock().name(other)) || len(left) > 1 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

func TestUnreadableLockIsTakenSeriously(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	junk := []byte("no lock at all, but a name that fits")
	if err := b.Put(t.Context(), kindLock().name(hash.Sum(junk)), junk); err != nil {
		t.Fatal(err)
	}
	_, err := r.NewWriter(t.Context(), WriterOptions{Holder: "me"})
	wantError(t, err, holdfast.CodeConflict, "cannot be read")
}

// TestExclusiveLockThatCameMeanwhile: it was put after we had looked, and before
// our lock was there.
func TestExclusiveLockThatCameMeanwhile(t *testing.T) {
	t.Parallel()
	inner := mem.New()
	r := newRepository(t, inner)
	b := fault.Wrap(inner, fault.Call(fault.Put, 1, func(string) {
		putLock(t, r, lockJSON{Time: time.Now(), Exclusive: true, Hostname: "other", PID: 7})
	}).Named("locks/"))
	busy := &Repository{bucket: b, key: r.key, config: r.config, clock: r.clock}
	_, err := busy.NewWriter(t.Context(), WriterOptions{Holder: "me"})
	wantError(t, err, holdfast.CodeConflict, "exclusively")
	if left := names(t, inner, "locks/"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
}

// bubbleClock is the fake clock of a synctest bubble; a test may let the machine
// sleep, which only boot sees.
func bubbleClock(asleep *time.Duration) clock {
	began := time.Now()
	return clock{now: time.Now, boot: func() time.Duration { return time.Since(began) + *asleep }}
}

func TestLockIsRefreshed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := mem.New()
		r := newRepository(t, b)
		var asleep time.Duration
		r.clock = bubbleClock(&asleep)
		w := newWriter(t, r)
		before := names(t, b, "locks/")
		first, err := r.load(t.Context(), kindLock(), w.lock.id)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if good := w.LockGood(); good < lockLife-refreshEvery {
			t.Errorf("after three hours the lock is good for %v", good)
		}
		after := names(t, b, "locks/")
		if len(before) != 1 || len(after) != 1 || before[0] == after[0] {
			t.Errorf("got %v, then %v", before, after)
		}
		last, err := r.load(t.Context(), kindLock(), w.lock.id)
		if err != nil {
			t.Fatal(err)
		}
		a, err := parseLock(first)
		if err != nil {
			t.Fatal(err)
		}
		z, err := parseLock(last)
		if err != nil {
			t.Fatal(err)
		}
		if a.Holder != "test/writer" || z.Holder != a.Holder || z.Generation != a.Generation || a.Generation == 0 || !z.Time.After(a.Time) {
			t.Errorf("got %+v, then %+v", a, z)
		}
		if _, err := w.Commit(t.Context(), testCommit(), intendNothing); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLostLockStopsTheWriter(t *testing.T) {
	t.Parallel()
	unavailable := holdfast.Errorf(holdfast.CodeUnavailable, "the store is away")
	for name, lose := range map[string]func(t *testing.T, b *fault.Bucket, asleep *time.Duration){
		"cannot be refreshed": func(_ *testing.T, b *fault.Bucket, _ *time.Duration) {
			b.Add(fault.On(fault.Put, fault.Every, unavailable).Named("locks/"))
			time.Sleep(lockLife + time.Minute)
			b.Clear()
			time.Sleep(time.Hour) // it must not come back to life
		},
		"the machine slept": func(_ *testing.T, _ *fault.Bucket, asleep *time.Duration) {
			*asleep = lockLife
		},
		"somebody removed it": func(t *testing.T, b *fault.Bucket, _ *time.Duration) {
			t.Helper()
			for _, l := range names(t, b, "locks/") {
				if err := b.Delete(t.Context(), l); err != nil {
					t.Fatal(err)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := fault.Wrap(mem.New())
				r := newRepository(t, b)
				var asleep time.Duration
				r.clock = bubbleClock(&asleep)
				w := newWriter(t, r)
				if err := w.Add(t.Context(), file([]byte("a")).file("a")); err != nil {
					t.Fatal(err)
				}
				if err := w.Flush(t.Context()); err != nil {
					t.Fatal(err)
				}
				lose(t, b, &asleep)
				_, err := w.Commit(t.Context(), testCommit(), func(context.Context, string) error {
					t.Error("intended without a lock")
					return nil
				})
				wantError(t, err, holdfast.CodeConflict, "lock")
				if w.LockGood() > 0 {
					t.Errorf("the lock is good for %v", w.LockGood())
				}
				if err := w.Close(); err != nil {
					t.Error(err)
				}
				if left := names(t, b, "snapshots/"); len(left) != 0 {
					t.Errorf("a snapshot was written: %v", left)
				}
			})
		})
	}
}

// TestLockLostDuringIntend: whoever answers intend may take longer than the lock
// lives.
func TestLockLostDuringIntend(t *testing.T) {
	t.Parallel()
	b := mem.New()
	r := newRepository(t, b)
	var asleep time.Duration
	r.clock = bubbleClock(&asleep)
	w := newWriter(t, r)
	_, err := w.Commit(t.Context(), testCommit(), func(context.Context, string) error {
		asleep = time.Hour
		return nil
	})
	wantError(t, err, holdfast.CodeConflict, "lock")
	if left := names(t, b, "snapshots/"); len(left) != 0 {
		t.Errorf("a snapshot was written: %v", left)
	}
}

// TestFrozenWhileTheSnapshotIsPut: a process that is stopped in front of its last
// write, for longer than its lock lives, must not take the set for a good one.
func TestFrozenWhileTheSnapshotIsPut(t *testing.T) {
	t.Parallel()
	var asleep time.Duration
	b := fault.Wrap(mem.New(), fault.Call(fault.Put, 1, func(string) { asleep = time.Hour }).Named("snapshots/"))
	r := newRepository(t, b)
	r.clock = bubbleClock(&asleep)
	w := newWriter(t, r)
	id, err := w.Commit(t.Context(), testCommit(), intendNothing)
	wantError(t, err, holdfast.CodeConflict, "lock")
	if id == "" {
		t.Error("the snapshot's id is not told, so nobody can reap it")
	}
}

// TestFrozenWhileTheLockIsRefreshed: a process that is stopped after it has looked
// at its old lock, and before the new one is there, has had no lock meanwhile.
func TestFrozenWhileTheLockIsRefreshed(t *testing.T) {
	t.Parallel()
	for _, op := range []fault.Op{fault.Stat, fault.Put} {
		var asleep time.Duration
		b := fault.Wrap(mem.New())
		r := newRepository(t, b)
		r.clock = bubbleClock(&asleep)
		w := newWriter(t, r)
		b.Add(fault.Call(op, 1, func(string) { asleep = time.Hour }).Named("locks/"))
		wantError(t, w.lock.refreshOnce(t.Context()), holdfast.CodeConflict, "could not be refreshed")
		_, err := w.Commit(t.Context(), testCommit(), intendNothing)
		wantError(t, err, holdfast.CodeConflict, "could not be refreshed")
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if left := names(t, b, ""); len(left) != 2 { // config and key
			t.Errorf("frozen at %s: left %v", op, left)
		}
	}
}

// TestRemovedWhileTheLockIsRefreshed: a virtual machine was paused there, and its clock
// knows nothing of it. Somebody has taken its holder for dead, and what it counts on may
// be gone: the new lock does not bring it back to life.
func TestRemovedWhileTheLockIsRefreshed(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New())
	r := newRepository(t, b)
	w := newWriter(t, r)
	b.Add(fault.Call(fault.Put, 1, func(string) {
		if gone, err := r.Unlock(t.Context(), true); err != nil || len(gone) != 1 {
			t.Errorf("removed %v, error %v", gone, err)
		}
	}).Named("locks/"))
	wantError(t, w.lock.refreshOnce(t.Context()), holdfast.CodeConflict, "somebody has removed")
	_, err := w.Commit(t.Context(), testCommit(), intendNothing)
	wantError(t, err, holdfast.CodeConflict, "somebody has removed")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if left := names(t, b, ""); len(left) != 2 { // config and key
		t.Errorf("left %v", left)
	}
}

// TestCommitMeetsARefresh: the lock that the commit looks for was replaced by our
// own refresh a moment ago.
func TestCommitMeetsARefresh(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New())
	r := newRepository(t, b)
	w := newWriter(t, r)
	b.Add(fault.Call(fault.Stat, 1, func(string) {
		if err := w.lock.refreshOnce(t.Context()); err != nil {
			t.Error(err)
		}
	}).Named("locks/"))
	if _, err := w.Commit(t.Context(), testCommit(), intendNothing); err != nil {
		t.Errorf("the commit took its own refresh for a stranger: %v", err)
	}
}

func TestRefreshKeepsGoingWhenTheOldLockStays(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New())
	r := newRepository(t, b)
	l, err := r.takeLock(t.Context(), "me", "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	b.Add(fault.On(fault.Delete, fault.Every, broken))
	for range 3 {
		if err := l.refreshOnce(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v", err)
		}
	}
	b.Clear()
	if err := l.release(t.Context()); err != nil {
		t.Error(err)
	}
	if left := names(t, b, "locks/"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestReadOnlyStoreIsReadWithoutALock(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New())
	r := newRepository(t, b)
	want := set{"a": file(noise(1000, 1))}
	id := backUp(t, r, want)
	b.Add(fault.On(fault.Put, fault.Every, holdfast.Errorf(holdfast.CodeForbidden, "read-only")))
	compare(t, readSet(t, r, id), want)
	_, err := r.NewWriter(t.Context(), WriterOptions{})
	wantError(t, err, holdfast.CodeForbidden, "read-only")
}

// TestFullStoreIsReadWithoutALock: a full disk is when a restore may be needed.
func TestFullStoreIsReadWithoutALock(t *testing.T) {
	t.Parallel()
	b := fault.Wrap(mem.New())
	r := newRepository(t, b)
	want := set{"a": file(noise(1000, 1))}
	id := backUp(t, r, want)
	b.Add(fault.On(fault.Put, fault.Every, holdfast.Errorf(holdfast.CodeExhausted, "no room is left")))
	compare(t, readSet(t, r, id), want)
	_, err := r.NewWriter(t.Context(), WriterOptions{})
	wantError(t, err, holdfast.CodeExhausted, "no room")
}

// TestResticSeesOurLock: a shared lock keeps exclusive work away, and restic
// reads it in spite of our keys.
func TestResticSeesOurLock(t *testing.T) {
	t.Parallel()
	r, dir := newDirRepository(t)
	backUp(t, r, set{"a": file([]byte("a"))})
	w := newWriter(t, r)
	if out := restic(t, dir, "list", "locks", "--no-lock"); len(out) < 64 {
		t.Errorf("restic lists no lock: %q", out)
	}
	cat := restic(t, dir, "cat", "lock", w.lock.id.String(), "--no-lock")
	var l lockJSON
	if err := json.Unmarshal([]byte(cat), &l); err != nil || l.Hostname != "testhost" || l.PID != os.Getpid() {
		t.Errorf("restic reads %s, error %v", cat, err)
	}
}
