package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/testkit"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// gate holds an execution at one point until it is opened, or its context ends.
type gate struct {
	mu      sync.Mutex // guards the fields below
	at      string     // empty: nothing is held
	reached chan struct{}
	opened  chan struct{}
}

// arm makes the gate hold whoever comes to the point first.
func (g *gate) arm(at string) (reached <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at, g.reached, g.opened = at, make(chan struct{}), make(chan struct{})
	return g.reached
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.opened)
}

// pass is called at each point. Without a context it cannot be interrupted.
func (g *gate) pass(ctx context.Context, point string) {
	g.mu.Lock()
	if g.at != point {
		g.mu.Unlock()
		return
	}
	g.at = ""
	reached, opened := g.reached, g.opened
	g.mu.Unlock()
	close(reached)
	var done <-chan struct{}
	if ctx != nil {
		done = ctx.Done()
	}
	select {
	case <-opened:
	case <-done:
	}
}

// heldEngine is an engine whose phases are points of the gate.
type heldEngine struct {
	engine.Engine
	gate *gate
}

func (e heldEngine) Backup(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error) {
	req.Report = heldReport{req.Report, e.gate}
	return e.Engine.Backup(ctx, req, sink)
}

func (e heldEngine) Restore(ctx context.Context, req engine.Restore, src engine.Source) (engine.Result, error) {
	req.Report = heldReport{req.Report, e.gate}
	return e.Engine.Restore(ctx, req, src)
}

type heldReport struct {
	engine.Report
	gate *gate
}

func (r heldReport) Phase(name string) {
	r.Report.Phase(name)
	r.gate.pass(nil, "phase "+name) //nolint:staticcheck // it cannot be interrupted
}

// heldRepository is the real one, with points of the gate inside.
type heldRepository struct {
	*repository.Repository
	gate *gate
}

func (r heldRepository) NewWriter(ctx context.Context, holder, hostname string, log *slog.Logger) (worker.Writer, error) {
	w, err := r.Repository.NewWriter(ctx, repository.WriterOptions{Holder: holder, Hostname: hostname, Log: log})
	if err != nil {
		return nil, err
	}
	return heldWriter{w, r.gate}, nil
}

func (r heldRepository) NewReader(ctx context.Context, snapshot string) (worker.Reader, error) {
	reader, err := r.Repository.NewReader(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	return heldReader{reader, r.gate}, nil
}

func (r heldRepository) RemoveSnapshot(ctx context.Context, snapshot string, _ []string) (bool, error) {
	_, err := r.Snapshot(ctx, snapshot)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return false, nil
	}
	return true, r.Repository.RemoveSnapshot(ctx, snapshot)
}

type heldWriter struct {
	*repository.Writer
	gate *gate
}

func (w heldWriter) AddedBytes() int64 { return w.Stats().AddedBytes }

func (w heldWriter) Add(ctx context.Context, f engine.File) error {
	return w.gate.add(ctx, w.Writer, f)
}

func (w heldWriter) Flush(ctx context.Context) error {
	w.gate.pass(ctx, "flush")
	return w.Writer.Flush(ctx)
}

func (w heldWriter) BuildOn(ctx context.Context, snapshot string) (worker.Delta, error) {
	d, err := w.Writer.BuildOn(ctx, snapshot)
	if err != nil {
		return nil, err
	}
	return heldDelta{d, w.gate}, nil
}

// heldDelta is what a backup fills that builds on an earlier set.
type heldDelta struct {
	worker.Delta
	gate *gate
}

func (d heldDelta) Add(ctx context.Context, f engine.File) error { return d.gate.add(ctx, d.Delta, f) }

func (d heldDelta) Flush(ctx context.Context) error {
	d.gate.pass(ctx, "flush")
	return d.Delta.Flush(ctx)
}

// add holds whoever adds a file of a relation.
func (g *gate) add(ctx context.Context, to engine.Sink, f engine.File) error {
	if strings.HasPrefix(f.Path, "pgdata/base/") {
		g.pass(ctx, "add")
	}
	return to.Add(ctx, f)
}

type heldReader struct {
	worker.Reader
	gate *gate
}

func (r heldReader) Fetch(ctx context.Context, targets []engine.Target) error {
	for i := range targets {
		open := targets[i].Open
		targets[i].Open = func() (engine.TargetFile, error) {
			if i > len(targets)/2 {
				r.gate.pass(ctx, "fetch")
			}
			return open()
		}
	}
	return r.Reader.Fetch(ctx, targets)
}

// plant is an installation in this process: the real parts, and a gate.
type plant struct {
	t          *testing.T
	gate       gate
	dir        string
	temp       string // the engine's
	db         *sqlite.Store
	svc        *service.Service
	dispatcher *dispatch.Dispatcher
	actor      holdfast.Actor
	repository holdfast.Repository
	host       holdfast.Host
}

func (p *plant) path(name string) string { return filepath.Join(p.dir, name) }

// Connect implements service.Repositories; this plant makes its own.
func (p *plant) Connect(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret, string) (string, error) {
	return "", holdfast.Errorf(holdfast.CodeInvalid, "no repository is connected here")
}

// NewKitPassword implements service.Repositories.
func (p *plant) NewKitPassword() (holdfast.Secret, error) { return repository.NewKitPassword() }

// Create implements service.Repositories.
func (p *plant) Create(ctx context.Context, location string, _ holdfast.ObjectAccess, password, _ holdfast.Secret) (string, error) {
	u, err := url.Parse(location)
	if err != nil {
		return "", err
	}
	b, err := fs.Create(u.Path)
	if err != nil {
		return "", err
	}
	r, err := repository.Create(ctx, b, password)
	if err != nil {
		return "", err
	}
	return r.ID(), nil
}

// Check implements service.Repositories: no test changes an access.
func (p *plant) Check(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, string) error {
	return nil
}

// Rekey implements service.Repositories: there is no key here.
func (p *plant) Rekey(
	ctx context.Context, _ string, _ holdfast.ObjectAccess, _, _ holdfast.Secret, _ string, record func(context.Context) error,
) error {
	return record(ctx)
}

func newPlant(t *testing.T, roots ...string) *plant {
	t.Helper()
	p := &plant{t: t, dir: testkit.Dir(t)}
	p.temp = p.path("temp")
	noError(t, os.Mkdir(p.temp, 0o700))
	ctx, log := t.Context(), slog.New(slog.DiscardHandler)
	var err error
	p.db, err = sqlite.Open(ctx, p.path("meta.db"))
	noError(t, err)
	t.Cleanup(func() { noError(t, p.db.Close()) })
	master, err := seal.CreateMaster(p.path("master.key"))
	noError(t, err)
	logs, err := dispatch.OpenLogs(p.path("logs"), 0, time.Now)
	noError(t, err)
	nats, err := dispatch.StartServer(dispatch.ServerConfig{Store: p.db, Log: log})
	noError(t, err)
	t.Cleanup(nats.Close)
	p.dispatcher, err = dispatch.New(dispatch.Config{
		Store: p.db, Server: nats, Opener: master, Logs: logs, Log: log, RetryBase: 100 * time.Millisecond, OrphanLife: time.Second,
	})
	noError(t, err)
	p.svc = service.New(service.Config{
		Store: p.db, Sealer: master, Dispatcher: p.dispatcher, Logs: logs, Repositories: p,
		Engines: []holdfast.Engine{holdfast.EnginePhysical}, Now: time.Now, Log: log,
	})
	t.Cleanup(func() { noError(t, p.svc.Close()) })
	p.actor, err = p.svc.LocalActor(ctx, "api/native", "")
	noError(t, err)
	p.work(t, nats, append(roots, p.path("restores")), log)
	noError(t, os.Mkdir(p.path("restores"), 0o755))
	p.repository, _, err = p.svc.CreateRepository(ctx, p.actor, service.NewRepository{Name: "main", Location: "file://" + p.path("repository")})
	noError(t, err)
	p.host, err = p.svc.CreateHost(ctx, p.actor, service.NewHost{Name: "db1"})
	noError(t, err)
	return p
}

// work runs dispatcher and worker until the test ends.
func (p *plant) work(t *testing.T, nats *dispatch.Server, roots []string, log *slog.Logger) {
	t.Helper()
	id, err := seal.NewIdentity()
	noError(t, err)
	sealKey, err := id.SealKey()
	noError(t, err)
	row, err := p.svc.LocalWorker(t.Context(), sealKey, 2, "test")
	noError(t, err)
	conn, err := nats.ConnectWorker(row.ID)
	noError(t, err)
	t.Cleanup(conn.Close)
	e := heldEngine{pgphysical.New(pgphysical.Options{TempDir: p.temp}), &p.gate}
	w := worker.New(worker.Config{
		ID: row.ID, Name: row.Name, Pools: row.Pools, Slots: 2, Version: "test", Conn: conn, Opener: id, RestoreRoots: roots, Log: log,
		Engines: map[holdfast.Engine]engine.Engine{holdfast.EnginePhysical: e},
		OpenBucket: func(_ context.Context, location string, _ holdfast.ObjectAccess) (objstore.Bucket, error) {
			u, err := url.Parse(location)
			if err != nil {
				return nil, err
			}
			return fs.Open(u.Path)
		},
		OpenRepository: func(ctx context.Context, b objstore.Bucket, password holdfast.Secret) (worker.Repository, error) {
			p.gate.pass(ctx, "open")
			r, err := repository.Open(ctx, b, password)
			if err != nil {
				return nil, err
			}
			return heldRepository{r, &p.gate}, nil
		},
		Step: func(name string) { p.gate.pass(nil, "step "+name) }, //nolint:staticcheck // it cannot be interrupted
	})
	for _, run := range []func(context.Context) error{p.dispatcher.Run, w.Run} { // the worker ends first
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		t.Cleanup(func() {
			cancel()
			noError(t, <-done)
		})
	}
}

// site registers a server.
func (p *plant) site(pg *testkit.Postgres, slug string) holdfast.Site {
	p.t.Helper()
	s, err := p.svc.CreateSite(p.t.Context(), p.actor, service.NewSite{Site: holdfast.Site{
		Host: p.host.ID, Slug: slug, DataDir: pg.DataDir, Repository: p.repository.ID,
		Server: holdfast.Server{Host: pg.SocketDir, Port: pg.Port, User: pg.User},
	}})
	noError(p.t, err)
	return s
}

// until waits for a status of the execution.
func (p *plant) until(id holdfast.ExecutionID, what string, ok func(holdfast.Execution) bool) holdfast.Execution {
	p.t.Helper()
	var e holdfast.Execution
	eventually(p.t, func() error {
		var err error
		if e, err = p.svc.Execution(p.t.Context(), p.actor, id); err == nil && !ok(e) {
			err = fmt.Errorf("execution %d is %+v (%s), not %s", id, e.Status, e.Detail, what)
		}
		return err
	})
	return e
}

func (p *plant) ended(id holdfast.ExecutionID) holdfast.Execution {
	p.t.Helper()
	return p.until(id, "ENDED", func(e holdfast.Execution) bool { return e.State == holdfast.StateEnded })
}

// wish raises a wish, as a person does, or as the time limit does.
func (p *plant) wish(id holdfast.ExecutionID, w holdfast.Wanted) {
	p.t.Helper()
	ctx := p.t.Context()
	var err error
	switch w {
	case holdfast.WantRun:
		_, err = p.svc.Resume(ctx, p.actor, id)
	case holdfast.WantSuspend:
		_, err = p.svc.Suspend(ctx, p.actor, id)
	case holdfast.WantStop:
		_, err = p.svc.Stop(ctx, p.actor, id)
	case holdfast.WantKill:
		_, err = p.svc.Kill(ctx, p.actor, id)
	case holdfast.WantAbort:
		var next holdfast.Execution
		err = p.db.Update(ctx, func(tx store.Tx) error {
			prev, err := tx.Execution(ctx, 0, id)
			if err != nil {
				return err
			}
			next = prev
			if next.Status, err = prev.Next(holdfast.MoveAbort); err != nil {
				return err
			}
			return tx.MoveExecution(ctx, prev, next)
		})
		p.dispatcher.Tell(next.Worker, id, next.Fence, next.Wanted)
	}
	noError(p.t, err)
}

// eventually calls check until it returns nil.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for end := time.Now().Add(endLimit); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("after %s: %v", endLimit, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// clean fails the test unless nothing is left of what has ended: no session or slot
// on the server, no lock and no snapshot without a set in the repository, no copy
// that is being written, no file of the engine's.
func (p *plant) clean(pg *testkit.Postgres) {
	p.t.Helper()
	ctx := p.t.Context()
	if pg != nil { // at once: what ends has left the server before it says so
		for _, row := range pg.Rows(p.t, "", `SELECT 'session ' || application_name FROM pg_stat_activity WHERE application_name LIKE 'holdfast % fence %'
			UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots`) {
			p.t.Errorf("left on the server: %s", row[0])
		}
	}
	eventually(p.t, func() error {
		var left []string
		for _, pattern := range []string{p.path("repository/locks/*"), filepath.Join(p.temp, "*")} {
			found, err := filepath.Glob(pattern)
			if err != nil {
				return err
			}
			left = append(left, found...)
		}
		snapshots, err := filepath.Glob(p.path("repository/snapshots/*"))
		if err != nil {
			return err
		}
		sets, n, err := p.svc.Sets(ctx, p.actor, store.SetFilter{})
		if err != nil {
			return err
		}
		if len(snapshots) != n {
			left = append(left, fmt.Sprintf("%d snapshots of %d sets", len(snapshots), n))
		}
		for _, s := range sets {
			e, err := p.svc.Execution(ctx, p.actor, s.Execution)
			if err != nil {
				return err
			}
			if e.Outcome != holdfast.OutcomeSucceeded || e.Set != s.ID {
				left = append(left, fmt.Sprintf("set %d of execution %d, which is %+v", s.ID, e.ID, e.Status))
			}
		}
		err = p.db.View(ctx, func(r store.Reader) error {
			for _, state := range []holdfast.CopyState{holdfast.CopyWriting, holdfast.CopyOrphaned} {
				copies, err := r.CopiesInState(ctx, state, 10)
				for _, c := range copies {
					left = append(left, fmt.Sprintf("copy %d is %s", c.ID, c.State))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && len(left) > 0 {
			err = errors.New("left behind: " + strings.Join(left, ", "))
		}
		return err
	})
}

// in lets a subtest use the plant.
func (p *plant) in(t *testing.T) *plant {
	t.Helper()
	old := p.t
	p.t = t
	t.Cleanup(func() { p.t = old })
	return p
}

// await waits until an execution is held at the gate.
func (p *plant) await(reached <-chan struct{}) {
	p.t.Helper()
	select {
	case <-reached:
	case <-time.After(endLimit):
		p.t.Fatalf("nothing has come to the point within %s", endLimit)
	}
}

// newest returns the newest set.
func (p *plant) newest() holdfast.BackupSet {
	p.t.Helper()
	sets, _, err := p.svc.Sets(p.t.Context(), p.actor, store.SetFilter{Page: store.Page{Limit: 1}})
	noError(p.t, err)
	if len(sets) == 0 {
		p.t.Fatal("there is no set")
	}
	return sets[0].BackupSet
}
