package duck_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck/ducktest"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// parentEnv makes the test binary a parent that starts a child, says its number and
// waits to be killed. It holds the binary and the directory.
const parentEnv = "HOLDFAST_TEST_ETL_PARENT"

func TestMain(m *testing.M) {
	binary, dir, ok := strings.Cut(os.Getenv(parentEnv), "|")
	if !ok {
		os.Exit(m.Run())
	}
	c, err := duck.Start(context.Background(), duck.Config{
		Binary: binary, Memory: 256 * mib, Temp: 1 << 30, Threads: 1, TempDir: dir, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	go func() { // it is busy
		_, err := c.Step(context.Background(), "s", crossJoin, false)
		panic(err)
	}()
	time.Sleep(200 * time.Millisecond)
	_, _ = fmt.Fprintln(os.Stdout, c.Pid())
	select {}
}

// crossJoin runs longer than any test, in little memory.
const crossJoin = "select sum(a.range * b.range % 7) as s from range(10000000) a, range(10000000) b"

// alive says whether there is a process that is no zombie.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	return !strings.HasPrefix(rest, "Z")
}

// eventually waits for what is about to happen.
func eventually(t *testing.T, what string, within time.Duration, is func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}

func TestInterrupt(t *testing.T) {
	c := start(t)
	for _, sql := range []string{crossJoin, "select * from range(30000000) order by hash(range)"} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		begin := time.Now()
		_, err := c.Step(ctx, "s", sql, false)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: got %v", sql, err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%s: it took %s", sql, took)
		}
	}
	step(t, c, "s", "select 1", false)
}

func TestSpill(t *testing.T) {
	dir := t.TempDir()
	c := startWith(t, duck.Config{Memory: 256 * mib, Temp: 4 << 30, Threads: 2, TempDir: dir})
	const rows = 6_000_000
	got := step(t, c, "s", fmt.Sprintf("select range as a, hash(range) as b, repeat('x', 40) || range as c from range(%d) order by b", rows), false)
	if got != rows {
		t.Errorf("got %d rows, want %d", got, rows)
	}
	if sum, err := c.Assert(t.Context(), "select count(distinct a) from s"); err != nil || sum != strconv.Itoa(rows) {
		t.Errorf("got %s distinct rows, %v", sum, err)
	}
	var spilled int64
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				spilled += info.Size()
			}
		}
		return nil
	})
	if spilled == 0 {
		t.Error("nothing was spilled: the test shows nothing")
	}
	if p := peak(t, c.Pid()); raceless && p > 600*mib {
		t.Errorf("the process took %d MiB, its limit is 256 MiB", p/mib)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestMemoryAndTempAreLimits(t *testing.T) {
	c := startWith(t, duck.Config{Memory: 100 * mib, Temp: 50 * mib, Threads: 1})
	_, err := c.Step(t.Context(), "s", "select range as a, repeat('x', 100) || range as c from range(10000000) order by hash(a)", false)
	if holdfast.ErrorCode(err) != holdfast.CodeExhausted || !strings.Contains(holdfast.ErrorHint(err), "resources.memory") {
		t.Errorf("got %v (hint %q), want exhausted", err, holdfast.ErrorHint(err))
	}
	step(t, c, "s", "select 1", false)
}

func TestAKilledChildIsAnErrorOfItsOwn(t *testing.T) {
	before := runtime.NumGoroutine()
	dir := t.TempDir()
	c := startWith(t, duck.Config{Memory: 256 * mib, Temp: 1 << 30, Threads: 1, TempDir: dir})
	f, err := c.Feed(t.Context(), "r", numberColumns, duck.FormatCopy, true)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := c.Feed(t.Context(), "kept", numberColumns, duck.FormatCopy, false)
	if err != nil {
		t.Fatal(err)
	}
	d, err := c.Drain(t.Context(), "r")
	if err != nil {
		t.Fatal(err)
	}
	fed := make(chan error, 1)
	go func() {
		rows := numbers(10_000)
		var err error
		for err == nil {
			_, err = io.WriteString(f, rows)
		}
		fed <- err
	}()
	time.AfterFunc(300*time.Millisecond, func() { _ = syscall.Kill(c.Pid(), syscall.SIGKILL) })
	_, drained := io.Copy(io.Discard, d)
	_, later := c.Step(t.Context(), "s", "select 1", false)
	for who, err := range map[string]error{"drain": drained, "feed": <-fed, "kept feed": kept.Close(), "later step": later} {
		if holdfast.ErrorCode(err) != holdfast.CodeUnavailable || !strings.HasPrefix(err.Error(), "holdfast-etl was ended by the signal SIGKILL") || !strings.Contains(holdfast.ErrorHint(err), "memory") {
			t.Errorf("the %s says %v (hint %q), want the signal and a hint", who, err, holdfast.ErrorHint(err))
		}
	}
	_ = f.Close()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
	eventually(t, "goroutines end", 5*time.Second, func() bool { return runtime.NumGoroutine() <= before })
}

func TestTheChildEndsWithItsParent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+ducktest.Binary(t)+"|"+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || !alive(pid) {
		t.Fatalf("%q is no child that lives: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	eventually(t, "the child ends", 10*time.Second, func() bool { return !alive(pid) })
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

func TestDirectoriesOfTheDeadAreSweptOut(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "holdfast-etl-123")
	if err := os.MkdirAll(filepath.Join(old, "spill"), 0o700); err != nil {
		t.Fatal(err)
	}
	hour := time.Now().Add(-time.Hour)
	if err := os.Chtimes(old, hour, hour); err != nil {
		t.Fatal(err)
	}
	first := startWith(t, duck.Config{Memory: 256 * mib, Threads: 1, TempDir: dir})
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old directory is still there: %v", err)
	}
	mine, err := filepath.Glob(filepath.Join(dir, "holdfast-etl-*"))
	if err != nil || len(mine) != 1 {
		t.Fatalf("got %v, %v; want the one of the child", mine, err)
	}
	if err := os.Chtimes(mine[0], hour, hour); err != nil {
		t.Fatal(err)
	}
	startWith(t, duck.Config{Memory: 256 * mib, Threads: 1, TempDir: dir})
	if _, err := os.Stat(mine[0]); err != nil {
		t.Errorf("the directory of a child that lives is gone: %v", err)
	}
	step(t, first, "s", "select 1", false)
}

// A program that is not holdfast-etl, or one that has gone mad.
func TestStrangeChildren(t *testing.T) {
	for _, e := range []struct{ name, script, want string }{
		{"ends at once", "exit 3", "ended with status 3"},
		{"dies of a signal", "kill -SEGV $$", "SIGSEGV"},
		{"crashes as Go programs do", `echo '[signal SIGSEGV: segmentation violation code=0x1]' >&2; exit 2`, "crashed with the signal SIGSEGV"},
		{"talks nonsense", "echo hello; sleep 60", "does not speak"},
		{"talks too much", "head -c 20000000 /dev/zero | tr '\\0' x; sleep 60", "does not speak"},
		{"answers what was not asked", `echo '{"id":7}'; sleep 60`, "does not speak"},
		{"is of another release", `read x; echo '{"id":1,"opened":{"protocol":99,"version":"v9","duckdb":"v9"}}'; read x`, "another release"},
		{"floods its log", "yes | head -c 1000000 >&2; exit 1", "ended with status 1"},
	} {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "holdfast-etl")
			// A process that another test starts meanwhile would hold the file open for
			// writing, and then it cannot be executed.
			syscall.ForkLock.RLock()
			err := os.WriteFile(binary, []byte("#!/bin/sh\nexec 3<&-\n"+e.script+"\n"), 0o700)
			syscall.ForkLock.RUnlock()
			if err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			_, err = duck.Start(t.Context(), duck.Config{Binary: binary, Memory: 256 * mib, Threads: 1, TempDir: t.TempDir(), Log: testkit.Logger(t)})
			if err == nil || !strings.Contains(err.Error(), e.want) || holdfast.ErrorHint(err) == "" {
				t.Errorf("got %v (hint %q), want %q", err, holdfast.ErrorHint(err), e.want)
			}
			if took := time.Since(begin); took > 8*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
	_, err := duck.Start(t.Context(), duck.Config{Binary: "/nowhere/holdfast-etl", Memory: 256 * mib, Threads: 1, TempDir: t.TempDir(), Log: testkit.Logger(t)})
	if holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
		t.Errorf("got %v, want unavailable", err)
	}
}

func TestAChildThatDoesNotGiveUpIsKilled(t *testing.T) {
	t.Parallel()
	c := start(t, testkit.Expect("does not give up and is killed"))
	freeze(t, c.Pid())
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := c.Step(ctx, "s", "select 1", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(begin); took > 14*time.Second {
		t.Errorf("it took %s", took)
	}
	if alive(c.Pid()) {
		t.Error("it lives")
	}
}

// freeze stops a process, and returns when all its threads have stopped: those that
// run at the moment of the signal may do so for a while on a busy machine.
func freeze(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil || len(stats) == 0 || time.Now().After(deadline) {
			t.Fatalf("process %d does not stop: %v", pid, err)
		}
		if !slices.ContainsFunc(stats, func(name string) bool {
			text, err := os.ReadFile(name)
			return err == nil && !strings.Contains(string(text), ") T ")
		}) {
			return
		}
	}
}

func TestItTalksToNobodyElse(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), ducktest.Binary(t))
	cmd.Stdin = strings.NewReader("")
	out, err := cmd.CombinedOutput()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 2 || !strings.Contains(string(out), "hint: ") {
		t.Errorf("got %v, %s", err, out)
	}
}
