package commvault_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
)

// documented are the error codes that come with 500 and are no failure of ours.
func documented() []int64 { return []int64{587207178, 587203993} }

// FuzzRequests sends any method, path, query, header and body to both roots, on
// the real service. A request may be refused, and never fails; one that has no
// right to changes nothing.
func FuzzRequests(f *testing.F) {
	for _, r := range commvault.Routes() {
		path := strings.NewReplacer("{id}", "1001", "byName()", "byName(clientName='db1',subclientName='nightly')").Replace(r.Path)
		for _, who := range []string{"admin", "reader", ""} {
			f.Add(r.Method, "/commandcenter/api/"+path, "", who, "", []byte(nil))
			f.Add(r.Method, "//WebConsole//API//"+path+"/", "clientId=1001&applicationId=125&backupsetId=2002&limit=2", who, "application/json", []byte(`{"jobId":1001}`))
		}
	}
	for _, body := range []string{
		`{"mode":4,"username":"default\\alice","password":"Y29ycmVjdCBob3JzZQ==","deviceId":"d","timeout":"5"}`,
		`<?xml version="1.0"?><DM2ContentIndexing_CheckCredentialReq username="alice" password="&amp;" timeOut="1"/>`,
		`{"sessionId":"QSDK 00","deviceId":"d"}`,
		`{"category":2,"pagingConfig":{"offset":1,"limit":5,"sortDirection":0},"jobFilter":{"completedJobLookupTime":9,"clientList":[{"clientId":1001}],"jobTypeList":["Restore"],"entity":{"subclientId":1001}}}`,
		`{"taskInfo":{"associations":[{"clientName":"DB1","appName":"postgresql"}],"task":{"taskType":1},"subTasks":[{"subTask":{"subTaskType":2,"operationType":2},"options":{"backupOpts":{"backupLevel":"FULL"},"commonOpts":{"startUpOpts":{"startInSuspendedState":true}}}}]}}`,
		`{"taskInfo":{"associations":[{"subclientId":1001}],"subTasks":[{"subTask":{"subTaskType":3},"options":{"restoreOptions":{"fileOption":{"sourceItem":["/data"]},"destination":{"destPath":["/srv/restore/b"]},"postgresRstOption":{"fsBackupSetRestore":true}}}}]}}`,
	} {
		for _, path := range []string{"Login", "RenewLoginToken", "Jobs", "CreateTask"} {
			f.Add(http.MethodPost, "/webconsole/api/"+path, "", "admin", "application/xml", []byte(body))
		}
	}
	f.Add(http.MethodGet, "/commandcenter/api/Job", "jobFilter=&jobCategory=Active&completedJobLookupTime=9223372036854775807&limit=0&offset=-1", "oslo", "", []byte(nil))
	f.Add(http.MethodGet, "/commandcenter/api/Client/byName(clientName='d''b1', x='')", "", "admin", "", []byte(nil))
	w := apitest.NewWorld(f)
	give(f, w, "user alice operator", "job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10", "restore 1001 /srv/restore/a")
	h := handlerOf(w)
	owner, err := w.Service.LocalActor(f.Context(), "fuzz", "")
	if err != nil {
		f.Fatal(err)
	}
	newest := func(t *testing.T, after holdfast.EventID) []holdfast.Event {
		t.Helper()
		list, err := w.Service.Events(t.Context(), owner, after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	var seen holdfast.EventID
	f.Fuzz(func(t *testing.T, method, path, query, who, media string, body []byte) {
		switch method {
		case http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead, http.MethodOptions:
		default:
			return
		}
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		u.RawQuery = query
		for list := newest(t, seen); len(list) > 0; list = newest(t, seen) {
			seen = list[len(list)-1].ID
		}
		r := httptest.NewRequestWithContext(t.Context(), method, "/", bytes.NewReader(body))
		r.URL = u
		r.Header.Set("Content-Type", media)
		token := who
		if known := w.Token(who); known != "" {
			token = known
		}
		r.Header.Set("Authtoken", token)
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		if strings.HasPrefix(rec.Header().Get("Content-Type"), "application/xml") {
			if err := xml.Unmarshal(rec.Body.Bytes(), new(struct{ XMLName xml.Name })); err != nil {
				t.Fatalf("%s %s %q: got %d %q, which is not XML", method, u, body, rec.Code, rec.Body)
			}
		} else if !json.Valid(rec.Body.Bytes()) {
			t.Fatalf("%s %s %q: got %d %q, which is not JSON", method, u, body, rec.Code, rec.Body)
		}
		if rec.Code >= http.StatusInternalServerError {
			var failure struct {
				Code int64 `json:"errorCode"`
			}
			if err := json.Unmarshal(rec.Body.Bytes(), &failure); err != nil || rec.Code != http.StatusInternalServerError || !slices.Contains(documented(), failure.Code) {
				t.Fatalf("%s %s %q: got %d %s", method, u, body, rec.Code, rec.Body)
			}
		}
		for _, e := range newest(t, seen) {
			if who != "admin" && who != "operator" && who != "oslo" && !strings.HasPrefix(e.Kind, "session.") && !strings.HasPrefix(e.Kind, "user.") {
				t.Fatalf("%s %s %q: %q has no right to make %s of %s", method, u, body, who, e.Kind, e.Subject)
			}
			if who == "oslo" && (e.Subject == "execution 1001" || e.Subject == "job 1001") {
				t.Fatalf("%s %s %q: %s of %s is of another site", method, u, body, e.Kind, e.Subject)
			}
		}
	})
}
