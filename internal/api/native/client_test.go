package native_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
	"github.com/holdfast-backup/holdfast/internal/api/native/client"
)

// newClient speaks to the rig's API with an admin's token.
func newClient(t *testing.T, r *rig) *client.Client {
	t.Helper()
	var made native.CreatedToken
	r.want(201, "POST", "/api/v1/tokens", `{"name":"admin","role":"admin"}`).decode(t, &made)
	c, err := client.New(client.Options{Server: r.url + "/", Token: holdfast.NewSecret(made.Secret), Version: "test"})
	noError(t, err)
	return c
}

func TestClient(t *testing.T) {
	r := newRig(t)
	r.setUp()
	c := newClient(t, r)
	ctx := t.Context()

	s, err := c.CreateSite(ctx, native.NewSite{
		Slug: "paris", Host: "db1", Repository: "main", DataDir: "/data", Password: holdfast.NewSecret("planted"),
		Server: native.Server{Host: "localhost", Port: 5433, User: "backup"},
	})
	noError(t, err)
	if !s.HasPassword || s.Server.Port != 5433 || s.Host != "db1" || s.Repository != "main" {
		t.Errorf("got %+v", s)
	}
	actor, err := r.svc.LocalActor(ctx, "native", "")
	noError(t, err)
	stored, err := r.svc.SiteBySlug(ctx, actor, "paris")
	noError(t, err)
	if len(stored.Password) == 0 {
		t.Error("the password did not arrive")
	}
	s, err = c.UpdateSite(ctx, "paris", native.SiteChange{NoPassword: true})
	noError(t, err)
	if s.HasPassword {
		t.Error("the password is still there")
	}
	test, err := c.TestSite(ctx, "paris", "")
	noError(t, err)
	if test.OK || len(test.Findings) != 2 || !strings.HasPrefix(test.Findings[1].Fix, "GRANT") {
		t.Errorf("got %+v", test)
	}

	j, err := c.Job(ctx, "berlin/nightly")
	noError(t, err)
	e, err := c.Execute(ctx, "key", native.NewExecution{Job: "berlin/nightly"})
	noError(t, err)
	if e.JobID != j.ID || e.State != holdfast.StateQueued {
		t.Errorf("got %+v", e)
	}
	log, err := c.Log(ctx, e.ID, 6)
	noError(t, err)
	if string(log) != "line\nsecond line\n" {
		t.Errorf("log: got %q", log)
	}
	l, err := c.Executions(ctx, url.Values{"state": {"QUEUED", "RUNNING"}})
	noError(t, err)
	if l.Total != 1 || len(l.Items) != 1 {
		t.Errorf("got %+v", l)
	}
	seen := 0
	last, err := c.Watch(ctx, e.ID, func(native.Execution) {
		if seen++; seen == 1 {
			r.end(e.ID)
		}
	}, noBreak(t))
	noError(t, err)
	if last.Outcome != holdfast.OutcomeSucceeded || seen != 2 {
		t.Errorf("saw %d events, the last with outcome %q", seen, last.Outcome)
	}
	noError(t, c.DeleteJob(ctx, "nightly"))
	noError(t, c.DeleteSite(ctx, "paris"))
}

func TestClientErrors(t *testing.T) {
	r := newRig(t)
	r.setUp()
	c := newClient(t, r)
	_, err := c.Execute(t.Context(), "", native.NewExecution{Job: "nightly"})
	noError(t, err)
	_, err = c.Execute(t.Context(), "", native.NewExecution{Job: "nightly"})
	wantError(t, err, holdfast.CodeConflict, "")
	var e *holdfast.Error
	if !asError(err, &e) || e.Execution != 1001 {
		t.Errorf("the error does not name the execution in the way: %#v", err)
	}
	_, err = c.Site(t.Context(), "a/b")
	wantError(t, err, holdfast.CodeNotFound, "a/b")

	_, err = client.New(client.Options{Server: r.url})
	wantError(t, err, holdfast.CodeInvalid, "token")
	other, err := client.New(client.Options{Server: r.url, Token: holdfast.NewSecret("wrong")})
	noError(t, err)
	_, err = other.Hosts(t.Context())
	wantError(t, err, holdfast.CodeUnauthenticated, "")

	_, err = client.New(client.Options{Server: r.url, Token: holdfast.NewSecret("x"), CA: filepath.Join(t.TempDir(), "none.pem")})
	wantError(t, err, holdfast.CodeInvalid, "certificates")
}

func TestClientWithoutAServer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "holdfast.sock")
	c, err := client.New(client.Options{Socket: socket})
	noError(t, err)
	_, err = c.Hosts(t.Context())
	wantError(t, err, holdfast.CodeUnavailable, socket)
	if !strings.Contains(holdfast.ErrorHint(err), "holdfast serve") {
		t.Errorf("hint: got %q", holdfast.ErrorHint(err))
	}

	l, err := net.Listen("unix", socket)
	noError(t, err)
	noError(t, l.Close())
	noError(t, os.WriteFile(socket, nil, 0o600)) // what a killed server leaves, more or less
	_, err = c.Hosts(t.Context())
	wantError(t, err, holdfast.CodeUnavailable, socket)
}

func TestClientMeetsAnotherServer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if strings.HasSuffix(req.URL.Path, "/hosts") {
			http.Redirect(w, req, "http://127.0.0.1:1/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("<html>"))
	}))
	defer srv.Close()
	c, err := client.New(client.Options{Server: srv.URL, Token: holdfast.NewSecret("x")})
	noError(t, err)
	_, err = c.Hosts(t.Context())
	wantError(t, err, holdfast.CodeUnavailable, "302")
	_, err = c.Sites(t.Context())
	wantError(t, err, holdfast.CodeUnavailable, "did not answer")
}

func wantError(t *testing.T, err error, code holdfast.Code, msg string) {
	t.Helper()
	if got := holdfast.ErrorCode(err); got != code || !strings.Contains(holdfast.ErrorMessage(err), msg) {
		t.Errorf("got %s error %v, want code %s and %q in it", got, err, code, msg)
	}
}

func asError(err error, to **holdfast.Error) bool {
	return errors.As(err, to)
}

// noBreak is for a watch whose stream holds.
func noBreak(t *testing.T) func(time.Duration) {
	t.Helper()
	return func(time.Duration) { t.Error("the stream broke") }
}

// What an event leaves out is empty: the reason of a first attempt does not stay
// on an execution that has succeeded since. A stream that breaks off is told, and opened
// again.
func TestWatchForgetsWhatIsGone(t *testing.T) {
	var streams atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		events := "event: execution\ndata: {\"id\":1001,\"state\":\"QUEUED\",\"detail\":\"the session has ended\"}\n\n"
		if streams.Add(1) > 1 {
			events = "event: ended\ndata: {\"id\":1001,\"state\":\"ENDED\",\"outcome\":\"SUCCEEDED\"}\n\n"
		}
		_, err := w.Write([]byte(events))
		noError(t, err)
	}))
	t.Cleanup(s.Close)
	c, err := client.New(client.Options{Server: s.URL, Token: holdfast.NewSecret("token"), Version: "test"})
	noError(t, err)
	var details []string
	var broken []time.Duration
	last, err := c.Watch(t.Context(), 1001, func(e native.Execution) { details = append(details, e.Detail) }, func(limit time.Duration) { broken = append(broken, limit) })
	noError(t, err)
	if last.Detail != "" || len(details) != 2 || details[0] == "" || details[1] != "" {
		t.Errorf("got %q at the end, after %q", last.Detail, details)
	}
	if len(broken) != 1 || broken[0] < time.Minute {
		t.Errorf("the stream that broke off once was told as %v", broken)
	}
}
