package service_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// start is when every test begins.
var start = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// unknown is an id that no row has.
const unknown = 999999

// tokenID is the id of the credential that rig.actor acts with, which is no row.
const tokenID = 888888

// sitePassword is the password of the rig's sites, to be looked for where it
// must not stand.
const sitePassword = "planted-site-password"

// clock is the time that a service sees.
type clock struct {
	mu  sync.Mutex // guards the field below
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// told is one call of Dispatcher.Tell.
type told struct {
	worker holdfast.WorkerID
	exec   holdfast.ExecutionID
	fence  holdfast.Fence
	wanted holdfast.Wanted
}

// recorder is a Dispatcher, a Pipelines, a Logs and a Repositories that remembers
// its calls.
type recorder struct {
	mu           sync.Mutex // guards the fields below
	rings        []string
	tells        []told
	disconnected []holdfast.WorkerID
	tested       []holdfast.Site
	joinSecrets  []string
	locations    []string
	passwords    []string
	joinErr      error
	createErr    error
	accesses     []holdfast.ObjectAccess // of repositories that were made
	checks       []string
	checkErr     error
	log          []byte
	etlCalls     []etlCall
	meanwhile    func() // while a counter is set
	counters     []engine.FlowCounter
	relations    []engine.Relation
	etlErr       error
}

// etlCall is one question to a worker about an ETL.
type etlCall struct {
	task                 holdfast.ETLTask
	flow, extract, value string
	rows                 int
}

func (d *recorder) ETLCounters(_ context.Context, t holdfast.ETLTask) ([]engine.FlowCounter, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.etlCalls = append(d.etlCalls, etlCall{task: t})
	return d.counters, d.etlErr
}

func (d *recorder) SetETLCounter(ctx context.Context, t holdfast.ETLTask, flow, extract, value string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.etlCalls = append(d.etlCalls, etlCall{task: t, flow: flow, extract: extract, value: value})
	if d.meanwhile != nil {
		d.meanwhile()
	}
	if ctx.Err() != nil {
		return ctx.Err() // as of one who waits for an answer
	}
	return d.etlErr
}

func (d *recorder) PreviewETL(_ context.Context, t holdfast.ETLTask, rows int) ([]engine.Relation, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.etlCalls = append(d.etlCalls, etlCall{task: t, rows: rows})
	return d.relations, d.etlErr
}

func (d *recorder) Ring(pool string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rings = append(d.rings, pool)
}

func (d *recorder) Tell(w holdfast.WorkerID, e holdfast.ExecutionID, f holdfast.Fence, wanted holdfast.Wanted) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tells = append(d.tells, told{w, e, f, wanted})
}

func (d *recorder) TestSite(_ context.Context, site holdfast.Site, e holdfast.Engine) ([]engine.Finding, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tested = append(d.tested, site)
	return []engine.Finding{{Name: "connection", OK: true, Text: string(e)}}, nil
}

func (d *recorder) Disconnect(w holdfast.WorkerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.disconnected = append(d.disconnected, w)
}

func (d *recorder) JoinToken(secret string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.joinSecrets = append(d.joinSecrets, secret)
	return "wrapped." + secret, d.joinErr
}

func (d *recorder) Read(_ context.Context, _ holdfast.ExecutionID, offset int64, limit int) ([]byte, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	size := int64(len(d.log))
	from := min(offset, size)
	return slices.Clone(d.log[from:min(from+int64(limit), size)]), size, nil
}

// NewKitPassword implements service.Repositories.
func (*recorder) NewKitPassword() (holdfast.Secret, error) {
	return holdfast.NewSecret("7Q4M-KIT0"), nil
}

func (d *recorder) Create(_ context.Context, location string, access holdfast.ObjectAccess, svc, kit holdfast.Secret) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.createErr != nil {
		return "", d.createErr
	}
	d.locations = append(d.locations, location)
	d.passwords = append(d.passwords, svc.Reveal(), kit.Reveal())
	d.accesses = append(d.accesses, access)
	return fmt.Sprintf("%064x", len(d.locations)), nil
}

// Connect implements service.Repositories.
func (d *recorder) Connect(_ context.Context, location string, access holdfast.ObjectAccess, password, svc holdfast.Secret, want string) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.createErr != nil {
		return "", d.createErr
	}
	d.locations = append(d.locations, location)
	d.passwords = append(d.passwords, svc.Reveal(), password.Reveal())
	d.accesses = append(d.accesses, access)
	if want == "" {
		want = fmt.Sprintf("%064x", len(d.locations))
	}
	return want, nil
}

// Check implements service.Repositories.
func (d *recorder) Check(_ context.Context, location string, access holdfast.ObjectAccess, password holdfast.Secret, formatID string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.checks = append(d.checks, location+" "+access.AccessKey+" "+access.SecretKey.Reveal()+" "+password.Reveal()+" "+formatID)
	return d.checkErr
}

// Rekey implements service.Repositories.
func (d *recorder) Rekey(
	ctx context.Context, location string, access holdfast.ObjectAccess, password, next holdfast.Secret, formatID string, record func(context.Context) error,
) error {
	if err := d.Check(ctx, location, access, password, formatID); err != nil {
		return err
	}
	d.mu.Lock()
	d.passwords = append(d.passwords, next.Reveal())
	d.mu.Unlock()
	return record(ctx)
}

func (d *recorder) rung() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.rings)
}

func (d *recorder) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rings, d.tells = nil, nil
}

// watchedStore counts writes of credentials, and lets a test come between a
// transaction and its rows.
type watchedStore struct {
	store.Store
	updates atomic.Int64
	wrap    func(store.Tx) store.Tx // nil: no wrapping
}

func (w *watchedStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	return w.Store.Update(ctx, func(tx store.Tx) error {
		if w.wrap != nil {
			tx = w.wrap(tx)
		}
		return fn(watchedTx{tx, w})
	})
}

type watchedTx struct {
	store.Tx
	w *watchedStore
}

func (t watchedTx) UpdateCredential(ctx context.Context, c holdfast.Credential) error {
	t.w.updates.Add(1)
	return t.Tx.UpdateCredential(ctx, c)
}

// rig is a service on a real SQLite store with two sites on two hosts.
type rig struct {
	t      *testing.T
	svc    *service.Service
	store  *watchedStore
	dir    string
	clock  *clock
	out    *recorder
	master *seal.Master
	admin  holdfast.Actor // of the whole account, as the socket's owner is
	worker holdfast.Worker
	repo   holdfast.Repository
	hosts  [2]holdfast.Host
	sites  [2]holdfast.Site // "berlin" and "paris"
}

func newRig(t *testing.T, logs ...testkit.LogOption) *rig {
	t.Helper()
	return newRigWith(t, holdfast.SchedulePolicy{}, logs...)
}

func newRigWith(t *testing.T, policy holdfast.SchedulePolicy, logs ...testkit.LogOption) *rig {
	t.Helper()
	dir := t.TempDir()
	log := testkit.Logger(t, logs...)
	db, err := sqlite.Open(t.Context(), filepath.Join(dir, "holdfast.db"))
	if err != nil {
		t.Fatal(err)
	}
	st := &watchedStore{Store: db}
	master, err := seal.CreateMaster(filepath.Join(dir, "master.key"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, store: st, dir: dir, clock: &clock{now: start}, out: &recorder{}, master: master}
	r.svc = service.New(service.Config{
		Store: st, Sealer: master, Dispatcher: r.out, Pipelines: r.out, Logs: r.out, Repositories: r.out,
		Engines: []holdfast.Engine{holdfast.EnginePhysical, holdfast.EngineETL}, Schedules: policy, Now: r.clock.Now, Log: log,
	})
	t.Cleanup(func() {
		if err := r.svc.Close(); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	r.admin = must(r.svc.LocalActor(t.Context(), "api/native", ""))(t)
	r.worker = must(r.svc.LocalWorker(t.Context(), "XKEY", 2, "test"))(t)
	r.repo, _, err = r.svc.CreateRepository(t.Context(), r.admin, service.NewRepository{Name: "main", Location: "file:///backup/main"})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"berlin", "paris"} {
		r.hosts[i] = must(r.svc.CreateHost(t.Context(), r.admin, service.NewHost{Name: "host-" + name}))(t)
		r.sites[i] = must(r.svc.CreateSite(t.Context(), r.admin, service.NewSite{
			Site: holdfast.Site{
				Host: r.hosts[i].ID, Slug: name, DataDir: "/pg/" + name, Repository: r.repo.ID,
				Server: holdfast.Server{Host: "/run/postgresql", User: "backup"},
			},
			Password: holdfast.NewSecret(sitePassword),
		}))(t)
	}
	return r
}

// must fails the test unless the error is nil.
func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatalf("got error %v (hint %q), want none", err, holdfast.ErrorHint(err))
		}
		return v
	}
}

func wantCode(t testing.TB, err error, want holdfast.Code) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != want {
		t.Fatalf("got error %v with code %q, want code %q", err, got, want)
	}
}

// wantInvalid checks for an error that tells the caller what to do.
func wantInvalid(t testing.TB, err error) {
	t.Helper()
	wantCode(t, err, holdfast.CodeInvalid)
	if holdfast.ErrorMessage(err) == "" {
		t.Errorf("error %v says nothing", err)
	}
}

// actor has a role and a scope.
func (r *rig) actor(role holdfast.Role, sites ...holdfast.SiteID) holdfast.Actor {
	a := r.admin
	a.Credential.ID = tokenID
	a.Credential.Name = "test"
	a.Credential.Role = role
	a.Credential.Sites = sites
	return a
}

// token makes a token and returns its secret.
func (r *rig) token(in service.NewToken) (holdfast.Credential, string) {
	r.t.Helper()
	c, secret, err := r.svc.CreateToken(r.t.Context(), r.admin, in)
	if err != nil {
		r.t.Fatal(err)
	}
	return c, secret.Reveal()
}

// job makes a backup job.
func (r *rig) job(site int, name string) holdfast.Job {
	r.t.Helper()
	return must(r.svc.CreateJob(r.t.Context(), r.admin, holdfast.Job{Site: r.sites[site].ID, Name: name, Active: true}))(r.t)
}

// run asks for an execution of a job.
func (r *rig) run(j holdfast.Job) holdfast.Execution {
	r.t.Helper()
	return must(r.svc.Execute(r.t.Context(), r.admin, service.Run{Job: j.ID}))(r.t)
}

// update changes rows as dispatch does.
func (r *rig) update(fn func(store.Tx) error) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), fn); err != nil {
		r.t.Fatal(err)
	}
}

// move makes a move as dispatch does.
func (r *rig) move(e holdfast.Execution, m holdfast.Move) holdfast.Execution {
	r.t.Helper()
	next, err := r.tryMove(e, m)
	if err != nil {
		r.t.Fatal(err)
	}
	return next
}

func (r *rig) tryMove(e holdfast.Execution, m holdfast.Move) (holdfast.Execution, error) {
	next := e
	var err error
	if next.Status, err = e.Next(m); err != nil {
		return e, err
	}
	if m == holdfast.MoveStart {
		next.Worker, next.Request, next.Started, next.Restarted = r.worker.ID, fmt.Sprint(e.ID), r.clock.Now(), r.clock.Now()
	}
	if next.State == holdfast.StateEnded {
		next.Ended = r.clock.Now()
	}
	err = r.store.Update(r.t.Context(), func(tx store.Tx) error { return tx.MoveExecution(r.t.Context(), e, next) })
	return next, err
}

// backup runs a job to its end, and returns its execution and its set.
func (r *rig) backup(j holdfast.Job, state holdfast.CopyState) (holdfast.Execution, holdfast.BackupSet) {
	r.t.Helper()
	e := r.move(r.run(j), holdfast.MoveStart)
	ctx := r.t.Context()
	var set holdfast.BackupSet
	r.update(func(tx store.Tx) error {
		id, err := tx.ReserveSetID(ctx)
		if err != nil {
			return err
		}
		set = holdfast.BackupSet{
			ID: id, Account: e.Account, Site: e.Site, Job: e.Job, Execution: e.ID, Engine: e.Engine, RunType: e.RunType,
			Physical: holdfast.PhysicalFacts{Version: 170000, Tablespaces: []holdfast.Tablespace{{OID: 16400, Path: "/pg/space"}}},
			Created:  r.clock.Now(),
		}
		if err := tx.InsertSet(ctx, &set); err != nil {
			return err
		}
		return tx.InsertCopy(ctx, &holdfast.Copy{
			Account: e.Account, Set: set.ID, Repository: e.Repository, Snapshot: fmt.Sprintf("%064x", set.ID), State: state,
			Execution: e.ID, Fence: e.Fence, Intended: r.clock.Now(),
		})
	})
	return r.move(e, holdfast.MoveSucceed), set
}

// events lists the kinds of all events after the given one.
func (r *rig) events(after holdfast.EventID) []holdfast.Event {
	r.t.Helper()
	return must(r.svc.Events(r.t.Context(), r.admin, after, 1000))(r.t)
}

// files returns what stands on disk, but for the master key.
func (r *rig) files() map[string][]byte {
	r.t.Helper()
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		if e.IsDir() || e.Name() == "master.key" {
			continue
		}
		if files[e.Name()], err = os.ReadFile(filepath.Join(r.dir, e.Name())); err != nil {
			r.t.Fatal(err)
		}
	}
	if len(files["holdfast.db"]) == 0 {
		r.t.Fatal("the database file is empty")
	}
	return files
}

// lastEvent returns the newest event.
func (r *rig) lastEvent() holdfast.Event {
	r.t.Helper()
	list := r.events(0)
	return list[len(list)-1]
}

// newName returns a name that nothing else has.
func newName() string { return "n-" + strings.ToLower(rand.Text()) }

// spaces gives the tablespace of the rig's sets a directory.
func spaces() map[uint32]string { return map[uint32]string{16400: "/spaces/archive"} }
