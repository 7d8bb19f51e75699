package native_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// start is the time in every test.
var start = time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)

// sitePassword must not stand in any answer.
const sitePassword = "planted-site-password"

// outside is what the service needs besides its store.
type outside struct {
	findings []engine.Finding
	log      []byte
}

func (outside) Ring(string)                                                                   {}
func (outside) Tell(holdfast.WorkerID, holdfast.ExecutionID, holdfast.Fence, holdfast.Wanted) {}
func (outside) Disconnect(holdfast.WorkerID)                                                  {}
func (outside) JoinToken(string) (string, error)                                              { return "hfjoin1.planted-join-token", nil }

func (o outside) TestSite(context.Context, holdfast.Site, holdfast.Engine) ([]engine.Finding, error) {
	return o.findings, nil
}

// Connect implements service.Repositories.
func (outside) Connect(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret, string) (string, error) {
	return strings.Repeat("c", 64), nil
}

// NewKitPassword implements service.Repositories.
func (outside) NewKitPassword() (holdfast.Secret, error) {
	return holdfast.NewSecret("7Q4M-KIT0"), nil
}

func (outside) Create(context.Context, string, holdfast.ObjectAccess, holdfast.Secret, holdfast.Secret) (string, error) {
	return strings.Repeat("ab", 32), nil
}

func (outside) Check(_ context.Context, _ string, access holdfast.ObjectAccess, _ holdfast.Secret, _ string) error {
	if access.SecretKey.Reveal() == "wrong" {
		return holdfast.Errorf(holdfast.CodeForbidden, "the store does not take the access key").WithHint("look at its secret")
	}
	return nil
}

// Rekey implements service.Repositories: there is no key here.
func (outside) Rekey(
	ctx context.Context, _ string, _ holdfast.ObjectAccess, _, _ holdfast.Secret, _ string, record func(context.Context) error,
) error {
	return record(ctx)
}

func (o outside) Read(_ context.Context, _ holdfast.ExecutionID, offset int64, limit int) ([]byte, int64, error) {
	size := int64(len(o.log))
	from := min(offset, size)
	return o.log[from:min(from+int64(limit), size)], size, nil
}

// ETLCounters implements service.Pipelines.
func (outside) ETLCounters(context.Context, holdfast.ETLTask) ([]engine.FlowCounter, error) {
	return []engine.FlowCounter{{Flow: "orders", Extract: "orders", Value: `{"column":"7"}`, Updated: start, Execution: 1001}}, nil
}

func (outside) SetETLCounter(_ context.Context, _ holdfast.ETLTask, flow, _, _ string) error {
	if flow != "orders" {
		return holdfast.Errorf(holdfast.CodeNotFound, "the ETL has no flow %q", flow)
	}
	return nil
}

func (outside) PreviewETL(context.Context, holdfast.ETLTask, int) ([]engine.Relation, error) {
	one := "1"
	return []engine.Relation{{Name: "orders", Columns: []engine.Column{{Name: "id", Type: "bigint"}, {Name: "note", Type: "text"}}, Rows: [][]*string{{&one, nil}}}}, nil
}

// rig is the API on a real service and a real SQLite store.
type rig struct {
	t      *testing.T
	svc    *service.Service
	store  store.Store
	url    string
	socket bool // requests come as if through the Unix socket

	mu         sync.Mutex // guards the field below
	transcript bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, "holdfast.db"))
	noError(t, err)
	t.Cleanup(func() { noError(t, st.Close()) })
	master, err := seal.OpenMaster(filepath.Join(dir, "master.key"))
	noError(t, err)
	o := outside{
		findings: []engine.Finding{
			{Name: "connection", OK: true, Text: "PostgreSQL 15.4"},
			{Name: "backup functions", Text: "may not be called", Fix: "GRANT EXECUTE ON FUNCTION pg_backup_start TO backup;"},
		},
		log: []byte("first line\nsecond line\n"),
	}
	now := func() time.Time { return start }
	r := &rig{t: t, store: st, socket: true}
	r.svc = service.New(service.Config{
		Store: st, Sealer: master, Dispatcher: o, Pipelines: o, Logs: o, Repositories: o,
		Engines: []holdfast.Engine{holdfast.EnginePhysical, holdfast.EngineETL}, Now: now, Log: testkit.Logger(t),
	})
	t.Cleanup(func() { noError(t, r.svc.Close()) })
	h := native.Handler(native.Config{
		Service: r.svc, FromSocket: func(context.Context) bool { return r.socket },
		Version: "test", Now: time.Now, Log: testkit.Logger(t),
	})
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("decode %s: %v", a.body, err)
	}
}

// send makes a request; body is JSON text, headers are pairs.
func (r *rig) send(method, path, body string, headers ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	noError(r.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for pair := range slices.Chunk(headers, 2) {
		req.Header.Set(pair[0], pair[1])
	}
	resp, err := http.DefaultClient.Do(req)
	noError(r.t, err)
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	noError(r.t, err)
	if bytes.Contains(data, []byte(sitePassword)) {
		r.t.Errorf("%s %s: the answer shows a stored password: %s", method, path, data)
	}
	a := answer{resp.StatusCode, resp.Header, data}
	r.record(method, path, body, headers, a)
	return a
}

// want sends and checks the status.
func (r *rig) want(status int, method, path, body string, headers ...string) answer {
	r.t.Helper()
	a := r.send(method, path, body, headers...)
	if a.status != status {
		r.t.Fatalf("%s %s: got %d, want %d: %s", method, path, a.status, status, a.body)
	}
	return a
}

func (r *rig) record(method, path, body string, headers []string, a answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w := &r.transcript
	_, _ = fmt.Fprintf(w, "-- request --\n%s %s\n", method, path)
	for pair := range slices.Chunk(headers, 2) {
		_, _ = fmt.Fprintf(w, "%s: %s\n", pair[0], pair[1])
	}
	if body != "" {
		_, _ = fmt.Fprintln(w, body)
	}
	_, _ = fmt.Fprintf(w, "-- response --\n%d\n", a.status)
	for _, name := range []string{"Content-Type", "Location", "Log-Size", "Log-Next", "Www-Authenticate", "Allow"} {
		if v := a.header.Get(name); v != "" {
			_, _ = fmt.Fprintf(w, "%s: %s\n", name, v)
		}
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, a.body, "", "  ") == nil {
		_, _ = pretty.WriteTo(w)
	} else if len(a.body) > 0 {
		_, _ = w.Write(a.body)
	}
	_, _ = fmt.Fprintln(w)
}

// random is what differs from run to run.
var random = regexp.MustCompile(`("(?:secret|password|access_key|access_secret_key)": )"[^"]+"`)

// golden compares the exchanges so far with a file.
func (r *rig) golden(name string) {
	r.t.Helper()
	r.mu.Lock()
	got := random.ReplaceAll(r.transcript.Bytes(), []byte(`$1"…"`))
	r.mu.Unlock()
	file := filepath.Join("testdata", name+".golden")
	if *update {
		noError(r.t, os.MkdirAll("testdata", 0o755))
		noError(r.t, os.WriteFile(file, got, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	noError(r.t, err)
	if !bytes.Equal(got, want) {
		r.t.Errorf("the exchanges differ from %s (-update rewrites it):\n%s", file, firstDifference(string(got), string(want)))
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return fmt.Sprintf("line %d:\n got %s\nwant %s\nafter\n%s", i+1, g[i], w[i], strings.Join(g[max(0, i-12):i], "\n"))
		}
	}
	return fmt.Sprintf("got %d lines, want %d", len(g), len(w))
}

// setUp makes host, repository, site and job; all ids are 1001.
func (r *rig) setUp() {
	r.t.Helper()
	r.want(201, "POST", "/api/v1/hosts", `{"name":"db1","address":"db1.example.com"}`)
	r.want(201, "POST", "/api/v1/repositories", `{"name":"main","location":"file:///backup"}`)
	r.want(201, "POST", "/api/v1/sites", `{"slug":"berlin","host":"db1","repository":"main","data_dir":"/var/lib/postgresql/15/main",`+
		`"server":{"host":"/var/run/postgresql","port":5432,"user":"backup","database":"postgres"},"password":"`+sitePassword+`"}`)
	r.want(201, "POST", "/api/v1/jobs", `{"site":"berlin","name":"nightly"}`)
}

// end moves an execution to its end, as dispatch would.
func (r *rig) end(id holdfast.ExecutionID) {
	r.t.Helper()
	noError(r.t, r.store.Update(r.t.Context(), func(tx store.Tx) error {
		e, err := tx.Execution(r.t.Context(), 0, id)
		if err != nil {
			return err
		}
		for _, m := range []holdfast.Move{holdfast.MoveStart, holdfast.MoveSucceed} {
			next := e
			if next.Status, err = e.Next(m); err != nil {
				return err
			}
			next.Started, next.Ended = start, start.Add(time.Minute)
			next.Progress = holdfast.Progress{Phase: "done", DoneBytes: 10, TotalBytes: 10}
			if err := tx.MoveExecution(r.t.Context(), e, next); err != nil {
				return err
			}
			e = next
		}
		return nil
	}))
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
