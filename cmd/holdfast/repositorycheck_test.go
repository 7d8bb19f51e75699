package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/objstore/fs"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// shelf is a repository in a directory, with a recovery kit and a backup set.
type shelf struct {
	t        *testing.T
	dir, kit string
	repo     *repository.Repository
}

type bytesContent struct{ *bytes.Reader }

func (bytesContent) Close() error { return nil }

func newShelf(t *testing.T) *shelf {
	t.Helper()
	s := &shelf{t: t, dir: filepath.Join(t.TempDir(), "repo"), kit: filepath.Join(t.TempDir(), "main.kit")}
	b, err := fs.Create(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	password, err := repository.NewKitPassword()
	if err != nil {
		t.Fatal(err)
	}
	if s.repo, err = repository.Create(t.Context(), b, holdfast.NewSecret("service"), password); err != nil {
		t.Fatal(err)
	}
	kit := repository.Kit{Name: "main", Location: "file://" + s.dir, FormatID: s.repo.ID(), Password: password, Created: time.Now()}
	text, err := kit.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.kit, text, 0o600); err != nil {
		t.Fatal(err)
	}
	w, err := s.repo.NewWriter(t.Context(), repository.WriterOptions{Holder: "test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pgdata/one", "pgdata/two"} {
		data := bytes.Repeat([]byte(name), 10_000)
		err := w.Add(t.Context(), engine.File{
			Node: engine.Node{Path: name, Mode: 0o600, Size: int64(len(data))},
			Open: func() (engine.Content, error) { return bytesContent{bytes.NewReader(data)}, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	commit := repository.Commit{Time: time.Now(), Tags: []string{"set=1001", "site=berlin"}, Paths: []string{"/pgdata"}}
	if _, err := w.Commit(t.Context(), commit, func(context.Context, string) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// file writes a file and returns its name.
func (s *shelf) file(text string) string {
	s.t.Helper()
	name := filepath.Join(s.t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return name
}

// run runs a command of the repository group, with the kit when no argument says
// how to open it, and returns its exit code and what it wrote.
func (s *shelf) run(args ...string) (code int, out, errs string) {
	s.t.Helper()
	return s.runAll(append([]string{"repository"}, args...)...)
}

// runAll is run for any command.
func (s *shelf) runAll(args ...string) (code int, out, errs string) {
	s.t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--password-file") {
		args = append(args, "--kit", s.kit)
	}
	var files [2]*os.File
	for i := range files {
		f, err := os.Create(filepath.Join(s.t.TempDir(), "out"))
		if err != nil {
			s.t.Fatal(err)
		}
		defer func() { _ = f.Close() }() // read below
		files[i] = f
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = null.Close() }()
	code = run(args, null, files[0], files[1])
	var texts [2]string
	for i, f := range files {
		b, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
		if err != nil {
			s.t.Fatal(err)
		}
		texts[i] = string(b)
	}
	return code, texts[0], texts[1]
}

// want runs a command and checks its exit code and that what it wrote holds words.
func (s *shelf) want(code int, words string, args ...string) string {
	s.t.Helper()
	got, out, errs := s.run(args...)
	if got != code || !strings.Contains(out+errs, words) {
		s.t.Errorf("%v: exit code %d, want %d with %q\n%s%s", args, got, code, words, out, errs)
	}
	return out
}

func (s *shelf) object(prefix string) string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, prefix, "*"))
	if err != nil || len(found) == 0 {
		s.t.Fatalf("%s: %v, error %v", prefix, found, err)
	}
	return found[0]
}

func TestRepositoryCheckCommand(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.want(0, "no damage", "check")
	s.want(0, "read 2 packs", "check", "--read-data")
	s.want(0, "no damage", "check", "--read-data-subset", "1/2")
	s.want(2, "n/t", "check", "--read-data-subset", "3/2")
	s.want(2, "exclude", "check", "--read-data-subset", "1/2", "--read-data")
	s.want(2, "does not go with", "check", "main")
	s.want(4, "", "check", "--repository", t.TempDir())

	pack := s.object("data/*")
	data, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(pack, int64(len(data)/2)); err != nil {
		t.Fatal(err)
	}
	name := "data/" + filepath.Base(filepath.Dir(pack)) + "/" + filepath.Base(pack)
	s.want(1, "not whole any more: set 1001 of berlin", "check")
	var report checkReport
	if err := json.Unmarshal([]byte(s.want(1, name, "check", "--read-data", "-o", "json")), &report); err != nil {
		t.Fatal(err)
	}
	if report.State != stateDamaged || len(report.Findings) != 1 || report.Findings[0].Object != name || report.Findings[0].Hint == "" ||
		len(report.Affected) != 1 || report.Affected[0].Set != "1001" || report.Affected[0].Site != "berlin" {
		t.Errorf("got %+v", report)
	}
	if err := os.WriteFile(pack, data, 0o600); err != nil {
		t.Fatal(err)
	}
	leftover := filepath.Join(s.dir, "data", "ab", "ab"+strings.Repeat("0", 62))
	if err := os.MkdirAll(filepath.Dir(leftover), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(leftover, []byte("an interrupted write"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(3, "no damage; 1 warning", "check")
}

func TestRepositoryStatsCommand(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.want(0, "deduplication", "stats")
	var v usageReport
	if err := json.Unmarshal([]byte(s.want(0, "", "stats", "-o", "json")), &v); err != nil {
		t.Fatal(err)
	}
	if v.Snapshots != 1 || v.Files != 2 || v.LogicalBytes != 200_000 || v.Compression < 2 {
		t.Errorf("got %+v", v)
	}
}

func TestRepositoryUnlockCommand(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	s.want(0, "no lock was removed", "unlock")
	junk := filepath.Join(s.dir, "locks", strings.Repeat("ab", 32))
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.want(0, "cannot be read", "locks")
	s.want(3, "cannot be read", "check")
	s.want(3, "--all", "unlock")
	s.want(2, "--yes", "unlock", "--all")
	if _, err := os.Stat(junk); err != nil {
		t.Fatal(err)
	}
	s.want(0, "removed lock abababab", "unlock", "--all", "--yes")
	s.want(0, "no damage", "check")
}

func TestRepositoryKeyCommands(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	list := func(args ...string) map[repository.KeyUse]slotReport {
		t.Helper()
		var all []slotReport
		if err := json.Unmarshal([]byte(s.want(0, "", append([]string{"key", "list", "-o", "json"}, args...)...)), &all); err != nil {
			t.Fatal(err)
		}
		out := map[repository.KeyUse]slotReport{}
		for _, k := range all {
			out[k.Use] = k
		}
		return out
	}
	slots := list()
	if len(slots) != 2 || !slots[repository.UseKit].Current || slots[repository.UseService].Current {
		t.Fatalf("got %+v", slots)
	}
	s.want(5, "service's own", "key", "remove", slots[repository.UseService].ID, "--force", "--yes")
	s.want(5, "opened with", "key", "remove", slots[repository.UseKit].ID[:8], "--force", "--yes")
	s.want(4, "no key", "key", "remove", "0123456789abcdef", "--yes")
	s.want(2, "too short", "key", "remove", "0", "--yes")
	s.want(5, "kit", "key", "passwd", "--new-password-file", s.file("new password"))
	s.want(2, "needs a password", "key", "add")

	s.want(2, "7 characters", "key", "add", "--new-password-file", s.file(" seven 7 \n"))
	s.want(0, "blanks", "key", "add", "--new-password-file", s.file(" anna's words \n"))
	anna := []string{"--repository", s.dir, "--password-file", s.file(" anna's words \n")}
	if got := list(anna...); len(got) != 3 || !got[repository.UsePerson].Current {
		t.Errorf("got %+v", got)
	}
	restic := exec.CommandContext(t.Context(), testkit.Require(t, "restic"), "--no-cache", "-r", s.dir, "--password-file", anna[3], "--no-lock", "snapshots")
	if out, err := restic.CombinedOutput(); err != nil {
		t.Errorf("restic with the same file: %v\n%s", err, out)
	}
	s.want(0, "person", append(anna, "key", "passwd", "--new-password-file", s.file("berta's words"))...)
	s.want(5, "password", append(anna, "check")...)
	berta := []string{"--repository", s.dir, "--password-file", s.file("berta's words")}
	s.want(5, "service's own", append(berta, "key", "remove", slots[repository.UseService].ID, "--yes")...)

	second := filepath.Join(t.TempDir(), "second.kit")
	s.want(0, "second.kit", append(berta, "key", "add", "--new-kit", second)...)
	s.want(5, "with --new-kit", append(berta, "key", "add", "--new-kit", second)...)
	s.want(2, "--yes", append(berta, "key", "remove", slots[repository.UseKit].ID)...)
	s.want(0, "removed key", append(berta, "key", "remove", slots[repository.UseKit].ID, "--yes")...)
	s.want(5, "password", "check")
	s.kit = second
	s.want(0, "no damage", "check")
	kit := list(berta...)[repository.UseKit].ID
	s.want(5, "no recovery kit opens", append(berta, "key", "remove", kit, "--yes")...)
	s.want(0, "removed key", "key", "remove", list()[repository.UsePerson].ID, "--yes")
	if got := list(); len(got) != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestPasswordWithBlanks: a key from before blanks were left out opens with its file still.
func TestPasswordWithBlanks(t *testing.T) {
	t.Parallel()
	s := newShelf(t)
	if _, err := s.repo.AddKey(t.Context(), holdfast.NewSecret(" anna's words "), repository.UsePerson); err != nil {
		t.Fatal(err)
	}
	s.want(0, "person", "key", "list", "--repository", s.dir, "--password-file", s.file(" anna's words \n"))
}

func TestNamedRepositoryNeedsTheServersMachine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"repository", "check"}, 2},
		{[]string{"repository", "check", "main", "--server", "https://192.0.2.1:1", "--token-file", os.DevNull}, 2},
		{[]string{"repository", "check", "--password-file", "x"}, 2},
		{[]string{"repository", "check", "main", "--repository", "/x"}, 2},
		{[]string{"repository", "check", "--kit", "x", "--password-file", "y"}, 2},
	} {
		null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := run(append(c.args, "--state", t.TempDir()), null, null, null); got != c.code {
			t.Errorf("%v: got %d, want %d", c.args, got, c.code)
		}
		if err := null.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAffectedIsShort(t *testing.T) {
	t.Parallel()
	var many []checkedSnapshot
	for i := range shownSnapshots + 5 {
		many = append(many, checkedSnapshot{Snapshot: strings.Repeat("a", 64), Set: fmt.Sprint(1001 + i), Site: "berlin"})
	}
	if got := affected(many); !strings.HasPrefix(got, "set 1001 of berlin, set 1002") || !strings.HasSuffix(got, "set 1020 of berlin and 5 more") {
		t.Errorf("got %q", got)
	}
	if got := affected([]checkedSnapshot{{Snapshot: "abcdef0123"}, {Snapshot: "ab", Set: "7"}}); got != "snapshot abcdef01, set 7" {
		t.Errorf("got %q", got)
	}
}
