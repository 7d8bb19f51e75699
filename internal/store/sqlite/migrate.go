package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/durable"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	versionTable = "goose_db_version" // where goose records what it has done
	copyInfix    = ".before-"         // between a database's path and the version that came next
	keptCopies   = 3
)

// schema is the migrations, each one transaction: a file of SQL, numbered.
type schema struct{ files fs.FS }

func embedded() schema {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		panic(err) // the name is a constant
	}
	return schema{files: files}
}

// migrate brings the schema up to date. Every migration is one transaction
// together with the record of its version, so that a process that dies in
// between leaves a schema from which the next one goes on.
func migrate(ctx context.Context, db *sql.DB, path string, o options) error {
	if err := checkOwn(ctx, path, o.busyTimeout); err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, o.schema.files,
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	have, newest, err := p.GetVersions(ctx)
	if err != nil {
		return classify(fmt.Errorf("read the schema's version: %w", err))
	}
	switch {
	case have == newest:
		return nil
	case have > newest:
		return errNewer(path, have, newest)
	case have > 0:
		if err := checkPages(ctx, db, path); err != nil {
			return err
		}
		if err := keepCopy(ctx, db, path, have+1); err != nil {
			return err
		}
	}
	done, err := p.Up(ctx)
	if err != nil {
		if partial, ok := errors.AsType[*goose.PartialError](err); ok {
			done = partial.Applied
		}
		err = classify(fmt.Errorf("bring the schema from version %d to %d: %w", have, newest, err))
	}
	for _, m := range done {
		o.log.InfoContext(ctx, "schema migrated", "version", m.Source.Version, "elapsed", m.Duration)
	}
	return err
}

func errNewer(path string, have, newest int64) error {
	err := holdfast.Errorf(holdfast.CodeInvalid, "the metadata database %s has schema version %d, and this program knows versions up to %d", path, have, newest)
	copies, listErr := listCopies(path)
	for _, c := range copies {
		if c.next > newest && listErr == nil {
			oldest := c.path
			return err.WithHint("upgrade the program; or, to lose what came after the upgrade, put %s in the file's place", oldest)
		}
	}
	return err.WithHint("upgrade the program, or restore an older copy of the database")
}

// checkPages looks for damage before a migration builds on it.
func checkPages(ctx context.Context, db *sql.DB, path string) error {
	var found string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return classify(fmt.Errorf("check %s: %w", path, err))
	}
	if found != "ok" {
		return holdfast.Wrap(holdfast.CodeInternal, errors.New(found), "the metadata database %s is damaged", path).
			WithHint("restore it from a copy")
	}
	return nil
}

// keepCopy leaves a copy of the database as it is before the migration to the
// next version. It has its name only when it is whole and durable.
func keepCopy(ctx context.Context, db *sql.DB, path string, next int64) error {
	final := path + copyInfix + strconv.FormatInt(next, 10)
	part := final + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fileError(err, "copy the metadata database to "+part)
	}
	if err := createFile(part); err != nil { // empty, with the right mode; VACUUM INTO fills it
		return err
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", part); err != nil {
		return errors.Join(classify(fmt.Errorf("copy the metadata database to %s: %w", part, err)), os.Remove(part))
	}
	if err := syncPath(part); err != nil {
		return err
	}
	if err := os.Rename(part, final); err != nil {
		return fileError(err, "copy the metadata database to "+final)
	}
	if err := durable.SyncDir(filepath.Dir(path)); err != nil {
		return fileError(err, "copy the metadata database to "+final)
	}
	copies, err := listCopies(path)
	if err != nil {
		return err
	}
	for len(copies) > keptCopies {
		if err := os.Remove(copies[0].path); err != nil {
			return fileError(err, "remove the old copy "+copies[0].path)
		}
		copies = copies[1:]
	}
	return nil
}

// dbCopy is one automatic copy.
type dbCopy struct {
	path string
	next int64 // the version that it was made before
}

// listCopies lists the automatic copies, the oldest version first.
func listCopies(path string) ([]dbCopy, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fileError(err, "look for copies of the metadata database")
	}
	var copies []dbCopy
	for _, e := range entries {
		number, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+copyInfix)
		if !ok {
			continue
		}
		if next, err := strconv.ParseInt(number, 10, 64); err == nil {
			copies = append(copies, dbCopy{path: filepath.Join(filepath.Dir(path), e.Name()), next: next})
		}
	}
	slices.SortFunc(copies, func(a, b dbCopy) int { return cmp.Compare(a.next, b.next) })
	return copies, nil
}
