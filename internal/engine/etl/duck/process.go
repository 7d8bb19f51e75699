package duck

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// program is the child's file name.
const program = "holdfast-etl"

// Find returns the path of holdfast-etl: beside the running binary, or on the
// search path. CodeUnavailable when it is in neither.
func Find() (string, error) {
	self, err := os.Executable()
	if err == nil {
		if self, err = filepath.EvalSymlinks(self); err == nil {
			if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), program)); err == nil {
				return path, nil
			}
		}
	}
	path, err := exec.LookPath(program)
	if err != nil {
		return "", holdfast.Wrap(holdfast.CodeUnavailable, err, "%s is not installed on this worker", program).
			WithHint("put %s beside the holdfast binary: make build builds it, and it needs a C compiler", program)
	}
	return path, nil
}

// Version asks a binary for its version; that it answers shows that it runs here.
func Version(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "version")
	cmd.Env = environment(os.TempDir())
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	if err != nil {
		return "", holdfast.Wrap(holdfast.CodeUnavailable, err, "%s does not run on this machine", binary).
			WithHint("run %s version by hand; it needs the system's libstdc++ 6", binary)
	}
	return clip(strings.TrimSpace(string(out)), maxText), nil
}

// environment is all that a child gets of ours.
func environment(dir string) []string {
	return []string{"LC_ALL=C.UTF-8", "TZ=UTC", "HOME=" + dir, "TMPDIR=" + dir}
}

// launch starts the child.
func (c *Client) launch(ctx context.Context, binary string) (stdout io.ReadCloser, err error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, theirs.Close())
		if err != nil {
			err = errors.Join(err, ours.Close())
		}
	}()
	c.files = ours
	// The child outlives the context of its start.
	c.cmd = exec.CommandContext(context.WithoutCancel(ctx), binary)
	c.cmd.Dir = c.temp.path
	c.cmd.Env = environment(c.temp.path)
	c.cmd.ExtraFiles = []*os.File{theirs} // FilesFD
	c.cmd.Stderr = c.stderr
	c.cmd.WaitDelay = endTimeout
	c.cmd.SysProcAttr = childAttributes()
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		return nil, fail(err, "a pipe to the engine cannot be made")
	}
	if stdout, err = c.cmd.StdoutPipe(); err != nil {
		err = errors.Join(fail(err, "a pipe to the engine cannot be made"), c.stdin.Close())
		if end, ok := c.cmd.Stdin.(io.Closer); ok { // only a start would close it
			err = errors.Join(err, end.Close())
		}
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		if f := fail(err, "%s cannot be started", binary); f.Code == holdfast.CodeUnavailable { // for want of files, memory or processes
			return nil, f
		}
		return nil, holdfast.Wrap(holdfast.CodeUnavailable, err, "%s cannot be started", binary).
			WithHint("is %s of this release installed, and executable?", program)
	}
	return stdout, nil
}

// end asks the child to end, once, and makes sure of it.
func (c *Client) end() {
	c.endOnce.Do(func() {
		_ = c.stdin.Close() // it may be closed by the end of the child
		c.signal(syscall.SIGTERM)
		c.killLater = time.AfterFunc(endTimeout, c.kill)
	})
}

// kill ends the child's process group at once.
func (c *Client) kill() { c.signal(syscall.SIGKILL) }

// signal sends a signal to the child's process group, unless it has ended: then its
// number may be another's.
func (c *Client) signal(sig syscall.Signal) {
	c.reapMu.Lock()
	defer c.reapMu.Unlock()
	if !c.reaped {
		_ = syscall.Kill(-c.cmd.Process.Pid, sig) // it may have ended just now
	}
}

// reap waits for the child, which was told to end, and says why it has ended.
func (c *Client) reap(broken error) error {
	err := c.cmd.Wait()
	c.reapMu.Lock()
	c.reaped = true
	c.reapMu.Unlock()
	c.end() // now no signal is sent any more
	c.killLater.Stop()
	_ = c.files.Close()

	c.mu.Lock()
	closing := c.closing
	c.mu.Unlock()
	switch {
	case closing:
		return errClosed
	case broken != nil:
		return holdfast.Wrap(holdfast.CodeInternal, broken, "%s does not speak as it should", program).
			WithHint("install holdfast and %s of the same release", program)
	}
	return c.fatal(err)
}

// fatal describes an end that nobody asked for. The hint is what people see: why a
// process dies is no secret.
func (c *Client) fatal(err error) error {
	how, code := "ended by itself", holdfast.CodeInternal
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		status, ok := exit.Sys().(syscall.WaitStatus)
		switch crash := c.stderr.signal(); {
		case ok && status.Signaled():
			how = fmt.Sprintf("was ended by the signal %s (%s)", signalName(status.Signal()), status.Signal())
			if status.Signal() == syscall.SIGKILL || status.Signal() == syscall.SIGTERM { // by the kernel or a person, and by no fault of its own
				code = holdfast.CodeUnavailable
			}
		case crash != "":
			how = "crashed with the signal " + crash
		default:
			how = fmt.Sprintf("ended with status %d", exit.ExitCode())
		}
	}
	return holdfast.Wrap(code, errors.Join(err, c.stderr.last()), "%s %s", program, how).
		WithHint("the engine's process %s %s; when the machine was short of memory, lower resources.memory in the definition or give the worker more: it takes some 200 MB above its limit", program, how)
}

// signalName returns the usual name of a signal that ends processes.
func signalName(s syscall.Signal) string {
	names := map[syscall.Signal]string{
		syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM", syscall.SIGSEGV: "SIGSEGV", syscall.SIGABRT: "SIGABRT",
		syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE", syscall.SIGILL: "SIGILL", syscall.SIGINT: "SIGINT",
		syscall.SIGHUP: "SIGHUP", syscall.SIGQUIT: "SIGQUIT", syscall.SIGXCPU: "SIGXCPU", syscall.SIGPIPE: "SIGPIPE",
	}
	if n, ok := names[s]; ok {
		return n
	}
	return fmt.Sprintf("%d", int(s))
}

// Bounds of what a child may write into an execution's log.
const (
	maxSaid = 64 << 10 // bytes in all
	maxTail = 8 << 10  // bytes that are kept to tell of a death
)

// said takes the child's standard error: lines for the log, as long as there are not
// too many, and the last of them for the error of its death.
type said struct {
	log *slog.Logger

	mu    sync.Mutex // guards the fields below
	total int
	line  []byte
	tail  []byte
}

// Write never fails: the child is not to wait for its log.
func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tail = append(s.tail, p...)
	if cut := len(s.tail) - maxTail; cut > 0 {
		s.tail = append([]byte(nil), s.tail[cut:]...)
	}
	for _, b := range p {
		if s.total >= maxSaid {
			break
		}
		s.total++
		if s.total == maxSaid {
			s.log.Info("holdfast-etl says too much; the rest is left out", "bytes", maxSaid)
			break
		}
		if b != '\n' {
			s.line = append(s.line, b)
			continue
		}
		if len(s.line) > 0 {
			s.log.Info("holdfast-etl says", "text", strings.ToValidUTF8(clip(string(s.line), maxText), "?"))
		}
		s.line = s.line[:0]
	}
	return len(p), nil
}

// last returns the end of what was said as an error; nil for nothing.
func (s *said) last() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if text := strings.TrimSpace(strings.ToValidUTF8(string(s.tail), "?")); text != "" {
		return errors.New("it said last: " + text)
	}
	return nil
}

// signal returns the signal of a crash that the runtime reports before it exits.
func (s *said) signal() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range strings.Lines(string(s.tail)) {
		for _, mark := range []string{"[signal ", "SIGABRT: "} {
			if rest, ok := strings.CutPrefix(line, mark); ok {
				if mark == "SIGABRT: " {
					return "SIGABRT"
				}
				name, _, _ := strings.Cut(rest, ":")
				return clip(strings.TrimSpace(name), 16)
			}
		}
	}
	return ""
}

// socketPair returns the two ends of the socket by which files travel.
func socketPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fail(err, "a socket to the engine cannot be made")
	}
	theirs = os.NewFile(uintptr(fds[1]), "theirs")
	file := os.NewFile(uintptr(fds[0]), "ours")
	conn, err := net.FileConn(file) // a duplicate
	err = errors.Join(err, file.Close())
	ours, ok := conn.(*net.UnixConn)
	if err != nil || !ok {
		return nil, nil, errors.Join(fail(err, "a socket to the engine cannot be made"), theirs.Close())
	}
	return ours, theirs, nil
}

// sendFiles sends descriptors, one a byte. The files stay ours.
func sendFiles(conn *net.UnixConn, files []*os.File) error {
	for _, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return fmt.Errorf("send %s: %w", f.Name(), err)
		}
		var sent error
		// Not f.Fd(): that would make its end of a pipe block.
		err = raw.Control(func(fd uintptr) {
			_, _, sent = conn.WriteMsgUnix([]byte{0}, syscall.UnixRights(int(fd)), nil)
		})
		if err = errors.Join(err, sent); err != nil {
			return fmt.Errorf("send %s: %w", f.Name(), err)
		}
	}
	return nil
}
