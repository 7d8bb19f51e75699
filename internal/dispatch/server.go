package dispatch

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const (
	readyLimit   = 10 * time.Second
	pingInterval = 10 * time.Second // a worker that is cut off without a word is noticed after two
)

// ServerConfig is what a Server is made of.
type ServerConfig struct {
	Store store.Store
	Log   *slog.Logger
	// Listen is the host:port of the TLS listener for workers on other machines;
	// empty: no port is open, and only this process can connect. Port 0 chooses
	// one.
	Listen string
	// Advertise is the host:port that join tokens carry; empty: the listener's.
	Advertise string
	// Certificate is the listener's; workers know it by its fingerprint alone.
	Certificate tls.Certificate
	Now         func() time.Time // nil: time.Now
}

// Server is the NATS server inside the process. Its in-process connections may
// say everything; those over the listener are a worker's, with the subjects of
// that worker alone, or a joining one's.
type Server struct {
	cfg      ServerConfig
	nats     *natsserver.Server
	internal string // password of in-process connections; never leaves the process

	mu    sync.Mutex                            // guards the fields below
	conns map[holdfast.WorkerID]map[uint64]bool // connections of workers, by the server's number
}

// StartServer starts the server; Close ends it.
func StartServer(cfg ServerConfig) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	password := make([]byte, 32)
	if _, err := rand.Read(password); err != nil {
		return nil, fmt.Errorf("make internal password: %w", err)
	}
	s := &Server{cfg: cfg, internal: hex.EncodeToString(password), conns: map[holdfast.WorkerID]map[uint64]bool{}}
	opts := &natsserver.Options{
		ServerName:                 "holdfast",
		DontListen:                 true,
		NoSigs:                     true,
		NoSystemAccount:            true,
		MaxPayload:                 wire.MaxMessage + 4096,
		AlwaysEnableNonce:          true,
		CustomClientAuthentication: s,
		PingInterval:               pingInterval,
		MaxPingsOut:                2,
		// Everything in a message is a secret of one worker.
		Trace: false,
	}
	if cfg.Listen != "" {
		if err := listenOptions(opts, cfg); err != nil {
			return nil, err
		}
	}
	n, err := natsserver.NewServer(opts)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the message server cannot be set up")
	}
	s.nats = n
	n.SetLoggerV2(natsLog{cfg.Log}, false, false, false)
	n.Start()
	if !n.ReadyForConnections(readyLimit) {
		s.Close()
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "the listener for workers on %s cannot be opened", cfg.Listen).
			WithHint("check that the address is this machine's and that the port is free")
	}
	return s, nil
}

func listenOptions(opts *natsserver.Options, cfg ServerConfig) error {
	host, port, err := net.SplitHostPort(cfg.Listen)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the workers' listener %q is not host:port", cfg.Listen)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the workers' listener %q has no valid port", cfg.Listen)
	}
	if len(cfg.Certificate.Certificate) == 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "the workers' listener has no certificate")
	}
	if n == 0 {
		n = natsserver.RANDOM_PORT
	}
	if host == "" {
		host = "0.0.0.0"
	}
	opts.DontListen = false
	opts.Host, opts.Port = host, n
	opts.TLSConfig = &tls.Config{Certificates: []tls.Certificate{cfg.Certificate}, MinVersion: tls.VersionTLS13}
	opts.TLSTimeout = 5
	opts.TLSHandshakeFirst = true // nothing is said in the clear; in-process connections do without
	opts.AuthTimeout = 10
	return nil
}

// Connect returns a connection inside the process that may say everything. name
// shows in logs.
func (s *Server) Connect(name string, opts ...nats.Option) (*nats.Conn, error) {
	all := append([]nats.Option{
		nats.InProcessServer(s.nats),
		nats.UserInfo(internalUser, s.internal),
		nats.Name(name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectBufSize(-1), // a message that was not sent now is not sent
	}, opts...)
	nc, err := nats.Connect("", all...)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "the message server in this process does not answer")
	}
	return nc, nil
}

// ConnectWorker returns the connection of the worker inside the process. Unlike
// those over the listener it may say everything, but has an inbox of its own.
func (s *Server) ConnectWorker(w holdfast.WorkerID) (*nats.Conn, error) {
	return s.Connect("worker "+strconv.FormatInt(int64(w), 10), nats.CustomInboxPrefix(wire.InboxPrefix(w)))
}

// Addr is where workers on other machines connect; empty when no port is open.
func (s *Server) Addr() string {
	if s.cfg.Listen == "" {
		return ""
	}
	if a := s.nats.Addr(); a != nil {
		return a.String()
	}
	return ""
}

// JoinToken wraps a one-time secret with what a new worker needs to know of this
// server. CodeConflict when no port is open.
func (s *Server) JoinToken(secret string) (string, error) {
	if s.cfg.Listen == "" {
		return "", holdfast.Errorf(holdfast.CodeConflict, "no listener for workers is open").
			WithHint("start the server with --listen-workers ADDRESS")
	}
	address := s.cfg.Advertise
	if address == "" {
		address = s.Addr()
	}
	return wire.JoinToken{
		Address: address,
		Pin:     wire.Pin(s.cfg.Certificate.Certificate[0]),
		Secret:  holdfast.NewSecret(secret),
	}.Encode()
}

// Disconnect cuts off every connection of a worker.
func (s *Server) Disconnect(w holdfast.WorkerID) {
	s.mu.Lock()
	ids := make([]uint64, 0, len(s.conns[w]))
	for id := range s.conns[w] {
		ids = append(ids, id)
	}
	delete(s.conns, w)
	s.mu.Unlock()
	for _, id := range ids {
		// The error means that the connection has gone already.
		_ = s.nats.DisconnectClientByID(id)
	}
}

// remember notes a worker's connection, and forgets those that have gone.
func (s *Server) remember(w holdfast.WorkerID, id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[w] == nil {
		s.conns[w] = map[uint64]bool{}
	}
	for old := range s.conns[w] {
		if s.nats.GetClient(old) == nil {
			delete(s.conns[w], old)
		}
	}
	s.conns[w][id] = true
}

// Close ends every connection, and returns when all of the server has ended.
func (s *Server) Close() {
	s.nats.Shutdown()
	s.nats.WaitForShutdown()
}

// natsLog writes the server's log through slog. Its debug and trace lines, which
// hold messages, are dropped.
type natsLog struct{ log *slog.Logger }

func (l natsLog) line(level slog.Level, format string, v []any) {
	l.log.Log(context.Background(), level, "message server", "text", fmt.Sprintf(format, v...))
}

func (l natsLog) Noticef(format string, v ...any) { l.line(slog.LevelDebug, format, v) }
func (l natsLog) Warnf(format string, v ...any)   { l.line(slog.LevelInfo, format, v) }
func (l natsLog) Errorf(format string, v ...any)  { l.line(slog.LevelInfo, format, v) }
func (l natsLog) Fatalf(format string, v ...any)  { l.line(slog.LevelError, format, v) }
func (natsLog) Debugf(string, ...any)             {}
func (natsLog) Tracef(string, ...any)             {}
