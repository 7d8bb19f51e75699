package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// requestIDHeader names a request, in both directions.
const requestIDHeader = "X-Request-Id"

const maxRequestID = 128 // bytes

type requestIDKey struct{}

// RequestID returns the id of the request of this context.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// handler is everything around the dialects, from the outside in: request id,
// access log, rescue from panics, deadlines and headers, health, dialect.
func (s *Server) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		id := requestID(r.Header)
		ctx, cancel := context.WithCancel(context.WithValue(r.Context(), requestIDKey{}, id))
		defer cancel()
		defer s.cutStream(ctx, cancel, r.Header)()
		r = r.WithContext(ctx)
		w.Header().Set(requestIDHeader, id)
		secure(w.Header())
		rec := &recorder{ResponseWriter: w}
		defer func() { s.logAccess(r, rec, time.Since(start)) }()
		defer s.rescue(rec, r)
		if r.Body != nil && r.Body != http.NoBody {
			// A connection without deadlines, as in tests, is fine.
			_ = http.NewResponseController(w).SetReadDeadline(start.Add(bodyTimeout))
		}
		s.route(r.URL.Path).ServeHTTP(rec, r)
	})
}

// cutStream cancels a stream's context when draining begins: the stream would
// last as long as its reader wants. The function that it returns ends the watch.
func (s *Server) cutStream(ctx context.Context, cancel context.CancelFunc, h http.Header) func() {
	if !strings.Contains(h.Get("Accept"), "text/event-stream") {
		return func() {}
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-s.closing:
			cancel()
		case <-ctx.Done():
		}
	}()
	return func() {
		cancel()
		<-stopped
	}
}

// requestID takes the client's id when it is one that may stand in a log.
func requestID(h http.Header) string {
	id := h.Get(requestIDHeader)
	if id != "" && len(id) <= maxRequestID && !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func secure(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
}

// logAccess writes no query and no header: either may hold what nobody should
// read.
func (s *Server) logAccess(r *http.Request, rec *recorder, elapsed time.Duration) {
	log := s.cfg.Log.InfoContext
	if r.URL.Path == healthPath || r.URL.Path == readyPath {
		log = s.cfg.Log.DebugContext
	}
	log(r.Context(), "request", "request", RequestID(r.Context()), "method", r.Method, "path", r.URL.EscapedPath(),
		"status", rec.status, "bytes", rec.bytes, "elapsed", elapsed, "remote", r.RemoteAddr)
}

// rescue answers a request whose handler has panicked, so that one fault does not
// end the service.
func (s *Server) rescue(rec *recorder, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.cfg.Log.ErrorContext(r.Context(), "request panicked", "request", RequestID(r.Context()),
		"panic", v, "stack", string(debug.Stack()))
	if rec.status != 0 {
		panic(http.ErrAbortHandler) // half an answer is out: cut the connection, so that nobody takes it for whole
	}
	writeJSON(rec, http.StatusInternalServerError, map[string]string{
		"error": "internal error", "request_id": RequestID(r.Context()),
	})
}

// The paths that need no token.
const (
	healthPath = "/healthz"
	readyPath  = "/readyz"
)

// route finds the handler with the longest prefix. It never redirects: clients
// that follow no redirect, or lose their body on it, would fail.
func (s *Server) route(path string) http.Handler {
	switch path {
	case healthPath:
		return probe(s.healthy)
	case readyPath:
		return probe(s.ready)
	}
	var best http.Handler
	length := -1
	folded := fold(path)
	for prefix, h := range s.cfg.Handlers {
		p, at := strings.TrimSuffix(prefix, "/"), path
		if slices.Contains(s.cfg.Loose, prefix) {
			p, at = fold(p), folded
		}
		if (at == p || strings.HasPrefix(at, p+"/")) && len(p) > length {
			best, length = h, len(p)
		}
	}
	if best == nil {
		return http.HandlerFunc(nothing)
	}
	return best
}

// fold spells a path in lower case and with single slashes.
func fold(path string) string {
	parts := slices.DeleteFunc(strings.Split(strings.ToLower(path), "/"), func(s string) bool { return s == "" })
	return "/" + strings.Join(parts, "/")
}

// nothing answers for paths that no handler serves. Who shows no token learns not
// even that.
func nothing(w http.ResponseWriter, r *http.Request) {
	status, text := http.StatusNotFound, "there is nothing at this path"
	if r.Header.Get("Authorization") == "" && !FromSocket(r.Context()) {
		status, text = http.StatusUnauthorized, "the request carries no token"
		w.Header().Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	writeJSON(w, status, map[string]string{"error": text, "request_id": RequestID(r.Context())})
}

func probe(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeJSON(w, http.StatusMethodNotAllowed, map[string]string{"error": "use GET"})
			return
		}
		h(w, r)
	})
}

func (s *Server) healthy(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// ready says no while draining, so that a load balancer sends nothing more. Why
// it says no is in the log: anybody may ask.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	select {
	case <-s.closing:
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "draining"})
		return
	default:
	}
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(ctx); err != nil {
			s.cfg.Log.InfoContext(ctx, "not ready", "error", err)
			writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "unavailable"})
			return
		}
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func writeJSON(w http.ResponseWriter, status int, v map[string]string) {
	b, err := json.Marshal(v)
	if err != nil {
		b = nil // a map of strings is always JSON
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a client that has gone needs no answer
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	status int // 0: nothing yet
	bytes  int64
}

// Unwrap lets http.ResponseController reach deadlines and flushing.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(b)
	r.bytes += int64(n)
	return n, err
}
