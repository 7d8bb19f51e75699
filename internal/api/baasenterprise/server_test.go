package baasenterprise_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
	"github.com/holdfast-backup/holdfast/internal/server"
)

// wire is the dialect behind the real listener.
type wire struct {
	world  *apitest.World
	tcp    *http.Client
	socket *http.Client
	url    string
}

func serve(t *testing.T) wire {
	t.Helper()
	world := apitest.NewWorld(t)
	path := filepath.Join(t.TempDir(), "s")
	h := baasenterprise.Handler(baasenterprise.Config{Service: world.Service, FromSocket: server.FromSocket, Log: world.Log})
	s, err := server.New(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Socket: path, Ready: world.Service.Ready, Log: world.Log,
		Handlers: map[string]http.Handler{baasenterprise.Root: h, "/": h},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	tcp := &http.Transport{}
	socket := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(func() {
		tcp.CloseIdleConnections()
		socket.CloseIdleConnections()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	noRedirect := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return wire{
		world: world, url: "http://" + s.Addr(),
		tcp:    &http.Client{Transport: tcp, CheckRedirect: noRedirect, Timeout: time.Minute},
		socket: &http.Client{Transport: socket, CheckRedirect: noRedirect, Timeout: time.Minute},
	}
}

// send returns the status, the header and the body of an answer.
func (w wire) send(t *testing.T, c *http.Client, method, path, token string, body io.Reader) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+w.world.Token(token))
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
	return resp.StatusCode, resp.Header, string(b)
}

func TestNothingButHealthIsAnonymous(t *testing.T) {
	w := serve(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if status, _, body := w.send(t, w.tcp, http.MethodGet, path, "", nil); status != http.StatusOK {
			t.Errorf("%s: got %d %s, want 200", path, status, body)
		}
	}
	for _, path := range []string{"/", "/x", "/healthz/", "/healthz/x", "/data-protection", "/data-protection/v2", "/data-protection/v2/sites", "/data-protection/v2/../v2/sites"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			status, header, body := w.send(t, w.tcp, method, path, "", nil)
			if status != http.StatusUnauthorized || len(header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("%s %s: got %d %s, want 401", method, path, status, body)
			}
		}
	}
}

func TestTheSocketsOwnerNeedsNoToken(t *testing.T) {
	w := serve(t)
	status, _, body := w.send(t, w.socket, http.MethodGet, "/data-protection/v2/sites", "", nil)
	if status != http.StatusOK || !strings.Contains(body, "berlin") {
		t.Errorf("got %d %s", status, body)
	}
	// A token counts all the same: it may be weaker.
	if status, _, body := w.send(t, w.socket, http.MethodPost, "/data-protection/v2/sites/berlin/jobs", "reader", strings.NewReader(`{"name":"n"}`)); status != http.StatusForbidden {
		t.Errorf("a reader: got %d %s, want 403", status, body)
	}
}

func TestTheRequestIDIsInTheBody(t *testing.T) {
	w := serve(t)
	_, header, body := w.send(t, w.tcp, http.MethodGet, "/data-protection/v2/sites/paris/jobs", "admin", nil)
	if id := header.Get("X-Request-Id"); id == "" || !strings.Contains(body, `"request_id":"`+id+`"`) {
		t.Errorf("header %q, body %s", header.Get("X-Request-Id"), body)
	}
}

func TestHeadHasTheLengthAndNoBody(t *testing.T) {
	w := serve(t)
	_, get, body := w.send(t, w.tcp, http.MethodGet, "/data-protection/v2/sites", "admin", nil)
	status, head, none := w.send(t, w.tcp, http.MethodHead, "/data-protection/v2/sites/", "admin", nil)
	if status != http.StatusOK || none != "" || head.Get("Content-Length") != get.Get("Content-Length") || body == "" {
		t.Errorf("HEAD: %d %q length %q; GET: length %q", status, none, head.Get("Content-Length"), get.Get("Content-Length"))
	}
}

func TestABodyHasALimit(t *testing.T) {
	w := serve(t)
	if err := w.world.Give(t.Context(), "job berlin nightly"); err != nil {
		t.Fatal(err)
	}
	const path = "/data-protection/v2/sites/berlin/jobs/1001"
	fits := `{"description":"x"` + strings.Repeat(" ", 1<<20-19) + `}`
	if status, _, body := w.send(t, w.tcp, http.MethodPatch, path, "admin", strings.NewReader(fits)); status != http.StatusOK {
		t.Errorf("1 MiB: got %d %s, want 200", status, body)
	}
	status, _, body := w.send(t, w.tcp, http.MethodPatch, path, "admin", strings.NewReader(fits+" "))
	if status != http.StatusRequestEntityTooLarge || !strings.Contains(body, "PAYLOAD_TOO_LARGE") {
		t.Errorf("one byte more: got %d %s, want 413", status, body)
	}
}

// TestCredentialsAreForgotten: the database login of a restore stands in no
// answer and no log, whether it is accepted, malformed, or sent with a request
// that fails.
func TestCredentialsAreForgotten(t *testing.T) {
	world := apitest.NewWorld(t)
	for _, line := range []string{"job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10"} {
		if err := world.Give(t.Context(), line); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	h := baasenterprise.Handler(baasenterprise.Config{
		Service: world.Service, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	const path = "/data-protection/v2/sites/berlin/jobs/1001/executions/1001/restores"
	login := base64.StdEncoding.EncodeToString([]byte("planted-user:planted-password"))
	send := func(ctx context.Context, value, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+world.Token("operator"))
		r.Header.Set("X-Auth-Credentials", value)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		return rec
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx   context.Context
		value string
		body  string
		want  int
	}{
		"accepted":  {t.Context(), "Basic " + login, `{"target_directory":"/srv/restore/a"}`, http.StatusAccepted},
		"refused":   {t.Context(), "Basic " + login, `{"target_directory":"/srv/restore/a","tablespaces":{"1":"/a"}}`, http.StatusBadRequest},
		"malformed": {t.Context(), "Basic planted-password " + login, `{}`, http.StatusBadRequest},
		"too late":  {cancelled, "Basic " + login, `{}`, http.StatusServiceUnavailable},
	} {
		rec := send(c.ctx, c.value, c.body)
		if rec.Code != c.want {
			t.Errorf("%s: got %d %s, want %d", name, rec.Code, rec.Body, c.want)
		}
		said := rec.Body.String() + log.String()
		for _, secret := range []string{"planted", login, strings.TrimRight(login, "=")} {
			if strings.Contains(said, secret) {
				t.Errorf("%s: %q stands in %s", name, secret, said)
			}
		}
	}
	rows, err := world.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range rows {
		if strings.Contains(k+v, "planted") || strings.Contains(v, login) {
			t.Errorf("%s: %s", k, v)
		}
	}
}
