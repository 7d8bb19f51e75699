package dispatch_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// stand is a control plane in this process.
type stand struct {
	*world
	server     *dispatch.Server
	dispatcher *dispatch.Dispatcher
	logFiles   *dispatch.Logs
	stop       func()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

func testLog(t testing.TB) *slog.Logger {
	t.Helper()
	if !testing.Verbose() {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func newStand(t testing.TB, change func(*dispatch.Config, *dispatch.ServerConfig)) *stand {
	t.Helper()
	s := &stand{world: newWorld(t, false)}
	s.start(t, change)
	return s
}

// start starts the control plane on the world.
func (s *stand) start(t testing.TB, change func(*dispatch.Config, *dispatch.ServerConfig)) {
	t.Helper()
	log := testLog(t)
	var err error
	s.logFiles, err = dispatch.OpenLogs(s.logs(), 0, time.Now)
	require(t, err)
	cert, err := dispatch.EnsureCertificate(s.certificate(), time.Now())
	require(t, err)
	cfg := dispatch.Config{Store: s.store, Opener: s.master, Logs: s.logFiles, Log: log}
	scfg := dispatch.ServerConfig{Store: s.store, Log: log, Certificate: cert}
	if change != nil {
		change(&cfg, &scfg)
	}
	s.server, err = dispatch.StartServer(scfg)
	require(t, err)
	cfg.Server = s.server
	s.dispatcher, err = dispatch.New(cfg)
	require(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- s.dispatcher.Run(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("dispatcher: %v", err)
		}
		s.server.Close()
	})
	t.Cleanup(s.stop)
}

// hand is a running worker.
type hand struct {
	row  holdfast.Worker
	conn *nats.Conn
	stop func() // drains and waits
}

// startWorker starts a worker inside the process.
func (s *stand) startWorker(t testing.TB, name string, e engine.Engine, shelf *shelf, change func(*worker.Config)) *hand {
	t.Helper()
	id, err := seal.NewIdentity()
	require(t, err)
	sealKey, err := id.SealKey()
	require(t, err)
	row := s.newWorker(t, name, "", sealKey, 1)
	conn, err := s.server.ConnectWorker(row.ID)
	require(t, err)
	h := &hand{row: row, conn: conn}
	h.run(t, workerConfig(t, row, conn, id, e, shelf), change)
	return h
}

func workerConfig(t testing.TB, row holdfast.Worker, conn *nats.Conn, id *seal.Identity, e engine.Engine, shelf *shelf) worker.Config {
	t.Helper()
	return worker.Config{
		ID: row.ID, Name: row.Name, Pools: row.Pools, Slots: row.Slots, Version: "test", Conn: conn, Opener: id,
		Engines:    map[holdfast.Engine]engine.Engine{holdfast.EnginePhysical: e},
		OpenBucket: shelf.openBucket, OpenRepository: shelf.open, Log: testLog(t),
	}
}

func (h *hand) run(t testing.TB, cfg worker.Config, change func(*worker.Config)) {
	t.Helper()
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- worker.New(cfg).Run(ctx) }()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
		h.conn.Close()
	})
	t.Cleanup(h.stop)
}
