package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// addETLs makes ETL jobs at the first site of seed.
func addETLs(t *testing.T, s *sqlite.Store, names ...string) {
	t.Helper()
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		for _, name := range names {
			j := holdfast.Job{Account: holdfast.FirstID, Site: holdfast.FirstID, Type: holdfast.JobETL, Name: name, ETL: &holdfast.ETLSpec{Definition: name}}
			if err := tx.InsertJob(ctx, &j); err != nil {
				return err
			}
		}
		return nil
	})
}

func etlNames(t *testing.T, r store.Reader) string {
	t.Helper()
	list, err := r.ETLs(t.Context(), holdfast.FirstID)
	if err != nil {
		t.Error(err)
	}
	var names []string
	for _, j := range list {
		names = append(names, j.Name)
	}
	return strings.Join(names, " ")
}

func wantETLs(t *testing.T, s *sqlite.Store, want string) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		if got := etlNames(t, r); got != want {
			t.Errorf("got ETLs %q, want %q", got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAListOfETLsIsThatOfItsSnapshot(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	seed(t, s, 0)
	wantETLs(t, s, "")
	addETLs(t, s, "a", "b")
	wantETLs(t, s, "a b")
	err := s.View(t.Context(), func(old store.Reader) error {
		if _, err := old.Installation(t.Context()); err != nil {
			return err
		}
		addETLs(t, s, "c")
		wantETLs(t, s, "a b c")
		if got := etlNames(t, old); got != "a b" {
			t.Errorf("got ETLs %q in an older snapshot, want \"a b\"", got)
		}
		wantETLs(t, s, "a b c")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// What is never written is not remembered.
	err = s.Update(t.Context(), func(tx store.Tx) error {
		j := holdfast.Job{Account: holdfast.FirstID, Site: holdfast.FirstID, Type: holdfast.JobETL, Name: "d", ETL: &holdfast.ETLSpec{}}
		if err := tx.InsertJob(t.Context(), &j); err != nil {
			return err
		}
		if got := etlNames(t, tx); got != "a b c d" {
			t.Errorf("got ETLs %q inside the transaction, want the new one, too", got)
		}
		return errUndo
	})
	if err == nil {
		t.Error("got no error of a transaction that was undone")
	}
	wantETLs(t, s, "a b c")
	addETLs(t, s, "e") // with the version that the other would have had
	wantETLs(t, s, "a b c e")
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		return sqlite.Exec(ctx, tx, "DELETE FROM jobs WHERE name = 'b'")
	})
	wantETLs(t, s, "a c e")
}

var errUndo = holdfast.Errorf(holdfast.CodeConflict, "undone")

func TestListsOfETLsAreReadWhileTheyChange(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	seed(t, s, 0)
	const n = 50
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			addETLs(t, s, fmt.Sprint("etl", i))
		}
	})
	for range 3 {
		wg.Go(func() {
			for seen := 0; seen < n; {
				err := s.View(t.Context(), func(r store.Reader) error {
					list, err := r.ETLs(t.Context(), holdfast.FirstID)
					total, err2 := countETLs(t, r)
					if err != nil || err2 != nil || len(list) != total || len(list) < seen {
						return fmt.Errorf("got %d ETLs of %d after %d: %w, %w", len(list), total, seen, err, err2)
					}
					seen = len(list)
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func countETLs(t *testing.T, r store.Reader) (int, error) {
	t.Helper()
	_, n, err := r.Jobs(t.Context(), holdfast.FirstID, store.JobFilter{Types: []holdfast.JobType{holdfast.JobETL}, Page: store.Page{Limit: 1}})
	return n, err
}
