package baasenterprise_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
)

// FuzzRequests sends any body and any query to any path of the dialect, on the
// real service. A request may be refused, and never fails.
func FuzzRequests(f *testing.F) {
	for _, s := range [][4]string{
		{"GET", "/sites/berlin/jobs", "page=2&page-size=3&is-active&job-type=Backup", ""},
		{"GET", "/sites/berlin/executions", "page=9223372036854775807&page-size=1000", ""},
		{"GET", "/sites/berlin/jobs/1001/executions/1001", "", ""},
		{"POST", "/sites/berlin/jobs", "", `{"name":"n","objects":[{"objectName":"a"}],"autoAbort":true}`},
		{"PUT", "/sites/berlin/jobs/1001", "", `{"name":"n","job_settings":{"objects":[]},"targetSite":"x"}`},
		{"PATCH", "/sites/berlin/jobs/1001", "", `{"job_settings":{"restore_to_a_different_database_on_target_site":true},"priority":1}`},
		{"PATCH", "/sites/berlin/jobs/1002", "", `{"job_settings":{"retained_copy":"1001","skipJoinHashIndexes":true}}`},
		{"POST", "/sites/berlin/jobs/1001/execute", "run_type=delta", `{"run_type":"INCREMENTAL"}`},
		{"POST", "/sites/berlin/jobs/1001/abort", "", `{}`},
		{"DELETE", "/sites/berlin/jobs/1001", "delete-savesets=false", ``},
	} {
		f.Add(s[0], s[1], s[2], []byte(s[3]))
	}
	w := apitest.NewWorld(f)
	for _, line := range []string{"job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10", "restore 1001 /srv/restore/a"} {
		if err := w.Give(f.Context(), line); err != nil {
			f.Fatal(err)
		}
	}
	h := baasenterprise.Handler(baasenterprise.Config{Service: w.Service, Log: w.Log})
	f.Fuzz(func(t *testing.T, method, path, query string, body []byte) {
		switch method {
		case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead:
		default:
			return
		}
		u, err := url.ParseRequestURI(baasenterprise.Root + path)
		if err != nil {
			return
		}
		u.RawQuery = query
		r := httptest.NewRequestWithContext(t.Context(), method, "/", strings.NewReader(string(body)))
		r.URL = u
		r.Header.Set("Authorization", "Bearer "+w.Token("admin"))
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code >= http.StatusInternalServerError {
			t.Fatalf("%s %s %q: got %d %s", method, u, body, rec.Code, rec.Body)
		}
		if rec.Code != http.StatusNoContent && !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%s %s %q: got %d %q, which is not JSON", method, u, body, rec.Code, rec.Body)
		}
	})
}
