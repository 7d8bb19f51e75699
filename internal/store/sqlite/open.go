package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	driver "modernc.org/sqlite"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/durable"
)

// applicationID marks a database of this program: "Hold" in ASCII. The first
// migration sets it.
const applicationID = 0x486f6c64

const (
	fileMode  = 0o600
	dirMode   = 0o700
	walLimit  = 64 << 20 // bytes that the write-ahead log keeps after a checkpoint
	cacheKiB  = 16 << 10
	othersMay = 0o077
)

// access is how a pool uses the file.
type access int

const (
	looking access = iota // at a file that may be another program's: change nothing
	reading
	writing
)

// openPool opens the file for up to n connections. Everything that a connection
// needs is in its name, so that one opened later is no different.
func openPool(path string, a access, busy time.Duration, n int) (*sql.DB, error) {
	q := url.Values{}
	q.Set("mode", "rw") // never made here: prepareFile does, with its own mode
	q.Set("_busy_timeout", strconv.FormatInt(busy.Milliseconds(), 10))
	q.Set("_foreign_keys", "1")
	q.Set("_dqs", "0")
	q.Set("_defensive", "1")
	q.Add("_pragma", "trusted_schema(0)")
	q.Add("_pragma", "cell_size_check(1)")
	q.Add("_pragma", "temp_store(MEMORY)")
	q.Add("_pragma", fmt.Sprintf("cache_size(-%d)", cacheKiB))
	switch a {
	case looking, reading:
		q.Set("_query_only", "1")
	case writing:
		q.Set("_txlock", "immediate")
		q.Set("_journal_mode", "WAL")
		q.Set("_synchronous", "FULL")
		q.Add("_pragma", fmt.Sprintf("journal_size_limit(%d)", walLimit))
	}
	name := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	c, err := driver.NewConnector(name.String())
	if err != nil {
		return nil, fmt.Errorf("open the metadata database %s: %w", path, err)
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}

// prepareFile returns the absolute path of the file, which exists when it
// returns: durable, and for its owner alone.
func prepareFile(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fileError(err, "find the metadata database")
	}
	if err := durable.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return "", fileError(err, "make the state directory "+filepath.Dir(path))
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return path, createFile(path)
	case err != nil:
		return "", fileError(err, "open the metadata database "+path)
	case !info.Mode().IsRegular():
		return "", holdfast.Errorf(holdfast.CodeInvalid, "the metadata database %s is no file", path).
			WithHint("name a file in the state directory")
	case info.Mode().Perm()&othersMay != 0:
		if err := os.Chmod(path, fileMode); err != nil {
			return "", fileError(err, "close the metadata database "+path+" to others")
		}
	}
	return path, nil
}

func createFile(path string) error {
	if err := durable.Create(path, nil, fileMode); err != nil {
		return fileError(err, "make the metadata database "+path)
	}
	return nil
}

// syncPath makes a file's content durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fileError(err, "sync "+path)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fileError(err, "sync "+path)
	}
	return nil
}

// checkOwn refuses a file that is not this program's, and changes nothing in it.
// A file without tables is a database that was never finished.
func checkOwn(ctx context.Context, path string, busy time.Duration) (err error) {
	db, err := openPool(path, looking, busy, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var appID int64
	var tables int
	if err = db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&appID); err == nil {
		err = db.QueryRowContext(ctx,
			"SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name <> ?", versionTable).Scan(&tables)
	}
	if err != nil {
		err = classify(err)
		if holdfast.ErrorCode(err) == holdfast.CodeInvalid {
			return holdfast.Wrap(holdfast.CodeInvalid, err, "%s is no SQLite database", path).
				WithHint("move it away to begin anew, or put a copy of the metadata database in its place")
		}
		return err
	}
	if appID != applicationID && (appID != 0 || tables != 0) {
		return holdfast.Errorf(holdfast.CodeInvalid, "%s is a database of another program", path).
			WithHint("name another state directory, or move the file away")
	}
	return nil
}
