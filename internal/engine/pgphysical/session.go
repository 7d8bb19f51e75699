package pgphysical

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/pg"
)

// owner is the execution that sessions and slots on a server belong to. Several
// installations may back up one server, and each counts its executions from 1001.
type owner struct {
	installation string
	execution    holdfast.ExecutionID
}

func ownerOf(b engine.Backup) owner { return owner{b.Installation, b.Execution} }

// prefix begins the application_name of every backup session of the owner; the
// fence follows. The server keeps 63 bytes of it, so the installation is shortened.
func (o owner) prefix() string {
	if o.installation == "" {
		return fmt.Sprintf("holdfast execution %d fence ", o.execution)
	}
	return fmt.Sprintf("holdfast %s execution %d fence ", o.short(), o.execution)
}

func (o owner) session(f holdfast.Fence) string {
	return o.prefix() + strconv.FormatUint(uint64(f), 10)
}

// slot is the name of the slot that a backup holds. It is temporary: it lives as
// long as its session.
func (o owner) slot(f holdfast.Fence) string {
	if o.installation == "" {
		return fmt.Sprintf("holdfast_%d_%d", o.execution, f)
	}
	return fmt.Sprintf("holdfast_%s_%d_%d", o.short(), o.execution, f)
}

func (o owner) short() string {
	sum := sha256.Sum256([]byte(o.installation))
	return hex.EncodeToString(sum[:4])
}

// connect opens a session. Its limits are those of the caller's contexts: the
// server's own are switched off, as a copy may last for hours.
func connect(ctx context.Context, site engine.Site, name string) (*pgx.Conn, error) {
	s := site.Server
	if s.Database == "" {
		s.Database = "postgres"
	}
	sslMode := s.SSLMode
	if sslMode == "" {
		sslMode = "prefer"
	}
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s dbname=%s sslmode=%s",
		quote(s.Host), s.Port, quote(s.User), quote(s.Database), quote(sslMode)))
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "the site's server address is not valid")
	}
	cfg.Password = site.Password.Reveal()
	cfg.ConnectTimeout = connectLimit
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.RuntimeParams = map[string]string{"application_name": name, "search_path": "pg_catalog", "client_encoding": "UTF8"}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err, s)
	}
	_, err = conn.Exec(ctx, `SELECT set_config(name, new, false) FROM pg_settings JOIN (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'),
		('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0'),
		('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
		('DateStyle', 'ISO'), ('bytea_output', 'hex')) AS v(setting_name, new) ON name = setting_name`)
	if err != nil {
		closeSession(ctx, conn)
		return nil, queryError(err, "set the session up")
	}
	return conn, nil
}

// quote quotes a value of a connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// closeSession says goodbye; a session that does not answer is cut.
func closeSession(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx) // cut or closed: the server ends it either way
}

func connectError(err error, s holdfast.Server) error {
	at := fmt.Sprintf("%s port %d", s.Host, s.Port)
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		if dns, ok := errors.AsType[*net.DNSError](err); ok {
			return holdfast.Wrap(holdfast.CodeUnavailable, err, "the name %q of the server's host cannot be resolved: %s", s.Host, dns.Err).
				WithHint("check the site's host")
		}
		if strings.Contains(err.Error(), "refused TLS") { // pgconn has no type for it
			return holdfast.Wrap(holdfast.CodeInvalid, err, "the server at %s offers no TLS, and the site's sslmode is %s", at, s.SSLMode).
				WithHint("switch ssl on at the server, or set the site's sslmode to prefer or disable")
		}
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the server at %s cannot be reached", at).
			WithHint("check that the server runs, that it listens there, and that the site's host and port are right")
	}
	switch {
	case pe.Code == "28P01":
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server at %s refuses the password of user %s", at, s.User).
			WithHint("update the site with the right password")
	case strings.HasPrefix(pe.Code, "28"):
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server at %s refuses user %s: %s", at, s.User, pe.Message).
			WithHint("check the user and pg_hba.conf")
	case pe.Code == "42501":
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server at %s refuses user %s: %s", at, s.User, pe.Message)
	case pe.Code == "3D000":
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the server at %s has no database %s", at, s.Database).
			WithHint("let the site name a database that exists; any will do")
	case transient(pe.Code):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the server at %s takes no connection now: %s", at, pe.Message)
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the server at %s refuses the connection: %s", at, pe.Message)
}

// transient reports whether a server's error may pass: connection failures,
// missing resources, and interventions such as a shutdown.
func transient(code string) bool {
	for _, class := range []string{"08", "53", "57", "58"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// queryError puts a failed query in the domain's terms. what is a verb phrase.
func queryError(err error, what string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the connection to the server was lost: could not %s", what)
	}
	switch {
	case pe.Code == "42501":
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server refused to %s: %s", what, pe.Message).
			WithHint("run a site test: it prints what to grant")
	case transient(pe.Code):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the server could not %s: %s", what, pe.Message)
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the server refused to %s: %s", what, pe.Message).WithHint("%s", pe.Hint)
}

// queryRow runs a query with one row within limit.
func queryRow(ctx context.Context, conn *pgx.Conn, limit time.Duration, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return conn.QueryRow(ctx, sql, args...).Scan(into...)
}

// endSessions terminates the execution's sessions up to the fence over a session
// of its own, and returns when they have ended.
func endSessions(ctx context.Context, site engine.Site, o owner, upTo holdfast.Fence) error {
	conn, err := connect(ctx, site, fmt.Sprintf("holdfast cleanup of execution %d", o.execution))
	if err != nil {
		return err
	}
	defer closeSession(ctx, conn)
	return endSessionsOver(ctx, conn, o, upTo)
}

// endSessionsOver terminates the execution's other sessions up to the fence, and
// returns when they have ended. A session with a higher fence makes us the
// outdated one: [engine.ErrStale].
func endSessionsOver(ctx context.Context, conn *pgx.Conn, o owner, upTo holdfast.Fence) error {
	for deadline := time.Now().Add(goneLimit); ; {
		pids, err := sessions(ctx, conn, o, upTo)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return holdfast.Errorf(holdfast.CodeUnavailable, "%d sessions of an earlier attempt do not end", len(pids)).
				WithHint("end them on the server: SELECT pg_terminate_backend(%d)", pids[0])
		}
		for _, pid := range pids {
			var ok bool
			if err := queryRow(ctx, conn, queryLimit, "SELECT pg_terminate_backend($1)", []any{pid}, &ok); err != nil {
				return queryError(err, "end a session of an earlier attempt")
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// sessions lists the execution's other sessions. Only those of our own role count:
// anybody may give a session the name of ours.
func sessions(ctx context.Context, conn *pgx.Conn, o owner, upTo holdfast.Fence) ([]int32, error) {
	ctx, cancel := context.WithTimeout(ctx, queryLimit)
	defer cancel()
	prefix := o.prefix()
	rows, err := conn.Query(ctx, `SELECT pid, application_name FROM pg_stat_activity
		WHERE starts_with(application_name, $1::text) AND pid <> pg_backend_pid() AND usename = session_user`, prefix)
	if err != nil {
		return nil, queryError(err, "list the sessions")
	}
	defer rows.Close()
	var pids []int32
	stale := false
	for rows.Next() {
		var pid int32
		var name string
		if err := rows.Scan(&pid, &name); err != nil {
			return nil, queryError(err, "list the sessions")
		}
		fence, err := strconv.ParseUint(strings.TrimPrefix(name, prefix), 10, 64)
		switch {
		case err != nil: // somebody else's name that begins as ours
		case holdfast.Fence(fence) <= upTo:
			pids = append(pids, pid)
		default:
			stale = true
		}
	}
	if err := rows.Err(); err != nil {
		return nil, queryError(err, "list the sessions")
	}
	if stale {
		return nil, engine.ErrStale
	}
	return pids, nil
}

// session is the one session of a backup.
type session struct {
	conn    *pgx.Conn
	pid     uint32
	slot    string
	version pg.Version
}

// beginSession connects, ends what older fences left, and learns the version.
func beginSession(ctx context.Context, site engine.Site, o owner, f holdfast.Fence) (*session, error) {
	conn, err := connect(ctx, site, o.session(f))
	if err != nil {
		return nil, err
	}
	s := &session{conn: conn, pid: conn.PgConn().PID(), slot: o.slot(f)}
	if err := s.prepare(ctx, o, f); err != nil {
		closeSession(ctx, conn)
		return nil, err
	}
	return s, nil
}

func (s *session) prepare(ctx context.Context, o owner, f holdfast.Fence) error {
	var standby bool
	err := queryRow(ctx, s.conn, queryLimit, "SELECT current_setting('server_version_num')::int, pg_is_in_recovery()", nil, &s.version, &standby)
	switch {
	case err != nil:
		return queryError(err, "tell its version")
	case !s.version.Supported():
		return errVersion(s.version)
	case standby:
		return errStandby()
	}
	return endSessionsOver(ctx, s.conn, o, f)
}

func errVersion(v pg.Version) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "PostgreSQL %s is not supported", v).
		WithHint("versions %d to %d are", pg.OldestMajor, pg.NewestMajor)
}

// reserve makes the slot: from now on the server keeps its WAL.
func (s *session) reserve(ctx context.Context) error {
	var name string
	err := queryRow(ctx, s.conn, queryLimit, "SELECT slot_name FROM pg_create_physical_replication_slot($1, true, true)", []any{s.slot}, &name)
	if err != nil {
		return queryError(err, "reserve WAL with a temporary slot")
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
	if err := queryRow(ctx, s.conn, startLimit, sql, []any{label}, &at, &lsn); err != nil {
		return time.Time{}, 0, queryError(err, "start the backup")
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
	if err := queryRow(ctx, s.conn, stopLimit, sql, nil, &lsn, &r.label, &r.spaceMap); err != nil {
		return r, queryError(err, "stop the backup")
	}
	var err error
	if r.stop, err = pg.ParseLSN(lsn); err != nil {
		return r, fmt.Errorf("stop of the backup: %w", err)
	}
	if err := queryRow(ctx, s.conn, queryLimit, "SELECT clock_timestamp()", nil, &r.at); err != nil {
		return r, queryError(err, "tell the time")
	}
	r.at = r.at.UTC()
	return r, nil
}

// check fails when the session has died or its slot holds the WAL no longer:
// then the backup is void.
func (s *session) check(ctx context.Context) error {
	var status *string
	err := queryRow(ctx, s.conn, queryLimit, "SELECT max(wal_status) FROM pg_replication_slots WHERE slot_name = $1", []any{s.slot}, &status)
	switch {
	case err != nil && ctx.Err() == nil:
		// A server that gives up a slot ends the session that owns it.
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the backup's session has ended, and with it its slot").
			WithHint("look into the server's log; when it says that the slot was released, raise max_slot_wal_keep_size")
	case err != nil:
		return queryError(err, "look at the backup's slot")
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
