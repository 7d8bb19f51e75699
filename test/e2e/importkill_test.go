package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/testkit"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

const (
	lostSets   = 60   // of the repository that is imported
	lostChatty = 2000 // bytes of warnings in each: so few go into one call
)

// fillRepository writes sets as a lost installation would have, without databases.
func (r *rig) fillRepository() {
	t := r.t
	t.Helper()
	text, err := os.ReadFile(r.path("main.kit"))
	noError(t, err)
	kit, err := repository.ParseKit(text)
	noError(t, err)
	b, err := fs.Open(r.path("repository"))
	noError(t, err)
	repo, err := repository.Open(t.Context(), b, kit.Password)
	noError(t, err)
	for n := range int64(lostSets) {
		taken := time.Date(2026, 1, 1, 2, 0, 0, 0, time.UTC).AddDate(0, 0, int(n))
		m := worker.SetManifest{
			Version: 1, Installation: strings.Repeat("ab", 16), Account: 1001, Site: 1001 + holdfast.SiteID(n%2), SiteSlug: fmt.Sprint("site", n%2), Job: 1001 + holdfast.JobID(n%2),
			JobName: "nightly", Execution: holdfast.ExecutionID(1001 + n), Fence: 1, Set: holdfast.SetID(1001 + n), Engine: holdfast.EnginePhysical,
			RunType: holdfast.RunFull, Created: taken,
			Result: engine.Result{Started: taken, Stopped: taken.Add(time.Minute), Bytes: 1000 + n, Files: n, Warnings: []string{strings.Repeat("w", lostChatty)}},
		}
		content, err := json.Marshal(m)
		noError(t, err)
		w, err := repo.NewWriter(t.Context(), repository.WriterOptions{Holder: "lost/1001"})
		noError(t, err)
		noError(t, w.Add(t.Context(), engine.File{
			Node: engine.Node{Path: worker.SetFile, Mode: 0o600, ModTime: taken, Size: int64(len(content))},
			Open: func() (engine.Content, error) { return inMemory{bytes.NewReader(content)}, nil },
		}))
		_, err = w.Commit(t.Context(), repository.Commit{Time: taken, Hostname: m.SiteSlug, Paths: []string{"/pgdata"}, Tags: []string{
			fmt.Sprint("set=", m.Set), "site=" + m.SiteSlug, "run_type=FULL", "installation=" + m.Installation, fmt.Sprint("execution=", m.Execution), "fence=1",
		}}, func(context.Context, string) error { return nil })
		noError(t, err)
		noError(t, w.Close())
	}
	r.give(r.path("repository"))
}

// give gives what this process has made to the user that the binary runs as.
func (r *rig) give(path string) {
	r.t.Helper()
	uid, gid := testkit.Owner(r.t)
	noError(r.t, filepath.WalkDir(path, func(name string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, uid, gid)
	}))
}

// inMemory is the content of a file.
type inMemory struct{ *bytes.Reader }

// Close does nothing.
func (inMemory) Close() error { return nil }

// line is what lies between the commands and the server: it kills one of the two at
// some call of an import.
type line struct {
	real string // the server's own socket
	at   int    // the call, counted from 1; 0: none
	when string
	kill func()

	mu    sync.Mutex // guards the field below
	calls int
}

// The moments of a call.
const (
	beforeCall = "before the server hears of it"
	duringCall = "while the server works on it"
	afterCall  = "before the answer is heard"
)

func (l *line) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

func (l *line) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	hit := false
	if strings.HasSuffix(req.URL.Path, "/import") {
		l.mu.Lock()
		l.calls++
		hit = l.calls == l.at
		l.mu.Unlock()
	}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "holdfast"})
	to.Transport = &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", l.real)
		},
	}
	to.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	if !hit {
		to.ServeHTTP(w, req)
		return
	}
	if l.when == beforeCall {
		l.kill()
		panic(http.ErrAbortHandler)
	}
	killed := make(chan struct{})
	kill := sync.OnceFunc(func() {
		l.kill()
		close(killed)
	})
	if l.when == duringCall {
		go func() {
			time.Sleep(5 * time.Millisecond)
			kill()
		}()
	}
	to.ModifyResponse = func(*http.Response) error { // no answer is heard
		if l.when == afterCall {
			kill()
		}
		<-killed
		return http.ErrAbortHandler
	}
	to.ServeHTTP(w, req)
	panic(http.ErrAbortHandler)
}

// between puts the line between the server, which is up, and the commands, until end
// is called.
func (r *rig) between(l *line) (end func()) {
	t := r.t
	t.Helper()
	socket := filepath.Join(r.state, "holdfast.sock")
	l.real = filepath.Join(r.state, "real.sock")
	noError(t, os.Rename(socket, l.real))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	noError(t, err)
	r.give(socket)
	s := &http.Server{Handler: l, ReadHeaderTimeout: endLimit}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(listener) // until it is closed
	}()
	end = sync.OnceFunc(func() {
		_ = s.Close() // nothing is kept
		<-done
		_ = os.Rename(l.real, socket) // of a server that was killed it is nobody's
	})
	t.Cleanup(end)
	return end
}

// imports is all that an import has made, without the times at which it did.
func (r *rig) imports() []any {
	r.t.Helper()
	var all []any
	for _, what := range []string{"host", "site", "job", "set", "execution"} {
		var v any
		r.ask(&v, append([]string{what, "list"}, map[string][]string{"set": {"--limit", "100"}, "execution": {"--limit", "100"}}[what]...)...)
		all = append(all, timeless(v))
	}
	for _, site := range []string{"site0", "site1"} {
		var events []struct {
			Kind    string `json:"kind"`
			Subject string `json:"subject"`
		}
		r.ask(&events, "event", "list", "--site", site, "--limit", "1000")
		all = append(all, events)
	}
	return all
}

// timeless removes when rows were made.
func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "created")
		for _, in := range v {
			timeless(in)
		}
	case []any:
		for _, in := range v {
			timeless(in)
		}
	}
	return v
}

// TestKilledImport kills server and command at the calls of an import: what was
// imported is whole batches, and the import after it ends as one that nobody disturbed.
func TestKilledImport(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.up()
	r.want(0, "repository", "create", "main", "--location", r.path("repository"), "--kit", r.path("main.kit"))
	r.fillRepository()
	r.down()
	noError(t, os.RemoveAll(r.state))
	r.up()
	r.want(0, "host", "add", "db1")
	r.want(0, "repository", "connect", "main", "--kit", r.path("main.kit"))
	r.down()
	fresh := r.path("state.fresh")
	noError(t, os.Rename(r.state, fresh))
	begin := func() {
		t.Helper()
		noError(t, os.RemoveAll(r.state))
		testkit.Run(t, "cp", "-a", fresh, r.state)
		r.up()
	}

	begin()
	count := &line{}
	r.between(count)
	var v importReport
	r.ask(&v, "repository", "import", "main")
	check(t, "new sets", v.New, lostSets)
	last := count.count()
	if last < 3 {
		t.Fatalf("got %d calls, want several batches", last)
	}
	want := r.imports()
	r.serve.stop(syscall.SIGKILL)

	for _, c := range []struct {
		who  string
		at   int
		when string
		done int // calls that have had an effect; -1: it is not known
	}{
		{"server", 1, afterCall, 1},
		{"server", 2, beforeCall, 1},
		{"server", 2, duringCall, -1},
		{"server", last, afterCall, last},
		{"command", 2, duringCall, -1},
	} {
		what := fmt.Sprintf("%s killed at call %d %s", c.who, c.at, c.when)
		begin()
		cmd := r.command("repository", "import", "main")
		l := &line{at: c.at, when: c.when, kill: func() { r.serve.stop(syscall.SIGKILL) }}
		if c.who == "command" {
			l.kill = func() { _ = cmd.Process.Kill() } // it may have ended
		}
		end := r.between(l)
		if res := finish(t, cmd); res.code == 0 {
			t.Errorf("%s: the import has ended well: %s", what, res.stdout)
		}
		end()
		if c.who == "server" {
			r.up()
		}
		var sets []struct {
			ID int64 `json:"id"`
		}
		r.ask(&sets, "set", "list", "--limit", "100")
		if n := len(sets); c.done == 1 && (n == 0 || n == lostSets) || c.done == last && n != lostSets {
			t.Errorf("%s: got %d sets", what, n)
		}
		r.ask(&v, "repository", "import", "main")
		check(t, what+": new and known sets", fmt.Sprint(v.New, v.Known, v.Refused), fmt.Sprint(lostSets-len(sets), len(sets), 0))
		if got := r.imports(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got\n%v\nwant\n%v", what, got, want)
		}
		check(t, what+": findings", len(r.report(0).Findings), 0)
		r.serve.stop(syscall.SIGKILL)
	}
}
