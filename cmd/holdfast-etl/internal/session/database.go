package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/duckdb/duckdb-go/v2"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// settings close the engine up, in this order: what names files comes before the
// access to them is switched off, and the lock comes last.
func settings(o *duck.Open) []string {
	paths := make([]string, slotCount)
	for i := range paths {
		paths[i] = slotPath(i)
	}
	return []string{
		// Without a limit the engine crashes when the machine is short of memory.
		fmt.Sprintf("SET GLOBAL memory_limit = '%dB'", o.Memory),
		fmt.Sprintf("SET GLOBAL threads = %d", o.Threads),
		"SET GLOBAL temp_directory = " + literal(filepath.Join(o.Dir, "spill")),
		fmt.Sprintf("SET GLOBAL max_temp_directory_size = '%dB'", o.Temp),
		fmt.Sprintf("SET GLOBAL preserve_insertion_order = %t", o.Ordered),
		"SET GLOBAL TimeZone = 'UTC'", // as the sessions of PostgreSQL have it
		"SET GLOBAL autoinstall_known_extensions = false",
		"SET GLOBAL autoload_known_extensions = false",
		"SET GLOBAL allow_community_extensions = false",
		"SET GLOBAL allowed_paths = " + list(paths),
		"SET GLOBAL allowed_directories = " + list([]string{filesDir(o.Dir)}),
		"SET GLOBAL enable_external_access = false",
		"SET GLOBAL lock_configuration = true",
	}
}

// open opens the engine, once.
func (s *Session) open(ctx context.Context, o *duck.Open, r *duck.Response) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.db != nil {
		return errors.New("the engine was opened before")
	}
	if err := checkLimit(); err != nil {
		return err
	}
	var err error
	if o.Dir, err = filepath.EvalSymlinks(o.Dir); err == nil { // as the engine will
		err = os.Mkdir(filesDir(o.Dir), 0o700)
	}
	if err != nil {
		return fmt.Errorf("make a place for files: %w", err)
	}
	connector, err := duckdb.NewConnector("", func(driver.ExecerContext) error { return nil })
	if err != nil {
		return fmt.Errorf("open the engine: %w", err)
	}
	db := sql.OpenDB(connector)
	for _, q := range settings(o) {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", q, err), db.Close())
		}
	}
	if err := register(ctx, db, sinkScalar, feedTable); err != nil {
		return errors.Join(err, db.Close())
	}
	engine, err := engineVersion(ctx, db)
	if err != nil {
		return errors.Join(err, db.Close())
	}
	s.db, s.dir, s.temp, s.line = db, o.Dir, o.Temp, min(max(o.Memory/linesInMemory, minLine), maxLine)
	if s.threads = o.Threads; o.Ordered {
		s.threads = 1
	}
	r.Opened = &duck.Opened{Protocol: duck.Protocol, Version: s.version, DuckDB: engine}
	return nil
}

// EngineVersion returns the version of DuckDB.
func EngineVersion(ctx context.Context) (string, error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return "", fmt.Errorf("open the engine: %w", err)
	}
	version, err := engineVersion(ctx, db)
	return version, errors.Join(err, db.Close())
}

func engineVersion(ctx context.Context, db *sql.DB) (version string, err error) {
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return "", fmt.Errorf("ask the engine for its version: %w", err)
	}
	return version, nil
}

// literal quotes a string.
func literal(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// identifier quotes a name.
func identifier(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
