package etl

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// schemaLock is the advisory lock under which the schema is made: "holdfast" in
// ASCII.
const schemaLock = 0x686f6c6466617374

// schemaSQL makes the bookkeeping of a target. Table execution says which
// executions of a job have claimed it, with the newest fence of each; fences up
// to the closed one may not claim again. Table flow says who may commit now, and how far it is.
const schemaSQL = `
CREATE TABLE IF NOT EXISTS holdfast_etl.execution (
	installation text NOT NULL, job bigint NOT NULL, execution bigint NOT NULL, fence bigint NOT NULL,
	closed bigint NOT NULL DEFAULT 0, updated timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (installation, job, execution));
CREATE TABLE IF NOT EXISTS holdfast_etl.flow (
	installation text NOT NULL, job bigint NOT NULL, flow text NOT NULL, execution bigint NOT NULL, fence bigint NOT NULL,
	unit bigint NOT NULL DEFAULT 0, done boolean NOT NULL DEFAULT false,
	read bigint NOT NULL DEFAULT 0, loaded bigint NOT NULL DEFAULT 0, rejected bigint NOT NULL DEFAULT 0, deleted bigint NOT NULL DEFAULT 0,
	updated timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (installation, job, flow));
CREATE TABLE IF NOT EXISTS holdfast_etl.counter (
	installation text NOT NULL, job bigint NOT NULL, flow text NOT NULL, extract text NOT NULL, value text NOT NULL,
	execution bigint NOT NULL, updated timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (installation, job, flow, extract));
CREATE TABLE IF NOT EXISTS holdfast_etl.reject (
	id bigserial PRIMARY KEY, installation text NOT NULL, job bigint NOT NULL, job_name text NOT NULL, flow text NOT NULL,
	execution bigint NOT NULL, extract text NOT NULL, line bigint, column_name text, reason text NOT NULL, raw text,
	time timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS reject_execution ON holdfast_etl.reject (installation, execution);`

// hasSchemaSQL is true when all of it is there. The reject table's index is made
// last.
const hasSchemaSQL = `SELECT count(*) = 5 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'holdfast_etl' AND c.relname IN ('execution', 'flow', 'counter', 'reject', 'reject_execution')`

// ensureSchema makes the bookkeeping in the transaction's database when it is
// missing.
func ensureSchema(ctx context.Context, tx pgx.Tx) error {
	there, err := hasSchema(ctx, tx)
	if err != nil || there {
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
		return queryError(err, "wait for the lock of the schema holdfast_etl")
	}
	sql := schemaSQL
	var missing bool // IF NOT EXISTS asks for the right even when it exists
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.to_regnamespace('holdfast_etl') IS NULL").Scan(&missing); err != nil {
		return queryError(err, "look for the schema holdfast_etl")
	}
	if missing {
		sql = "CREATE SCHEMA holdfast_etl;" + sql
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return schemaError(tx.Conn(), err)
	}
	return nil
}

func hasSchema(ctx context.Context, tx pgx.Tx) (bool, error) {
	var there bool
	if err := tx.QueryRow(ctx, hasSchemaSQL).Scan(&there); err != nil {
		return false, queryError(err, "look for the schema holdfast_etl")
	}
	return there, nil
}

// schemaError says what to run when the role may not make the schema.
func schemaError(conn *pgx.Conn, err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "42501" {
		return queryError(err, "make the schema holdfast_etl")
	}
	user := definition.QuoteIdentifier(conn.Config().User)
	return holdfast.Wrap(holdfast.CodeForbidden, err, "the target keeps counters in its schema holdfast_etl, and the server refuses to make it: %s", pe.Message).
		WithHint(`as a superuser in the database %s run: CREATE SCHEMA IF NOT EXISTS holdfast_etl; ALTER SCHEMA holdfast_etl OWNER TO %s;`, conn.Config().Database, user)
}

// bookError puts a failed statement on the schema holdfast_etl in words.
func bookError(conn *pgx.Conn, err error, what string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "42501" {
		return queryError(err, what)
	}
	user := definition.QuoteIdentifier(conn.Config().User)
	return holdfast.Wrap(holdfast.CodeForbidden, err, "the server refused to %s: %s", what, pe.Message).
		WithHint(`as its owner run: GRANT USAGE, CREATE ON SCHEMA holdfast_etl TO %[1]s; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA holdfast_etl TO %[1]s; GRANT USAGE ON ALL SEQUENCES IN SCHEMA holdfast_etl TO %[1]s`, user)
}

// queryError is [pgsession.QueryError] with a hint that fits an ETL.
func queryError(err error, what string) error {
	out := pgsession.QueryError(err, what)
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return out
	}
	e, ok := errors.AsType[*holdfast.Error](out)
	if !ok {
		return out
	}
	switch pe.Code {
	case "42501":
		return e.WithHint("grant the site's user what it needs there")
	case "40001", "40P01", "55P03": // serialization failure, deadlock, lock not available
		e = e.WithHint("somebody else works on the same rows; it is tried again")
		e.Code = holdfast.CodeUnavailable
		return e
	}
	if e.Hint == "" {
		hint := pe.Detail
		if pe.Where != "" {
			hint += " (" + pe.Where + ")"
		}
		return e.WithHint("%s", clip(hint, 300))
	}
	return e
}

// clip cuts a text that others wrote.
func clip(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && s[limit]&0xc0 == 0x80 { // not inside a character
		limit--
	}
	return s[:limit] + "…"
}
