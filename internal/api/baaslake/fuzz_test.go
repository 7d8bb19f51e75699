package baaslake_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baaslake"
)

// FuzzRequests sends any request to the dialect, from anybody: oslo's admin has
// no right to berlin, and this dialect's paths name no site.
func FuzzRequests(f *testing.F) {
	const (
		jobs    = baaslake.Root + "/acc-1001/baas/jobs"
		restore = jobs + "/1001/executions/1001/restores"
	)
	w := apitest.NewWorld(f)
	for _, line := range []string{"job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10", "restore 1001 /srv/restore/a", "clock 2m"} {
		if err := w.Give(f.Context(), line); err != nil {
			f.Fatal(err)
		}
	}
	apitest.Fuzz(f, w, newHandler(w), func(path string) bool { return !strings.HasPrefix(path, jobs+"/1001") }, [][5]string{
		{"GET", jobs, "page=1&page-size=10&backup-type=%20BACKUP&site-id=berlin", "Accept: application/json", ""},
		{"GET", jobs + "/1001/", "site-id=oslo", "", ""},
		{"GET", "/api/accounts/default/baas/sites", "", "", ""},
		{"GET", "/api/accounts/acc-1002/baas/jobs", "", "", ""},
		{"GET", baaslake.OrganisationRoot + "/", "", "Accept: text/html", ""},
		{"POST", jobs + "/1001/execute", "run_type=delta", "Idempotency-Key: k", `{"run_type":"INCREMENTAL"}`},
		{"POST", jobs, "", "", `{"name":"n","site_id":"oslo"}`},
		{"POST", jobs, "site-id=berlin", "", `{"name":"n","site_id":7}`},
		{"PATCH", jobs + "/1001", "", "", `{"priority":1}`},
		{"DELETE", jobs + "/1001", "delete-savesets=true", "", ""},
		{"POST", restore, "", "X-Auth-Credentials: Basic dTpw", `{"target_directory":"/srv/a"}`},
		{"POST", restore + "/1002/rerun", "", "", ""},
		{"GET", baaslake.Root + "/acc-1001/baas/executions", "page=9223372036854775807&site-id=berlin", "", ""},
		{"PUT", jobs + "/1001/retained-copies/1001", "confirm=true", "", `{"is_saveset_retained":true}`},
	})
}

// FuzzToken sends any bearer token. Only one that was signed, or one of ours,
// says who asks; nothing fails.
func FuzzToken(f *testing.F) {
	w := apitest.NewWorld(f)
	h := newHandler(w)
	for _, s := range []string{
		"", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJSUzI1NiIsImtpZCI6ImxhcHRvcCJ9.eyJhdWQiOiJ0ZDpzZXJ2aWNlOmF1dGhlbnRpY2F0aW9uIn0.AAAA",
		"eyJhbGciOiJIUzI1NiIsImtpZCI6WzFdfQ.eyJleHAiOjFlMzA4LCJpYXQiOi0xZTMwOH0.AA", strings.Repeat("a", 40) + "..", "hf_" + strings.Repeat("a", 52),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, baaslake.OrganisationRoot, nil)
		r.Header["Authorization"] = []string{"Bearer " + token}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code != http.StatusUnauthorized {
			t.Fatalf("%q: got %d %s", token, rec.Code, rec.Body)
		}
	})
}
