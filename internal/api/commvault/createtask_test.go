package commvault_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// post sends a body to Createtask as the token, and returns the status and the
// answer.
func post(t *testing.T, h http.Handler, token, body string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/commandcenter/api/Createtask", strings.NewReader(body))
	r.Header.Set("Authtoken", "QSDK "+token)
	return serve(h, r)
}

func get(t *testing.T, h http.Handler, token, path string) (int, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/commandcenter/api/"+path, nil)
	r.Header.Set("Authtoken", "QSDK "+token)
	return serve(h, r)
}

func serve(h http.Handler, r *http.Request) (int, string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

const fullOf = `{"taskInfo":{"associations":[{%s}],"subTasks":[{"subTask":{"subTaskType":2},"options":{"backupOpts":{"backupLevel":"FULL"}}}]}}`

func TestTheJobsOfATaskCanBeReadAtOnce(t *testing.T) {
	t.Parallel()
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	give(t, w, "job berlin nightly", "job berlin weekly", "job oslo nightly")
	status, body := post(t, h, w.Token("operator"), fmt.Sprintf(fullOf, `"clientName":"db1"`))
	var reply struct {
		TaskID int64    `json:"taskId"`
		JobIDs []string `json:"jobIds"`
	}
	if err := json.Unmarshal([]byte(body), &reply); status != http.StatusOK || err != nil || len(reply.JobIDs) != 3 || reply.TaskID == 0 {
		t.Fatalf("got %d %s, want three jobs", status, body)
	}
	for _, id := range reply.JobIDs {
		if status, body := get(t, h, w.Token("operator"), "Job/"+id); status != http.StatusOK || !strings.Contains(body, `"totalRecordsWithoutPaging":1`) {
			t.Errorf("job %s: got %d %s", id, status, body)
		}
		if status, body := get(t, h, w.Token("operator"), "Job/"+id+"/TaskDetails"); status != http.StatusOK || !strings.Contains(body, `"associations":[{"clientName":"db1"}]`) {
			t.Errorf("the task of job %s: got %d %s", id, status, body)
		}
	}
}

func TestATaskIsMadeWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	give(t, w, "job berlin nightly", "job berlin weekly")
	for n := range service.MaxWaiting {
		if status, body := post(t, h, w.Token("operator"), fmt.Sprintf(fullOf, `"subclientId":1002`)); status != http.StatusOK {
			t.Fatalf("request %d: got %d %s", n+1, status, body)
		}
	}
	for _, who := range []string{`"subclientId":1002`, `"instanceId":1001`} {
		status, body := post(t, h, w.Token("operator"), fmt.Sprintf(fullOf, who))
		if status != http.StatusInternalServerError || !strings.Contains(body, `"errorMessage":"Failed to run task.","errorCode":587203993`) {
			t.Errorf("%s with a full queue: got %d %s, want it refused", who, status, body)
		}
	}
	_, body := get(t, h, w.Token("operator"), fmt.Sprintf("Job/%d", 1001+service.MaxWaiting))
	if !strings.Contains(body, `"totalRecordsWithoutPaging":0`) {
		t.Errorf("a refused task has made a job: %s", body)
	}
}

func TestRestoresThatWaitAreBounded(t *testing.T) {
	t.Parallel()
	w := apitest.NewWorld(t)
	h := handlerOf(w)
	give(t, w, "job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10")
	for n := range service.MaxWaiting + 1 {
		status, body := post(t, h, w.Token("operator"), fmt.Sprintf(
			`{"taskInfo":{"associations":[{"instanceId":1001}],"subTasks":[{"options":{"restoreOptions":{"fileOption":{"sourceItem":["/data"]},`+
				`"destination":{"destPath":["/srv/restore/%d"]},"postgresRstOption":{"fsBackupSetRestore":true}}}}]}}`, n))
		if refused := strings.Contains(body, "587203993"); refused != (n == service.MaxWaiting) || !refused && status != http.StatusOK {
			t.Fatalf("restore %d: got %d %s", n+1, status, body)
		}
	}
}

// fullStore is a service whose metadata database takes nothing now.
type fullStore struct{ *service.Service }

// ExecuteAll fails.
func (fullStore) ExecuteAll(context.Context, holdfast.Actor, service.Submit) (holdfast.Submission, []holdfast.Execution, error) {
	return holdfast.Submission{}, nil, holdfast.Errorf(holdfast.CodeUnavailable, "the metadata database is locked")
}

func TestAStoreThatDoesNotTakeATaskIsNotTheRequestsFault(t *testing.T) {
	t.Parallel()
	w := apitest.NewWorld(t)
	give(t, w, "job berlin nightly")
	down := fullStore{w.Service}
	h := commvault.Handler(commvault.Config{Service: down, Now: w.Now, Log: w.Log})
	status, body := post(t, h, w.Token("operator"), fmt.Sprintf(fullOf, `"subclientId":1001`))
	if status != http.StatusServiceUnavailable || strings.Contains(body, "587203993") {
		t.Errorf("got %d %s, want 503", status, body)
	}
}

// TestSecretsOfARequestStayNowhere sends what looks like a secret in every
// member that is not read, and looks for it in everything that is kept.
func TestSecretsOfARequestStayNowhere(t *testing.T) {
	t.Parallel()
	w := apitest.NewWorld(t)
	var log bytes.Buffer
	h := commvault.Handler(commvault.Config{
		Service: w.Service, Now: w.Now, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	give(t, w, "job berlin nightly", "run 1001 FULL", "start 1001", "succeed 1001 10")
	const secret = "pLzHideMe"
	backup := `{"taskInfo":{"password":"%[1]s","associations":[{"subclientId":1001,"secret":"%[1]s"}],"subTasks":[{"options":{"backupOpts":{"token":"%[1]s"},
		"adminOpts":{"clientInstallOption":{"installerOption":{"User":{"userName":"%[1]s","password":"%[1]s"}}}},"commonOpts":{"jobDescription":"kept","pass":"%[1]s"}}}]}}`
	restore := `{"taskInfo":{"associations":[{"instanceId":1001}],"subTasks":[{"options":{"restoreOptions":{"fileOption":{"sourceItem":["/data"],"key":"%[1]s"},
		"postgresRstOption":{"fsBackupSetRestore":true,"cloneOptions":{"user":"%[1]s"}},"destination":{"destPath":["/srv/restore/a"],"credential":{"password":"%[1]s"}},
		"impersonation":{"useImpersonation":%[2]s,"user":{"userName":"%[1]s","password":"%[1]s"}}}}}]}}`
	for body, want := range map[string]int{
		fmt.Sprintf(backup, secret):                          http.StatusOK,
		fmt.Sprintf(restore, secret, "false"):                http.StatusOK,
		fmt.Sprintf(restore, secret, "true"):                 http.StatusInternalServerError,
		fmt.Sprintf(restore, secret, `"`+secret+`"`):         http.StatusBadRequest,
		fmt.Sprintf(backup, secret)[:len(backup)/2] + secret: http.StatusBadRequest,
	} {
		status, reply := post(t, h, w.Token("operator"), body)
		if status != want || strings.Contains(reply, secret) {
			t.Errorf("got %d %s, want %d", status, reply, want)
		}
	}
	kept := false
	for id := 1002; id <= 1003; id++ {
		_, details := get(t, h, w.Token("operator"), fmt.Sprintf("Job/%d/TaskDetails", id))
		if strings.Contains(details, secret) {
			t.Errorf("the task's details hold the secret: %s", details)
		}
		kept = kept || strings.Contains(details, `"jobDescription":"kept"`)
	}
	if !kept {
		t.Error("no task's details hold the description")
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log holds the secret: %s", log.String())
	}
	files := 0
	err := filepath.WalkDir(filepath.Dir(t.TempDir()), func(path string, d fs.DirEntry, err error) error { // the world's directory is beside
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds the secret", path)
		}
		if bytes.Contains(b, []byte(`"jobDescription":"kept"`)) {
			files++
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("the store was not found: %v", err)
	}
}
