package baasenterprise_test

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

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
)

// methods are what net/http lets through, and no longer than people send them.
var methods = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,16}$")

// values are the headers that net/http lets through.
var values = regexp.MustCompile(`^[\t -~\x80-\xff]*$`)

// callers are who sends a request: the tokens of the world, and nobody. Those who
// only read come first.
var callers = []string{"", "reader", "expired", "oslo", "operator", "admin"}

// FuzzRequests sends any request to the dialect, on the real service. It may be
// refused; it never fails, never hangs, never answers with anything but JSON, and
// changes nothing for a caller without the right: oslo's admin is sent to berlin
// only.
func FuzzRequests(f *testing.F) {
	const (
		berlin  = baasenterprise.Root + "/sites/berlin"
		restore = berlin + "/jobs/1001/executions/1001/restores"
	)
	for who := range callers {
		for _, s := range [][5]string{
			{"GET", berlin + "/jobs", "page=2&page-size=3&is-active&job-type=Backup", "Accept: */*", ""},
			{"GET", berlin + "/executions", "page=9223372036854775807&page-size=1000", "", ""},
			{"GET", berlin + "/jobs/1001/executions/1001", "", "Authorization: Basic x", ""},
			{"HEAD", berlin + "/jobs/1001/", "", "", ""},
			{"POST", berlin + "/jobs", "", "Content-Type: text/html", `{"name":"n","objects":[{"objectName":"a"}],"autoAbort":true}`},
			{"PUT", berlin + "/jobs/1001", "", "", `{"name":"n","job_settings":{"objects":[]},"targetSite":"x"}`},
			{"PATCH", berlin + "/jobs/1001", "", "", `{"job_settings":{"restore_to_a_different_database_on_target_site":true},"priority":1}`},
			{"PATCH", berlin + "/jobs/1002", "", "", `{"job_settings":{"retained_copy":"1001","skipJoinHashIndexes":true}}`},
			{"POST", berlin + "/jobs/1001/execute", "run_type=delta", "Idempotency-Key: k", `{"run_type":"INCREMENTAL"}`},
			{"POST", berlin + "/jobs/1001/abort", "", "", `{}`},
			{"POST", berlin + "/jobs/1001/executions/1002/abort", "", "", ``},
			{"DELETE", berlin + "/jobs/1002", "delete-savesets=true", "", ``},
			{"POST", restore, "", "X-Auth-Credentials: Basic dTpw", `{"target_directory":"/srv/a","tablespaces":{"1":"/srv/b"},"target_host":1001}`},
			{"POST", restore, "", "X-Auth-Credentials: Basic %", `{"job_settings":{"objects":[{"object_name":"a","rename_to":"b"}]}}`},
			{"PATCH", restore + "/1002", "", "", `{"target_directory":null,"target_site":"oslo"}`},
			{"POST", restore + "/1002/rerun", "", "", ``},
			{"GET", berlin + "/restores", "", "", ``},
			{"POST", berlin + "/restore-permissions", "", "", `{"target_site":"oslo","objects":[]}`},
			{"GET", berlin + "/objects-preparation-status", "id=1", "", ``},
			{"GET", berlin + "/database-objects", "object-name=a", "X-Auth-Credentials: Basic dTpw", ``},
			{"POST", berlin + "/jobs/1001/schedules", "", "", `{"schedule_expression":"cron(0 4 L * ? *)","time_zone":"Europe/Berlin","run_type":"delta"}`},
			{"PUT", berlin + "/jobs/1001/schedules/1001", "", "", `{"scheduleExpression":"rate(6 hours)","active":false}`},
			{"POST", berlin + "/jobs/1001/schedules/preview", "limit=100", "", `{"schedule_expression":"*/5 * * * *","schedule_id":1001}`},
			{"DELETE", berlin + "/jobs/1001/schedules/1001/", "", "", ``},
			{"GET", berlin + "/jobs/1001/next-runs", "limit=3", "", ``},
			{"GET", berlin + "/retained-copies", "page=1", "", ``},
			{"PUT", berlin + "/jobs/1001/retained-copies/1001", "confirm=true", "", `{"is_saveset_retained":true}`},
			{"GET", berlin + "/activity", "page=3&page-size=7", "", ``},
			{"PUT", berlin + "/notifications/settings", "", "", `{}`},
			{"PROPFIND", baasenterprise.Root + "/sites", "%zz", "", `<xml/>`},
		} {
			f.Add(uint8(who), s[0], s[1], s[2], s[3], []byte(s[4]))
		}
	}
	w := apitest.NewWorld(f)
	for _, line := range []string{"job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10", "restore 1001 /srv/restore/a", "clock 2m"} {
		if err := w.Give(f.Context(), line); err != nil {
			f.Fatal(err)
		}
	}
	h := baasenterprise.Handler(baasenterprise.Config{Service: w.Service, Log: w.Log})
	f.Fuzz(func(t *testing.T, who uint8, method, path, query, header string, body []byte) {
		r := request(t, method, path, query, header, body)
		if r == nil {
			return
		}
		caller := callers[int(who)%len(callers)]
		if caller != "" {
			r.Header.Set("Authorization", "Bearer "+w.Token(caller))
		}
		powerless := !slices.Contains([]string{"operator", "admin"}, caller) && (caller != "oslo" || strings.HasPrefix(path, berlin))
		var before map[string]string
		if powerless {
			before = rows(t, w)
		}
		rec := httptest.NewRecorder()
		begin := time.Now()
		h.ServeHTTP(rec, r)
		sent := func() string { return caller + ": " + method + " " + r.URL.String() + " " + string(body) }
		if took := time.Since(begin); took > 15*time.Second {
			t.Fatalf("%s took %s", sent(), took)
		}
		if rec.Code >= http.StatusInternalServerError {
			t.Fatalf("%s: got %d %s", sent(), rec.Code, rec.Body)
		}
		if rec.Code != http.StatusNoContent && (!json.Valid(rec.Body.Bytes()) || rec.Header().Get("Content-Type") != "application/json; charset=utf-8") {
			t.Fatalf("%s: got %d %q, which is not JSON", sent(), rec.Code, rec.Body)
		}
		if !powerless {
			return
		}
		if after := rows(t, w); !maps.Equal(before, after) {
			t.Fatalf("%s: got %d, and changed\n%v\ninto\n%v", sent(), rec.Code, before, after)
		}
	})
}

func rows(t *testing.T, w *apitest.World) map[string]string {
	t.Helper()
	all, err := w.Rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// request returns nil for what net/http refuses before a handler sees it.
func request(t *testing.T, method, path, query, header string, body []byte) *http.Request {
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
