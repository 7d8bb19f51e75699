package pgphysical

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// startSlack is how much later than its postmaster.pid a server may say that it
// has started: it allocates its memory in between.
const startSlack = 10 * time.Minute

// controlAttempts is how often a torn pg_control is read before it counts as
// damaged; the server writes it in one small write.
const controlAttempts = 40

// settings are the server's own words about where its files are.
type settings struct {
	systemIdentifier uint64
	dataDirectory    string
	configFile       string
	hbaFile          string
	identFile        string
	logDirectory     string // as set: relative to the data directory, or absolute
	started          time.Time
	port             int
}

func readSettings(ctx context.Context, conn *pgx.Conn) (settings, error) {
	var s settings
	var id int64
	err := pgsession.QueryRow(ctx, conn, queryLimit, `SELECT system_identifier, current_setting('data_directory'), current_setting('config_file'),
		current_setting('hba_file'), current_setting('ident_file'), current_setting('log_directory'), pg_postmaster_start_time(), current_setting('port')::int
		FROM pg_control_system()`, nil, &id, &s.dataDirectory, &s.configFile, &s.hbaFile, &s.identFile, &s.logDirectory, &s.started, &s.port)
	if err != nil {
		return s, pgsession.QueryError(err, "tell where its files are")
	}
	s.systemIdentifier = uint64(id)
	return s, nil
}

// dataDir is a data directory that has proved to be the server's.
type dataDir struct {
	path     string // without symbolic links
	control  pg.Control
	settings settings
}

// checkDataDir compares the directory with the server before anything else is
// read: a directory that is given is often another cluster's, or a stale copy
// with the same system identifier.
func checkDataDir(ctx context.Context, conn *pgx.Conn, dir string) (*dataDir, error) {
	s, err := readSettings(ctx, conn)
	if err != nil {
		return nil, err
	}
	path, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, readError(err, dir)
	}
	if _, err := os.ReadDir(path); err != nil {
		return nil, readError(err, dir)
	}
	control, err := readControl(ctx, path)
	if err != nil {
		return nil, err
	}
	if control.SystemIdentifier != s.systemIdentifier {
		return nil, holdfast.Errorf(holdfast.CodeInvalid,
			"data directory %s is another cluster's: its system identifier is %d, the server's is %d", dir, control.SystemIdentifier, s.systemIdentifier).
			WithHint("the server says that its data directory is %s", s.dataDirectory)
	}
	if err := checkLive(path, dir, s); err != nil {
		return nil, err
	}
	return &dataDir{path: path, control: control, settings: s}, nil
}

// checkLive tells the server's data directory from a copy of it.
func checkLive(path, dir string, s settings) error {
	stale := func(why string) error {
		return holdfast.Errorf(holdfast.CodeInvalid, "data directory %s is a stale copy of the server's: %s", dir, why).
			WithHint("the server says that its data directory is %s", s.dataDirectory)
	}
	text, err := os.ReadFile(filepath.Join(path, "postmaster.pid"))
	if errors.Is(err, os.ErrNotExist) {
		return stale("no server runs in it")
	}
	if err != nil {
		return readError(err, filepath.Join(dir, "postmaster.pid"))
	}
	p, err := pg.ParsePostmasterPID(string(text))
	if err != nil {
		return stale("its postmaster.pid is not valid")
	}
	late := s.started.Sub(p.Started)
	switch {
	case late < -time.Second || late > startSlack:
		return stale("its postmaster.pid is of a server that started at " + p.Started.Format(time.RFC3339))
	case p.Port != s.port:
		return stale("its postmaster.pid is of a server on another port")
	}
	if samePath(path, s.dataDirectory) {
		return nil
	}
	// The server may see its directory under another path, in a container. But
	// when its own path leads to a directory here in which it runs, ours is a
	// copy that took postmaster.pid along.
	other, err := os.ReadFile(filepath.Join(s.dataDirectory, "postmaster.pid"))
	if err == nil && string(other) == string(text) {
		return stale("the server runs in " + s.dataDirectory)
	}
	return nil
}

func samePath(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	return errX == nil && errY == nil && os.SameFile(x, y)
}

// checkFresh is the last proof that the directory is the server's: the checkpoint
// with which the backup began, and from which start is replayed, stands in its
// pg_control.
func checkFresh(ctx context.Context, d *dataDir, start pg.LSN) (pg.Control, error) {
	c, err := readControl(ctx, d.path)
	if err != nil {
		return c, err
	}
	if c.SystemIdentifier != d.control.SystemIdentifier || c.Redo < start {
		return c, holdfast.Errorf(holdfast.CodeInvalid, "data directory %s is a stale copy of the server's: its newest checkpoint is at %s, the server's at %s",
			d.path, c.Redo, start).WithHint("the server says that its data directory is %s", d.settings.dataDirectory)
	}
	return c, nil
}

// readControl reads pg_control until its checksum is good.
func readControl(ctx context.Context, dir string) (pg.Control, error) {
	c, _, err := readControlFile(ctx, dir)
	return c, err
}

// readControlFile also returns the bytes.
func readControlFile(ctx context.Context, dir string) (pg.Control, []byte, error) {
	name := filepath.Join(dir, pg.ControlFile)
	for attempt := 1; ; attempt++ {
		b, err := readLimited(name, pg.ControlFileSize)
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return pg.Control{}, nil, holdfast.Wrap(holdfast.CodeInvalid, err, "%s is no data directory: it has no %s", dir, pg.ControlFile).
					WithHint("give the site the directory that SHOW data_directory prints, and a worker that stands on the server's machine")
			}
			return pg.Control{}, nil, readError(err, name)
		}
		c, err := pg.ParseControl(b)
		if err == nil {
			return c, b, nil
		}
		if attempt == controlAttempts {
			return pg.Control{}, nil, holdfast.Wrap(holdfast.CodeInvalid, err, "%s is damaged, or of an unknown version: %s", name, err)
		}
		select {
		case <-ctx.Done():
			return pg.Control{}, nil, context.Cause(ctx)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// readLimited reads a file of at most limit bytes.
func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return readAll(f, limit)
}

func readAll(f *os.File, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s is larger than %d bytes", f.Name(), limit)
	}
	return b, err
}

// below reports whether path lies in dir; both are clean.
func below(path, dir string) bool {
	return dir == "/" && path != "/" || strings.HasPrefix(path, dir+"/")
}
