package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// The environment of a child process: what it does until it is killed, and where.
const (
	childRole = "HOLDFAST_TEST_ROLE"
	childPath = "HOLDFAST_TEST_PATH"
)

func TestMain(m *testing.M) {
	var run func(context.Context, string) error
	switch os.Getenv(childRole) {
	case "write":
		run = writeForever
	case "migrate":
		run = migrateSlowly
	case "create":
		run = create
	default:
		os.Exit(m.Run())
	}
	if err := run(context.Background(), os.Getenv(childPath)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child starts this test's own program in a role, and kills it after a while,
// which begins when it has printed some lines: how long it takes to start says
// nothing. It returns the lines that it could print.
func child(t *testing.T, role, path string, lines int, life time.Duration) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), childRole+"="+role, childPath+"="+path)
	var failure strings.Builder
	cmd.Stderr = &failure
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill *time.Timer
	var printed []string
	for in := bufio.NewScanner(out); ; printed = append(printed, in.Text()) {
		if kill == nil && len(printed) >= lines {
			kill = time.AfterFunc(life, func() { _ = cmd.Process.Kill() })
			defer kill.Stop()
		}
		if !in.Scan() {
			break
		}
	}
	if err := cmd.Wait(); err != nil && failure.Len() > 0 {
		t.Fatalf("child %s: %v\n%s", role, err, failure.String())
	}
	return printed
}

// writeForever inserts, moves and ends executions from several goroutines, and
// prints what it was promised.
func writeForever(ctx context.Context, path string) error {
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	var mu sync.Mutex // guards the output
	say := func(words string, id holdfast.ExecutionID) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(words, int64(id))
	}
	fail := make(chan error)
	for range 8 {
		go func() {
			for {
				if err := writeOne(ctx, s, say); err != nil {
					fail <- err
					return
				}
			}
		}()
	}
	return <-fail
}

func writeOne(ctx context.Context, s *sqlite.Store, say func(string, holdfast.ExecutionID)) error {
	e := holdfast.Execution{
		Account: holdfast.FirstID, Site: holdfast.FirstID, Job: holdfast.FirstID, Type: holdfast.JobBackup,
		Status: holdfast.Status{State: holdfast.StateQueued}, Pool: holdfast.DefaultPool,
	}
	err := s.Update(ctx, func(tx store.Tx) error {
		e.ID = 0
		if err := tx.InsertExecution(ctx, &e); err != nil {
			return err
		}
		return tx.InsertEvent(ctx, &holdfast.Event{Account: e.Account, Kind: "execution.queued", Subject: fmt.Sprint("execution ", e.ID)})
	})
	if err != nil {
		return err
	}
	say("queued", e.ID)
	for _, m := range []holdfast.Move{holdfast.MoveStart, holdfast.MoveSucceed} {
		next := e
		if next.Status, err = e.Next(m); err != nil {
			return err
		}
		if err := s.Update(ctx, func(tx store.Tx) error { return tx.MoveExecution(ctx, e, next) }); err != nil {
			return err
		}
		e = next
	}
	say("ended", e.ID)
	return nil
}

func TestKilledWriterKeepsItsPromises(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	first := open(t, path)
	seed(t, first, 0)
	closeStore(t, first)
	promised := map[string]string{} // by execution
	for range 6 {
		for _, line := range child(t, "write", path, 10, time.Duration(rand.IntN(300))*time.Millisecond) {
			if words, id, ok := strings.Cut(line, " "); ok {
				promised[id] = words
			}
		}
		s := open(t, path)
		err := s.View(t.Context(), func(r store.Reader) error {
			for id, words := range promised {
				n, err := strconv.ParseInt(id, 10, 64)
				if err != nil {
					continue // a line that was cut short
				}
				e, err := r.Execution(t.Context(), holdfast.FirstID, holdfast.ExecutionID(n))
				if err != nil {
					t.Errorf("execution %s was promised (%s): %v", id, words, err)
				}
				if words == "ended" && e.State != holdfast.StateEnded {
					t.Errorf("execution %s: got state %s, and was promised that it had ended", id, e.State)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range map[string]int64{
			"SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'":                                               0,
			"SELECT count(*) FROM pragma_foreign_key_check":                                                                           0,
			"SELECT count(*) - (SELECT n FROM execution_totals WHERE job <> 0) FROM executions":                                       0,
			"SELECT count(*) FROM executions WHERE 'execution ' || id NOT IN (SELECT subject FROM events)":                            0,
			"SELECT (SELECT count(*) FROM executions) - (SELECT count(*) FROM events WHERE subject LIKE 'execution %')":               0,
			"SELECT (SELECT max(id) FROM executions) - (SELECT seq FROM sqlite_sequence WHERE name = 'executions')":                   0,
			"SELECT (SELECT count(*) FROM executions) - (SELECT max(id) - 1000 FROM executions)":                                      0,
			"SELECT count(*) FROM executions WHERE (state = 'ENDED') <> (outcome <> '') OR state NOT IN ('QUEUED','RUNNING','ENDED')": 0,
		} {
			if got := number(t, s, text); got != want {
				t.Errorf("%s: got %d, want %d", text, got, want)
			}
		}
		closeStore(t, s)
	}
	if len(promised) < 50 {
		t.Errorf("got %d promises in all, want enough to mean something", len(promised))
	}
	t.Logf("%d promises kept", len(promised))
}

// slowSteps are migrations that take long enough to be killed in.
func slowSteps() []string {
	long := "INSERT INTO %[1]s WITH RECURSIVE i (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 20000) SELECT i FROM i;"
	var steps []string
	for _, table := range []string{"later2", "later3", "later4"} {
		steps = append(steps, fmt.Sprintf("CREATE TABLE %[1]s (x INTEGER); "+long+" CREATE INDEX %[1]s_x ON %[1]s (x);", table))
	}
	return steps
}

// migrateSlowly opens the database with a newer schema.
func migrateSlowly(ctx context.Context, path string) error {
	files, err := laterSchema(slowSteps()...)
	if err != nil {
		return err
	}
	fmt.Println("begun")
	s, err := sqlite.Open(ctx, path, sqlite.WithSchema(files))
	if err != nil {
		return err
	}
	fmt.Println("migrated")
	return s.Close()
}

func TestKilledMigrationGoesOn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	old := open(t, path)
	seed(t, old, 1000)
	id := installation(t, old)
	closeStore(t, old)
	files, err := laterSchema(slowSteps()...)
	if err != nil {
		t.Fatal(err)
	}
	kills := 0
	for life := 10 * time.Millisecond; ; life += life / 3 {
		if len(child(t, "migrate", path, 1, life)) > 1 {
			break
		}
		kills++
	}
	s := open(t, path, sqlite.WithSchema(files))
	if got := installation(t, s); got != id {
		t.Errorf("got installation %q, want %q", got, id)
	}
	for _, table := range []string{"later2", "later3", "later4"} {
		if got := number(t, s, "SELECT count(*) FROM "+table); got != 20000 {
			t.Errorf("%s: got %d rows, want 20000", table, got)
		}
	}
	copied := open(t, copyBefore(t, path, 1))
	if got := number(t, copied, "SELECT count(*) FROM executions"); got != 1000 {
		t.Errorf("got %d executions in the copy, want 1000", got)
	}
	if left, _ := filepath.Glob(path + "*.part"); len(left) > 0 {
		t.Errorf("got half copies left over: %v", left)
	}
	t.Logf("killed %d times", kills)
}

// create makes a new database.
func create(ctx context.Context, path string) error {
	fmt.Println("begun")
	s, err := sqlite.Open(ctx, path)
	if err != nil {
		return err
	}
	return s.Close()
}

func TestKilledCreationGoesOn(t *testing.T) {
	t.Parallel()
	for life := time.Duration(0); life < 60*time.Millisecond; life += 4 * time.Millisecond {
		path := filepath.Join(t.TempDir(), "state", "holdfast.db")
		child(t, "create", path, 1, life)
		s := open(t, path)
		if got := number(t, s, "SELECT count(*) FROM accounts"); got != 1 {
			t.Errorf("after %s: got %d accounts, want 1", life, got)
		}
		closeStore(t, s)
	}
}
