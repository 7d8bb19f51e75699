package server

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func fromSocket(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, strconv.FormatBool(FromSocket(r.Context())))
}

func TestSocketIsMarkedAndPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "s")
	s := start(t, Config{Listen: "127.0.0.1:0", Socket: path, Handlers: map[string]http.Handler{"/": http.HandlerFunc(fromSocket)}})
	if _, got := get(t, socketClient(t, path), "http://socket/"); got != "true" {
		t.Errorf("through the socket: got %s, want true", got)
	}
	if _, got := get(t, client(t, &http.Transport{}), "http://"+s.Addr()+"/"); got != "false" {
		t.Errorf("through TCP: got %s, want false", got)
	}
	for p, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		info, err := os.Stat(p)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: mode %v, %v; want %v", p, info.Mode(), err, want)
		}
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestOtherUsersAreNotTrusted(t *testing.T) {
	for uid, want := range map[int]bool{0: true, os.Geteuid(): true, os.Geteuid() + 1: false, 65534: os.Geteuid() == 65534} {
		if got := trusted(uid); got != want {
			t.Errorf("user %d: got %v, want %v", uid, got, want)
		}
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed server leaves it
	l.Close()
	start(t, Config{Socket: path, Handlers: map[string]http.Handler{"/": http.HandlerFunc(fromSocket)}})
	if _, got := get(t, socketClient(t, path), "http://socket/"); got != "true" {
		t.Errorf("got %s", got)
	}
}

func TestSecondServerOnASocketIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	start(t, Config{Socket: path})
	_, err := New(t.Context(), Config{Socket: path, Log: testkit.Logger(t)})
	if holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Fatalf("got %v, want a conflict", err)
	}
	if resp, _ := get(t, socketClient(t, path), "http://socket/healthz"); resp.StatusCode != http.StatusOK {
		t.Errorf("the first server: got %s", resp.Status)
	}
}

func TestSocketPathsThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	file := filepath.Join(dir, "file")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, path, want string }{
		{"others may write to its directory", filepath.Join(open, "s"), "chmod 700"},
		{"a file is in the way", file, "move it away"},
		{"the kernel's limit", filepath.Join(dir, strings.Repeat("x", 108)), "shorter"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New(context.WithoutCancel(t.Context()), Config{Socket: tt.path, Log: testkit.Logger(t)})
			if !strings.Contains(holdfast.ErrorHint(err), tt.want) {
				t.Errorf("got %v (%s), want the hint %q", err, holdfast.ErrorHint(err), tt.want)
			}
		})
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("the file in the way: %q, %v", b, err)
	}
}
