package etl_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// crashes is how many times executions are cut off at random moments.
var crashes = flag.Int("crashes", 200, "how many executions TestExactlyOnce cuts off")

// crashSeed makes the moments the same each time, as far as the machine lets them.
const crashSeed = 20260321

// cut is a way to cut an execution off.
type cut string

const (
	killed     cut = "killed"     // kill -9 of the process
	terminated cut = "terminated" // its sessions, by pg_terminate_backend
	frozen     cut = "frozen"     // the process, while the next fence works; thawed then
	childless  cut = "childless"  // kill -9 of its transform process
)

// TestExactlyOnce cuts executions off at random moments and lets the next fence go
// on: whatever the moment, the target ends as if nothing had happened. There is no
// key that would hide a row that was loaded twice.
func TestExactlyOnce(t *testing.T) {
	t.Parallel()
	modes := []mode{
		{"append", "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a}]\n"},
		{"units", `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: at, tie: id}}]
load: [{from: a, connection: dwh, table: a}]
batch: {rows: 4000}
`},
		{"two loads", `
extract: [{name: a, connection: shop, table: a}]
load: [{name: one, from: a, connection: dwh, table: a}, {name: two, from: a, connection: dwh, table: b}]
`},
		{"engine", `
extract: [{name: a, connection: shop, table: a, incremental: {strategy: column, column: at, tie: id}}, {name: k, connection: shop, query: "select generate_series(0, 2) as k"}]
transform: [{name: j, in: engine, sql: "select a.id, a.at, a.s from a join k on a.id % 3 = k.k"}]
load: [{from: j, connection: dwh, table: a}]
batch: {rows: 20000}
`},
		{"files", `
extract: [{name: a, connection: shop, table: a}]
load: [{from: a, connection: dwh, table: a}, {from: a, name: out, connection: lake, output: {path: a, format: csv}}]
`},
	}
	for i, m := range modes {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.exactlyOnce(t, uint64(i), (*crashes+i)/len(modes))
		})
	}
}

// mode is a way to load.
type mode struct{ name, definition string }

// exactlyOnce cuts so many executions off.
func (m mode) exactlyOnce(t *testing.T, seed uint64, crashes int) {
	t.Helper()
	p := startPair(t)
	const table = "(id int, at timestamptz, s text)"
	p.shop.Exec(t, "", "CREATE TABLE a "+table+`; INSERT INTO a SELECT g, 'epoch'::timestamptz + (g / 7) * interval '1 second', repeat('x', 100) || g FROM generate_series(1, 60000) AS g;
		CREATE INDEX ON a (at, id)`)
	p.dwh.Exec(t, "", "CREATE TABLE a "+table+"; CREATE TABLE b "+table)
	binary, root := ducktest.Binary(t), t.TempDir()
	ends := map[string]int{} // how executions were cut off, and the last step that they came to
	rng := rand.New(rand.NewPCG(crashSeed, seed))
	cuts := []cut{killed, terminated, frozen}
	if m.name == "engine" {
		cuts = append(cuts, childless, childless)
	}
	done := 0
	for round := 0; done < crashes; round++ {
		p.dwh.Exec(t, "", "TRUNCATE a, b; DROP SCHEMA IF EXISTS holdfast_etl CASCADE")
		c := child{
			Shop: siteOf(p.shop, "shop"), DWH: siteOf(p.dwh, "dwh"), Execution: 1001, Roots: []string{root}, DuckBinary: binary,
			Definition: strings.Replace(connections, "dwh: {site: dwh}", "dwh: {site: dwh}, lake: {directory: "+root+"}", 1) + m.definition,
		}
		if err := os.RemoveAll(filepath.Join(root, "a")); err != nil {
			t.Fatal(err)
		}
		for range 4 {
			c.Fence += 2 // a frozen one is followed by the odd one
			how := cuts[rng.IntN(len(cuts))]
			ends[string(how)+" at "+c.cutOff(t, p, how, time.Duration(rng.Int64N(int64(220*time.Millisecond))))]++
			if done++; done == crashes {
				break
			}
		}
		c.Fence += 2
		if out, err := c.start(t).wait(); err != nil {
			t.Fatalf("%s, the last run: %v\n%s", m.name, err, out)
		}
		same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
		if m.name == "two loads" {
			same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM b")
		}
		if m.name == "files" {
			if got := entries(t, filepath.Join(root, "a")); got != "v000000001" {
				t.Errorf("got %s, want one version", got)
			}
			if m, _ := versionOf(t, filepath.Join(root, "a/v000000001")); m["rows"] != 60000.0 {
				t.Errorf("got %v rows in the version", m["rows"])
			}
		}
		if t.Failed() {
			t.Fatalf("round %d, %s, %d fences", round, m.name, c.Fence)
		}
		p.nothingLeft(t)
	}
	for _, how := range slices.Sorted(maps.Keys(ends)) {
		t.Logf("%s: %d", how, ends[how])
	}
}

// process is a child at work.
type process struct {
	cmd    *exec.Cmd
	errs   *strings.Builder
	steps  chan string // closed when it has ended
	last   string      // the last of them, when it has ended
	cancel context.CancelFunc
}

// start starts the process.
func (c child) start(t *testing.T) *process {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	p := &process{errs: &strings.Builder{}, steps: make(chan string, 100_000), cancel: cancel}
	p.cmd = exec.CommandContext(ctx, os.Args[0])
	p.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	p.cmd.Stderr = p.errs
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.steps)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			p.steps <- lines.Text()
		}
	}()
	return p
}

// wait returns when the process has ended, with what it said.
func (p *process) wait() (string, error) {
	defer p.cancel()
	for step := range p.steps { // the pipe has to be read to its end first
		p.last = step
	}
	err := p.cmd.Wait() // it writes to errs until then
	return p.errs.String(), err
}

// thaw lets a frozen process go on, and waits for its end.
func (p *process) thaw() error {
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		return err
	}
	_, err := p.wait()
	return err
}

// cutOff runs the execution and cuts it off some time after it has begun to claim.
// It returns the last step that the execution came to, and "the end" when nothing
// was cut off.
func (c child) cutOff(t *testing.T, servers pair, how cut, after time.Duration) string {
	t.Helper()
	p := c.start(t)
	var ok bool
	if p.last, ok = <-p.steps; !ok {
		out, err := p.wait()
		t.Fatalf("the process ended before it began: %v\n%s", err, out)
	}
	time.Sleep(after)
	switch how {
	case killed:
		_ = p.cmd.Process.Kill() // it may have ended already
	case terminated:
		for _, server := range []*testkit.Postgres{servers.shop, servers.dwh} {
			server.Exec(t, "", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'holdfast %execution%'")
		}
	case childless:
		for _, pid := range childrenOf(p.cmd.Process.Pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended already
		}
	case frozen:
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			break // it has ended
		}
		next := c
		next.Fence++
		out, err := next.start(t).wait()
		if err != nil {
			t.Errorf("the fence behind a frozen one: %v\n%s", err, out)
		}
		if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.wait(); err == nil {
		return "the end"
	}
	return p.last
}

// childrenOf returns the processes that a process has started, and that live.
func childrenOf(pid int) []int {
	var all []int
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, name := range threads {
		text, _ := os.ReadFile(name) // what cannot be read has ended
		for f := range strings.FieldsSeq(string(text)) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// A simulation that hangs holds up no other execution of its job: neither a real one
// nor another simulation.
func TestFrozenSimulation(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a VALUES (1), (2)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	req := p.order(t, "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a, mode: replace}]\n")
	run(t, req) // the books are there
	for i, simulate := range []bool{false, true} {
		frozen := req
		frozen.Execution, frozen.Simulate = holdfast.ExecutionID(1010+2*i), true
		at, thaw, over := make(chan struct{}), make(chan struct{}), make(chan error)
		go func() {
			_, err := etl.New(etl.Config{Step: func(name string) {
				if name == "loaded" {
					close(at)
					<-thaw
				}
			}}).Run(context.Background(), frozen)
			over <- err
		}()
		<-at
		next := req
		next.Execution, next.Simulate = frozen.Execution+1, simulate
		begin := time.Now()
		run(t, next)
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("simulated %t: it took %s", simulate, took)
		}
		close(thaw)
		wantError(t, <-over, holdfast.CodeUnavailable)
	}
	p.nothingLeft(t)
}

// TestThawed freezes an execution at each of its steps, lets the next fence do all
// of the work, and thaws it.
func TestThawed(t *testing.T) {
	t.Parallel()
	p := startPair(t)
	p.shop.Exec(t, "", "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 1000)")
	p.dwh.Exec(t, "", "CREATE TABLE a (id int)")
	c := child{
		Shop: siteOf(p.shop, "shop"), DWH: siteOf(p.dwh, "dwh"),
		Definition: connections + "\nextract: [{name: a, connection: shop, table: a}]\nload: [{from: a, connection: dwh, table: a}]\n",
	}
	for i, step := range []string{"claim", "locked", "loaded", "booked", "committed"} {
		t.Run(step, func(t *testing.T) {
			p.dwh.Exec(t, "", "TRUNCATE a")
			c.Execution, c.Fence = holdfast.ExecutionID(2000+i), 1
			old := c
			old.FreezeAt = step
			frozen := old.start(t)
			for s := range frozen.steps {
				if s == step {
					break
				}
			}
			c.Fence = 2
			if out, err := c.start(t).wait(); err != nil {
				t.Errorf("the next fence: %v\n%s", err, out)
			}
			if err := frozen.thaw(); err == nil && step != "committed" {
				t.Error("the thawed one succeeded")
			}
			same(t, p.shop, "SELECT * FROM a", p.dwh, "SELECT * FROM a")
			p.nothingLeft(t)
		})
	}
}
