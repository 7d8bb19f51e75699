// Package pgsession opens sessions on a site's PostgreSQL server, says what went
// wrong with one in the domain's terms, and ends those that an outdated order of
// the same execution left behind.
package pgsession

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// QueryLimit is the time for a question to the catalogues.
const QueryLimit = 30 * time.Second

// Limits of what a session waits for.
const (
	connectLimit = 15 * time.Second
	closeLimit   = 5 * time.Second
	cancelLimit  = 5 * time.Second // for the server to obey a cancel request
	goneLimit    = 15 * time.Second
)

// Options say how a session is set up.
type Options struct {
	Name   string            // application_name
	Params map[string]string // further settings of the session
	// Cancel asks the server to cancel a query whose context ends; without it the
	// connection is cut, which a server notices when it next writes.
	Cancel bool
}

// Connect opens a session. Its limits are those of the caller's contexts: the
// server's own are switched off, as a copy may last for hours.
func Connect(ctx context.Context, site engine.Site, o Options) (*pgx.Conn, error) {
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
	cfg.RuntimeParams = map[string]string{"application_name": o.Name, "client_encoding": "UTF8"}
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &burst{Conn: buffered(conn)}, nil
	}
	if o.Cancel {
		cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
			return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: cancelLimit}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(err, s)
	}
	names := slices.Sorted(maps.Keys(o.Params))
	values := make([]string, len(names))
	for i, n := range names {
		values[i] = o.Params[n]
	}
	// Not with the start of the session: what it would have without us stays in
	// pg_settings.reset_val.
	_, err = conn.Exec(ctx, `SELECT pg_catalog.set_config(name, new, false) FROM pg_catalog.pg_settings JOIN (VALUES ('statement_timeout', '0'), ('lock_timeout', '0'),
		('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), ('transaction_timeout', '0'),
		('tcp_keepalives_idle', '30'), ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'),
		('DateStyle', 'ISO'), ('bytea_output', 'hex'), ('array_nulls', 'on')) AS v(setting_name, new) ON name = setting_name
		UNION ALL SELECT pg_catalog.set_config(n, v, false) FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[])) AS s (n, v)`, names, values)
	if err != nil {
		Close(ctx, conn)
		return nil, QueryError(err, "set the session up")
	}
	return conn, nil
}

// quote quotes a value of a connection string.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

// Close says goodbye, also when the context has ended; a session that does not
// answer is cut.
func Close(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeLimit)
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
			WithHint("let the site name a database that exists: for backups any will do, an ETL reads and loads in the one that is named")
	case Transient(pe.Code):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the server at %s takes no connection now: %s", at, pe.Message)
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the server at %s refuses the connection: %s", at, pe.Message)
}

// Transient reports whether a server's error may pass: connection failures,
// missing resources, and interventions such as a shutdown.
func Transient(code string) bool {
	for _, class := range []string{"08", "53", "57", "58"} {
		if strings.HasPrefix(code, class) {
			return true
		}
	}
	return false
}

// QueryError puts a failed query in the domain's terms. what is a verb phrase.
func QueryError(err error, what string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the connection to the server was lost: could not %s", what)
	}
	switch {
	case pe.Code == "42501":
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the server refused to %s: %s", what, pe.Message).
			WithHint("run a site test: it prints what to grant")
	case Transient(pe.Code):
		return holdfast.Wrap(holdfast.CodeUnavailable, err, "the server could not %s: %s", what, pe.Message)
	}
	return holdfast.Wrap(holdfast.CodeInvalid, err, "the server refused to %s: %s", what, pe.Message).WithHint("%s", pe.Hint)
}

// QueryRow runs a query with one row within limit.
func QueryRow(ctx context.Context, conn *pgx.Conn, limit time.Duration, sql string, args []any, into ...any) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return conn.QueryRow(ctx, sql, args...).Scan(into...)
}
