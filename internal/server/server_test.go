package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// running is a server under test.
type running struct {
	*Server
	stop func() error // ends it, and returns what Run returned
}

func start(t *testing.T, cfg Config) running {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = testkit.Logger(t)
	}
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop := sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return running{s, stop}
}

// reply is an answer without its connection.
type reply struct {
	Status     string
	StatusCode int
	Proto      string
	ProtoMajor int
	Header     http.Header
}

func get(t *testing.T, c *http.Client, url string, header ...string) (reply, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.Status, resp.StatusCode, resp.Proto, resp.ProtoMajor, resp.Header}, string(b)
}

// client is one without connections that outlive the test.
func client(t *testing.T, tr *http.Transport) *http.Client {
	t.Helper()
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func socketClient(t *testing.T, path string) *http.Client {
	t.Helper()
	return client(t, &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}})
}

func TestTheLongestPrefixServes(t *testing.T) {
	say := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, s) })
	}
	s := start(t, Config{Listen: "127.0.0.1:0", Handlers: map[string]http.Handler{
		"/a": say("a"), "/a/b": say("ab"), "/": say("rest"),
	}})
	c := client(t, &http.Transport{})
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("redirected") }
	for path, want := range map[string]string{
		"/a": "a", "/a/": "a", "/a/x": "a", "/a/b": "ab", "/a/b/": "ab", "/a/b//c": "ab", "/ab": "rest", "/": "rest", "//a": "rest",
	} {
		if _, got := get(t, c, "http://"+s.Addr()+path); got != want {
			t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
}

func TestALoosePrefixMatchesAnySpelling(t *testing.T) {
	say := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, s+" "+r.URL.Path) })
	}
	s := start(t, Config{Listen: "127.0.0.1:0", Loose: []string{"/Center/api"}, Handlers: map[string]http.Handler{
		"/Center/api": say("loose"), "/exact": say("exact"), "/": say("rest"),
	}})
	c := client(t, &http.Transport{})
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return errors.New("redirected") }
	for path, want := range map[string]string{
		"/Center/api": "loose", "/center/API/x": "loose", "//center//api//x/": "loose", "/center/apix": "rest", "/Exact": "rest", "//exact": "rest",
	} {
		if _, got := get(t, c, "http://"+s.Addr()+path); got != want+" "+path {
			t.Errorf("%s: got %q, want %q with the path as it came", path, got, want)
		}
	}
}

func TestNothingIsServedWithoutHandler(t *testing.T) {
	s := start(t, Config{Listen: "127.0.0.1:0"})
	c := client(t, &http.Transport{})
	if resp, body := get(t, c, "http://"+s.Addr()+"/x"); resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without a token: got %s %s", resp.Status, body)
	}
	resp, body := get(t, c, "http://"+s.Addr()+"/x", "Authorization", "Bearer x")
	if resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "nothing at this path") {
		t.Errorf("got %s %s", resp.Status, body)
	}
}

func TestHealthNeedsNoToken(t *testing.T) {
	var mu sync.Mutex
	ready := errors.New("the database is locked")
	s := start(t, Config{Listen: "127.0.0.1:0", Ready: func(context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return ready
	}})
	c := client(t, &http.Transport{})
	if resp, body := get(t, c, "http://"+s.Addr()+"/healthz"); resp.StatusCode != http.StatusOK || body != `{"status":"ok"}` {
		t.Errorf("healthz: got %s %s", resp.Status, body)
	}
	resp, body := get(t, c, "http://"+s.Addr()+"/readyz")
	if resp.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "locked") {
		t.Errorf("not ready: got %s %s, want 503 without the cause", resp.Status, body)
	}
	mu.Lock()
	ready = nil
	mu.Unlock()
	if resp, _ := get(t, c, "http://"+s.Addr()+"/readyz"); resp.StatusCode != http.StatusOK {
		t.Errorf("ready: got %s", resp.Status)
	}
	post, err := c.Post("http://"+s.Addr()+"/healthz", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer post.Body.Close()
	if post.StatusCode != http.StatusMethodNotAllowed || post.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST healthz: got %s, Allow %q", post.Status, post.Header.Get("Allow"))
	}
}

func TestRequestID(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, RequestID(r.Context())) })
	s := start(t, Config{Listen: "127.0.0.1:0", Handlers: map[string]http.Handler{"/": h}})
	c := client(t, &http.Transport{})
	for _, tt := range []struct {
		name, sent string
		kept       bool
	}{
		{"kept", "build-17.4_x", true},
		{"made when missing", "", false},
		{"made when it could forge a log line", "a b\"", false},
		{"made when too long", strings.Repeat("x", 129), false},
		{"the longest", strings.Repeat("x", 128), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp, seen := get(t, c, "http://"+s.Addr()+"/", requestIDHeader, tt.sent)
			got := resp.Header.Get(requestIDHeader)
			if got == "" || got != seen || (got == tt.sent) != tt.kept {
				t.Errorf("got %q, the handler saw %q, want kept: %v", got, seen, tt.kept)
			}
		})
	}
}

func TestPanicIsOneAnswerAndALogLine(t *testing.T) {
	h := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			panic("secret detail")
		}
	})
	s := start(t, Config{
		Listen: "127.0.0.1:0", Handlers: map[string]http.Handler{"/": h},
		Log: testkit.Logger(t, testkit.Expect("request panicked")),
	})
	c := client(t, &http.Transport{})
	resp, body := get(t, c, "http://"+s.Addr()+"/bad", requestIDHeader, "r1")
	if resp.StatusCode != http.StatusInternalServerError || body != `{"error":"internal error","request_id":"r1"}` {
		t.Errorf("got %s %s", resp.Status, body)
	}
	if resp, _ := get(t, c, "http://"+s.Addr()+"/good"); resp.StatusCode != http.StatusOK {
		t.Errorf("after a panic: got %s", resp.Status)
	}
}

func TestPanicAfterHalfAnAnswerCutsTheConnection(t *testing.T) {
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("no more")
	})
	s := start(t, Config{
		Listen: "127.0.0.1:0", Handlers: map[string]http.Handler{"/": h},
		Log: testkit.Logger(t, testkit.Expect("request panicked")),
	})
	resp, err := client(t, &http.Transport{}).Get("http://" + s.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("got %q as a whole answer, want an error", b)
	}
}

func TestAccessLogHoldsNoSecret(t *testing.T) {
	var mu sync.Mutex
	var log bytes.Buffer
	s := start(t, Config{
		Listen:   "127.0.0.1:0",
		Handlers: map[string]http.Handler{"/": http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})},
		Log:      slog.New(slog.NewJSONHandler(lockedWriter{&mu, &log}, nil)),
	})
	get(t, client(t, &http.Transport{}), "http://"+s.Addr()+"/jobs?token=s3cret", "Authorization", "Bearer hf_s3cret", requestIDHeader, "r1")
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if strings.Contains(log.String(), "s3cret") {
		t.Errorf("the log holds the secret: %s", log.String())
	}
	var line struct {
		Msg, Method, Path, Request string
		Status                     int
	}
	if err := json.NewDecoder(&log).Decode(&line); err != nil {
		t.Fatal(err)
	}
	if line.Msg != "request" || line.Method != "GET" || line.Path != "/jobs" || line.Request != "r1" {
		t.Errorf("got %+v", line)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func TestSlowHeaderIsCut(t *testing.T) {
	s := start(t, Config{Listen: "127.0.0.1:0", headerTimeout: 50 * time.Millisecond})
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil || strings.HasPrefix(string(b), "HTTP/1.1 200") {
		t.Errorf("got %q, %v; want the connection closed without an answer", b, err)
	}
}

func TestLargeHeaderIsRefused(t *testing.T) {
	s := start(t, Config{Listen: "127.0.0.1:0"})
	resp, _ := get(t, client(t, &http.Transport{}), "http://"+s.Addr()+"/healthz", "X-Large", strings.Repeat("x", 64<<10))
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %s, want 431", resp.Status)
	}
}

func TestSelfSignedServesTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	cert, key, err := SelfSigned(dir)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v; want mode 0600", info.Mode(), err)
	}
	s := start(t, Config{Listen: "127.0.0.1:0", Cert: cert, Key: key})
	pem, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c := client(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true})
	resp, _ := get(t, c, "https://"+s.Addr()+"/healthz")
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("got %s %s, want 200 over HTTP/2", resp.Proto, resp.Status)
	}
	old := client(t, &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11}})
	if resp, err := old.Get("https://" + s.Addr() + "/healthz"); err == nil {
		resp.Body.Close()
		t.Error("TLS 1.1 is accepted")
	}
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := SelfSigned(dir); err != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(key); err != nil || !bytes.Equal(before, after) {
		t.Errorf("a second start made another key (%v)", err)
	}
}

func TestSelfSignedAfterACrashBetweenItsFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, keyName), []byte("left behind"), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key, err := SelfSigned(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := loadCertificate(cert, key); err != nil {
		t.Error(err)
	}
}

func TestRenewedCertificateIsServed(t *testing.T) {
	cert, key, err := SelfSigned(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := loadCertificate(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	if _, _, err := SelfSigned(filepath.Dir(cert)); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(cert, later, later); err != nil {
		t.Fatal(err)
	}
	c.looked = time.Time{}
	second, err := c.get(nil)
	if err != nil || bytes.Equal(first.Certificate[0], second.Certificate[0]) {
		t.Errorf("the old certificate is still served (%v)", err)
	}
}

func TestBadCertificateIsAClearError(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(t.Context(), Config{Listen: "127.0.0.1:0", Cert: bad, Key: bad, Log: testkit.Logger(t)})
	if err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestAddressInUseIsAClearError(t *testing.T) {
	s := start(t, Config{Listen: "127.0.0.1:0"})
	_, err := New(t.Context(), Config{Listen: s.Addr(), Socket: filepath.Join(t.TempDir(), "s"), Log: testkit.Logger(t)})
	if err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("got %v, want an error that names the address", err)
	}
}

func TestDrainLetsRequestsFinish(t *testing.T) {
	entered, leave := make(chan struct{}), make(chan struct{})
	s := start(t, Config{Listen: "127.0.0.1:0", Handlers: map[string]http.Handler{
		"/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(entered)
			<-leave
			if r.Context().Err() == nil {
				_, _ = io.WriteString(w, "done")
			}
		}),
	}})
	answer := make(chan string, 1)
	c := client(t, &http.Transport{})
	go func() {
		_, body := get(t, c, "http://"+s.Addr()+"/")
		answer <- body
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.stop() }()
	<-s.closing
	close(leave)
	if got := <-answer; got != "done" {
		t.Errorf("got %q, want the request to finish", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestDrainHasALimit(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, Config{Listen: "127.0.0.1:0", Drain: 50 * time.Millisecond, Handlers: map[string]http.Handler{
		"/": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		}),
	}})
	failed := make(chan error, 1)
	c := client(t, &http.Transport{})
	go func() {
		resp, err := c.Get("http://" + s.Addr() + "/")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	<-entered
	if err := s.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := <-failed; err == nil {
		t.Error("the request that never ends was answered")
	}
}

func TestDrainEndsStreams(t *testing.T) {
	entered := make(chan struct{})
	s := start(t, Config{Listen: "127.0.0.1:0", Drain: time.Minute, Handlers: map[string]http.Handler{
		"/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
				t.Errorf("a stream cannot set its deadline: %v", err)
			}
			close(entered)
			<-r.Context().Done()
		}),
	}})
	done := make(chan struct{})
	c := client(t, &http.Transport{})
	go func() {
		defer close(done)
		get(t, c, "http://"+s.Addr()+"/", "Accept", "text/event-stream")
	}()
	<-entered
	if err := s.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	<-done
}
