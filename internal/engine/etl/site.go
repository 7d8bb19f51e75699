package etl

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
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
	err = pgsession.QueryRow(ctx, conn, pgsession.QueryLimit, `SELECT current_setting('server_version'), current_database()::text, current_user::text, pg_is_in_recovery(),
		(SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^(pg_|information_schema$|holdfast_etl$)'
			AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT'))::int`,
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
	target, err := targetFinding(ctx, conn, database, role)
	if err != nil {
		return nil, err
	}
	return append(found, target), nil
}

// targetFinding looks whether the bookkeeping of loads is there, or can be made.
func targetFinding(ctx context.Context, conn *pgx.Conn, database, role string) (engine.Finding, error) {
	var there, usable, create bool
	err := pgsession.QueryRow(ctx, conn, pgsession.QueryLimit, `SELECT to_regnamespace('holdfast_etl') IS NOT NULL,
		coalesce(has_schema_privilege(to_regnamespace('holdfast_etl')::oid, 'USAGE'), false)
			AND (has_schema_privilege(to_regnamespace('holdfast_etl')::oid, 'CREATE') OR to_regclass('holdfast_etl.reject') IS NOT NULL)
			AND NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('holdfast_etl')::oid AND relkind = 'r'
				AND relname IN ('execution', 'flow', 'counter', 'reject')
				AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))),
		has_database_privilege(current_database(), 'CREATE')`, nil, &there, &usable, &create)
	if err != nil {
		return engine.Finding{}, queryError(err, "tell the role's rights")
	}
	f := engine.Finding{Name: "as a target", OK: true, Text: fmt.Sprintf("role %s may use the schema holdfast_etl, where loads keep their counters", role)}
	switch {
	case usable:
	case !there && create:
		f.Text = fmt.Sprintf("role %s may make the schema holdfast_etl, where loads keep their counters", role)
	case !there:
		f.Text = fmt.Sprintf("nothing can be loaded yet: role %s may not make the schema holdfast_etl; to read, it is not needed", role)
		f.Fix = fmt.Sprintf("to load, as a superuser in the database %s: CREATE SCHEMA holdfast_etl AUTHORIZATION %s;", database, definition.QuoteIdentifier(role))
	default:
		f.Text = fmt.Sprintf("nothing can be loaded yet: role %s may not use the schema holdfast_etl; to read, it is not needed", role)
		f.Fix = fmt.Sprintf("to load, as its owner in the database %[2]s: GRANT USAGE, CREATE ON SCHEMA holdfast_etl TO %[1]s; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA holdfast_etl TO %[1]s; GRANT USAGE ON ALL SEQUENCES IN SCHEMA holdfast_etl TO %[1]s;",
			definition.QuoteIdentifier(role), database)
	}
	return f, nil
}
