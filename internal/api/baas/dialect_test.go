package baas_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
)

// bodied is a scope that finds the site of a request in its job, its query or
// its body, and never in its path.
type bodied struct {
	world *apitest.World
}

func (s bodied) Actor(r *http.Request) (holdfast.Actor, error) {
	token, err := baas.Token(r.Header)
	if err != nil {
		return holdfast.Actor{}, err
	}
	return s.world.Service.Authenticate(r.Context(), token, "test")
}

func (bodied) Account(_ context.Context, c *baas.Call) (string, error) {
	if id := c.Path["account"]; id != "acc-1001" {
		return "", baas.Unknown("account", id)
	}
	return "acc-1001", nil
}

func (s bodied) Site(ctx context.Context, c *baas.Call) (holdfast.Site, error) {
	if c.Path["job"] != "" {
		j, err := c.Job(ctx)
		if err != nil {
			return holdfast.Site{}, err
		}
		return s.world.Service.Site(ctx, c.Actor, j.Site)
	}
	tree, err := c.Body()
	if err != nil {
		return holdfast.Site{}, err
	}
	slug, _ := tree["site_id"].(string)
	if slug == "" {
		slug = c.Request.URL.Query().Get("site-id")
	}
	return s.world.Service.SiteBySlug(ctx, c.Actor, slug)
}

func (bodied) Base(c *baas.Call, _ holdfast.Site) string {
	return "/x/api/accounts/" + c.Path["account"] + "/baas"
}

// TestADialectMayNameItsSitesElsewhere shows the routes below a root with a
// placeholder, without sites in their paths.
func TestADialectMayNameItsSitesElsewhere(t *testing.T) {
	w := apitest.NewWorld(t)
	h := baas.New(baas.Config{
		Dialect: baas.Dialect{
			Root: "/api/accounts/{account}/baas", Document: "docs/api/test.md", Challenges: []string{"Bearer"}, EmptyBodies: true,
			Own: []baas.Path{{Pattern: "/api/hello", Methods: map[string]baas.Endpoint{
				http.MethodGet: func(_ context.Context, c *baas.Call) error { c.WriteJSON(http.StatusOK, c.Actor.Dialect); return nil },
			}}},
		},
		Scope: bodied{w}, Service: w.Service, Prefix: "/x", Log: w.Log,
	})
	const base = "/x/api/accounts/acc-1001/baas"
	for _, c := range []struct {
		request, body string
		status        int
		want          string
	}{
		{"POST " + base + "/jobs/", `{"name":"n","site_id":"oslo"}`, http.StatusCreated, `"account_id":"acc-1001"}`},
		{"GET " + base + "/jobs?site-id=oslo", "", http.StatusOK, `"account_id":"acc-1001"}]`},
		{"GET " + base + "/jobs?site-id=berlin", "", http.StatusOK, "[]"},
		{"GET " + base + "/jobs/1001", "", http.StatusOK, `"site_id":"oslo"`},
		{"POST " + base + "/jobs/1001/execute", "", http.StatusAccepted, "{}"},
		{"POST " + base + "/jobs/1001/abort", "", http.StatusAccepted, "{}"},
		{"GET " + base + "/sites", "", http.StatusOK, `"site_id":"oslo"`},
		{"DELETE " + base + "/jobs/1001", "", http.StatusOK, "{}"},
		{"GET " + base + "/jobs/1001", "", http.StatusNotFound, `job \"1001\" does not exist`},
		{"GET /x/api/accounts/acc-7/baas/jobs/1001", "", http.StatusNotFound, `account \"acc-7\" does not exist`},
		{"GET /x/api/nothing", "", http.StatusNotFound, "docs/api/test.md"},
		{"GET /api/accounts/acc-1001/baas/sites", "", http.StatusNotFound, "docs/api/test.md"},
	} {
		method, path, _ := strings.Cut(c.request, " ")
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(c.body))
		r.Header.Set("Authorization", "Bearer "+w.Token("admin"))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != c.status || !strings.Contains(rec.Body.String(), c.want) {
			t.Errorf("%s: got %d %s, want %d %s", c.request, rec.Code, rec.Body, c.status, c.want)
		}
		if location := rec.Header().Get("Location"); location != "" && !strings.HasPrefix(location, base+"/jobs/1001") {
			t.Errorf("%s: got location %s", c.request, location)
		}
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/x/api/hello", nil))
	if got := rec.Header().Values("WWW-Authenticate"); rec.Code != http.StatusUnauthorized || !slices.Equal(got, []string{"Bearer"}) {
		t.Errorf("without a token: got %d, challenges %q", rec.Code, got)
	}
}

func TestRoutesNameEveryCallOnce(t *testing.T) {
	seen := map[baas.Route]bool{}
	for _, r := range (baas.Dialect{Root: "/r", Site: "s/{site}"}).Routes() {
		if seen[r] || !strings.HasPrefix(r.Pattern, "/r/s") || r.Method == "" {
			t.Errorf("got %+v twice, or malformed", r)
		}
		seen[r] = true
	}
	for _, want := range []baas.Route{{"GET", "/r/sites"}, {"DELETE", "/r/s/{site}/jobs/{job}"}, {"POST", "/r/s/{site}/jobs/{job}/execute"}} {
		if !seen[want] {
			t.Errorf("%+v is missing", want)
		}
	}
}
