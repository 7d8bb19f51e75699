package native_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

// TestExchanges walks through everything once; the golden file is read in review.
func TestExchanges(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(200, "GET", "/api/v1/hosts", "")
	r.want(200, "GET", "/api/v1/hosts/db1", "")
	r.want(200, "GET", "/api/v1/sites", "")
	r.want(200, "GET", "/api/v1/sites/1001", "")
	r.want(200, "PATCH", "/api/v1/sites/berlin", `{"name":"Berlin","max_running":2,"reading":"read-all","compression":"max","bytes_per_second":52428800}`)
	r.want(200, "POST", "/api/v1/sites/berlin/test", "")
	r.want(200, "GET", "/api/v1/repositories/main", "")
	r.want(200, "GET", "/api/v1/repositories", "")
	r.want(400, "GET", "/api/v1/repositories/main/access", "")
	r.want(201, "POST", "/api/v1/repositories", `{"name":"far","location":"s3:https://s3.example.com/bucket/far","access":`+
		`{"access_key":"KEY1","secret_key":"planted-secret-key","session_token":"planted-session-token","region":"eu-1"}}`)
	r.want(200, "GET", "/api/v1/repositories/far/access", "")
	r.want(200, "PATCH", "/api/v1/repositories/far/access", `{"access_key":"KEY2","secret_key":"planted-secret-key-2","storage_class":"COLD"}`)
	r.want(400, "PATCH", "/api/v1/repositories/far/access", `{"access_key":"KEY3"}`)
	r.want(403, "PATCH", "/api/v1/repositories/far/access", `{"secret_key":"wrong"}`)
	r.want(200, "GET", "/api/v1/jobs?site=berlin&limit=10", "")
	r.want(200, "PATCH", "/api/v1/jobs/berlin%2Fnightly", `{"priority":2,"retention":{"count":3,"unit":"SETS"},"auto_abort":{"active":true,"minutes":90}}`)
	r.want(200, "GET", "/api/v1/jobs/nightly", "")

	r.want(202, "POST", "/api/v1/executions", `{"job":"nightly"}`, "Idempotency-Key", "monday")
	r.want(202, "POST", "/api/v1/executions", `{"job":"nightly"}`, "Idempotency-Key", "monday")
	r.want(409, "POST", "/api/v1/executions", `{"job":"1001","run_type":"DELTA"}`)
	r.want(202, "POST", "/api/v1/executions", `{"job":"1001","if_busy":"join"}`)
	r.want(202, "POST", "/api/v1/executions", `{"job":"1001","if_busy":"queue"}`)
	r.want(200, "POST", "/api/v1/executions/1001/suspend", "")
	r.want(200, "POST", "/api/v1/executions/1001/suspend", "")
	r.want(200, "POST", "/api/v1/executions/1001/resume", "")
	r.want(200, "POST", "/api/v1/executions/1002/kill", "")
	r.want(200, "GET", "/api/v1/executions?state=QUEUED&state=ENDED&job=nightly", "")
	r.want(200, "GET", "/api/v1/executions/1001/log?offset=6&limit=4", "")
	r.want(200, "GET", "/api/v1/executions/1001/log?limit=15", "")
	r.want(200, "GET", "/api/v1/executions/1001/log?limit=15", "", "Accept", "application/x-ndjson")
	r.end(1001)
	r.want(409, "POST", "/api/v1/executions/1001/stop", "")
	r.want(200, "GET", "/api/v1/sets", "")

	r.want(201, "POST", "/api/v1/tokens", `{"name":"script","role":"operator","sites":["berlin"],"expires":"2026-12-31T00:00:00Z"}`)
	r.want(200, "GET", "/api/v1/tokens", "")
	r.want(204, "DELETE", "/api/v1/tokens/1001", "")
	r.want(201, "POST", "/api/v1/workers/invitations", `{"name":"w1","hosts":["db1"]}`)
	r.want(200, "GET", "/api/v1/workers", "")
	r.want(200, "GET", "/api/v1/events?limit=3", "")
	r.want(204, "DELETE", "/api/v1/jobs/1001", "")
	r.golden("exchanges")
}

func TestBadRequests(t *testing.T) {
	r := newRig(t)
	r.setUp()
	cases := []struct {
		name, method, path, body string
		status                   int
		code                     holdfast.Code
		detail                   string
	}{
		{"JSON that is cut off", "POST", "/api/v1/hosts", `{"name":`, 400, holdfast.CodeInvalid, ""},
		{"no body", "POST", "/api/v1/hosts", "", 400, holdfast.CodeInvalid, ""},
		{"a list for an object", "POST", "/api/v1/hosts", `[]`, 422, holdfast.CodeInvalid, "expected object"},
		{"an unknown field", "POST", "/api/v1/hosts", `{"name":"a","nickname":"b"}`, 422, holdfast.CodeInvalid, "body.nickname"},
		{"a missing field", "POST", "/api/v1/executions", `{}`, 422, holdfast.CodeInvalid, "job"},
		{"an unknown parameter", "GET", "/api/v1/jobs?sight=x", "", 422, holdfast.CodeInvalid, "query.sight"},
		{"a limit that is too high", "GET", "/api/v1/jobs?limit=1001", "", 422, holdfast.CodeInvalid, "query.limit"},
		{"a body that is too large", "POST", "/api/v1/hosts", `{"name":"` + strings.Repeat("a", 65<<10) + `"}`, 413, holdfast.CodeInvalid, "too large"},
		{"a bad name", "POST", "/api/v1/hosts", `{"name":"a b"}`, 400, holdfast.CodeInvalid, "valid name"},
		{"a name that is taken", "POST", "/api/v1/hosts", `{"name":"db1"}`, 409, holdfast.CodeConflict, "db1"},
		{
			"a number that does not fit", "POST", "/api/v1/sites", `{"slug":"a","host":"db1","data_dir":"/p","server":{"host":"h","user":"u","port":99999}}`,
			422, holdfast.CodeInvalid, "validation failed: a number does not fit server.port (body)",
		},
		{"a path with an empty part", "POST", "/api/v1//hosts", `{"name":"a"}`, 404, holdfast.CodeNotFound, "nothing at"},
		{"a path with two dots", "GET", "/api/v1/jobs/../hosts", "", 404, holdfast.CodeNotFound, "nothing at"},
		{"an unknown host", "GET", "/api/v1/hosts/db9", "", 404, holdfast.CodeNotFound, "db9"},
		{"an unknown site", "GET", "/api/v1/sites/9999", "", 404, holdfast.CodeNotFound, "9999"},
		{"an unknown job", "GET", "/api/v1/jobs/berlin%2Fweekly", "", 404, holdfast.CodeNotFound, "weekly"},
		{"an unknown execution", "GET", "/api/v1/executions/9999", "", 404, holdfast.CodeNotFound, ""},
		{"an unknown execution's events", "GET", "/api/v1/executions/9999/events", "", 404, holdfast.CodeNotFound, ""},
		{"an execution that is no number", "GET", "/api/v1/executions/first", "", 422, holdfast.CodeInvalid, "path.execution"},
		{"an unknown set", "GET", "/api/v1/sets/9999", "", 404, holdfast.CodeNotFound, ""},
		{"a restore of an unknown set", "POST", "/api/v1/restores", `{"set":9999,"directory":"/restore/x"}`, 404, holdfast.CodeNotFound, ""},
		{"a tablespace that is no number", "POST", "/api/v1/restores", `{"set":1001,"directory":"/restore/x","tablespaces":{"ts":"/y"}}`, 400, holdfast.CodeInvalid, "OID"},
		{"a restore to nowhere", "POST", "/api/v1/restores", `{"set":1001}`, 400, holdfast.CodeInvalid, "directory is missing"},
		{"a restore from an unknown repository", "POST", "/api/v1/restores", `{"set":1001,"directory":"/restore/x","repository":"nowhere"}`, 404, holdfast.CodeNotFound, "no repository"},
		{"a site without in place", "POST", "/api/v1/restores", `{"set":1001,"directory":"/restore/x","site":"berlin"}`, 400, holdfast.CodeInvalid, "not in place"},
		{"in place of an unknown site", "POST", "/api/v1/restores", `{"set":1001,"in_place":true,"site":"nowhere"}`, 404, holdfast.CodeNotFound, ""},
		{"an unknown set in place", "POST", "/api/v1/restores", `{"set":9999,"in_place":true}`, 404, holdfast.CodeNotFound, ""},
		{"a repository without a scheme", "POST", "/api/v1/repositories", `{"name":"b","location":"backup"}`, 400, holdfast.CodeInvalid, "location"},
		{"a run type that does not exist", "POST", "/api/v1/executions", `{"job":"1001","run_type":"HALF"}`, 422, holdfast.CodeInvalid, "run_type"},
		{"a path that does not exist", "GET", "/api/v1/nothing", "", 404, holdfast.CodeNotFound, "/api/v1/nothing"},
		{"a method that is not taken", "PUT", "/api/v1/hosts", "", 405, holdfast.CodeInvalid, "PUT"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			a := r.send(c.method, c.path, c.body)
			if a.status != c.status {
				t.Errorf("status: got %d, want %d", a.status, c.status)
			}
			if got := a.header.Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type: got %q", got)
			}
			var p native.Problem
			a.decode(t, &p)
			if p.Status != c.status || p.Code != c.code || p.Title == "" {
				t.Errorf("got %+v, want status %d, code %s", p, c.status, c.code)
			}
			if p.Detail == "" || !strings.Contains(p.Detail, c.detail) {
				t.Errorf("detail: got %q, want %q in it", p.Detail, c.detail)
			}
		})
	}
}

// A request that is refused must not come back in the answer: it may hold a
// password.
func TestRefusedRequestIsNotRepeated(t *testing.T) {
	r := newRig(t)
	for _, body := range []string{
		`{"slug":"x","password":"` + sitePassword + `"}`,
		`{"slug":"x","pasword":"` + sitePassword + `"}`,
		`{"password":"` + sitePassword + `"`,
		`{"password":["` + sitePassword + `"]}`,
	} {
		r.send("POST", "/api/v1/sites", body) // send looks for the password in the answer
	}
}

func TestAuthentication(t *testing.T) {
	r := newRig(t)
	r.setUp()
	var made native.CreatedToken
	r.want(201, "POST", "/api/v1/tokens", `{"name":"reader","role":"reader"}`).decode(t, &made)
	r.socket = false
	bearer := "Bearer " + made.Secret
	cases := []struct {
		name, method, path, authorization string
		status                            int
	}{
		{"nothing", "GET", "/api/v1/hosts", "", 401},
		{"nothing, for the document", "GET", "/api/v1/openapi.json", "", 401},
		{"nothing, for a path that does not exist", "GET", "/api/v1/nothing", "", 401},
		{"basic", "GET", "/api/v1/hosts", "Basic YTpi", 401},
		{"an empty token", "GET", "/api/v1/hosts", "Bearer ", 401},
		{"a wrong token", "GET", "/api/v1/hosts", "Bearer nonsense", 401},
		{"the token", "GET", "/api/v1/sites", bearer, 200},
		{"the token, for the document", "GET", "/api/v1/openapi.json", bearer, 200},
		{"a reader that writes", "POST", "/api/v1/executions/1001/stop", bearer, 404},
		{"a reader that makes tokens", "GET", "/api/v1/tokens", bearer, 403},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var headers []string
			if c.authorization != "" {
				headers = []string{"Authorization", c.authorization}
			}
			a := r.send(c.method, c.path, "", headers...)
			if a.status != c.status {
				t.Fatalf("got %d, want %d: %s", a.status, c.status, a.body)
			}
			if c.status == 401 && a.header.Get("WWW-Authenticate") == "" {
				t.Error("the answer does not say how to authenticate")
			}
		})
	}
	r.socket = true
	r.want(204, "DELETE", "/api/v1/tokens/1001", "")
	r.socket = false
	r.want(401, "GET", "/api/v1/sites", "", "Authorization", bearer)
}

func TestOpenAPI(t *testing.T) {
	r := newRig(t)
	a := r.want(200, "GET", "/api/v1/openapi.json", "")
	var doc struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			OperationID string                     `json:"operationId"`
			Responses   map[string]json.RawMessage `json:"responses"`
		} `json:"paths"`
	}
	a.decode(t, &doc)
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("got version %q, want 3.1", doc.OpenAPI)
	}
	if len(doc.Paths) < 25 {
		t.Errorf("got %d paths", len(doc.Paths))
	}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if op.OperationID == "" || op.Responses["default"] == nil {
				t.Errorf("%s %s: no name, or no word on errors", method, path)
			}
		}
	}
	if strings.Contains(string(a.body), "ErrorModel") {
		t.Error("the document shows an error that the API does not send")
	}
}

func TestEventsStreamUntilTheEnd(t *testing.T) {
	r := newRig(t)
	r.setUp()
	r.want(202, "POST", "/api/v1/executions", `{"job":"1001"}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/api/v1/executions/1001/events", nil)
	noError(t, err)
	resp, err := http.DefaultClient.Do(req)
	noError(t, err)
	defer func() { _ = resp.Body.Close() }()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("content type: got %q", got)
	}
	var names []string
	var last native.Execution
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			names = append(names, value)
		case "data":
			noError(t, json.Unmarshal([]byte(value), &last))
			if last.State == holdfast.StateQueued {
				r.end(1001)
			}
		}
	}
	noError(t, lines.Err())
	if got := strings.Join(names, " "); got != "progress ended" {
		t.Errorf("events: got %q", got)
	}
	if last.Outcome != holdfast.OutcomeSucceeded || last.Progress.DoneBytes != 10 || !last.Ended.Equal(start.Add(time.Minute)) {
		t.Errorf("the last event tells of %+v", last)
	}
}
