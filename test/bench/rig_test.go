// Package bench fills an installation, reads it through every API of the running
// binary, and measures how long each read takes.
package bench

import (
	"bufio"
	"bytes"
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
)

const (
	readyLimit = 10 * time.Minute // a schema may have to be brought up to date
	endLimit   = time.Minute

	settleLimit = 5 * time.Minute
)

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "holdfast-bench-")
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
		return m.Run()
	}())
}

// rig is an installation.
type rig struct {
	t     testing.TB
	state string // its directory
	serve *process
}

// command prepares the binary to run on the installation.
func (r *rig) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.t.Context(), binary, args...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "HOLDFAST_") })
	cmd.Env = append(cmd.Env, "HOLDFAST_STATE="+r.state, "HOLDFAST_LOG_LEVEL=warn")
	return cmd
}

// run runs a command that must succeed, and returns what it prints.
func (r *rig) run(args ...string) string {
	r.t.Helper()
	return r.feed("", args...)
}

// feed is run with something to read on the standard input.
func (r *rig) feed(stdin string, args ...string) string {
	r.t.Helper()
	cmd := r.command(args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		r.t.Fatalf("holdfast %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

// process is a server that runs on.
type process struct {
	cmd   *exec.Cmd
	url   string
	ended chan struct{} // closed when it has ended

	mu  sync.Mutex // guards the field below
	log bytes.Buffer
}

// Write takes what the server logs.
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

// up starts the server without a worker, which would run what is queued.
func (r *rig) up() {
	r.t.Helper()
	p := &process{cmd: r.command("serve", "--listen", "127.0.0.1:0", "--no-worker"), ended: make(chan struct{})}
	p.cmd.Stderr = p
	out, err := p.cmd.StdoutPipe()
	noError(r.t, err)
	noError(r.t, p.cmd.Start())
	r.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.ended
		if r.t.Failed() {
			r.t.Logf("the server logged:\n%s", p.text())
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
	case line := <-lines:
		_, rest, _ := strings.Cut(line, ": ")
		url, _, ok := strings.Cut(rest, ",")
		if !ok {
			r.t.Fatalf("the first line tells no address: %q", line)
		}
		p.url = url
	case <-p.ended:
		r.t.Fatalf("the server ended:\n%s", p.text())
	case <-time.After(readyLimit):
		r.t.Fatalf("the server is not ready after %s", readyLimit)
	}
	r.serve = p
}

// settle waits until the server has done what it does after a start.
func (r *rig) settle() {
	r.t.Helper()
	const look, idle = 500 * time.Millisecond, 20 * time.Millisecond
	used := func() time.Duration {
		d, err := r.serve.cpu()
		noError(r.t, err)
		return d
	}
	for end := time.Now().Add(settleLimit); ; {
		before := used()
		time.Sleep(look)
		switch {
		case used()-before <= idle:
			return
		case time.Now().After(end):
			r.t.Fatalf("the server is still busy %s after its start", settleLimit)
		}
	}
}

// down stops the server.
func (r *rig) down() {
	r.t.Helper()
	p := r.serve
	noError(r.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.ended:
	case <-time.After(endLimit):
		r.t.Fatalf("the server goes on for %s after it was told to end:\n%s", endLimit, p.text())
	}
}

// cpu is how much processor time the server has used.
func (p *process) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(b, []byte(") ")) // the name before may hold anything
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0, errors.New("/proc tells no times")
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	const tick = 10 * time.Millisecond // USER_HZ is 100 on every Linux that Go runs on
	return time.Duration(user+system) * tick, nil
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
