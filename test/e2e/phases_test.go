package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// heard is how long a wish may take to the worker, in this process.
const heard = 100 * time.Millisecond

var wishes = []holdfast.Wanted{holdfast.WantStop, holdfast.WantSuspend, holdfast.WantKill, holdfast.WantAbort}

// outcomeOf is how an execution ends that comes to rest by the wish.
func outcomeOf(w holdfast.Wanted) holdfast.Outcome {
	return map[holdfast.Wanted]holdfast.Outcome{
		holdfast.WantStop: holdfast.OutcomeStopped, holdfast.WantKill: holdfast.OutcomeKilled, holdfast.WantAbort: holdfast.OutcomeAborted,
	}[w]
}

// rest raises the wish at the point where the execution is held, lets go, and
// checks what becomes of it. A whole one is finished when nobody wants its end at
// once. It returns the execution, which has ended or is suspended.
func (p *plant) rest(id holdfast.ExecutionID, w holdfast.Wanted, whole bool) holdfast.Execution {
	p.t.Helper()
	p.wish(id, w)
	time.Sleep(heard)
	p.gate.open()
	e := p.until(id, "at rest", func(e holdfast.Execution) bool {
		return e.State == holdfast.StateEnded || e.State == holdfast.StateSuspended
	})
	want := outcomeOf(w)
	if whole && w <= holdfast.WantStop {
		want = holdfast.OutcomeSucceeded
	}
	if e.Outcome != want || (want == "") != (e.State == holdfast.StateSuspended) {
		p.t.Errorf("execution %d is %+v (%s), want outcome %q", id, e.Status, e.Detail, want)
	}
	return e
}

// TestBackupRestsInEveryPhase wants a backup to rest or to end at each point of its
// way. It leaves nothing behind, and the next one succeeds.
func TestBackupRestsInEveryPhase(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	pg.Exec(t, "", "CREATE TABLE a TABLESPACE ts1 AS SELECT i, md5(i::text) AS v FROM generate_series(1, 5000) i")
	want := pg.Content(t)
	p := newPlant(t)
	site := p.site(pg, "berlin")
	job, err := p.svc.CreateJob(t.Context(), p.actor, holdfast.Job{Site: site.ID, Name: "nightly", Active: true})
	noError(t, err)
	run := func() holdfast.ExecutionID {
		t.Helper()
		e, err := p.svc.Execute(t.Context(), p.actor, service.Run{Job: job.ID, RunType: holdfast.RunDelta})
		noError(t, err)
		return e.ID
	}
	points := []string{
		"step order.received", "open", "phase connect", "phase checkpoint", "start", "phase copy", "add", "flush", "phase stop", "phase wal",
		"phase finish", "step backup.stored", "step intend.before", "step intend.granted", "step snapshot.written", "step finish.before",
	}
	stored := slices.Index(points, "step backup.stored")
	for i, point := range points {
		for _, w := range wishes {
			t.Run(point+", "+w.String(), func(t *testing.T) {
				p := p.in(t)
				held := point
				if point == "start" {
					held = "phase checkpoint"
				}
				reached := p.gate.arm(held)
				id := run()
				p.await(reached)
				if point == "start" { // the server is in pg_backup_start, and waits for its checkpointer
					noError(t, syscall.Kill(checkpointer(t, pg), syscall.SIGSTOP))
					p.gate.open()
					p.gate.arm("")
					eventually(t, func() error {
						if n := pg.Value(t, "", "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_backup_start%' AND pid <> pg_backend_pid()"); n != "1" {
							return fmt.Errorf("%s sessions start a backup", n)
						}
						return nil
					})
				}
				e := p.rest(id, w, i >= stored)
				if point == "start" {
					noError(t, syscall.Kill(checkpointer(t, pg), syscall.SIGCONT))
				}
				p.clean(pg)
				if e.State == holdfast.StateSuspended {
					p.wish(id, holdfast.WantRun)
				} else {
					id = run()
				}
				next := p.ended(id)
				if next.Outcome != holdfast.OutcomeSucceeded {
					t.Errorf("the next backup: got %+v (%s)", next.Status, next.Detail)
				}
				p.clean(pg)
			})
		}
		if i%4 != 3 { // the sets of four points have much in common
			continue
		}
		t.Run(point+", verified", func(t *testing.T) {
			p, dir := p.in(t), p.path(fmt.Sprintf("restores/%d", i))
			p.restored(p.toDirectory(dir))
			if i == len(points)-1 {
				copied := testkit.StartRestored(t, dir)
				if got := copied.Content(t); !reflect.DeepEqual(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				copied.Stop(t, testkit.Fast)
			}
			noError(t, os.RemoveAll(dir))
			noError(t, os.RemoveAll(dir+"-ts1"))
		})
	}
	t.Run("time limit", func(t *testing.T) {
		p := p.in(t)
		noError(t, p.db.Update(t.Context(), func(tx store.Tx) error {
			job.AutoAbort = holdfast.AutoAbort{Active: true, After: 2 * time.Second}
			return tx.UpdateJob(t.Context(), job)
		}))
		p.gate.arm("add")
		id := run()
		p.until(id, "aborted", func(e holdfast.Execution) bool { return e.Wanted == holdfast.WantAbort })
		time.Sleep(heard)
		p.gate.open()
		if e := p.ended(id); e.Outcome != holdfast.OutcomeAborted || e.Detail != "its time limit of 2s has passed" {
			t.Errorf("got %+v (%s), want it aborted by its limit", e.Status, e.Detail)
		}
		p.clean(pg)
	})
}

// checkpointer returns the process of the server that writes checkpoints.
func checkpointer(t *testing.T, pg *testkit.Postgres) int {
	t.Helper()
	pid, err := strconv.Atoi(pg.Value(t, "", "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
	noError(t, err)
	return pid
}

// toDirectory asks for the newest set in a new directory.
func (p *plant) toDirectory(dir string) holdfast.Execution {
	p.t.Helper()
	set := p.newest()
	spaces := map[uint32]string{}
	for _, s := range set.Physical.Tablespaces {
		spaces[s.OID] = dir + "-ts1"
	}
	e, err := p.svc.Restore(p.t.Context(), p.actor, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Directory: dir, Tablespaces: spaces}})
	noError(p.t, err)
	return e
}

// restored waits for the end of a restore, and verifies what it has written.
func (p *plant) restored(e holdfast.Execution) holdfast.Execution {
	p.t.Helper()
	if e = p.ended(e.ID); e.Outcome != holdfast.OutcomeSucceeded {
		p.t.Fatalf("the restore: got %+v (%s)", e.Status, e.Detail)
	}
	testkit.Run(p.t, testkit.PGBin(p.t, "pg_verifybackup"), "--quiet", e.Restore.Directory)
	return e
}

// TestRestoreRestsInEveryPhase is the same for restores, to a directory and in
// place. What was in the place is whole, where the execution says.
func TestRestoreRestsInEveryPhase(t *testing.T) {
	t.Parallel()
	pg := testkit.StartPostgres(t, testkit.PostgresOptions{Tablespaces: 1})
	pg.Exec(t, "", "CREATE TABLE a TABLESPACE ts1 AS SELECT i, md5(i::text) AS v FROM generate_series(1, 5000) i")
	p := newPlant(t, filepath.Dir(pg.DataDir))
	site := p.site(pg, "berlin")
	job, err := p.svc.CreateJob(t.Context(), p.actor, holdfast.Job{Site: site.ID, Name: "nightly", Active: true})
	noError(t, err)
	e, err := p.svc.Execute(t.Context(), p.actor, service.Run{Job: job.ID})
	noError(t, err)
	if e = p.ended(e.ID); e.Outcome != holdfast.OutcomeSucceeded {
		t.Fatalf("got %+v (%s)", e.Status, e.Detail)
	}
	pg.Stop(t, testkit.Fast)
	points := []string{
		"step order.received", "open", "phase prepare", "phase copy", "fetch", "phase finish", "phase sync", "step finish.before",
	}
	moved, whole := slices.Index(points, "phase copy"), slices.Index(points, "step finish.before")
	dirs := 0
	for _, inPlace := range []bool{false, true} {
		ask := func() holdfast.Execution {
			t.Helper()
			if !inPlace {
				dirs++
				return p.toDirectory(p.path(fmt.Sprintf("restores/%d", dirs)))
			}
			e, err := p.svc.Restore(t.Context(), p.actor, service.NewRestore{Spec: holdfast.RestoreSpec{Set: p.newest().ID, Site: site.ID}})
			noError(t, err)
			return e
		}
		for i, point := range points {
			for _, w := range wishes {
				if !inPlace && (w == holdfast.WantStop || w == holdfast.WantAbort) {
					continue // in place is the same, and more
				}
				t.Run(fmt.Sprintf("in place %t, %s, %s", inPlace, point, w), func(t *testing.T) {
					p := p.in(t)
					was := testkit.Run(t, "find", pg.DataDir, "-printf", `%P %s\n`)
					reached := p.gate.arm(point)
					asked := ask()
					p.await(reached)
					e := p.rest(asked.ID, w, i >= whole)
					p.clean(nil)
					if kept := engine.KeptAt(pg.DataDir, e.ID); inPlace && i >= moved {
						if got := testkit.Run(t, "find", kept, "-printf", `%P %s\n`); got != was {
							t.Errorf("what is in %s is not what was in the place", kept)
						}
						if !strings.Contains(e.Detail, kept) {
							t.Errorf("detail: got %q, want %s in it", e.Detail, kept)
						}
					} else if inPlace && testkit.Run(t, "find", pg.DataDir, "-printf", `%P %s\n`) != was {
						t.Error("what is in the place was changed")
					}
					switch {
					case e.State == holdfast.StateSuspended:
						p.wish(e.ID, holdfast.WantRun)
						p.restored(e)
					case e.Outcome != holdfast.OutcomeSucceeded:
						p.restored(ask())
					}
					p.clean(nil)
					for _, dir := range []string{p.path("restores/*"), pg.DataDir + ".*", pg.Tablespaces[0] + ".*"} {
						removeAll(t, dir)
					}
				})
			}
		}
	}
	pg.Start(t)
	if got := pg.Value(t, "", "SELECT count(*) FROM a"); got != "5000" {
		t.Errorf("got %s rows, want 5000", got)
	}
}

// removeAll removes what the pattern finds.
func removeAll(t *testing.T, pattern string) {
	t.Helper()
	found, err := filepath.Glob(pattern)
	noError(t, err)
	for _, name := range found {
		noError(t, os.RemoveAll(name))
	}
}
