package pgphysical

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestConfigurationIsReadAsTheServer: an include line in the server's
// configuration must not make a worker that is root save a file of root's.
func TestConfigurationIsReadAsTheServer(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("no owner")
	}
	owner, stranger := st.Uid, st.Uid+1000
	for _, c := range []struct {
		as   reader
		mode fs.FileMode
		want bool
	}{
		{reader{uid: owner}, 0o600, true},
		{reader{uid: stranger}, 0o600, false},
		{reader{uid: stranger, gids: []uint32{7, st.Gid}}, 0o640, true},
		{reader{uid: stranger, gids: []uint32{7, st.Gid}}, 0o604, false},
		{reader{uid: stranger, gids: []uint32{st.Gid + 1}}, 0o640, false},
		{reader{uid: stranger}, 0o644, true},
	} {
		if err := os.Chmod(name, c.mode); err != nil {
			t.Fatal(err)
		}
		_, err := c.as.read(name, 100)
		if (err == nil) != c.want || err != nil && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%+v, mode %v: got %v, want %v", c.as, c.mode, err, c.want)
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (reader{uid: owner}).read(pipe, 100); err == nil {
		t.Error("a pipe was read")
	}
}
