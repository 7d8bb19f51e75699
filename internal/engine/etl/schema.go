package etl

import (
	"context"
	"errors"
	"strings"

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
// to the closed one may not claim again. Table flow says who may commit now, and how
// far it is. An execution is its number and its identity: numbers come again. A
// counter's basis says what its value means; see [flow.basis].
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
` + upgradeSQL + `;
CREATE TABLE IF NOT EXISTS holdfast_etl.reject (
	id bigserial PRIMARY KEY, installation text NOT NULL, job bigint NOT NULL, job_name text NOT NULL, flow text NOT NULL,
	execution bigint NOT NULL, extract text NOT NULL, line bigint, column_name text, reason text NOT NULL, raw text,
	time timestamptz NOT NULL DEFAULT now());
CREATE INDEX IF NOT EXISTS reject_execution ON holdfast_etl.reject (installation, execution);`

// upgradeSQL adds what the tables of earlier releases lack.
const upgradeSQL = `ALTER TABLE holdfast_etl.counter ADD COLUMN IF NOT EXISTS basis text;
ALTER TABLE holdfast_etl.flow ADD COLUMN IF NOT EXISTS identity text NOT NULL DEFAULT '';
ALTER TABLE holdfast_etl.execution ADD COLUMN IF NOT EXISTS identity text NOT NULL DEFAULT '',
	DROP CONSTRAINT IF EXISTS execution_pkey, ADD PRIMARY KEY (installation, job, execution, identity)`

// booksSQL looks at what is there of it: whether anything is, whether all is, and
// what is wrong with it. The reject table's index is made last. Whoever owns a table
// has its triggers, rules, policies and defaults run with the rights of those who
// write into it, so it has to be ours, or a superuser's, or that of a role which a
// superuser has granted to us.
const booksSQL = `WITH trusted AS (
	SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user OR rolsuper
	UNION ALL SELECT m.roleid FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles u ON u.oid = m.member AND u.rolname = current_user
		JOIN pg_catalog.pg_roles g ON g.oid = m.grantor AND g.rolsuper),
part AS (
	SELECT c.* FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname = 'holdfast_etl' AND c.relname IN ('execution', 'flow', 'counter', 'reject', 'reject_execution', 'reject_id_seq')),
wrong AS (
	SELECT 'the schema belongs to the role ' || pg_catalog.pg_get_userbyid(nspowner)::text AS what FROM pg_catalog.pg_namespace
	WHERE nspname = 'holdfast_etl' AND nspowner NOT IN (SELECT oid FROM trusted)
	UNION ALL SELECT relname::text || ' belongs to the role ' || pg_catalog.pg_get_userbyid(relowner)::text FROM part WHERE relowner NOT IN (SELECT oid FROM trusted)
	UNION ALL SELECT relname::text || ' is no plain table' FROM part
		WHERE relname NOT IN ('reject_execution', 'reject_id_seq') AND (relkind <> 'r' OR relpersistence <> 'p' OR relrowsecurity OR relhasrules
			OR EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = part.oid)))
SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'holdfast_etl'),
	(SELECT pg_catalog.count(*) = 6 FROM part),
	(SELECT pg_catalog.count(*) = 3 FROM pg_catalog.pg_attribute a JOIN part ON part.oid = a.attrelid
		WHERE NOT a.attisdropped AND (part.relname::text, a.attname::text) IN (('counter', 'basis'), ('flow', 'identity'), ('execution', 'identity'))),
	coalesce((SELECT what FROM wrong LIMIT 1), '')`

// books is what a database has of the schema holdfast_etl.
type books struct {
	schema  bool // there is one
	tables  bool // they are all there, and may lack what came with later releases
	current bool // there is nothing to make
}

// findBooks looks for the schema, and refuses one that somebody else has made.
func findBooks(ctx context.Context, conn *pgx.Conn) (b books, err error) {
	var wrong string
	if err := conn.QueryRow(ctx, booksSQL).Scan(&b.schema, &b.tables, &b.current, &wrong); err != nil {
		return b, queryError(err, "look for the schema holdfast_etl")
	}
	if wrong != "" {
		user := definition.QuoteIdentifier(conn.Config().User)
		return b, holdfast.Errorf(holdfast.CodeForbidden, "the schema holdfast_etl of database %s is not to be trusted: %s", conn.Config().Database, wrong).
			WithHint("whoever owns it could act with the rights of %[1]s; look at it, and as a superuser drop it, or give the schema and plain tables without triggers to %[1]s: "+
				"ALTER SCHEMA holdfast_etl OWNER TO %[1]s; ALTER TABLE holdfast_etl.execution OWNER TO %[1]s; and so for flow, counter and reject", user)
	}
	b.current = b.current && b.tables
	return b, nil
}

// ensureSchema makes the bookkeeping in the transaction's database when it is
// missing, or lacks something.
func ensureSchema(ctx context.Context, tx pgx.Tx) error {
	b, err := findBooks(ctx, tx.Conn())
	if err != nil || b.current {
		return err
	}
	if err := setLockLimit(ctx, tx); err != nil { // loads may hold its tables for long
		return err
	}
	if _, err := tx.Exec(ctx, "SELECT pg_catalog.pg_advisory_xact_lock($1)", int64(schemaLock)); err != nil {
		return queryError(err, "wait for the lock of the schema holdfast_etl")
	}
	// Who held the lock may have made it.
	if b, err = findBooks(ctx, tx.Conn()); err != nil || b.current {
		return err
	}
	sql := schemaSQL
	if !b.schema { // IF NOT EXISTS asks for the right even when it exists
		sql = "CREATE SCHEMA holdfast_etl;" + sql
	}
	if _, err := tx.Conn().PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return schemaError(tx.Conn(), err, b)
	}
	// Whoever may make tables there could have been faster with one of them.
	_, err = findBooks(ctx, tx.Conn())
	return err
}

// schemaError says what to run when the role may not make the schema.
func schemaError(conn *pgx.Conn, err error, b books) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) || pe.Code != "42501" {
		return queryError(err, "make the schema holdfast_etl")
	}
	if b.tables {
		return holdfast.Wrap(holdfast.CodeForbidden, err, "the schema holdfast_etl was made by an earlier release, and the server refuses to bring it up to date: %s", pe.Message).
			WithHint("as its owner run in the database %s: %s", conn.Config().Database, strings.Join(strings.Fields(upgradeSQL), " "))
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
		switch pe.Code {
		case "23502": // not_null_violation: the detail is the whole row, and so is where it was met
			return e.WithHint("give %s a value where rows are read, or leave the rows out that have none", pe.ColumnName)
		case "23514": // check_violation: as above
			return e.WithHint("look at what the constraint %s asks for, and leave the rows out that do not pass it", pe.ConstraintName)
		}
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
