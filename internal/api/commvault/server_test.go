package commvault_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
	"github.com/holdfast-backup/holdfast/internal/server"
)

// listen starts the dialect behind the real listener, and returns its URL.
func listen(t *testing.T, w *apitest.World) string {
	t.Helper()
	handlers := map[string]http.Handler{}
	for _, root := range commvault.Roots() {
		handlers[root] = handlerOf(w)
	}
	s, err := server.New(t.Context(), server.Config{
		Listen: "127.0.0.1:0", Ready: w.Service.Ready, Log: w.Log, Handlers: handlers, Loose: commvault.Roots(),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + s.Addr()
}

// TestBehindTheListener: spellings of paths reach the dialect without a redirect,
// and nothing but the root and the log-in is anonymous.
func TestBehindTheListener(t *testing.T) {
	w := apitest.NewWorld(t)
	url := listen(t, w)
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, call := range []struct {
		method, path, token, body string
		want                      int
		text                      string
	}{
		{"GET", "/commandcenter/api/", "", "", 200, "{}"},
		{"GET", "//WEBCONSOLE//api", "", "", 200, "{}"},
		{"POST", "//CommandCenter/API//login", "", `{"username":"nobody","password":"wrong"}`, 200, "errList"},
		{"POST", "//CommandCenter/API//whoAmI", "reader", "", 200, `"userName":"reader"`},
		{"GET", "/commandcenter/api/../api/Client", "", "", 401, "Access Denied"},
		{"GET", "/commandcenter/apiClient", "reader", "", 404, "nothing at this path"},
		{"GET", "/commandcenter/api/Client", "", "", 401, "Access Denied"},
		{"OPTIONS", "/commandcenter/api/Client", "", "", 401, "Access Denied"},
		{"POST", "/commandcenter/api/JobDetails", "reader", `{"jobId":1` + strings.Repeat(" ", 1<<20) + "}", 413, "too large"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), call.method, url+call.path, strings.NewReader(call.body))
		if err != nil {
			t.Fatal(err)
		}
		if call.token != "" {
			req.Header.Set("Authtoken", w.Token(call.token))
			req.Header.Set("Authorization", "Bearer "+w.Token(call.token))
		}
		resp, err := c.Do(req)
		if err != nil {
			t.Fatalf("%s %s: %v", call.method, call.path, err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != call.want || !strings.Contains(string(b), call.text) {
			t.Errorf("%s %s: got %d %s, %v, want %d with %q", call.method, call.path, resp.StatusCode, b, err, call.want, call.text)
		}
	}
}
