package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
	"github.com/holdfast-backup/holdfast/internal/api/baaslake"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/config"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/objstore"
	"github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/scheduler"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/server"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sealed"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// serveFlags are the settings that serve takes as flags, too.
type serveFlags struct {
	listen, listenWorkers, advertiseWorkers string
	tls                                     config.TLS
	noWorker                                bool
	worker                                  workerFlags
}

// workerFlags are the settings of a worker that both serve and worker take.
type workerFlags struct {
	roots, etlRoots     []string
	slots, serviceSlots int
	drain               time.Duration
}

func (w *workerFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&w.roots, "restore-root", nil, "`directory` below which a restore may write (repeatable; none: no restore)")
	f.StringArrayVar(&w.etlRoots, "etl-root", nil, "`directory` below which an ETL may read and write files (repeatable; none: no files)")
	f.IntVar(&w.slots, "slots", config.DefaultSlots, "`number` of executions at once, but for those of service ETLs")
	f.IntVar(&w.serviceSlots, "service-slots", config.DefaultServiceSlots, "`number` of service ETLs at once")
	f.DurationVar(&w.drain, "drain", config.DefaultDrain, "`duration` for which running work may go on after a request to end")
}

func (w *workerFlags) apply(cmd *cobra.Command, c *config.Worker) {
	put(cmd, "restore-root", &c.RestoreRoots, w.roots)
	put(cmd, "etl-root", &c.ETLRoots, w.etlRoots)
	put(cmd, "slots", &c.Slots, w.slots)
	put(cmd, "service-slots", &c.ServiceSlots, w.serviceSlots)
	put(cmd, "drain", &c.Drain, w.drain)
}

func (a *app) serveCommand() *cobra.Command {
	var in serveFlags
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the server, with a worker inside", Args: args(0),
		Long: "Serve runs the APIs, the queue, and a worker for the sites on this machine. What must survive lies in the state\n" +
			"directory. Run it as a user that may read the data directories of these sites: usually postgres.\n\n" +
			"It ends on SIGTERM or SIGINT: it takes no new work, lets running work go on for the drain time, and hands the rest\n" +
			"back to the queue. A second signal ends it at once.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.config()
			if err != nil {
				return err
			}
			put(cmd, "listen", &c.Listen, in.listen)
			put(cmd, "listen-workers", &c.ListenWorkers, in.listenWorkers)
			put(cmd, "advertise-workers", &c.AdvertiseWorkers, in.advertiseWorkers)
			put(cmd, "tls-cert", &c.TLS.Cert, in.tls.Cert)
			put(cmd, "tls-key", &c.TLS.Key, in.tls.Key)
			put(cmd, "self-signed", &c.TLS.SelfSigned, in.tls.SelfSigned)
			in.worker.apply(cmd, &c.Worker)
			if err := c.Validate(); err != nil {
				return err
			}
			ignoreHangup()
			return a.serve(cmd.Context(), c, !in.noWorker)
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.listen, "listen", config.DefaultListen, "`address` of the APIs")
	f.StringVar(&in.tls.Cert, "tls-cert", "", "`file` of the certificate for the APIs, PEM")
	f.StringVar(&in.tls.Key, "tls-key", "", "`file` of its private key, PEM")
	f.BoolVar(&in.tls.SelfSigned, "self-signed", false, "make a certificate for the APIs on the first start, in the state directory")
	f.StringVar(&in.listenWorkers, "listen-workers", "", "`address` for workers on other machines (TLS)")
	f.StringVar(&in.advertiseWorkers, "advertise-workers", "", "`address` at which workers reach --listen-workers (default: the machine's name)")
	f.BoolVar(&in.noWorker, "no-worker", false, "run no worker inside")
	in.worker.add(cmd)
	return cmd
}

// physicalEngine is the engine for whole clusters.
func physicalEngine() engine.Engine { return pgphysical.New(pgphysical.Options{}) }

func engines() map[holdfast.Engine]engine.Engine {
	return map[holdfast.Engine]engine.Engine{holdfast.EnginePhysical: physicalEngine()}
}

// duckName is the program of the ETL engine's transform process. It lies beside this
// one.
const duckName = "holdfast-etl"

// pipelines are the ETL engines of a worker. Without the transform process the
// definitions that need it are refused, and others run.
func pipelines(c config.Config) map[holdfast.Engine]engine.Pipeline {
	duck := ""
	if self, err := os.Executable(); err == nil {
		if beside := filepath.Join(filepath.Dir(self), duckName); isProgram(beside) {
			duck = beside
		}
	}
	return map[holdfast.Engine]engine.Pipeline{
		holdfast.EngineETL: etl.New(etl.Config{DuckBinary: duck, TempDir: filepath.Join(c.State, tempName), Memory: c.Worker.ETLMemory}),
	}
}

func isProgram(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0
}

func (a *app) logger(c config.Log) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opts))
}

// heapFloor is memory that the collector counts and nobody touches, so that it
// takes none of the machine's. A server at rest holds a few megabytes: without it
// the collector would run for every few lists that are read, which took a quarter
// of the time of a list of a hundred jobs.
const heapFloor = 48 << 20 // bytes

// serve builds the server bottom up, runs it, and takes it down top first.
func (a *app) serve(ctx context.Context, c config.Config, withWorker bool) (err error) {
	floor := make([]byte, heapFloor)
	defer runtime.KeepAlive(floor)
	state, err := openState(c.State)
	if err != nil {
		return err
	}
	var closers closers
	defer func() { err = errors.Join(err, closers.close()) }()
	closers.add(state.Close)
	log := a.logger(c.Log)

	master, err := openMaster(c, state)
	if err != nil {
		return err
	}
	db, err := sqlite.Open(ctx, state.path(databaseName), sqlite.WithLogger(log))
	if err != nil {
		return err
	}
	closers.add(db.Close)
	rows := sealed.New(db, master, holdfast.SecretProperty, log)
	nats, dispatcher, logs, err := startDispatch(c, state, rows, master, log)
	if err != nil {
		return err
	}
	closers.add(func() error { nats.Close(); return nil })
	svc := service.New(service.Config{
		Store: rows, Sealer: master, Dispatcher: dispatcher, Pipelines: dispatcher, Logs: logs, Repositories: repositories{log},
		Engines: []holdfast.Engine{holdfast.EnginePhysical, holdfast.EngineETL}, Schedules: c.Schedule.Policy(), Now: time.Now, Log: log,
	})
	closers.add(svc.Close)
	schedules := scheduler.New(scheduler.Config{Service: svc, Now: time.Now, Log: log})
	front, err := newFront(ctx, c, state, master, svc, log)
	if err != nil {
		return err
	}
	stages := []stage{{"dispatch", dispatcher.Run}, {"scheduler", schedules.Run}, {"server", front.Run}}
	if withWorker {
		if err := makeRoots(c.Worker.RestoreRoots); err != nil {
			return errors.Join(err, front.Close())
		}
		w, done, err := localWorker(ctx, c, svc, nats, log)
		if err != nil {
			return errors.Join(err, front.Close())
		}
		closers.add(done)
		stages = append(stages, stage{"worker", w.Run})
	}
	a.announce(c, front, nats)
	err = runStages(ctx, stages...)
	log.InfoContext(ctx, "server ends", "cause", context.Cause(ctx))
	return err
}

// openMaster reads the master key, and makes it at the first start only: beside a
// database, a new key would open none of the secrets that it holds.
func openMaster(c config.Config, state *state) (*seal.Master, error) {
	if !exists(state.path(databaseName)) {
		return seal.OpenMaster(c.MasterKeyFile())
	}
	master, err := seal.LoadMaster(c.MasterKeyFile())
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil, holdfast.Wrap(holdfast.CodeForbidden, err, "the master key file %s is missing, and secrets in %s are sealed with it",
			c.MasterKeyFile(), state.path(databaseName)).
			WithHint("put the file back from where you keep its copy, or name it with master_key in the configuration")
	}
	return master, err
}

// announce says on one line that requests are taken, and where.
func (a *app) announce(c config.Config, front *server.Server, nats *dispatch.Server) {
	scheme := "http"
	if c.TLS.Enabled() {
		scheme = "https"
	}
	line := fmt.Sprintf("holdfast %s is ready: %s://%s, %s", versionText(), scheme, front.Addr(), c.Socket())
	if addr := nats.Addr(); addr != "" {
		line += ", workers at " + addr
	}
	_, _ = fmt.Fprintln(a.stdout, line)
	if host, _, err := net.SplitHostPort(front.Addr()); err == nil && !c.TLS.Enabled() && !net.ParseIP(host).IsLoopback() {
		_, _ = fmt.Fprintln(a.stderr, "warning: the API listens for other machines without TLS: tokens pass in clear; use --self-signed, or --tls-cert and --tls-key")
	}
	if os.Geteuid() == 0 {
		_, _ = fmt.Fprintln(a.stderr, "warning: running as root, which is more than a backup needs; run as the user that owns the data directories")
	}
}

func startDispatch(c config.Config, state *state, db store.Store, master *seal.Master, log *slog.Logger) (
	_ *dispatch.Server, _ *dispatch.Dispatcher, _ *dispatch.Logs, err error,
) {
	logs, err := dispatch.OpenLogs(state.path(logsName), dispatch.DefaultLogLife, time.Now)
	if err != nil {
		return nil, nil, nil, err
	}
	nc := dispatch.ServerConfig{Store: db, Log: log, Listen: c.ListenWorkers}
	if c.ListenWorkers != "" {
		nc.Advertise = advertised(c)
		if nc.Certificate, err = dispatch.EnsureCertificate(state.path(workersCert), time.Now()); err != nil {
			return nil, nil, nil, err
		}
	}
	nats, err := dispatch.StartServer(nc)
	if err != nil {
		return nil, nil, nil, err
	}
	dispatcher, err := dispatch.New(dispatch.Config{Store: db, Server: nats, Opener: master, Logs: logs, Log: log})
	if err != nil {
		nats.Close()
		return nil, nil, nil, err
	}
	return nats, dispatcher, logs, nil
}

// advertised is the address that join tokens carry; empty: the listener's.
func advertised(c config.Config) string {
	host, port, err := net.SplitHostPort(c.ListenWorkers)
	ip := net.ParseIP(host)
	if c.AdvertiseWorkers != "" || err != nil || port == "0" || (host != "" && (ip == nil || !ip.IsUnspecified())) {
		return c.AdvertiseWorkers
	}
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return net.JoinHostPort(name, port)
}

// newFront opens the listeners of the APIs.
func newFront(
	ctx context.Context, c config.Config, state *state, master *seal.Master, svc *service.Service, log *slog.Logger,
) (*server.Server, error) {
	cert, key := c.TLS.Cert, c.TLS.Key
	if c.TLS.SelfSigned {
		var err error
		if cert, key, err = server.SelfSigned(state.path(tlsDir)); err != nil {
			return nil, err
		}
		log.InfoContext(ctx, "the APIs' certificate signs itself: give it to clients as their CA", "file", cert)
	}
	api := native.Handler(native.Config{
		Service: svc, FromSocket: server.FromSocket, Version: versionText(), Now: time.Now, Log: log,
	})
	vendor := baasenterprise.Handler(baasenterprise.Config{
		Service: svc, FromSocket: server.FromSocket, Log: log,
	})
	lake := baaslake.Handler(baaslake.Config{Service: svc, Now: time.Now, Log: log})
	handlers := map[string]http.Handler{
		native.Root: api, baasenterprise.Root: vendor, baaslake.Root: lake, baaslake.OrganisationRoot: lake,
	}
	backup := commvault.Handler(commvault.Config{
		Service: svc, FromSocket: server.FromSocket, Name: c.CommServeName, Now: time.Now, Log: log,
	})
	for _, root := range commvault.Roots() {
		handlers[root] = backup
	}
	tokenKey, err := master.Derive(bmcetl.KeyPurpose)
	if err != nil {
		return nil, err
	}
	etl := bmcetl.Handler(bmcetl.Config{
		Service: svc, FromSocket: server.FromSocket, Key: tokenKey, Version: versionText(), Now: time.Now, Log: log,
	})
	for _, root := range bmcetl.Roots() {
		handlers[root] = etl
	}
	return server.New(ctx, server.Config{
		Listen: c.Listen, Cert: cert, Key: key, Socket: c.Socket(),
		Handlers: handlers, Loose: commvault.Roots(),
		Ready: svc.Ready, Log: log,
	})
}

// localWorker is the worker inside serve. What it needs opened is sealed to a
// key that lives as long as this process.
func localWorker(ctx context.Context, c config.Config, svc *service.Service, nats *dispatch.Server, log *slog.Logger) (
	*worker.Worker, func() error, error,
) {
	identity, err := seal.NewIdentity()
	if err != nil {
		return nil, nil, err
	}
	sealKey, err := identity.SealKey()
	if err != nil {
		return nil, nil, fmt.Errorf("read the worker's seal key: %w", err)
	}
	row, err := svc.LocalWorker(ctx, sealKey, c.Worker.Slots, versionText())
	if err != nil {
		return nil, nil, err
	}
	conn, err := nats.ConnectWorker(row.ID)
	if err != nil {
		return nil, nil, err
	}
	cfg := workerConfig(c, log)
	cfg.ID, cfg.Name, cfg.Pools, cfg.Conn, cfg.Opener = row.ID, row.Name, row.Pools, conn, identity
	return worker.New(cfg), func() error { conn.Close(); return nil }, nil
}

// makeRoots makes the directories that restores may write below. A missing one
// would refuse every restore.
func makeRoots(roots []string) error {
	for _, dir := range roots {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "the restore root %s cannot be made", dir).
				WithHint("make it, and give it to the user that runs the worker")
		}
	}
	return nil
}

// workerConfig is what every worker of this program has in common.
func workerConfig(c config.Config, log *slog.Logger) worker.Config {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost" // only people read it
	}
	return worker.Config{
		Slots: c.Worker.Slots, Version: versionText(), Engines: engines(), Pipelines: pipelines(c), OpenBucket: openPlace(log),
		ServiceSlots: c.Worker.ServiceSlots, RestoreRoots: c.Worker.RestoreRoots, ETLRoots: c.Worker.ETLRoots,
		Hostname: host, Drain: c.Worker.Drain, Log: log, MaintenanceKey: c.Worker.MaintenanceAccessKey, MaintenanceSecret: c.Worker.MaintenanceSecretKey,
	}
}

// openPlace opens the places of repositories for a worker.
func openPlace(log *slog.Logger) func(context.Context, string, holdfast.ObjectAccess) (objstore.Bucket, error) {
	return func(_ context.Context, location string, access holdfast.ObjectAccess) (objstore.Bucket, error) {
		return place.Open(location, access, log)
	}
}

// closers are called in the opposite order.
type closers []func() error

func (c *closers) add(f func() error) { *c = append(*c, f) }

func (c *closers) close() error {
	var errs []error
	for _, f := range slices.Backward(*c) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}
