package duck

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func TestErrorsOfTheSystem(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]holdfast.Code{
		syscall.ENOSPC: holdfast.CodeExhausted, syscall.EDQUOT: holdfast.CodeExhausted, syscall.EROFS: holdfast.CodeForbidden,
		syscall.EACCES: holdfast.CodeForbidden, syscall.EPERM: holdfast.CodeForbidden, syscall.EMFILE: holdfast.CodeUnavailable,
		syscall.ENFILE: holdfast.CodeUnavailable, syscall.ENOMEM: holdfast.CodeUnavailable, syscall.EAGAIN: holdfast.CodeUnavailable,
		syscall.EIO: holdfast.CodeUnavailable, syscall.ENOTDIR: holdfast.CodeInvalid, syscall.EBADF: holdfast.CodeInternal,
	} {
		err := fail(&fs.PathError{Op: "open", Path: "/a", Err: os.NewSyscallError("open", errno)}, "%s cannot be opened", "/a")
		if err.Code != want || !strings.HasPrefix(err.Msg, "/a cannot be opened") || (err.Hint == "") != (want == holdfast.CodeInternal) {
			t.Errorf("%s: got %s %q, hint %q, want %s", errno, err.Code, err.Msg, err.Hint, want)
		}
	}
}

// A directory that is no directory, and one that another user has to make.
func TestDirectoriesThatCannotBe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := newTempDir(t.Context(), filepath.Join(file, "dir"), testkit.Logger(t))
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorMessage(err), "not a directory") {
		t.Errorf("got %v, want that it is no directory", err)
	}
	_, err = newTempDir(t.Context(), "/sys/kernel/holdfast", testkit.Logger(t)) // which root cannot make either
	if holdfast.ErrorCode(err) != holdfast.CodeForbidden || holdfast.ErrorHint(err) == "" {
		t.Errorf("got %v, want that it may not be made", err)
	}
}

// fewFiles makes the test binary a process that may open few files.
const fewFiles = "HOLDFAST_TEST_ETL_FEW_FILES"

// Whatever cannot be opened for want of files, the start of the engine may succeed
// later.
func TestStartShortOfFiles(t *testing.T) {
	if dir := os.Getenv(fewFiles); dir != "" {
		startShortOfFiles(t, dir)
		return
	}
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -n 64; exec "$0" -test.run '^TestStartShortOfFiles$' -test.v -test.timeout 1m`, self)
	cmd.Env = append(os.Environ(), fewFiles+"="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("got %s, error %v", out, err)
	}
}

func startShortOfFiles(t *testing.T, dir string) {
	t.Helper()
	var open []*os.File
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		open = append(open, f)
	}
	var said strings.Builder
	for free := range 24 {
		c, err := Start(t.Context(), Config{Binary: "/bin/true", Memory: MinMemory, Threads: 1, TempDir: dir, Log: testkit.Logger(t)})
		if c != nil {
			t.Fatal("got an engine")
		}
		if text := holdfast.ErrorMessage(err); strings.Contains(text, "too many open files") {
			said.WriteString(text + "\n")
			if holdfast.ErrorCode(err) != holdfast.CodeUnavailable || !strings.Contains(holdfast.ErrorHint(err), "ulimit -n") {
				t.Errorf("with %d files: got %v, hint %q", free, err, holdfast.ErrorHint(err))
			}
		} else if !strings.Contains(fmt.Sprint(err), "/bin/true") && !strings.Contains(fmt.Sprint(err), "ended") {
			t.Errorf("with %d files: got %v", free, err)
		}
		_ = open[len(open)-1].Close()
		open = open[:len(open)-1]
	}
	for _, what := range []string{"cannot be locked", "a socket", "a pipe", "/bin/true cannot be started"} {
		if !strings.Contains(said.String(), what) {
			t.Errorf("got\n%swant %q in it", said.String(), what)
		}
	}
}
