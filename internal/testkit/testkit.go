// Package testkit gives tests what they need of the world: real PostgreSQL
// servers, the programs that they come with, directories that these may use, a
// strict logger, and a file system that is soon full.
//
// PostgreSQL refuses to run as root. A test that runs as root starts it, and the
// programs around it, as the user postgres; any other user starts it as itself.
package testkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// commandTimeout bounds every command that a test runs through this package.
const commandTimeout = 5 * time.Minute

// systemUser is whom root becomes for PostgreSQL's sake.
const systemUser = "postgres"

// Require returns the path of a program, and fails the test when it is missing.
func Require(t testing.TB, program string) string {
	t.Helper()
	p, err := exec.LookPath(program)
	if err != nil {
		t.Fatalf("%s is missing: run make deps", program)
	}
	return p
}

// DefaultMajor is the major release of PostgreSQL that tests use when they name
// none.
const DefaultMajor = 15

// PGBin returns the path of one of PostgreSQL's programs, such as
// pg_verifybackup, and fails the test when it is missing.
func PGBin(t testing.TB, program string) string {
	t.Helper()
	return filepath.Join(pgBinDir(t, DefaultMajor, program), program)
}

// pgBinDir returns the directory that holds a program of one major release.
func pgBinDir(t testing.TB, major int, program string) string {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/%d/bin", "/usr/pgsql-%d/bin", "/opt/postgresql-%d/bin"} {
		dir := fmt.Sprintf(pattern, major)
		if _, err := os.Stat(filepath.Join(dir, program)); err == nil {
			return dir
		}
	}
	t.Fatalf("%s of PostgreSQL %d is missing: run make deps", program, major)
	return ""
}

// Owner returns the user and group that PostgreSQL runs as in this test.
func Owner(t testing.TB) (uid, gid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid()
	}
	u, err := user.Lookup(systemUser)
	if err != nil {
		t.Fatalf("the user %s is missing: run make deps", systemUser)
	}
	return atoi(t, u.Uid), atoi(t, u.Gid)
}

func atoi(t testing.TB, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// credential returns how to become the given user; nil when that is us.
func credential(uid, gid int) *syscall.Credential {
	if uid == os.Geteuid() {
		return nil
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// MemoryDir makes a directory in memory where there is one, for a test that writes much
// and does not ask what a disk keeps.
func MemoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "holdfast-test-") //nolint:usetesting // it is in memory
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Dir makes a directory that both the test and PostgreSQL may use, and removes
// it with all that is in it when the test ends. [testing.T.TempDir] will not do:
// the directories above it are closed to other users. The path is short enough
// for a socket.
func Dir(t testing.TB) string {
	t.Helper()
	uid, gid := Owner(t)
	dir, err := os.MkdirTemp("", "holdfast-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove what the test made: %v", err)
		}
	})
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Command prepares a program to run as the user that PostgreSQL runs as. It ends
// with the test, or after five minutes.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	uid, gid := Owner(t)
	return commandAs(t, uid, gid, name, args...)
}

func commandAs(t testing.TB, uid, gid int, name string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTimeout)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/" // the test's own may be closed to the other user
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PGCONNECT_TIMEOUT=10")
	if c := credential(uid, gid); c != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c}
		cmd.Env = append(cmd.Env, "HOME=/nonexistent", "USER="+systemUser, "LOGNAME="+systemUser)
	}
	return cmd
}

// Run runs a program as the user that PostgreSQL runs as, and returns what it
// printed. A program that fails, fails the test.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := TryRun(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TryRun is Run for a program that may fail: then the error holds what it
// printed.
func TryRun(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	return output(Command(t, name, args...))
}

// output runs a command and returns its standard output; its error holds both
// outputs.
func output(cmd *exec.Cmd) (string, error) {
	var out, all bytes.Buffer
	both := &lockedWriter{w: &all}
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, both), both
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w\n%s", filepath.Base(cmd.Path), err, bytes.TrimSpace(all.Bytes()))
	}
	return out.String(), nil
}

// gone reports whether an error says that a process has already ended.
func gone(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
