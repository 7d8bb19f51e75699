package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

func TestOpenMakesFilesForTheOwnerAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "b")
	path := filepath.Join(dir, "holdfast.db")
	s := open(t, path)
	addHost(t, s, "db1")
	for name, want := range map[string]fs.FileMode{
		dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got mode %o, want %o", name, got, want)
		}
	}
}

func TestOpenClosesAFileThatOthersMayRead(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	closeStore(t, open(t, path))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("got mode %o, want 600", got)
	}
}

func TestOpenAgainFindsEverything(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"holdfast.db", "with space & question? 100%.db"} {
		path := filepath.Join(t.TempDir(), name)
		first := open(t, path)
		id, host := installation(t, first), addHost(t, first, "db1")
		closeStore(t, first)
		second := open(t, path)
		if got := installation(t, second); got != id {
			t.Errorf("%s: got installation %q, want %q", name, got, id)
		}
		if !hasHost(t, second, host) {
			t.Errorf("%s: got no host %d", name, host)
		}
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenFinishesWhatNeverBegan(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // as a crash right after creation leaves it
		t.Fatal(err)
	}
	installation(t, open(t, path))
}

func TestOpenRefusesWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, bytes.Repeat([]byte("no database, "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	runSQL(t, foreign, "CREATE TABLE other (x)", "INSERT INTO other VALUES (1)")
	for _, c := range []struct {
		name, path, words string
	}{
		{"a text", text, "is no SQLite database"},
		{"another program's database", foreign, "is a database of another program"},
		{"a directory", dir, "is no file"},
	} {
		before, _ := os.ReadFile(c.path)
		s, err := sqlite.Open(t.Context(), c.path)
		if err == nil {
			closeStore(t, s)
		}
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorMessage(err), c.words) || holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v (%q), want invalid, %q and a hint", c.name, err, holdfast.ErrorMessage(err), c.words)
		}
		if after, _ := os.ReadFile(c.path); !bytes.Equal(before, after) {
			t.Errorf("%s: the file has changed", c.name)
		}
	}
}

func TestOpenSaysThatADatabaseIsDamaged(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func([]byte) []byte{
		"cut short":      func(b []byte) []byte { return b[:len(b)/2] },
		"schema garbled": func(b []byte) []byte { copy(b[100:4096], bytes.Repeat([]byte{0xa5}, 3996)); return b },
		"header garbled": func(b []byte) []byte { copy(b, "garbage in the header"); return b },
	} {
		path := filepath.Join(t.TempDir(), "holdfast.db")
		closeStore(t, open(t, path))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, damage(b), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := sqlite.Open(t.Context(), path)
		if err == nil {
			closeStore(t, s)
			t.Errorf("%s: opened a damaged database", name)
			continue
		}
		if holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v without a hint", name, err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	closeStore(t, open(t, path))
	closeStore(t, open(t, path, sqlite.WithSchema(schemaOf(t, nextVersion()))))
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), path)
	if err == nil {
		closeStore(t, s)
	}
	if holdfast.ErrorCode(err) != holdfast.CodeInvalid || !strings.Contains(holdfast.ErrorHint(err), copyBefore(t, path, 1)) {
		t.Errorf("got %v (hint %q), want invalid with the copy's name in its hint", err, holdfast.ErrorHint(err))
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the refused database has changed")
	}

	// The hint is true.
	if err := os.Rename(copyBefore(t, path, 1), path); err != nil {
		t.Fatal(err)
	}
	installation(t, open(t, path))
}

func TestOlderSchemaIsCopiedAndMigrated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	old := open(t, path)
	id, host := installation(t, old), addHost(t, old, "db1")
	closeStore(t, old)

	s := open(t, path, sqlite.WithSchema(schemaOf(t, nextVersion())))
	if !hasHost(t, s, host) || installation(t, s) != id {
		t.Error("got no host after the migration")
	}
	if got := number(t, s, "SELECT count(*) FROM later"); got != 1 {
		t.Errorf("got %d rows of the second version, want 1", got)
	}
	info, err := os.Stat(copyBefore(t, path, 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("copy: got mode %o, want 600", got)
	}
	restored := open(t, copyBefore(t, path, 1))
	if !hasHost(t, restored, host) || installation(t, restored) != id {
		t.Error("got no host in the copy")
	}
	next := addHost(t, restored, "db2")
	if next != host+1 {
		t.Errorf("got host id %d from the copy's sequence, want %d", next, host+1)
	}
}

func TestFewCopiesAreKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	closeStore(t, open(t, path))
	steps := []string{}
	for v := 1; v <= 10; v++ {
		steps = append(steps, fmt.Sprintf("CREATE TABLE later%d (x);", v))
		closeStore(t, open(t, path, sqlite.WithSchema(schemaOf(t, steps...))))
	}
	found, err := filepath.Glob(path + ".before-*")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	want := []string{copyBefore(t, path, 8), copyBefore(t, path, 9), copyBefore(t, path, 10)}
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("got copies %v, want %v", found, want)
	}
}

func TestFailedMigrationChangesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	old := open(t, path)
	host := addHost(t, old, "db1")
	closeStore(t, old)
	broken := schemaOf(t, "CREATE TABLE later (x); INSERT INTO later VALUES (1); DELETE FROM hosts; INSERT INTO missing VALUES (1);")
	s, err := sqlite.Open(t.Context(), path, sqlite.WithSchema(broken))
	if err == nil {
		closeStore(t, s)
		t.Fatal("opened with a migration that fails")
	}
	again := open(t, path)
	if !hasHost(t, again, host) {
		t.Error("a migration that failed has changed the database")
	}
}

// nextVersion is a migration as a later release may have it.
func nextVersion() string {
	return "CREATE TABLE later (x INTEGER); INSERT INTO later VALUES (1); ALTER TABLE hosts ADD COLUMN rack TEXT NOT NULL DEFAULT '';"
}

// laterSchema is the program's own migrations and others after them.
func laterSchema(more ...string) (fs.FS, error) {
	files := fstest.MapFS{}
	own, err := fs.Glob(sqlite.EmbeddedSchema(), "*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range own {
		text, err := fs.ReadFile(sqlite.EmbeddedSchema(), name)
		if err != nil {
			return nil, err
		}
		files[name] = &fstest.MapFile{Data: text}
	}
	for i, text := range more {
		files[fmt.Sprintf("%05d_later.sql", len(own)+1+i)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + text + "\n")}
	}
	return files, nil
}

func schemaOf(t testing.TB, more ...string) fs.FS {
	t.Helper()
	files, err := laterSchema(more...)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// copyBefore is the copy that is made before the n-th migration after the
// program's own.
func copyBefore(t testing.TB, path string, n int) string {
	t.Helper()
	own, err := fs.Glob(sqlite.EmbeddedSchema(), "*.sql")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s.before-%d", path, len(own)+n)
}

func closeStore(t testing.TB, s *sqlite.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func installation(t testing.TB, s *sqlite.Store) (id string) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) (err error) {
		id, err = r.Installation(t.Context())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func addHost(t testing.TB, s *sqlite.Store, name string) holdfast.HostID {
	t.Helper()
	h := holdfast.Host{Account: holdfast.FirstID, Name: name}
	err := s.Update(t.Context(), func(tx store.Tx) error { return tx.InsertHost(t.Context(), &h) })
	if err != nil {
		t.Fatal(err)
	}
	return h.ID
}

func hasHost(t testing.TB, s *sqlite.Store, id holdfast.HostID) bool {
	t.Helper()
	return number(t, s, "SELECT count(*) FROM hosts WHERE id = ?", id) == 1
}

func number(t testing.TB, s *sqlite.Store, text string, args ...any) (n int64) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) (err error) {
		n, err = sqlite.Number(t.Context(), r, text, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// foreign opens the file as another program would.
func foreign(t testing.TB, path string) *sql.Conn {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		_ = db.Close()
	})
	return c
}

func runSQL(t testing.TB, path string, statements ...string) {
	t.Helper()
	c := foreign(t, path)
	for _, s := range statements {
		if _, err := c.ExecContext(context.WithoutCancel(t.Context()), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
