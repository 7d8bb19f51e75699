package pgphysical

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// connect opens a session that finds nothing but the catalogues by an unqualified
// name.
func connect(ctx context.Context, site engine.Site, name string) (*pgx.Conn, error) {
	return pgsession.Connect(ctx, site, pgsession.Options{Name: name, Params: map[string]string{"search_path": "pg_catalog"}})
}

func ownerOf(b engine.Backup) pgsession.Owner {
	return pgsession.Owner{Installation: b.Installation, Execution: b.Execution}
}

// session is the one session of a backup.
type session struct {
	conn    *pgx.Conn
	pid     uint32
	slot    string
	version pg.Version
}

// beginSession connects, ends what older fences left, and learns the version.
func beginSession(ctx context.Context, site engine.Site, o pgsession.Owner, f holdfast.Fence) (*session, error) {
	conn, err := connect(ctx, site, o.Session(f))
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, pid: conn.PgConn().PID(), slot: o.Slot(f)}
	if err := s.prepare(ctx, o, f); err != nil {
		pgsession.Close(ctx, conn)
		return nil, err
	}
	return s, nil
}

func (s *session) prepare(ctx context.Context, o pgsession.Owner, f holdfast.Fence) error {
	var standby bool
	err := pgsession.QueryRow(ctx, s.conn, queryLimit, "SELECT current_setting('server_version_num')::int, pg_is_in_recovery()", nil, &s.version, &standby)
	switch {
	case err != nil:
		return pgsession.QueryError(err, "tell its version")
	case !s.version.Supported():
		return errVersion(s.version)
	case standby:
		return errStandby()
	}
	return o.EndOver(ctx, s.conn, f)
}

func errVersion(v pg.Version) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "PostgreSQL %s is not supported", v).
		WithHint("versions %d to %d are", pg.OldestMajor, pg.NewestMajor)
}

// reserve makes the slot: from now on the server keeps its WAL.
func (s *session) reserve(ctx context.Context) error {
	var name string
	err := pgsession.QueryRow(ctx, s.conn, queryLimit, "SELECT slot_name FROM pg_create_physical_replication_slot($1, true, true)", []any{s.slot}, &name)
	if err != nil {
		return pgsession.QueryError(err, "reserve WAL with a temporary slot")
	}
	return nil
}

// start begins the backup with a fast checkpoint. It returns the time, and from
// where recovery of the backup will replay.
func (s *session) start(ctx context.Context, label string) (time.Time, pg.LSN, error) {
	sql := "SELECT clock_timestamp(), pg_backup_start($1, true)::text"
	if s.version.Major() < 15 {
		sql = "SELECT clock_timestamp(), pg_start_backup($1, true, false)::text"
	}
	var at time.Time
	var lsn string
	if err := pgsession.QueryRow(ctx, s.conn, startLimit, sql, []any{label}, &at, &lsn); err != nil {
		return time.Time{}, 0, pgsession.QueryError(err, "start the backup")
	}
	start, err := pg.ParseLSN(lsn)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("start of the backup: %w", err)
	}
	return at.UTC(), start, nil
}

// stopped is what the server says when a backup stops.
type stopped struct {
	at       time.Time
	stop     pg.LSN
	label    string
	spaceMap string
}

// stop ends the backup without waiting for the archive: a broken one would never
// answer, and the WAL is ours through the slot.
func (s *session) stop(ctx context.Context) (stopped, error) {
	sql := "SELECT lsn::text, labelfile, spcmapfile FROM pg_backup_stop(false)"
	if s.version.Major() < 15 {
		sql = "SELECT lsn::text, labelfile, spcmapfile FROM pg_stop_backup(false, false)"
	}
	var r stopped
	var lsn string
	if err := pgsession.QueryRow(ctx, s.conn, stopLimit, sql, nil, &lsn, &r.label, &r.spaceMap); err != nil {
		return r, pgsession.QueryError(err, "stop the backup")
	}
	var err error
	if r.stop, err = pg.ParseLSN(lsn); err != nil {
		return r, fmt.Errorf("stop of the backup: %w", err)
	}
	if err := pgsession.QueryRow(ctx, s.conn, queryLimit, "SELECT clock_timestamp()", nil, &r.at); err != nil {
		return r, pgsession.QueryError(err, "tell the time")
	}
	r.at = r.at.UTC()
	return r, nil
}

// check fails when the session has died or its slot holds the WAL no longer:
// then the backup is void.
func (s *session) check(ctx context.Context) error {
	var status *string
	err := pgsession.QueryRow(ctx, s.conn, queryLimit, "SELECT max(wal_status) FROM pg_replication_slots WHERE slot_name = $1", []any{s.slot}, &status)
	switch {
	case err != nil && ctx.Err() == nil:
		// A server that gives up a slot ends the session that owns it.
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the backup's session has ended, and with it its slot").
			WithHint("look into the server's log; when it says that the slot was released, raise max_slot_wal_keep_size")
	case err != nil:
		return pgsession.QueryError(err, "look at the backup's slot")
	case status == nil || *status == "lost":
		return holdfast.Errorf(holdfast.CodeUnavailable, "the server has given up the backup's slot: the WAL that the backup needs may be gone").
			WithHint("raise max_slot_wal_keep_size")
	}
	return nil
}

// watch checks the session until stop is called, and calls lost when it fails.
// stop returns when the session is no longer in use.
func (s *session) watch(ctx context.Context, lost func(error)) (stop func()) {
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		t := time.NewTicker(watchInterval)
		defer t.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if err := s.check(ctx); err != nil {
				lost(err)
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-ended
	}
}
