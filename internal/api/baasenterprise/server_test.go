package baasenterprise_test

import (
	"context"
	"io"
	"net"
	"net/http"
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
