package bmcetl_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
)

// callers are the tokens of the world, and nobody.
func callers() []string { return []string{"", "reader", "expired", "oslo", "operator", "admin"} }

// FuzzRequests sends any method, path, query, header and body to the dialect, on
// the real service. A request may be refused; it never fails, answers with
// anything but the form of its call, or changes what its caller may not change.
func FuzzRequests(f *testing.F) {
	bodies := []string{
		"", "{}", "null", `{"run_execution_properties":{"region":"north","n":1,"gone":null}}`, `{"at":"2026-03-02T00:00:00Z","period_sec":60}`,
		`{"encryption_passphrase":"p"}`, `{"properties":{"a.token":"********","b":true},"properties_to_delete":["c"]}`,
		`{"etl_instance_filter":{"all":true,"properties_filter_operator":"OR"},"properties":{"region":"x"}}`,
		`{"etl_id":1001,"name":"n","etl":{"module_name":"m","x":[1]},"scheduling":{"period_sec":null,"scheduler_id":2},"properties":{"k":"v"}}`,
		`{"access_key":"HFAKAAAAAAAAAAAAAAAA","access_secret_key":"s","tenant_id":7}`, `{"token":"hfr_x"}`,
		`<TaskExecutionRequest><taskid>1001</taskid><request>RUN</request></TaskExecutionRequest>`,
		`<!DOCTYPE x [<!ENTITY e "e">]><TaskExecutionRequest><taskid>&e;</taskid></TaskExecutionRequest>`, "{", "[[[[", `{"a"\`, `{"a":"\ud800`,
	}
	fill := strings.NewReplacer("{etl}", "1001", "{configuration}", "1001", "{execution}", "1001", "{report}", "1")
	for _, r := range bmcetl.Routes() {
		for i, body := range bodies {
			who := uint8(i % len(callers()))
			f.Add(who, r.Method, fill.Replace(r.Path), "page=0&size=2", "Content-Type: application/json", []byte(body))
		}
		f.Add(uint8(5), r.Method, fill.Replace(r.Path)+"/", "etl_instance_filter=%7B%7D", "Idempotency-Key: k", []byte("{}"))
		f.Add(uint8(3), r.Method, strings.ReplaceAll(fill.Replace(r.Path), "1001", "1002"), "properties_filter.region=x", "Accept: text/html", []byte("{}"))
	}
	f.Add(uint8(5), "GET", "/opt/api/v1/backend/etls/%30x", "", "", []byte(nil))
	f.Add(uint8(5), "GET", "/ims/api/v1/access_keys", "orderBy=name&sortOrder=desc&page=99", "", []byte(nil))
	w := apitest.NewWorld(f)
	for _, line := range []string{"etl berlin orders", "service berlin follow", "property 1001 db.password hidden", "period 1001 24h", "launch 1001", "start 1001", "clock 2m"} {
		if err := w.Give(f.Context(), line); err != nil {
			f.Fatal(err)
		}
	}
	h := handlerOf(w)
	f.Fuzz(func(t *testing.T, who uint8, method, path, query, header string, body []byte) {
		r := request(t, method, path, query, header, body)
		if r == nil {
			return
		}
		caller := callers()[int(who)%len(callers())]
		if caller != "" {
			r.Header.Set("Authorization", "Bearer "+w.Token(caller))
		}
		powerless := !slices.Contains([]string{"operator", "admin"}, caller) // the world's ETLs are at another site than oslo
		var before map[string]string
		if powerless {
			before = rowsOf(t, w)
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if rec.Code >= http.StatusInternalServerError && rec.Code != http.StatusNotImplemented {
			t.Fatalf("%s: %s %s %q: got %d %s", caller, method, r.URL, body, rec.Code, rec.Body)
		}
		if fault := formFault(rec); fault != "" {
			t.Fatalf("%s: %s %s %q: got %d %q, %s", caller, method, r.URL, body, rec.Code, rec.Body, fault)
		}
		if strings.Contains(rec.Body.String(), "hidden") {
			t.Fatalf("%s: %s %s %q: the answer shows a secret: %s", caller, method, r.URL, body, rec.Body)
		}
		if powerless {
			if after := rowsOf(t, w); !maps.Equal(before, after) {
				t.Fatalf("%s: %s %s %q: got %d, and changed\n%v\ninto\n%v", caller, method, r.URL, body, rec.Code, before, after)
			}
		}
	})
}

func request(t *testing.T, method, path, query, header string, body []byte) *http.Request {
	t.Helper()
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions:
	default:
		return nil
	}
	u, err := url.ParseRequestURI(path)
	if err != nil {
		return nil
	}
	u.RawQuery = query
	r := httptest.NewRequestWithContext(t.Context(), method, "/", bytes.NewReader(body))
	r.URL = u
	if name, value, ok := strings.Cut(header, ":"); ok && name != "Authorization" {
		r.Header.Set(name, strings.TrimSpace(value))
	}
	return r
}

func rowsOf(t *testing.T, w *apitest.World) map[string]string {
	t.Helper()
	all, err := w.Rows(t.Context())
	noError(t, err)
	return all
}

// formFault says what is wrong with the form of an answer.
func formFault(rec *httptest.ResponseRecorder) string {
	switch media := rec.Header().Get("Content-Type"); {
	case rec.Code == http.StatusNoContent:
		if rec.Body.Len() > 0 {
			return "which has a body"
		}
	case strings.HasPrefix(media, "application/xml"):
		if err := xml.Unmarshal(rec.Body.Bytes(), new(struct{ XMLName xml.Name })); err != nil {
			return "which is not XML"
		}
	case strings.HasPrefix(media, "application/yaml"):
	case !json.Valid(rec.Body.Bytes()) || !strings.HasPrefix(media, "application/json"):
		return "which is not JSON"
	case rec.Code >= http.StatusBadRequest && !strings.Contains(rec.Body.String(), `"request_status":"ERROR"`):
		return "which does not say ERROR"
	}
	return ""
}
