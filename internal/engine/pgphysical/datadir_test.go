package pgphysical

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// controlOf writes a pg_control with the redo position into a new directory.
func controlOf(t *testing.T, redo pg.LSN) string {
	t.Helper()
	b := make([]byte, pg.ControlFileSize)
	le := binary.LittleEndian
	le.PutUint64(b, 4711)
	le.PutUint64(b[40:], uint64(redo))
	for off, v := range map[int]uint32{8: 1300, 216: 8192, 220: 131072, 224: 8192, 228: 16 << 20} {
		le.PutUint32(b[off:], v)
	}
	le.PutUint32(b[288:], pg.CRC32C(b[:288]))
	dir := t.TempDir()
	put(t, filepath.Join(dir, pg.ControlFile), string(b))
	return dir
}

func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A copy of a container's directory that took postmaster.pid along is found by
// its checkpoint: the one with which the backup began is not in it.
func TestStaleCopyIsFoundByItsCheckpoint(t *testing.T) {
	t.Parallel()
	dir := controlOf(t, 0x1000)
	d := &dataDir{path: dir, control: pg.Control{SystemIdentifier: 4711}, settings: settings{dataDirectory: "/inside/data"}}
	if _, err := checkFresh(t.Context(), d, 0x1000); err != nil {
		t.Errorf("the server's own directory: %v", err)
	}
	_, err := checkFresh(t.Context(), d, 0x1001)
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(err.Error(), "stale copy") {
		t.Errorf("a copy: got %v", err)
	}
}

func TestCheckLive(t *testing.T) {
	t.Parallel()
	start := time.Unix(1763725272, 0)
	other := t.TempDir()
	s := settings{dataDirectory: "/inside/data", started: start.Add(200 * time.Millisecond), port: 5433}
	pid := func(dir string, started time.Time, port int) string {
		return fmt.Sprintf("4711\n%s\n%d\n%d\n/run\n\n", dir, started.Unix(), port)
	}
	for name, c := range map[string]struct {
		pid  string // of the directory that was given; empty: none
		live string // of the one that the server names
		want string // empty: it is the server's
	}{
		"the server's, under another name": {pid: pid("/inside/data", start, 5433)},
		"no server":                        {want: "no server runs in it"},
		"an earlier start":                 {pid: pid("/inside/data", start.Add(-time.Hour), 5433), want: "of a server that started at"},
		"a later start":                    {pid: pid("/inside/data", start.Add(time.Hour), 5433), want: "of a server that started at"},
		"another port":                     {pid: pid("/inside/data", start, 5432), want: "on another port"},
		"not valid":                        {pid: "?", want: "not valid"},
		"a copy beside the server's":       {pid: pid(other, start, 5433), live: pid(other, start, 5433), want: "the server runs in " + other},
	} {
		t.Run(name, func(t *testing.T) {
			dir, s := t.TempDir(), s
			if c.pid != "" {
				put(t, filepath.Join(dir, "postmaster.pid"), c.pid)
			}
			if c.live != "" {
				s.dataDirectory = other
				put(t, filepath.Join(other, "postmaster.pid"), c.live)
			}
			err := checkLive(dir, dir, s)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTornControlIsReadAgain(t *testing.T) {
	t.Parallel()
	dir := controlOf(t, 0x1000)
	name := filepath.Join(dir, pg.ControlFile)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put(t, name, "torn"+string(good[4:]))
	done := make(chan error, 1)
	go func() {
		time.Sleep(60 * time.Millisecond)
		done <- os.WriteFile(name, good, 0o600)
	}()
	if c, err := readControl(t.Context(), dir); err != nil || c.Redo != 0x1000 {
		t.Errorf("got %+v, %v", c, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// The names that a server in a container has for its files are translated.
func TestIncludesUnderAnotherName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put(t, filepath.Join(dir, "postgresql.conf"), "include 'more.conf'\ninclude '/nowhere/x.conf'\n")
	put(t, filepath.Join(dir, "more.conf"), "port = 1\n")
	r := &includeReader{local: dir, server: "/inside/data", seen: map[string]bool{}, files: map[string][]byte{}}
	r.read("/inside/data/postgresql.conf", confIncludes, 0)
	if len(r.files) != 0 || len(r.failed) != 0 || !r.seen[filepath.Join(dir, "more.conf")] {
		t.Errorf("got %+v", r)
	}
}
