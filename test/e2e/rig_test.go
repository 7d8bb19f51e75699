// Package e2e runs the binary against real PostgreSQL servers.
package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

const (
	readyLimit = 30 * time.Second
	endLimit   = 60 * time.Second
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-bin-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { _ = os.RemoveAll(dir) }()
		binary = filepath.Join(dir, "holdfast")
		out, err := exec.Command("go", "build", "-o", binary, "../../cmd/holdfast").CombinedOutput()
		if err != nil {
			fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
			return 1
		}
		if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL's user runs it, too
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// rig is an installation with a state directory of its own.
type rig struct {
	t     *testing.T
	dir   string // of everything; it belongs to the user that PostgreSQL runs as
	state string
	env   []string // of every command, besides what names the state directory
	serve *process
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := testkit.Dir(t)
	return &rig{t: t, dir: dir, state: filepath.Join(dir, "state")}
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// result is what a command did.
type result struct {
	code           int
	stdout, stderr string
}

// command prepares the binary to run as the user that PostgreSQL runs as.
func (r *rig) command(args ...string) *exec.Cmd {
	r.t.Helper()
	cmd := testkit.Command(r.t, binary, args...)
	cmd.Dir = r.dir
	cmd.Env = slices.DeleteFunc(cmd.Env, func(s string) bool { return strings.HasPrefix(s, "HOLDFAST_") })
	cmd.Env = append(append(cmd.Env, "HOLDFAST_STATE="+r.state), r.env...)
	return cmd
}

// try runs a command to its end.
func (r *rig) try(args ...string) result {
	r.t.Helper()
	return finish(r.t, r.command(args...))
}

func finish(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", cmd, err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// want runs a command that must end with the code.
func (r *rig) want(code int, args ...string) result {
	r.t.Helper()
	res := r.try(args...)
	if res.code != code {
		r.t.Fatalf("holdfast %s: got exit code %d, want %d\n%s%s", strings.Join(args, " "), res.code, code, res.stdout, res.stderr)
	}
	return res
}

// ask runs a command with -o json and decodes what it prints.
func (r *rig) ask(v any, args ...string) {
	r.t.Helper()
	res := r.want(0, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(res.stdout), v); err != nil {
		r.t.Fatalf("holdfast %s: %v\n%s", strings.Join(args, " "), err, res.stdout)
	}
}

// refuse runs a command that must fail with the code, and say all of the words.
func (r *rig) refuse(code int, words []string, args ...string) {
	r.t.Helper()
	res := r.want(code, args...)
	for _, w := range words {
		if !strings.Contains(res.stderr, w) {
			r.t.Errorf("holdfast %s: got\n%swant %q in it", strings.Join(args, " "), res.stderr, w)
		}
	}
	if !strings.Contains(res.stderr, "error: ") || !strings.Contains(res.stderr, "hint: ") {
		r.t.Errorf("holdfast %s: no error, or no hint what to do:\n%s", strings.Join(args, " "), res.stderr)
	}
}

// process is a child that runs on.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	ready string        // the line that it printed when it was ready
	ended chan struct{} // closed when it has ended

	mu  sync.Mutex // guards the field below
	log bytes.Buffer
}

// Write takes what the child logs.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start runs the binary until it has printed its first line.
func (r *rig) start(args ...string) *process {
	r.t.Helper()
	p := &process{t: r.t, cmd: r.command(args...), ended: make(chan struct{})}
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	noError(r.t, err)
	noError(r.t, p.cmd.Start())
	r.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if r.t.Failed() {
			r.t.Logf("holdfast %s logged:\n%s", strings.Join(args, " "), p.text())
		}
	})
	lines := make(chan string, 1)
	go func() {
		defer close(p.ended)
		s := bufio.NewScanner(out)
		if s.Scan() {
			lines <- s.Text()
		}
		_, _ = io.Copy(io.Discard, out)
		_ = p.cmd.Wait() // its code is read from the process state
	}()
	select {
	case p.ready = <-lines:
	case <-p.ended:
		r.t.Fatalf("holdfast %s ended:\n%s", strings.Join(args, " "), p.text())
	case <-time.After(readyLimit):
		r.t.Fatalf("holdfast %s is not ready after %s", strings.Join(args, " "), readyLimit)
	}
	return p
}

// stop asks the child to end, and returns its exit code.
func (p *process) stop(sig syscall.Signal) int {
	p.t.Helper()
	noError(p.t, p.cmd.Process.Signal(sig))
	select {
	case <-p.ended:
	case <-time.After(endLimit):
		p.t.Fatalf("the process goes on for %s after %s:\n%s", endLimit, sig, p.text())
	}
	return p.cmd.ProcessState.ExitCode()
}

// up starts the server, on a port that is free.
func (r *rig) up(args ...string) {
	r.t.Helper()
	r.serve = r.start(append([]string{"serve", "--listen", "127.0.0.1:0", "--restore-root", r.path("restores")}, args...)...)
}

// down stops the server as a service manager does.
func (r *rig) down() {
	r.t.Helper()
	if code := r.serve.stop(syscall.SIGTERM); code != 0 {
		r.t.Fatalf("the server ended with code %d:\n%s", code, r.serve.text())
	}
}

// url is where the server's APIs are.
func (r *rig) url() string {
	r.t.Helper()
	_, rest, _ := strings.Cut(r.serve.ready, ": ")
	url, _, ok := strings.Cut(rest, ",")
	if !ok || !strings.HasPrefix(url, "http") {
		r.t.Fatalf("the first line tells no address: %q", r.serve.ready)
	}
	return url
}

const password = "planted-site-password"

// register makes host, repository, site and job for the server.
func (r *rig) register(pg *testkit.Postgres) {
	r.t.Helper()
	noError(r.t, os.WriteFile(r.path("password"), []byte(password+"\n"), 0o644))
	r.want(0, "host", "add", "db1")
	r.want(0, "repository", "create", "main", "--location", r.path("repository"), "--kit", r.path("main.kit"))
	r.want(0, append([]string{"site", "add", "berlin", "--host", "db1", "--repository", "main", "--password-file", r.path("password")}, server(pg)...)...)
	r.want(0, "job", "create", "--site", "berlin", "--name", "nightly")
}

// server is where PostgreSQL is, as flags.
func server(pg *testkit.Postgres) []string {
	return []string{"--data-dir", pg.DataDir, "--pg-host", pg.SocketDir, "--pg-port", fmt.Sprint(pg.Port), "--pg-user", pg.User}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
