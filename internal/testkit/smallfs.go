package testkit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// SmallFS makes a file system of its own that holds so many bytes, for tests of
// what happens when it is full, and returns a directory that is all of it. It is
// memory, and is gone when the test ends. Both the test and PostgreSQL may use
// it. Root mounts it; any other user does so in a user namespace, and reaches it
// through the process that lives there.
func SmallFS(t testing.TB, sizeBytes int64) string {
	t.Helper()
	dir := filepath.Join(Dir(t), "small")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		return smallFSInNamespace(t, dir, sizeBytes)
	}
	uid, gid := Owner(t)
	options := fmt.Sprintf("size=%d,mode=700,uid=%d,gid=%d", sizeBytes, uid, gid)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, options); err != nil {
		t.Fatalf("mount a small file system: %v: run the test where root may mount, or as another user", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount the small file system: %v", err)
		}
	})
	return dir
}

// smallFSInNamespace mounts the file system where only one process sees it, and
// returns its path by way of that process.
func smallFSInNamespace(t testing.TB, dir string, sizeBytes int64) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandTimeout)
	// The shell ends when its input does: with the test, however that ends.
	script := `mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && echo mounted && read -r _`
	cmd := exec.CommandContext(ctx, Require(t, "unshare"), "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh",
		fmt.Sprint(sizeBytes), dir)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // the end of its input makes it fail
		cancel()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if strings.TrimSpace(line) != "mounted" {
		cancel()
		_ = cmd.Wait()
		t.Fatalf("mount a small file system: %s: allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run the test as root",
			strings.TrimSpace(stderr.String()))
	}
	return fmt.Sprintf("/proc/%d/root%s", cmd.Process.Pid, dir)
}
