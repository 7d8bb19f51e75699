package commvault

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	h := &handler{}
	h.Prefix = "/backup"
	h.routes = h.table()
	for _, c := range []struct {
		method, path string
		want         string // the route; empty: none
		values       map[string]string
	}{
		{"GET", "/backup/commandcenter/api", "", map[string]string{}},
		{"POST", "/BACKUP//WebConsole/API/login/", "Login", map[string]string{}},
		{"GET", "/backup/commandcenter/api/client/12", "Client/{id}", map[string]string{"id": "12"}},
		{"HEAD", "/backup/commandcenter/api/Client/a%2Fb", "Client/{id}", map[string]string{"id": "a/b"}},
		{"GET", "/backup/commandcenter/api/CLIENT/BYNAME(ClientName='a')", "Client/byName()", map[string]string{"clientname": "a"}},
		{"GET", "/backup/commandcenter/api/Client/byName( clientName = 'o''hara' )", "Client/byName()", map[string]string{"clientname": "o'hara"}},
		{"GET", "/backup/commandcenter/api/Client/byName(clientName='a%2Fb')", "Client/byName()", map[string]string{"clientname": "a/b"}},
		{
			"POST", "/backup/webconsole/api/Subclient/byName(clientName='a',appName='',x='(),=')/action/backup", "Subclient/byName()/action/backup",
			map[string]string{"clientname": "a", "appname": "", "x": "(),="},
		},
	} {
		got, values, err := h.find(request(t, c.method, c.path))
		if err != nil || got.Path != c.want || !maps.Equal(values, c.values) {
			t.Errorf("%s %s: got %q %q, %v, want %q %q", c.method, c.path, got.Path, values, err, c.want, c.values)
		}
	}
	for path, want := range map[string]int{
		"/commandcenter/api/Client":                             http.StatusNotFound, // without the prefix
		"/backup/commandcenter":                                 http.StatusNotFound,
		"/backup/commandcenter/api/Client/1/2":                  http.StatusNotFound,
		"/backup/commandcenter/api/Login":                       http.StatusMethodNotAllowed,
		"/backup/commandcenter/api/Subclient/1/action/backup":   http.StatusMethodNotAllowed,
		"/backup/commandcenter/api/Subclient/2/action/backup/x": http.StatusNotFound,
	} {
		_, _, err := h.find(request(t, http.MethodGet, path))
		if got := failureOf(err).Status; got != want {
			t.Errorf("GET %s: got %d, want %d", path, got, want)
		}
	}
}

func request(t *testing.T, method, path string) *http.Request {
	t.Helper()
	u, err := url.Parse(strings.ReplaceAll(path, " ", "%20"))
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), method, "/", nil)
	r.URL = u
	return r
}

func TestArgumentsThatAreNone(t *testing.T) {
	for _, s := range []string{"", ")", "clientName)", "clientName='a'", "clientName='a", "clientName=a)", "='a')", "a='b',)", "a='b',a='c')", "a='b' c='d')", "a='b'))", "'a')"} {
		if arguments(s, map[string]string{}) {
			t.Errorf("%q was read", s)
		}
	}
}

func TestEveryRouteIsServed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range (&handler{}).table() {
		key := strings.ToLower(r.Method + " " + r.Path)
		if r.serve == nil || seen[key] {
			t.Errorf("%s: not served, or there twice", key)
		}
		seen[key] = true
	}
	for _, r := range Routes() {
		if want := r.Path == "" || r.Path == "Login" || r.Path == "RenewLoginToken"; r.Open != want {
			t.Errorf("%s %s: open %v, want %v", r.Method, r.Path, r.Open, want)
		}
	}
}
