package apitest

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
)

var update = flag.Bool("update", false, "write what was answered into the golden files")

// jsonType is the Content-Type that a golden file leaves out.
const jsonType = "application/json; charset=utf-8"

// Run runs the golden files that match the pattern, each in a world of its own.
// handler makes the dialect's handler.
func Run(t *testing.T, pattern string, handler func(*World) http.Handler) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden file matches %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, file, handler) })
	}
}

func runFile(t *testing.T, file string, handler func(*World) http.Handler) {
	t.Helper()
	t.Parallel()
	text, err := os.ReadFile(file)
	check(t, err)
	exchanges, err := parse(string(text))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	w := NewWorld(t)
	h := handler(w)
	for i := range exchanges {
		got := exchanges[i]
		if err := w.play(t.Context(), h, &got, i+1); err != nil {
			t.Fatalf("%s: exchange %d: %v", file, i+1, err)
		}
		if !*update {
			compare(t, file, exchanges[i], got)
		}
		exchanges[i] = got
	}
	if *update {
		check(t, os.WriteFile(file, []byte(format(exchanges)), 0o644))
	}
}

func compare(t *testing.T, file string, want, got exchange) {
	t.Helper()
	for _, s := range []string{"response", "domain"} {
		g, w := *got.section(s), *want.section(s)
		if !slices.Equal(g, w) {
			t.Errorf("%s: %s\n%s: got\n\t%s\nwant\n\t%s", file, want.request[0], s, strings.Join(g, "\n\t"), strings.Join(w, "\n\t"))
		}
	}
}

// play makes the world as the exchange says, sends its request and notes the
// answer and the effect.
func (w *World) play(ctx context.Context, h http.Handler, e *exchange, n int) error {
	for _, line := range e.given {
		if err := w.give(ctx, line); err != nil {
			return err
		}
	}
	w.newEvents(ctx)
	w.out.take()
	before, err := w.rows(ctx)
	if err != nil {
		return err
	}
	req, err := w.request(ctx, e.request)
	if err != nil {
		return err
	}
	rec := httptest.NewRecorder()
	rec.Header().Set("X-Request-Id", "request-"+strconv.Itoa(n))
	h.ServeHTTP(rec, req)
	e.response = w.secrets.name(w.nameSessions(answer(rec, req.Method)))
	e.domain, err = w.effect(ctx, before)
	return err
}

func (w *World) request(ctx context.Context, lines []string) (*http.Request, error) {
	method, target, ok := strings.Cut(lines[0], " ")
	if !ok {
		return nil, fmt.Errorf("request %q is not a method and a path", lines[0])
	}
	if w.code != "" {
		ctx = context.WithValue(ctx, failKey{}, w.code)
		w.code = ""
	}
	headers, body := split(lines)
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+target, strings.NewReader(w.secrets.fill(w.fillSessions(body))))
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "request %q", lines[0])
	}
	req.Header.Set("Authorization", w.fill("Bearer {admin}"))
	for _, h := range headers {
		req.Header.Set(h[0], w.fill(h[1]))
		if h[1] == "" {
			req.Header.Del(h[0])
		}
	}
	return req, nil
}

// sessionToken matches what no golden file can hold: it is random.
var sessionToken = regexp.MustCompile(`QSDK [0-9a-f]{100,}`)

// nameSessions puts a name in the place of each session's token.
func (w *World) nameSessions(lines []string) []string {
	for i, line := range lines {
		lines[i] = sessionToken.ReplaceAllStringFunc(line, func(token string) string {
			n := slices.Index(w.sessions, token)
			if n < 0 {
				n = len(w.sessions)
				w.sessions = append(w.sessions, token)
			}
			return fmt.Sprintf("{session%d}", n+1)
		})
	}
	return lines
}

// fillSessions is the inverse of nameSessions.
func (w *World) fillSessions(text string) string {
	for i, token := range w.sessions {
		text = strings.ReplaceAll(text, fmt.Sprintf("{session%d}", i+1), token)
	}
	return text
}

// answer is the status, the headers that a client may rely on, and the body.
func answer(rec *httptest.ResponseRecorder, method string) []string {
	resp := rec.Result()
	lines := []string{strconv.Itoa(resp.StatusCode)}
	for _, name := range []string{
		"content-type", "location", "x-resource-id", "x-total-count", "x-page", "x-page-size", "allow", "www-authenticate", "retry-after",
	} {
		for _, v := range resp.Header.Values(name) {
			if name != "content-type" || v != jsonType {
				lines = append(lines, name+": "+v)
			}
		}
	}
	if body := rec.Body.String(); body != "" && method != http.MethodHead { // net/http keeps it back
		lines = append(lines, strings.Split(body, "\n")...)
	}
	return lines
}
