package etl

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// Test says what an ETL would miss that reads at the site, or loads there. A server
// that cannot be reached is a finding, too. The schema holdfast_etl is no fault
// when it cannot be made: who only reads needs none.
func (*Pipeline) Test(ctx context.Context, site engine.Site) ([]engine.Finding, error) {
	conn, err := pgsession.Connect(ctx, site, pgsession.Options{Name: "holdfast site test", Params: map[string]string{"search_path": "pg_catalog"}})
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text := holdfast.ErrorMessage(err)
		if holdfast.ErrorCode(err) == holdfast.CodeInternal {
			text = err.Error()
		}
		return []engine.Finding{{Name: "connection", Text: text, Fix: holdfast.ErrorHint(err)}}, nil
	}
	defer pgsession.Close(ctx, conn)
	var version, database, role string
	var standby bool
	var tables int
	err = pgsession.QueryRow(ctx, conn, pgsession.QueryLimit, `SELECT pg_catalog.current_setting('server_version'), pg_catalog.current_database()::text, current_user::text, pg_catalog.pg_is_in_recovery(),
		(SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname OPERATOR(pg_catalog.!~) '^(pg_|information_schema$|holdfast_etl$)'
			AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_any_column_privilege(c.oid, 'SELECT'))::int`,
		nil, &version, &database, &role, &standby, &tables)
	if err != nil {
		return nil, queryError(err, "read the catalogue")
	}
	found := []engine.Finding{
		{Name: "connection", OK: true, Text: fmt.Sprintf("the server answers as PostgreSQL %s, in the database %s", version, database)},
		{Name: "as a source", OK: true, Text: fmt.Sprintf("role %s may read %d tables and views", role, tables)},
	}
	if standby {
		return append(found, engine.Finding{Name: "as a target", OK: true, Text: "nothing can be loaded: the server is a standby"}), nil
	}
	target, err := targetFinding(ctx, conn, role)
	if err != nil {
		return nil, err
	}
	return append(found, target), nil
}

// targetFinding does what a load does first, and rolls it back: it makes the
// bookkeeping when it is missing, and asks whether the role may write there.
func targetFinding(ctx context.Context, conn *pgx.Conn, role string) (engine.Finding, error) {
	ctx, cancel := context.WithTimeout(ctx, pgsession.QueryLimit)
	defer cancel()
	tx, err := conn.Begin(ctx)
	if err != nil {
		return engine.Finding{}, queryError(err, "begin a transaction")
	}
	defer rollback(ctx, tx)
	err = ensureSchema(ctx, tx)
	if err == nil {
		var may bool
		if err := tx.QueryRow(ctx, `SELECT pg_catalog.has_schema_privilege('holdfast_etl', 'USAGE') AND pg_catalog.bool_and(pg_catalog.has_table_privilege(oid, p)) FROM pg_catalog.pg_class, pg_catalog.unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS p
			WHERE relnamespace = pg_catalog.to_regnamespace('holdfast_etl')::oid AND relname IN ('execution', 'flow', 'counter', 'reject')`).Scan(&may); err != nil {
			return engine.Finding{}, queryError(err, "tell the role's rights")
		}
		if !may {
			err = bookError(conn, &pgconn.PgError{Code: "42501", Message: "rights are missing"}, "write into the tables of holdfast_etl")
		}
	}
	f := engine.Finding{Name: "as a target", OK: true, Text: fmt.Sprintf("role %s may use the schema holdfast_etl, where loads keep their counters", role)}
	switch holdfast.ErrorCode(err) { //nolint:exhaustive // the others say nothing of the site
	case "":
	case holdfast.CodeForbidden, holdfast.CodeInvalid:
		f.Text = "nothing can be loaded yet: " + holdfast.ErrorMessage(err) + "; to read, it is not needed"
		f.Fix = holdfast.ErrorHint(err)
	default:
		return engine.Finding{}, err
	}
	return f, nil
}
