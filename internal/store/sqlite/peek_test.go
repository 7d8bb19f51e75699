package sqlite_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// TestPeekBesideAStore reads while another process, or this one, has the file open.
func TestPeekBesideAStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "holdfast.db")
	s := open(t, path)
	want := holdfast.Repository{
		Account: holdfast.FirstID, Name: "main", Location: "file:///srv/main", FormatID: "ab", Password: []byte("sealed"), Access: []byte("too"),
		MaxRunning: 3, Created: time.UnixMicro(1_700_000_000_000_000).UTC(),
	}
	change(t, s, func(ctx context.Context, tx store.Tx) error { return tx.InsertRepository(ctx, &want) })
	got, err := sqlite.PeekRepository(t.Context(), path, holdfast.FirstID, want.ID)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, error %v, want %+v", got, err, want)
	}
	for _, c := range []struct {
		a  holdfast.AccountID
		id holdfast.RepositoryID
	}{{holdfast.FirstID + 1, want.ID}, {holdfast.FirstID, want.ID + 1}} {
		if _, err := sqlite.PeekRepository(t.Context(), path, c.a, c.id); holdfast.ErrorCode(err) != holdfast.CodeNotFound {
			t.Errorf("%v: got %v", c, err)
		}
	}
	want.Name = "renamed"
	change(t, s, func(ctx context.Context, tx store.Tx) error { return tx.UpdateRepository(ctx, want) }) // the store still writes
	closeStore(t, s)
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.PeekRepository(t.Context(), path, 0, want.ID); holdfast.ErrorCode(err) != holdfast.CodeConflict {
		t.Errorf("a newer schema: got %v", err)
	}
	if _, err := sqlite.PeekRepository(t.Context(), path+"x", 0, want.ID); err == nil {
		t.Error("a missing file: no error")
	}
}
