package apitest

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// Header lines that net/http lets through, and methods that are no longer than
// people send them.
var (
	methods = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,16}$")
	values  = regexp.MustCompile(`^[\t -~\x80-\xff]*$`)
)

// callLimit is longer than any call may take, on a busy machine.
const callLimit = 15 * time.Second

// callers are who sends a request: the tokens of the world, and nobody. Those who
// only read come first.
func callers() []string { return []string{"", "reader", "expired", "oslo", "operator", "admin"} }

// Fuzz sends any request to a dialect, on the real service, from each caller. It
// may be refused; it never fails, never hangs, never answers with anything but
// JSON, and changes nothing for a caller without the right. osloMay says where
// the admin of the site oslo may change something. A seed is method, path, query,
// header line and body.
func Fuzz(f *testing.F, w *World, h http.Handler, osloMay func(path string) bool, seeds [][5]string) {
	f.Helper()
	for who := range callers() {
		for _, s := range seeds {
			f.Add(uint8(who), s[0], s[1], s[2], s[3], []byte(s[4]))
		}
	}
	f.Fuzz(func(t *testing.T, who uint8, method, path, query, header string, body []byte) {
		r := anyRequest(t, method, path, query, header, body)
		if r == nil {
			return
		}
		caller := callers()[int(who)%len(callers())]
		if caller != "" {
			r.Header.Set("Authorization", "Bearer "+w.Token(caller))
		}
		powerless := !slices.Contains([]string{"operator", "admin"}, caller) && (caller != "oslo" || !osloMay(path))
		var before map[string]string
		if powerless {
			before = w.mustRows(t)
		}
		rec := httptest.NewRecorder()
		begin := time.Now()
		h.ServeHTTP(rec, r)
		sent := func() string { return caller + ": " + method + " " + r.URL.String() + " " + string(body) }
		if took := time.Since(begin); took > callLimit {
			t.Fatalf("%s took %s", sent(), took)
		}
		if rec.Code >= http.StatusInternalServerError {
			t.Fatalf("%s: got %d %s", sent(), rec.Code, rec.Body)
		}
		if rec.Code != http.StatusNoContent && (!json.Valid(rec.Body.Bytes()) || rec.Header().Get("Content-Type") != jsonType) {
			t.Fatalf("%s: got %d %q, which is not JSON", sent(), rec.Code, rec.Body)
		}
		if !powerless {
			return
		}
		if after := w.mustRows(t); !maps.Equal(before, after) {
			t.Fatalf("%s: got %d, and changed\n%v\ninto\n%v", sent(), rec.Code, before, after)
		}
	})
}

func (w *World) mustRows(t *testing.T) map[string]string {
	t.Helper()
	all, err := w.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// anyRequest returns nil for what net/http refuses before a handler sees it.
func anyRequest(t *testing.T, method, path, query, header string, body []byte) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(path)
	if err != nil || !methods.MatchString(method) {
		return nil
	}
	u.RawQuery = query
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", strings.NewReader(string(body)))
	r.Method, r.URL = method, u
	if name, value, ok := strings.Cut(header, ":"); ok && values.MatchString(value) {
		r.Header[textproto.CanonicalMIMEHeaderKey(name)] = []string{strings.TrimSpace(value)}
	}
	return r
}
