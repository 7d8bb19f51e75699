package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/mem"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/testkit"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// retain says how many good sets of the job stay.
func (w *world) retain(t testing.TB, job holdfast.JobID, count int) {
	t.Helper()
	w.update(t, func(tx store.Tx) error {
		j, err := tx.Job(t.Context(), w.account, job)
		j.Retention = holdfast.Retention{Unit: holdfast.RetainSets, Count: count}
		if err != nil {
			return err
		}
		return tx.UpdateJob(t.Context(), j)
	})
}

// run submits an execution of the job, and waits for its outcome.
func (s *stand) run(t testing.TB, job holdfast.JobID, want holdfast.Outcome) holdfast.Execution {
	t.Helper()
	id := s.submit(t, s.queued(job))
	s.dispatcher.Ring(holdfast.DefaultPool)
	return s.waitEnded(t, id, 10*time.Second, want)
}

// state is the state of the only copy that an execution left.
func (w *world) state(t testing.TB, e holdfast.Execution) holdfast.CopyState {
	t.Helper()
	c := w.copies(t, e.ID)
	if len(c) != 1 {
		t.Fatalf("execution %d: got copies %+v, want one", e.ID, c)
	}
	return c[0].State
}

// waitState waits until the copies of the executions have the states.
func (w *world) waitState(t testing.TB, want map[holdfast.ExecutionID]holdfast.CopyState) {
	t.Helper()
	eventually(t, 15*time.Second, func() string {
		for id, state := range want {
			if c := w.copies(t, id); len(c) != 1 || c[0].State != state {
				return fmt.Sprintf("execution %d: got copies %+v, want one that is %s", id, c, state)
			}
		}
		return ""
	})
}

// TestRetentionFollowsGoodBackups runs a job that keeps two sets.
func TestRetentionFollowsGoodBackups(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	s.startWorker(t, "local", script{}, books, nil)
	s.retain(t, s.job, 2)
	other := s.run(t, s.newJob(t, "another job"), holdfast.OutcomeSucceeded)
	want := map[holdfast.ExecutionID]holdfast.CopyState{other.ID: holdfast.CopyComplete}
	var ended []holdfast.Execution
	for n := range 5 {
		e := s.run(t, s.job, holdfast.OutcomeSucceeded)
		ended = append(ended, e)
		want[e.ID] = holdfast.CopyComplete
		if n >= 2 {
			want[ended[n-2].ID] = holdfast.CopyDeleted
		}
	}
	s.waitState(t, want)
	if n := s.visibleSets(t); n != 3 {
		t.Errorf("visible sets: got %d, want 2 and the other job's", n)
	}
	books.mu.Lock()
	defer books.mu.Unlock()
	if len(books.snapshots) != 3 || len(books.removed) != 3 {
		t.Errorf("on the shelf: got %d snapshots, and %d were removed, want 3 and 3", len(books.snapshots), len(books.removed))
	}
	for n, tags := range books.tags {
		if want := fmt.Sprintf("execution=%d", ended[n].ID); len(tags) != 3 || tags[1] != want || tags[2] != "fence=1" {
			t.Errorf("removed: got the snapshot with the tags %q, want that with %q", tags, want)
		}
	}
	var told []string
	require(t, s.store.View(t.Context(), func(r store.Reader) error {
		events, err := r.Events(t.Context(), s.account, 0, 0)
		for _, e := range events {
			if e.Kind == expire.KindExpired {
				var data struct{ Execution holdfast.ExecutionID }
				require(t, json.Unmarshal(e.Data, &data))
				told = append(told, fmt.Sprintf("%s by %d", e.Subject, data.Execution))
			}
		}
		return err
	}))
	var expected []string
	for n := range 3 {
		expected = append(expected, fmt.Sprintf("backup_set %d by %d", ended[n].Set, ended[n+2].ID))
	}
	if !slices.Equal(told, expected) {
		t.Errorf("events: got %q, want %q", told, expected)
	}
}

// TestRetentionWaitsForAGoodBackup lowers the number, and ends executions in every
// way: only the good one lets sets go.
func TestRetentionWaitsForAGoodBackup(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	var result atomic.Pointer[engine.Result]
	result.Store(&engine.Result{Bytes: 1})
	s.startWorker(t, "local", script{backup: func(context.Context, engine.Backup, engine.Sink) (engine.Result, error) {
		if r := result.Load(); r != nil {
			return *r, nil
		}
		return engine.Result{}, holdfast.Errorf(holdfast.CodeInvalid, "no")
	}}, books, nil)
	good := []holdfast.Execution{s.run(t, s.job, holdfast.OutcomeSucceeded), s.run(t, s.job, holdfast.OutcomeSucceeded), s.run(t, s.job, holdfast.OutcomeSucceeded)}
	s.retain(t, s.job, 1)

	result.Store(&engine.Result{Bytes: 1, Warnings: []string{"something was left out"}})
	warned := s.run(t, s.job, holdfast.OutcomeWarning)
	result.Store(&engine.Result{Bytes: 1, Damaged: "a page"})
	damaged := s.run(t, s.job, holdfast.OutcomeWarning)
	result.Store(nil)
	s.run(t, s.job, holdfast.OutcomeFailed)
	for _, e := range good {
		if got := s.state(t, e); got != holdfast.CopyComplete {
			t.Fatalf("set %d is %s before another good backup", e.Set, got)
		}
	}

	result.Store(&engine.Result{Bytes: 1})
	last := s.run(t, s.job, holdfast.OutcomeSucceeded)
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{
		good[0].ID: holdfast.CopyDeleted, good[1].ID: holdfast.CopyDeleted, good[2].ID: holdfast.CopyDeleted,
		warned.ID: holdfast.CopyDeleted, damaged.ID: holdfast.CopyDeleted, last.ID: holdfast.CopyComplete,
	})
	result.Store(&engine.Result{Bytes: 1, Damaged: "a page"})
	damaged = s.run(t, s.job, holdfast.OutcomeWarning)
	time.Sleep(500 * time.Millisecond)
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{last.ID: holdfast.CopyComplete, damaged.ID: holdfast.CopyDamaged})
}

// TestRetentionKeepsWhatARestoreNeeds holds a restore of the oldest set in the
// queue while newer backups end, and lets it run then.
func TestRetentionKeepsWhatARestoreNeeds(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	s.startWorker(t, "local", script{}, books, nil)
	s.retain(t, s.job, 1)
	first := s.run(t, s.job, holdfast.OutcomeSucceeded)
	restore := s.queued(s.newRestoreJob(t))
	restore.Type, restore.Set, restore.Parent = holdfast.JobRestore, first.Set, first.ID
	restore.Restore = &holdfast.RestoreSpec{Set: first.Set, Host: s.host, Directory: "/srv/new"}
	restore.Due = time.Now().Add(5 * time.Second)
	id := s.submit(t, restore)
	second := s.run(t, s.job, holdfast.OutcomeSucceeded)
	third := s.run(t, s.job, holdfast.OutcomeSucceeded)
	if got := s.state(t, first); got != holdfast.CopyComplete {
		t.Fatalf("the set that waits to be restored is %s", got)
	}
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{second.ID: holdfast.CopyDeleted, third.ID: holdfast.CopyComplete})
	s.waitEnded(t, id, 15*time.Second, holdfast.OutcomeSucceeded)
	fourth := s.run(t, s.job, holdfast.OutcomeSucceeded)
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{
		first.ID: holdfast.CopyDeleted, third.ID: holdfast.CopyDeleted, fourth.ID: holdfast.CopyComplete,
	})
}

// TestExpiredSnapshotThatIsNotThere counts as removed: nobody writes it any more.
func TestExpiredSnapshotThatIsNotThere(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, nil), newShelf()
	s.startWorker(t, "local", script{}, books, nil)
	s.retain(t, s.job, 1)
	first := s.run(t, s.job, holdfast.OutcomeSucceeded)
	books.mu.Lock()
	clear(books.snapshots) // somebody was faster
	books.mu.Unlock()
	second := s.run(t, s.job, holdfast.OutcomeSucceeded)
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{first.ID: holdfast.CopyDeleted, second.ID: holdfast.CopyComplete})
}

// cellar is several repositories by location: some of them hang, or are away.
type cellar struct {
	*shelf
	mu   sync.Mutex // guards the fields below
	hung map[string]bool
	away map[string]bool
	at   map[objstore.Bucket]string
}

func newCellar() *cellar {
	return &cellar{shelf: newShelf(), hung: map[string]bool{}, away: map[string]bool{}, at: map[objstore.Bucket]string{}}
}

func (c *cellar) set(of map[string]bool, location string, is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of[location] = is
}

func (c *cellar) openBucket(_ context.Context, location string, _ holdfast.ObjectAccess) (objstore.Bucket, error) {
	b := mem.New()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[b] = location
	return b, nil
}

func (c *cellar) open(ctx context.Context, b objstore.Bucket, password holdfast.Secret) (worker.Repository, error) {
	c.mu.Lock()
	hung, away := c.hung[c.at[b]], c.away[c.at[b]]
	c.mu.Unlock()
	if hung {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	if away {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the disk is not there")
	}
	return c.shelf.open(ctx, b, password)
}

// newRepository makes a repository that is nowhere but in the cellar, and a job
// that keeps one set in it.
func (w *world) newRepository(t testing.TB, location string) holdfast.JobID {
	t.Helper()
	job := w.newJob(t, location)
	w.retain(t, job, 1)
	w.update(t, func(tx store.Tx) error {
		r, err := tx.Repository(t.Context(), w.account, w.repository)
		if err != nil {
			return err
		}
		j, err := tx.Job(t.Context(), w.account, job)
		if err != nil {
			return err
		}
		r.ID, r.Name, r.Location = 0, location, "file:///"+location
		if err := tx.InsertRepository(t.Context(), &r); err != nil {
			return err
		}
		j.Repository = r.ID
		return tx.UpdateJob(t.Context(), j)
	})
	return job
}

// in submits an execution of the job to the job's own repository.
func (s *stand) in(t testing.TB, job holdfast.JobID) holdfast.Execution {
	t.Helper()
	e := s.queued(job)
	require(t, s.store.View(t.Context(), func(r store.Reader) error {
		j, err := r.Job(t.Context(), s.account, job)
		e.Repository = j.Repository
		return err
	}))
	id := s.submit(t, e)
	s.dispatcher.Ring(holdfast.DefaultPool)
	return s.waitEnded(t, id, 10*time.Second, holdfast.OutcomeSucceeded)
}

// TestARepositoryThatHangsHoldsUpNoOther lets sets of many repositories expire:
// most do not answer, one is away for a while.
func TestARepositoryThatHangsHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	s, c := newStand(t, nil), newCellar()
	s.startWorker(t, "local", script{}, newShelf(), func(cfg *worker.Config) {
		cfg.OpenBucket, cfg.OpenRepository, cfg.Slots = c.openBucket, c.open, 4
	})
	const many = 6
	var hung, fine, away []holdfast.Execution
	jobs := map[string]holdfast.JobID{"away": s.newRepository(t, "away"), "fine": s.newRepository(t, "fine")}
	for n := range many {
		name := fmt.Sprintf("hung %d", n)
		jobs[name] = s.newRepository(t, name)
		hung = append(hung, s.in(t, jobs[name]))
	}
	away = append(away, s.in(t, jobs["away"]))
	fine = append(fine, s.in(t, jobs["fine"]))

	// Each second backup is done, and only then its repository goes.
	drop := func(e holdfast.Execution, location string, of map[string]bool) {
		s.update(t, func(tx store.Tx) error {
			copies, err := tx.Copies(t.Context(), s.account, e.Set)
			if err != nil {
				return err
			}
			c.set(of, "file:///"+location, true)
			return expire.Drop(t.Context(), tx, expire.Cause{Kind: expire.KindDeleted, Time: time.Now(), Actor: "test"},
				store.SetCopies{Set: holdfast.BackupSet{ID: e.Set, Account: s.account}, Copies: copies})
		})
	}
	for n, e := range hung {
		drop(e, fmt.Sprintf("hung %d", n), c.hung)
	}
	drop(away[0], "away", c.away)
	time.Sleep(1500 * time.Millisecond) // they hang
	s.in(t, jobs["fine"])
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{fine[0].ID: holdfast.CopyDeleted, away[0].ID: holdfast.CopyExpired})
	c.set(c.away, "file:///away", false)
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{away[0].ID: holdfast.CopyDeleted, hung[0].ID: holdfast.CopyExpired})
	began := time.Now()
	s.stop() // it does not wait for those that hang
	if d := time.Since(began); d > 5*time.Second {
		t.Errorf("the end took %s", d)
	}
}

// TestRetentionInARealRepository leaves what stock restic lists, checks and
// restores.
func TestRetentionInARealRepository(t *testing.T) {
	t.Parallel()
	s := &stand{world: newWorld(t, true)}
	s.start(t, nil)
	var run atomic.Int64
	bytesOf := func(n int64) []byte { return randomBytes(uint64(n), 256<<10) } //nolint:gosec // a few
	s.startWorker(t, "local", script{backup: func(ctx context.Context, _ engine.Backup, sink engine.Sink) (engine.Result, error) {
		data := append(bytesOf(0), bytesOf(run.Add(1))...) // half of it is in every set
		return engine.Result{Bytes: int64(len(data))}, sink.Add(ctx, engine.File{
			Node: engine.Node{Path: "pgdata/base/1/1", Mode: 0o600, Size: int64(len(data))},
			Open: func() (engine.Content, error) { return content{bytes.NewReader(data)}, nil },
		})
	}}, newShelf(), func(c *worker.Config) { c.OpenBucket, c.OpenRepository = openBucket, nil })
	s.retain(t, s.job, 2)
	want := map[holdfast.ExecutionID]holdfast.CopyState{}
	var kept []holdfast.Execution
	for n := range 5 {
		e := s.run(t, s.job, holdfast.OutcomeSucceeded)
		want[e.ID] = holdfast.CopyDeleted
		if n >= 3 {
			want[e.ID] = holdfast.CopyComplete
			kept = append(kept, e)
		}
	}
	s.waitState(t, want)

	restic := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), testkit.Require(t, "restic"), append([]string{"-r", s.bucket(), "--no-cache"}, args...)...)
		cmd.Env = append(os.Environ(), "RESTIC_PASSWORD="+repositoryPassword)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("restic %v: %v\n%s%s", args, err, out, errs.Bytes())
		}
		return string(out)
	}
	var listed []struct{ ID string }
	require(t, json.Unmarshal([]byte(restic("snapshots", "--json")), &listed))
	if len(listed) != 2 {
		t.Fatalf("restic lists %d snapshots, want 2", len(listed))
	}
	restic("check", "--read-data")
	for n, e := range kept {
		c := s.copies(t, e.ID)[0]
		if listed[n].ID != c.Snapshot {
			t.Errorf("restic lists %s, want %s of set %d", listed[n].ID, c.Snapshot, e.Set)
		}
		dir := filepath.Join(t.TempDir(), "out")
		restic("restore", c.Snapshot, "--target", dir)
		got, err := os.ReadFile(filepath.Join(dir, "pgdata/base/1/1"))
		require(t, err)
		if !bytes.Equal(got, append(bytesOf(0), bytesOf(int64(4+n))...)) {
			t.Errorf("set %d restores to something else", e.Set)
		}
	}
}

// TestFailureControlWhileSetsExpire kills the control plane between the mark and
// the removal, and between the removal and its record.
func TestFailureControlWhileSetsExpire(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"finish.committed", "reap.removed"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, nil)
			f.startControl("")
			f.retain(t, f.job, 1)
			m := f.newMember("w1")
			m.start(nil)
			first := f.mustExecute()
			f.wantOneSet(first, endLimit)
			f.control.kill()
			c := f.startControl(step)
			f.repoint(m)
			second := f.mustExecute()
			c.wait(endLimit, "step "+step) // which is behind the end of an execution
			c.waitEnded(startLimit)
			if got := f.copies(t, first)[0].State; got != holdfast.CopyExpired {
				t.Errorf("the first set after the kill: got %s, want %s", got, holdfast.CopyExpired)
			}
			f.startControl("")
			f.repoint(m)
			f.wantOneSet(second, endLimit)
			f.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{first: holdfast.CopyDeleted})
		})
	}
}

// TestFailureWorkerWhileSetsExpire has no worker that may delete for a while.
func TestFailureWorkerWhileSetsExpire(t *testing.T) {
	t.Parallel()
	s, books := newStand(t, func(c *dispatch.Config, _ *dispatch.ServerConfig) { c.SilenceLimit = time.Second }), newShelf()
	w := s.startWorker(t, "local", script{}, books, nil)
	s.retain(t, s.job, 1)
	first := s.run(t, s.job, holdfast.OutcomeSucceeded)
	s.update(t, func(tx store.Tx) error {
		row, err := tx.Worker(t.Context(), w.row.ID)
		row.Maintenance = false
		return firstOf(err, func() error { return tx.UpdateWorker(t.Context(), row) })
	})
	s.run(t, s.job, holdfast.OutcomeSucceeded)
	time.Sleep(1500 * time.Millisecond)
	if got := s.state(t, first); got != holdfast.CopyExpired {
		t.Errorf("without a worker that may delete: got %s, want %s", got, holdfast.CopyExpired)
	}
	s.update(t, func(tx store.Tx) error {
		row, err := tx.Worker(t.Context(), w.row.ID)
		row.Maintenance = true
		return firstOf(err, func() error { return tx.UpdateWorker(t.Context(), row) })
	})
	s.waitState(t, map[holdfast.ExecutionID]holdfast.CopyState{first.ID: holdfast.CopyDeleted})
}

func firstOf(err error, next func() error) error {
	if err != nil {
		return err
	}
	return next()
}
