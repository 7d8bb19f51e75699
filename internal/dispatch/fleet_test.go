package dispatch_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/dispatch"
	"github.com/holdfast-backup/holdfast/internal/seal"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
	"github.com/holdfast-backup/holdfast/internal/worker"
)

// Shortened limits, where the limits themselves are not the point.
const (
	shortSilence = 3 * time.Second
	shortBeat    = 500 * time.Millisecond
	shortPoll    = 500 * time.Millisecond
)

// fleet is an installation whose control plane and workers are processes.
type fleet struct {
	*world
	t           testing.TB
	base        plan
	maintenance holdfast.Worker
	control     *child
}

func newFleet(t testing.TB, change func(*plan)) *fleet {
	t.Helper()
	f := &fleet{world: newWorld(t, true), t: t}
	f.base = plan{Dir: f.dir, Silence: shortSilence, Beat: shortBeat, Poll: shortPoll, Busy: time.Second}
	if change != nil {
		change(&f.base)
	}
	_, err := dispatch.EnsureCertificate(f.certificate(), time.Now())
	require(t, err)
	id, err := seal.CreateIdentity(filepath.Join(f.dir, "maintenance.identity"))
	require(t, err)
	key, err := id.SealKey()
	require(t, err)
	f.maintenance = f.newWorker(t, "maintenance", "", key, 1)
	f.update(t, func(tx store.Tx) error {
		f.maintenance.Pools = nil
		return tx.UpdateWorker(t.Context(), f.maintenance)
	})
	f.base.Maintenance = f.maintenance.ID
	return f
}

// startControl starts the control plane, or starts it again.
func (f *fleet) startControl(at string) *child {
	f.t.Helper()
	p := f.base
	p.At, p.Signal = at, syscall.SIGKILL
	f.control = f.spawn(roleControl, p)
	return f.control
}

// address is where the control plane listens.
func (f *fleet) address() string {
	f.t.Helper()
	eventually(f.t, 20*time.Second, func() string {
		if f.listening() == "" {
			return "the control plane is not ready"
		}
		return ""
	})
	return f.listening()
}

// listening is where the control plane listens; empty before it does.
func (f *fleet) listening() string {
	f.control.mu.Lock()
	defer f.control.mu.Unlock()
	for _, line := range f.control.lines {
		if address, ok := strings.CutPrefix(line, "ready "); ok {
			return address
		}
	}
	return ""
}

// member is a worker's place in the world: its identity, and the proxy through
// which it reaches the control plane.
type member struct {
	fleet *fleet
	row   holdfast.Worker
	proxy *proxy
	child *child
}

func (f *fleet) newMember(name string) *member {
	f.t.Helper()
	dir := filepath.Join(f.dir, name)
	require(f.t, os.MkdirAll(dir, 0o700))
	id, err := seal.CreateIdentity(filepath.Join(dir, "identity"))
	require(f.t, err)
	key, err := id.PublicKey()
	require(f.t, err)
	sealKey, err := id.SealKey()
	require(f.t, err)
	m := &member{fleet: f, row: f.newWorker(f.t, name, key, sealKey, 1), proxy: newProxy(f.t)}
	cert, err := dispatch.EnsureCertificate(f.certificate(), time.Now())
	require(f.t, err)
	require(f.t, worker.Membership{
		Address: m.proxy.address(), Pin: wire.Pin(cert.Certificate[0]), Worker: m.row.ID, Name: name, Pools: m.row.Pools,
	}.Save(filepath.Join(dir, "membership.json")))
	return m
}

// start starts the worker's process and waits until it is connected.
func (m *member) start(change func(*plan)) *child {
	m.fleet.t.Helper()
	p := m.fleet.base
	p.Name = m.row.Name
	if change != nil {
		change(&p)
	}
	m.proxy.point(m.fleet.address())
	m.child = m.fleet.spawn(roleWorker, p)
	m.child.wait(20*time.Second, "ready")
	return m.child
}

// repoint leads the workers to the control plane that has started again.
func (f *fleet) repoint(members ...*member) {
	f.t.Helper()
	address := f.address()
	for _, m := range members {
		m.proxy.point(address)
	}
}

// execute submits through the service, and returns what it answered.
func (f *fleet) execute(key string) (holdfast.ExecutionID, string) {
	f.t.Helper()
	f.control.ask(request{Op: "execute", Job: f.job, Key: key})
	line := f.control.waitFor(20*time.Second, "an answer to execute", func(l string) bool {
		return hasPrefix("done")(l) || hasPrefix("refused")(l)
	})
	var id holdfast.ExecutionID
	if _, err := fmt.Sscanf(line, "done %d", &id); err != nil {
		return 0, strings.TrimPrefix(line, "refused ")
	}
	return id, ""
}

// mustExecute submits, and the service must take it.
func (f *fleet) mustExecute() holdfast.ExecutionID {
	f.t.Helper()
	id, refused := f.execute("")
	if refused != "" {
		f.t.Fatalf("execute: got %s", refused)
	}
	return id
}

// snapshots counts the snapshot objects in the repository.
func (f *fleet) snapshots() int {
	f.t.Helper()
	n := 0
	require(f.t, filepath.WalkDir(filepath.Join(f.bucket(), "snapshots"), func(_ string, d os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err == nil && d.Type().IsRegular() {
			n++
		}
		return err
	}))
	return n
}

// wantOneSet checks that the execution has succeeded once for all to see: one
// row that has ended, one complete copy, one snapshot; and no half set.
func (f *fleet) wantOneSet(id holdfast.ExecutionID, limit time.Duration) holdfast.Execution {
	f.t.Helper()
	e := f.waitEnded(f.t, id, limit, holdfast.OutcomeSucceeded)
	eventually(f.t, 15*time.Second, func() string {
		complete := 0
		for _, c := range f.copies(f.t, id) {
			switch c.State {
			case holdfast.CopyComplete:
				complete++
				if c.Fence != e.Fence {
					f.t.Fatalf("the complete copy: got fence %d, want %d", c.Fence, e.Fence)
				}
			case holdfast.CopyDeleted:
			case holdfast.CopyOrphaned, holdfast.CopyWriting:
				if c.Fence >= e.Fence {
					f.t.Fatalf("a copy of fence %d is %s", c.Fence, c.State)
				}
			case holdfast.CopyVerified, holdfast.CopyDamaged, holdfast.CopyUnconfirmed:
				f.t.Fatalf("a copy is %s", c.State)
			}
		}
		if n, sets := f.snapshots(), f.visibleSets(f.t); complete != 1 || n != 1 || sets != 1 {
			return fmt.Sprintf("got %d complete copies, %d snapshots, %d visible sets, want 1 each", complete, n, sets)
		}
		return ""
	})
	f.wantMonotoneFences(id, e.Fence)
	return e
}

// wantMonotoneFences checks by the history that each start had the next fence.
func (f *fleet) wantMonotoneFences(id holdfast.ExecutionID, last holdfast.Fence) {
	f.t.Helper()
	ctx := context.WithoutCancel(f.t.Context())
	var fence holdfast.Fence
	ended := 0
	require(f.t, f.store.View(ctx, func(r store.Reader) error {
		events, err := r.Events(ctx, f.account, 0, 10000)
		for _, ev := range events {
			if ev.Subject != "execution "+itoa(id) {
				continue
			}
			var m struct{ Fence holdfast.Fence }
			if err := json.Unmarshal(ev.Data, &m); err != nil {
				return err
			}
			switch ev.Kind {
			case "execution.started":
				if m.Fence != fence+1 {
					f.t.Errorf("start after fence %d: got fence %d", fence, m.Fence)
				}
				fence = m.Fence
			case "execution.ended":
				ended++
			}
		}
		return err
	}))
	if fence != last || ended != 1 {
		f.t.Errorf("history: got last fence %d and %d ends, want %d and 1", fence, ended, last)
	}
}

// noSetYet checks that nobody sees a set.
func (f *fleet) noSetYet() {
	f.t.Helper()
	if n := f.visibleSets(f.t); n != 0 {
		f.t.Errorf("visible sets: got %d, want 0", n)
	}
}

// release makes the engine go on that holds for the file.
func (f *fleet) release(hold string) {
	f.t.Helper()
	require(f.t, os.WriteFile(hold, nil, 0o600))
}

func (f *fleet) hold(name string) string { return filepath.Join(f.dir, name) }

// child is a process.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}

	mu    sync.Mutex // guards the fields below
	lines []string
	taken int
	grew  chan struct{}
}

func (f *fleet) spawn(role string, p plan) *child {
	f.t.Helper()
	b, err := json.Marshal(p)
	require(f.t, err)
	c := &child{t: f.t, ended: make(chan struct{}), grew: make(chan struct{})}
	c.cmd = exec.CommandContext(context.WithoutCancel(f.t.Context()), os.Args[0], "-test.run=^$")
	c.cmd.Env = append(os.Environ(), childEnv+"="+role, planEnv+"="+string(b))
	c.cmd.Stdout = c
	var stderr bytes.Buffer
	c.cmd.Stderr = &stderr
	c.stdin, err = c.cmd.StdinPipe()
	require(f.t, err)
	require(f.t, c.cmd.Start())
	go func() {
		_ = c.cmd.Wait() // it was killed, mostly
		close(c.ended)
	}()
	f.t.Cleanup(func() {
		c.signal(syscall.SIGKILL)
		<-c.ended
		if f.t.Failed() {
			f.t.Logf("%s %s said:\n%s\nand logged:\n%s", role, p.Name, strings.Join(c.lines, "\n"), stderr.String())
		}
	})
	return c
}

// Write takes what the child says.
func (c *child) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for line := range strings.Lines(string(b)) {
		c.lines = append(c.lines, strings.TrimSuffix(line, "\n"))
	}
	close(c.grew)
	c.grew = make(chan struct{})
	return len(b), nil
}

// wait waits for the next line that begins with the words. Lines before it are
// passed over.
func (c *child) wait(limit time.Duration, words string) string {
	c.t.Helper()
	return c.waitFor(limit, words, hasPrefix(words))
}

func (c *child) waitFor(limit time.Duration, what string, ok func(string) bool) string {
	c.t.Helper()
	t := time.NewTimer(limit)
	defer t.Stop()
	for {
		c.mu.Lock()
		grew := c.grew
		for i := c.taken; i < len(c.lines); i++ {
			if ok(c.lines[i]) {
				c.taken = i + 1
				line := c.lines[i]
				c.mu.Unlock()
				return line
			}
		}
		c.mu.Unlock()
		select {
		case <-grew:
		case <-t.C:
			c.t.Fatalf("the child did not say %q within %s", what, limit)
		}
	}
}

func (c *child) ask(r request) {
	c.t.Helper()
	b, err := json.Marshal(r)
	require(c.t, err)
	_, err = c.stdin.Write(append(b, '\n'))
	require(c.t, err)
}

func (c *child) signal(s syscall.Signal) {
	select {
	case <-c.ended:
	default:
		_ = c.cmd.Process.Signal(s) // it may have ended this moment
	}
}

// kill kills the process and waits for its end.
func (c *child) kill() {
	c.signal(syscall.SIGKILL)
	<-c.ended
}

func (c *child) waitEnded(limit time.Duration) {
	c.t.Helper()
	select {
	case <-c.ended:
	case <-time.After(limit):
		c.t.Fatalf("the child has not ended within %s", limit)
	}
}

// proxy is the network between a worker and the control plane.
type proxy struct {
	listener net.Listener

	mu     sync.Mutex // guards the fields below
	target string     // empty: there is no way
	conns  map[net.Conn]bool
}

func newProxy(t testing.TB) *proxy {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require(t, err)
	p := &proxy{listener: l, conns: map[net.Conn]bool{}}
	go p.accept()
	t.Cleanup(func() {
		_ = l.Close()
		p.point("")
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

// point leads new connections to the target, and cuts those to another one.
func (p *proxy) point(target string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.target == target {
		return
	}
	p.target = target
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.carry(in)
	}
}

func (p *proxy) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	p.mu.Lock()
	target := p.target
	p.mu.Unlock()
	if target == "" {
		return
	}
	d := net.Dialer{Timeout: time.Second}
	out, err := d.DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	p.mu.Lock()
	if p.target != target {
		p.mu.Unlock()
		return
	}
	p.conns[in], p.conns[out] = true, true
	p.mu.Unlock()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done
	p.mu.Lock()
	delete(p.conns, in)
	delete(p.conns, out)
	p.mu.Unlock()
}
