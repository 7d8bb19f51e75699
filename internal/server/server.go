// Package server is the listener of every API: TCP with or without TLS, and a
// Unix socket whose owner is admin. It gives each request an id, bounds how long
// a client may take, answers /healthz and /readyz, and hands everything else to
// the handler whose prefix is the longest.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast"
)

// Limits on what a client may take.
const (
	headerTimeout  = 10 * time.Second // to send a request's header
	bodyTimeout    = 30 * time.Second // to send a request's body
	writeTimeout   = time.Minute      // to take an answer; streams set their own
	idleTimeout    = 2 * time.Minute  // between two requests
	maxHeaderBytes = 32 << 10
	readyTimeout   = 2 * time.Second
	defaultDrain   = 10 * time.Second
)

// Config is what a Server is made of.
type Config struct {
	Listen string // TCP address; empty: none
	Cert   string // file of the certificate chain; empty: no TLS
	Key    string // file of its private key
	Socket string // path of the Unix socket; empty: none
	// Handlers serve what is below a path: "/api/v1" takes /api/v1 and
	// /api/v1/…, and "/" takes what no other takes. Each authenticates its own
	// requests.
	Handlers map[string]http.Handler
	// Loose are those keys of Handlers that match without regard to letter case
	// and to repeated slashes.
	Loose []string
	// Ready reports whether requests can be served.
	Ready func(context.Context) error
	// Drain is how long requests may go on after the end of Run's context; 0: 10
	// seconds.
	Drain time.Duration
	Log   *slog.Logger

	headerTimeout time.Duration // 0: headerTimeout
}

// Server serves HTTP. New has opened its listeners.
type Server struct {
	cfg     Config
	closing chan struct{} // closed when draining begins
	tcp     net.Listener  // nil: none
	unix    net.Listener  // nil: none
}

// New opens the listeners, so that a client can connect when it returns. The
// caller calls Run, or Close.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.Listen == "" && cfg.Socket == "" {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "the server has neither an address nor a socket to listen on")
	}
	if cfg.Drain <= 0 {
		cfg.Drain = defaultDrain
	}
	if cfg.headerTimeout <= 0 {
		cfg.headerTimeout = headerTimeout
	}
	s := &Server{cfg: cfg, closing: make(chan struct{})}
	if cfg.Socket != "" {
		l, err := listenSocket(ctx, cfg.Socket)
		if err != nil {
			return nil, err
		}
		s.unix = l
	}
	if cfg.Listen != "" {
		l, err := listenTCP(ctx, cfg)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.tcp = l
	}
	return s, nil
}

func listenTCP(ctx context.Context, cfg Config) (net.Listener, error) {
	var certificates *keyPair
	if cfg.Cert != "" {
		c, err := loadCertificate(cfg.Cert, cfg.Key)
		if err != nil {
			return nil, err
		}
		certificates = c
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "cannot listen on %s: %v", cfg.Listen, err).
			WithHint("choose another address with --listen, or end the program that uses it")
	}
	if certificates == nil {
		return l, nil
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: certificates.get,
	}), nil
}

// Close closes the listeners of a Server that does not run.
func (s *Server) Close() error {
	var errs []error
	for _, l := range []net.Listener{s.tcp, s.unix} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Addr is the TCP address that the server listens on; empty: none.
func (s *Server) Addr() string {
	if s.tcp == nil {
		return ""
	}
	return s.tcp.Addr().String()
}

// Run serves until ctx ends, and then lets the requests that are being served
// finish, for as long as Config.Drain. It returns nil after such an end.
func (s *Server) Run(ctx context.Context) error {
	handler := s.handler()
	g, gctx := errgroup.WithContext(ctx)
	var servers []*http.Server
	for _, l := range []net.Listener{s.tcp, s.unix} {
		if l == nil {
			continue
		}
		hs := s.httpServer(handler)
		servers = append(servers, hs)
		g.Go(func() error {
			if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-gctx.Done()
		return s.drain(ctx, servers)
	})
	return g.Wait()
}

func (s *Server) drain(ctx context.Context, servers []*http.Server) error {
	close(s.closing)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Drain)
	defer cancel()
	var g errgroup.Group
	for _, hs := range servers {
		g.Go(func() error {
			err := hs.Shutdown(ctx)
			if errors.Is(err, context.DeadlineExceeded) {
				s.cfg.Log.InfoContext(ctx, "requests cut at the end of the drain time", "elapsed", s.cfg.Drain)
				return hs.Close()
			}
			return err
		})
	}
	return g.Wait()
}

func (s *Server) httpServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: s.cfg.headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnContext:       markSocket,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}
