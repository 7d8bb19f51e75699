package dispatch_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// Secrets that orders carry.
const (
	sitePassword       = "the site's password"
	repositoryPassword = "the repository's password"
	repositorySecret   = "the repository's secret key"
)

// world is an installation on disk: what a restarted process finds again.
type world struct {
	dir        string
	store      *sqlite.Store
	master     *seal.Master
	account    holdfast.AccountID
	host       holdfast.HostID
	site       holdfast.SiteID
	repository holdfast.RepositoryID
	job        holdfast.JobID
}

func (w *world) database() string    { return filepath.Join(w.dir, "meta.db") }
func (w *world) masterKey() string   { return filepath.Join(w.dir, "master.key") }
func (w *world) bucket() string      { return filepath.Join(w.dir, "repository") }
func (w *world) logs() string        { return filepath.Join(w.dir, "logs") }
func (w *world) certificate() string { return filepath.Join(w.dir, "workers.pem") }

// newWorld makes an installation with one host, site, repository and job. The
// repository is a real one when asked for, else only its row exists.
func newWorld(t testing.TB, withRepository bool) *world {
	t.Helper()
	w := &world{dir: t.TempDir()}
	var err error
	w.master, err = seal.CreateMaster(w.masterKey())
	require(t, err)
	w.store, err = sqlite.Open(t.Context(), w.database())
	require(t, err)
	t.Cleanup(func() { require(t, w.store.Close()) })
	formatID := ""
	if withRepository {
		formatID = w.createRepository(t)
	}
	w.insert(t, formatID)
	return w
}

func (w *world) createRepository(t testing.TB) string {
	t.Helper()
	b, err := fs.Create(w.bucket())
	require(t, err)
	r, err := repository.Create(t.Context(), b, holdfast.NewSecret(repositoryPassword))
	require(t, err)
	return r.ID()
}

func (w *world) insert(t testing.TB, formatID string) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	password, err := w.master.Seal(holdfast.NewSecret(sitePassword))
	require(t, err)
	key, err := w.master.Seal(holdfast.NewSecret(repositoryPassword))
	require(t, err)
	packed, err := holdfast.ObjectAccess{AccessKey: "KEY1", SecretKey: holdfast.NewSecret(repositorySecret)}.Pack()
	require(t, err)
	access, err := w.master.Seal(packed)
	require(t, err)
	w.update(t, func(tx store.Tx) error {
		accounts, err := tx.Accounts(ctx)
		if err != nil {
			return err
		}
		w.account = accounts[0].ID
		h := holdfast.Host{Account: w.account, Name: "db1", Created: now}
		r := holdfast.Repository{
			Account: w.account, Name: "main", Location: "file://" + w.bucket(), FormatID: formatID, Password: key, Access: access, Created: now,
		}
		if err := tx.InsertHost(ctx, &h); err != nil {
			return err
		}
		if err := tx.InsertRepository(ctx, &r); err != nil {
			return err
		}
		w.host, w.repository = h.ID, r.ID
		s := holdfast.Site{
			Account: w.account, Host: h.ID, Slug: "berlin", Name: "berlin",
			Server:   holdfast.Server{Host: "localhost", Port: 5432, User: "postgres"},
			Password: password, DataDir: "/srv/pg", Pool: holdfast.DefaultPool, Repository: r.ID, Created: now,
		}
		if err := tx.InsertSite(ctx, &s); err != nil {
			return err
		}
		w.site = s.ID
		return nil
	})
	w.job = w.newJob(t, "nightly")
}

func (w *world) newJob(t testing.TB, name string) holdfast.JobID {
	t.Helper()
	j := holdfast.Job{
		Account: w.account, Site: w.site, Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical, Name: name, Active: true,
		Priority: holdfast.DefaultPriority, Repository: w.repository, Retention: holdfast.Retention{Count: 7}, Created: time.Now(),
	}
	w.update(t, func(tx store.Tx) error { return tx.InsertJob(t.Context(), &j) })
	return j.ID
}

// newWorker inserts a worker that stands on the host. key is empty for the one
// inside the control plane.
func (w *world) newWorker(t testing.TB, name, key, sealKey string, slots int) holdfast.Worker {
	t.Helper()
	row := holdfast.Worker{
		Name: name, Key: key, SealKey: sealKey, Pools: []string{holdfast.DefaultPool}, Hosts: []holdfast.HostID{w.host},
		Slots: slots, Maintenance: key == "", Created: time.Now(),
	}
	w.update(t, func(tx store.Tx) error { return tx.InsertWorker(t.Context(), &row) })
	return row
}

// queued is an execution of the job as a submit makes it.
func (w *world) queued(job holdfast.JobID) holdfast.Execution {
	now := time.Now()
	return holdfast.Execution{
		Account: w.account, Site: w.site, Job: job, JobName: "nightly", Type: holdfast.JobBackup, Engine: holdfast.EnginePhysical,
		Status:   holdfast.Status{State: holdfast.StateQueued},
		RunAsked: holdfast.RunFull, RunType: holdfast.RunFull, Priority: holdfast.DefaultPriority,
		Pool: holdfast.DefaultPool, Host: w.host, Repository: w.repository, Due: now, Submitted: now,
	}
}

func (w *world) submit(t testing.TB, e holdfast.Execution) holdfast.ExecutionID {
	t.Helper()
	w.update(t, func(tx store.Tx) error { return tx.InsertExecution(t.Context(), &e) })
	return e.ID
}

func (w *world) update(t testing.TB, fn func(store.Tx) error) {
	t.Helper()
	require(t, w.store.Update(context.WithoutCancel(t.Context()), fn))
}

func (w *world) execution(t testing.TB, id holdfast.ExecutionID) holdfast.Execution {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var e holdfast.Execution
	require(t, w.store.View(ctx, func(r store.Reader) (err error) {
		e, err = r.Execution(ctx, 0, id)
		return err
	}))
	return e
}

// copies returns every copy that the execution intended, by fence.
func (w *world) copies(t testing.TB, id holdfast.ExecutionID) []holdfast.Copy {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var out []holdfast.Copy
	require(t, w.store.View(ctx, func(r store.Reader) error {
		e, err := r.Execution(ctx, 0, id)
		if err != nil {
			return err
		}
		for f := holdfast.Fence(1); f <= e.Fence; f++ {
			c, err := r.CopyByFence(ctx, id, f)
			if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
				continue
			}
			if err != nil {
				return err
			}
			out = append(out, c)
		}
		return nil
	}))
	return out
}

// visibleSets counts the sets that readers see.
func (w *world) visibleSets(t testing.TB) int {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	n := 0
	require(t, w.store.View(ctx, func(r store.Reader) (err error) {
		_, n, err = r.Sets(ctx, w.account, store.SetFilter{})
		return err
	}))
	return n
}

// move makes a person's move, and returns the execution after it.
func (w *world) move(t testing.TB, id holdfast.ExecutionID, m holdfast.Move) holdfast.Execution {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	var next holdfast.Execution
	w.update(t, func(tx store.Tx) error {
		prev, err := tx.Execution(ctx, 0, id)
		if err != nil {
			return err
		}
		next = prev
		if next.Status, err = prev.Next(m); err != nil {
			return err
		}
		next.WantedAt = time.Now()
		return tx.MoveExecution(ctx, prev, next)
	})
	return next
}

// waitFor waits until the condition holds of the execution.
func (w *world) waitFor(t testing.TB, id holdfast.ExecutionID, limit time.Duration, what string, ok func(holdfast.Execution) bool) holdfast.Execution {
	t.Helper()
	var e holdfast.Execution
	eventually(t, limit, func() string {
		e = w.execution(t, id)
		if ok(e) {
			return ""
		}
		return fmt.Sprintf("execution %d: got %+v, want %s", id, e.Status, what)
	})
	return e
}

func (w *world) waitEnded(t testing.TB, id holdfast.ExecutionID, limit time.Duration, want holdfast.Outcome) holdfast.Execution {
	t.Helper()
	e := w.waitFor(t, id, limit, "ENDED", func(e holdfast.Execution) bool { return e.State == holdfast.StateEnded })
	if e.Outcome != want {
		t.Fatalf("execution %d: got outcome %s (%s: %s), want %s", id, e.Outcome, e.Reason, e.Detail, want)
	}
	return e
}

// eventually waits until check returns an empty string.
func eventually(t testing.TB, limit time.Duration, check func() string) {
	t.Helper()
	end := time.Now().Add(limit)
	for {
		got := check()
		if got == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %s", limit, got)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func require(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
