package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

func TestAnotherProgramHoldsTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s := open(t, path, sqlite.WithBusyTimeout(50*time.Millisecond))
	addHost(t, s, "before")
	other := foreign(t, path)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ran := false
	err := s.Update(t.Context(), func(store.Tx) error { ran = true; return nil })
	if holdfast.ErrorCode(err) != holdfast.CodeUnavailable || holdfast.ErrorHint(err) == "" || ran {
		t.Errorf("update: got %v, ran %t; want unavailable with a hint, and nothing done", err, ran)
	}
	installation(t, s) // readers go on
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	addHost(t, s, "after")
}

func TestWhoCannotWaitForALockLeaves(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s := open(t, path, sqlite.WithBusyTimeout(10*time.Second))
	other := foreign(t, path)
	if _, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := s.Update(ctx, func(store.Tx) error { return nil })
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
		t.Errorf("got %v after %s, want the deadline at once", err, time.Since(begun))
	}
	if _, err := other.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	addHost(t, s, "after")
}

// fill writes more than the pages that a full disk leaves.
func fill(ctx context.Context, tx store.Tx, name string) error {
	return tx.InsertHost(ctx, &holdfast.Host{Account: holdfast.FirstID, Name: name, Address: strings.Repeat("x", 1<<20)})
}

// limitPages makes the disk full for the connection that writes.
func limitPages(ctx context.Context, tx store.Tx) error {
	n, err := sqlite.Number(ctx, tx, "PRAGMA page_count")
	if err != nil {
		return err
	}
	_, err = sqlite.Number(ctx, tx, fmt.Sprintf("PRAGMA max_page_count = %d", n+20))
	return err
}

func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	for name, ignore := range map[string]bool{"the function says so": false, "the function ignores it": true} {
		err := s.Update(t.Context(), func(tx store.Tx) error {
			ctx := t.Context()
			if err := tx.InsertEvent(ctx, &holdfast.Event{Account: holdfast.FirstID}); err != nil {
				return err
			}
			if err := limitPages(ctx, tx); err != nil {
				return err
			}
			err := fill(ctx, tx, "big")
			if !ignore {
				return err
			}
			// What comes after a lost transaction must not be written by itself.
			_ = tx.InsertEvent(ctx, &holdfast.Event{Account: holdfast.FirstID})
			return nil
		})
		if holdfast.ErrorCode(err) != holdfast.CodeExhausted || holdfast.ErrorHint(err) == "" {
			t.Errorf("%s: got %v, want exhausted with a hint", name, err)
		}
		if got := number(t, s, "SELECT count(*) FROM events"); got != 0 {
			t.Errorf("%s: got %d events of a transaction that failed, want 0", name, got)
		}
		addHost(t, s, name)
	}
	if got := number(t, s, "SELECT count(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'"); got != 0 {
		t.Errorf("got %d faults in the database", got)
	}
}

// TestDiskFullForOneOfAGroup has several writers share a commit, of which one
// fills the disk: the others' work is done.
func TestDiskFullForOneOfAGroup(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	held, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		var once sync.Once
		err := s.Update(t.Context(), func(tx store.Tx) error {
			once.Do(func() { close(held); <-release })
			return limitPages(t.Context(), tx)
		})
		if err != nil {
			t.Errorf("holder: %v", err)
		}
	})
	<-held
	const others = 12
	errs := make([]error, others)
	for i := range others {
		wg.Go(func() {
			errs[i] = s.Update(t.Context(), func(tx store.Tx) error {
				if i == 5 {
					return fill(t.Context(), tx, "big")
				}
				return tx.InsertHost(t.Context(), &holdfast.Host{Account: holdfast.FirstID, Name: fmt.Sprintf("h%d", i)})
			})
		})
	}
	time.Sleep(50 * time.Millisecond) // for the others to wait together; a split group would only test less
	close(release)
	wg.Wait()
	for i, err := range errs {
		want := holdfast.Code("")
		if i == 5 {
			want = holdfast.CodeExhausted
		}
		if got := holdfast.ErrorCode(err); got != want {
			t.Errorf("writer %d: got %v, want code %q", i, err, want)
		}
	}
	if got := number(t, s, "SELECT count(*) FROM hosts WHERE name LIKE 'h%'"); got != others-1 {
		t.Errorf("got %d hosts, want %d", got, others-1)
	}
}

func TestTheDatabaseItselfGuardsHistory(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s := open(t, path)
	seed(t, s, 5)
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return tx.InsertEvent(t.Context(), &holdfast.Event{Account: holdfast.FirstID})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"UPDATE executions SET detail = 'rewritten' WHERE state = 'ENDED'",
		"UPDATE executions SET site = site + 1",
		"UPDATE executions SET state = 'ENDED', outcome = '' WHERE state <> 'ENDED'",
		"UPDATE events SET actor = 'somebody else'",
		"DELETE FROM events",
	} {
		err := s.Update(t.Context(), func(tx store.Tx) error { return sqlite.Exec(t.Context(), tx, text) })
		if err == nil {
			t.Errorf("%s: got no error", text)
		}
	}
}

func TestATransactionEndsWithItsFunction(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	var kept store.Tx
	if err := s.Update(t.Context(), func(tx store.Tx) error { kept = tx; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := kept.InsertEvent(t.Context(), &holdfast.Event{}); err == nil {
		t.Error("wrote in a transaction that had ended")
	}
}

// TestCommitFails has the commit itself refused, by a constraint that waits for
// it.
func TestCommitFails(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if err := sqlite.Exec(t.Context(), tx, "PRAGMA defer_foreign_keys = ON"); err != nil {
			return err
		}
		if err := tx.InsertHost(t.Context(), &holdfast.Host{Account: holdfast.FirstID, Name: "good"}); err != nil {
			return err
		}
		return tx.InsertHost(t.Context(), &holdfast.Host{Account: 9999, Name: "of no account"})
	})
	if holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("got %v, want a conflict", err)
	}
	if got := number(t, s, "SELECT count(*) FROM hosts"); got != 0 {
		t.Errorf("got %d hosts of a commit that failed, want 0", got)
	}
	addHost(t, s, "after")
}

func TestViewsWaitForAReader(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"), sqlite.WithReaders(1), sqlite.WithLogger(slog.New(slog.DiscardHandler)))
	err := s.View(t.Context(), func(store.Reader) error {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := s.View(ctx, func(store.Reader) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("second view: got %v, want its deadline", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	installation(t, s)
}

func TestAQueryIsInterrupted(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	err := s.View(ctx, func(r store.Reader) error {
		_, err := sqlite.Number(ctx, r, "WITH RECURSIVE i (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i) SELECT count(*) FROM i")
		return err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
	for range 8 { // whichever connection that was
		installation(t, s)
	}
}
