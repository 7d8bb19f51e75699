package testkit_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// spy is a testing.TB that remembers what it was told.
type spy struct {
	testing.TB
	failed   []string
	cleanups []func()
}

func (*spy) Helper()                          {}
func (*spy) Log(...any)                       {}
func (s *spy) Cleanup(fn func())              { s.cleanups = append(s.cleanups, fn) }
func (s *spy) Errorf(format string, a ...any) { s.failed = append(s.failed, fmt.Sprintf(format, a...)) }
func (s *spy) Fatalf(format string, a ...any) { s.Errorf(format, a...); panic(s) }

func (s *spy) end() {
	for _, fn := range s.cleanups {
		fn()
	}
}

func TestLoggerFailsTheTestOnSurprises(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []testkit.LogOption
		log     func(*slog.Logger)
		want    []string // parts of the failures
	}{
		{"nothing", nil, func(*slog.Logger) {}, nil},
		{"info", nil, func(l *slog.Logger) { l.Debug("m"); l.Info("m", "level", "ERROR") }, nil},
		{"a warning", nil, func(l *slog.Logger) { l.Warn("disk", "left", 7) }, []string{"level=WARN msg=disk left=7"}},
		{"an error of a child logger", nil, func(l *slog.Logger) { l.With("a", 1).WithGroup("g").Error("m") }, []string{"level=ERROR"}},
		{"an expected one", []testkit.LogOption{testkit.Expect("left=7")}, func(l *slog.Logger) { l.Warn("disk", "left", 7) }, nil},
		{"an expected one and another", []testkit.LogOption{testkit.Expect("left=7")}, func(l *slog.Logger) {
			l.Warn("disk", "left", 7)
			l.Warn("disk", "left", 6)
		}, []string{"left=6"}},
		{"one that never comes", []testkit.LogOption{testkit.Expect("left=7")}, func(*slog.Logger) {}, []string{"never seen: left=7"}},
		{"an allowed one that never comes", []testkit.LogOption{testkit.Allow("left=7")}, func(*slog.Logger) {}, nil},
	} {
		s := &spy{}
		log := testkit.Logger(s, c.options...)
		c.log(log)
		s.end()
		log.Error("after the end")
		if len(s.failed) != len(c.want) {
			t.Errorf("%s: got %q, want %d failures", c.name, s.failed, len(c.want))
			continue
		}
		for i, part := range c.want {
			if !strings.Contains(s.failed[i], part) {
				t.Errorf("%s: got %q, want %q", c.name, s.failed[i], part)
			}
		}
	}
}

func TestAMissingProgramNamesTheCommand(t *testing.T) {
	for _, look := range []func(testing.TB){
		func(t testing.TB) { t.Helper(); testkit.Require(t, "no-such-program") },
		func(t testing.TB) { t.Helper(); testkit.PGBin(t, "no-such-program") },
		func(t testing.TB) { t.Helper(); testkit.StartPostgres(t, testkit.PostgresOptions{Major: 8}) },
	} {
		s := &spy{TB: t}
		func() {
			defer func() {
				if recover() != s {
					t.Error("the test goes on")
				}
			}()
			look(s)
		}()
		s.end()
		if len(s.failed) != 1 || !strings.Contains(s.failed[0], "is missing: run make deps") {
			t.Errorf("got %q", s.failed)
		}
	}
}

func TestDirIsOpenToPostgres(t *testing.T) {
	file := filepath.Join(testkit.Dir(t), "file")
	testkit.Run(t, "sh", "-c", `echo one >"$1" && chmod 600 "$1"`, "sh", file)
	if b, err := os.ReadFile(file); err != nil || string(b) != "one\n" {
		t.Errorf("got %q, %v, want what the other user wrote", b, err)
	}
	if out, err := testkit.TryRun(t, "sh", "-c", "echo out; echo err >&2; exit 3"); err == nil || out != "out\n" || !strings.Contains(err.Error(), "err") {
		t.Errorf("got %q, %v, want a failure that says err", out, err)
	}
}

func TestSmallFSIsSoonFull(t *testing.T) {
	const size = 1 << 20
	dir := testkit.SmallFS(t, size)
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := io.CopyN(f, zeros{}, 2*size)
	if !errors.Is(err, syscall.ENOSPC) || n == 0 || n > size {
		t.Errorf("wrote %d bytes, %v, want ENOSPC before %d", n, err, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
