package dispatch_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// The test binary is also the programs that the failure matrix kills.
const (
	childEnv = "HOLDFAST_TEST_CHILD"
	planEnv  = "HOLDFAST_TEST_PLAN"

	roleControl = "control"
	roleWorker  = "worker"
)

// plan is what a child is told.
type plan struct {
	Dir  string
	Name string // of a worker

	Silence, Kill, Beat, Poll, Drain, Orphan, Busy time.Duration

	// At names the step at which the child gets the signal At is done with, once.
	At     string
	Signal syscall.Signal
	// Hold makes the engine wait, with everything stored, until the file exists.
	Hold string
	// Maintenance names the row of the worker inside the control plane.
	Maintenance holdfast.WorkerID
}

func TestMain(m *testing.M) {
	run := map[string]func(context.Context, plan) error{roleControl: controlMain, roleWorker: workerMain}[os.Getenv(childEnv)]
	if run == nil {
		os.Exit(m.Run())
	}
	var p plan
	if err := json.Unmarshal([]byte(os.Getenv(planEnv)), &p); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx, p); err != nil {
		say("error %v", err)
		os.Exit(1)
	}
	say("ended")
}

var sayMu sync.Mutex // guards the lines on standard output

// say tells the parent one line.
func say(format string, args ...any) {
	sayMu.Lock()
	defer sayMu.Unlock()
	_, _ = fmt.Fprintf(os.Stdout, format+"\n", args...)
}

// stepper sends the process its planned signal at the planned step, once.
func (p plan) stepper(armed *atomic.Bool) func(string) {
	var once sync.Once
	return func(name string) {
		if name != p.At || !armed.Load() {
			return
		}
		once.Do(func() {
			say("step %s", name)
			_ = syscall.Kill(os.Getpid(), p.Signal)
			time.Sleep(200 * time.Millisecond) // the signal comes while we sleep
		})
	}
}

func childLog() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// crashStore shows the service's commits as steps.
type crashStore struct {
	store.Store
	step func(string)
}

// Update runs fn with a step before and after its commit.
func (s crashStore) Update(ctx context.Context, fn func(store.Tx) error) error {
	err := s.Store.Update(ctx, func(tx store.Tx) error {
		if err := fn(tx); err != nil {
			return err
		}
		s.step("submit.inserted")
		return nil
	})
	if err == nil {
		s.step("submit.committed")
	}
	return err
}

// noRepositories makes none: the world has one.
type noRepositories struct{}

// Connect implements service.Repositories.
func (noRepositories) Connect(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret, string) (string, error) {
	return strings.Repeat("c", 64), nil
}

// NewKitPassword implements service.Repositories.
func (noRepositories) NewKitPassword() (holdfast.Secret, error) {
	return holdfast.NewSecret("7Q4M-KIT0"), nil
}

func (noRepositories) Create(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret) (string, error) {
	return "", errors.New("not in this test")
}

func (noRepositories) Check(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, string) error {
	return errors.New("not in this test")
}

func (noRepositories) Rekey(
	_ context.Context, _ string, _ holdfast.ObjectAccess, _, _ holdfast.Secret, _ string, _ func(context.Context) error,
) error {
	return errors.New("not in this test")
}

// controlMain is a control plane with the listener, the service, and a worker for
// maintenance only.
func controlMain(ctx context.Context, p plan) (err error) {
	w := &world{dir: p.Dir}
	log := childLog()
	db, err := sqlite.Open(ctx, w.database(), sqlite.WithBusyTimeout(p.Busy))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	master, err := seal.LoadMaster(w.masterKey())
	if err != nil {
		return err
	}
	logs, err := dispatch.OpenLogs(w.logs(), 0, time.Now)
	if err != nil {
		return err
	}
	cert, err := dispatch.EnsureCertificate(w.certificate(), time.Now())
	if err != nil {
		return err
	}
	server, err := dispatch.StartServer(dispatch.ServerConfig{Store: db, Log: log, Listen: "127.0.0.1:0", Certificate: cert})
	if err != nil {
		return err
	}
	defer server.Close()
	var armed, submitting atomic.Bool
	armed.Store(true)
	d, err := dispatch.New(dispatch.Config{
		Store: db, Server: server, Opener: master, Logs: logs, Log: log,
		SilenceLimit: p.Silence, KillLimit: p.Kill, OrphanLife: p.Orphan, RetryBase: 100 * time.Millisecond, Step: p.stepper(&armed),
	})
	if err != nil {
		return err
	}
	svc := service.New(service.Config{
		Store: crashStore{db, p.stepper(&submitting)}, Sealer: master, Dispatcher: d, Logs: logs, Repositories: noRepositories{},
		Engines: []holdfast.Engine{holdfast.EnginePhysical}, Now: time.Now, Log: log,
	})
	defer func() { err = errors.Join(err, svc.Close()) }()
	actor, err := svc.LocalActor(ctx, "test", "")
	if err != nil {
		return err
	}
	submitting.Store(true)

	runCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.Run(runCtx) }()
	wait, err := startMaintenance(ctx, p, server, log)
	if err != nil {
		return err
	}
	go serveParent(ctx, svc, actor)
	say("ready %s", server.Addr())
	<-ctx.Done()
	wait()
	cancel()
	return <-done
}

func startMaintenance(ctx context.Context, p plan, server *dispatch.Server, log *slog.Logger) (func(), error) {
	id, err := seal.LoadIdentity(filepath.Join(p.Dir, "maintenance.identity"))
	if err != nil {
		return nil, err
	}
	conn, err := server.ConnectWorker(p.Maintenance)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	w := worker.New(worker.Config{ID: p.Maintenance, Name: "maintenance", Conn: conn, Opener: id, OpenBucket: openBucket, Log: log})
	go func() { done <- w.Run(ctx) }()
	return func() {
		if err := <-done; err != nil {
			say("error %v", err)
		}
		conn.Close()
	}, nil
}

// request is what the parent asks of a control plane.
type request struct {
	Op  string
	Job holdfast.JobID
	ID  holdfast.ExecutionID
	Key string
}

// serveParent does what the parent asks, and ends the process when the parent is
// gone.
func serveParent(ctx context.Context, svc *service.Service, actor holdfast.Actor) {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			panic(err)
		}
		go func() {
			var (
				e   holdfast.Execution
				err error
			)
			switch r.Op {
			case "execute":
				e, err = svc.Execute(ctx, actor, service.Run{Job: r.Job, IdempotencyKey: r.Key})
			case "kill":
				e, err = svc.Kill(ctx, actor, r.ID)
			case "stop":
				e, err = svc.Stop(ctx, actor, r.ID)
			}
			if err != nil {
				say("refused %s", holdfast.ErrorCode(err))
				return
			}
			say("done %d", e.ID)
		}()
	}
	os.Exit(3)
}

// workerMain is a worker that has joined, with the real repository and a
// scripted engine.
func workerMain(ctx context.Context, p plan) error {
	dir := filepath.Join(p.Dir, p.Name)
	m, err := worker.LoadMembership(filepath.Join(dir, "membership.json"))
	if err != nil {
		return err
	}
	id, err := seal.LoadIdentity(filepath.Join(dir, "identity"))
	if err != nil {
		return err
	}
	log := childLog()
	conn, err := worker.Dial(m, id, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3) // the parent is gone
	}()
	var armed atomic.Bool
	armed.Store(true)
	w := worker.New(worker.Config{
		ID: m.Worker, Name: m.Name, Pools: m.Pools, Slots: 1, Conn: conn, Opener: id, OpenBucket: openBucket, Log: log,
		Engines:   map[holdfast.Engine]engine.Engine{holdfast.EnginePhysical: files(p.Hold)},
		Pipelines: map[holdfast.Engine]engine.Pipeline{holdfast.EngineETL: ledger(p, p.stepper(&armed))}, ServiceSlots: 1,
		Drain: p.Drain, Beat: p.Beat, Poll: p.Poll, Step: p.stepper(&armed),
	})
	say("ready")
	return w.Run(ctx)
}

func openBucket(_ context.Context, location string, _ holdfast.ObjectAccess) (objstore.Bucket, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	return fs.Open(u.Path)
}

// contentBytes is how much the scripted engine stores.
const contentBytes = 4 << 20

// files is an engine that stores the same files each time, and then waits until
// the file named hold exists.
func files(hold string) script {
	return script{
		release: func(req engine.Backup) { say("released %d %d", req.Execution, req.Fence) },
		backup: func(ctx context.Context, req engine.Backup, sink engine.Sink) (engine.Result, error) {
			say("started %d %d", req.Execution, req.Fence)
			req.Report.Phase("copy")
			req.Log.InfoContext(ctx, "copying")
			for i := range 4 {
				data := randomBytes(uint64(i), contentBytes/4)
				err := sink.Add(ctx, engine.File{
					Node: engine.Node{Path: fmt.Sprintf("pgdata/base/1/%d", i), Mode: 0o600, Size: int64(len(data))},
					Open: func() (engine.Content, error) { return content{bytes.NewReader(data)}, nil },
				})
				if err != nil {
					return engine.Result{}, err
				}
			}
			if err := sink.Flush(ctx); err != nil {
				return engine.Result{}, err
			}
			for hold != "" {
				if _, err := os.Stat(hold); err == nil {
					break
				}
				select {
				case <-ctx.Done():
					say("cancelled %v", context.Cause(ctx))
					return engine.Result{}, context.Cause(ctx)
				case <-time.After(20 * time.Millisecond):
				}
			}
			return engine.Result{Bytes: contentBytes, Files: 4}, nil
		},
	}
}

func randomBytes(seed uint64, n int) []byte {
	r := rand.NewChaCha8([32]byte{byte(seed + 1)})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// hasPrefix is a line that begins with the words.
func hasPrefix(words string) func(string) bool {
	return func(line string) bool { return line == words || strings.HasPrefix(line, words+" ") }
}
