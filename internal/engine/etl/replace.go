package etl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// replace gives the table other rows. A plain table is replaced by a copy of it
// that was filled while readers went on with the old one; one that anything hangs
// on is emptied and filled in its place.
func (f *flow) replace(ctx context.Context, tx pgx.Tx, t *target, m mapping, fd feed) (counts, error) {
	why, err := swapHindrance(ctx, tx, t)
	if err != nil {
		return counts{}, err
	}
	if why == "" {
		s, err := newSwap(ctx, tx, t)
		if err != nil {
			return counts{}, err
		}
		if why, err = s.prepare(ctx); err != nil {
			return counts{}, err
		}
		if why == "" {
			f.e.log.InfoContext(ctx, "table is replaced by a swap", "table", t.name)
			c, err := f.copyInto(ctx, tx, t, s.sql, m, fd)
			if err != nil {
				return c, err
			}
			f.e.p.step("copied")
			if err := s.settle(ctx); err != nil {
				return c, err
			}
			return c, s.finish(ctx)
		}
		if err := s.exec(ctx, "DROP TABLE "+s.sql); err != nil {
			return counts{}, err
		}
	}
	f.e.log.InfoContext(ctx, "table is emptied and filled in its place", "table", t.name, "reason", why)
	if err := f.empty(ctx, tx, t); err != nil {
		return counts{}, err
	}
	return f.copyInto(ctx, tx, t, t.sql, m, fd)
}

// readsTarget refuses to replace a table that the flow itself reads: its source holds
// the table until all is read, and the replace waits for that with everything copied.
func (f *flow) readsTarget(ctx context.Context, tx pgx.Tx, t *target) error {
	if f.plan.Load.Mode != definition.LoadReplace {
		return nil
	}
	for _, s := range f.sources {
		var reads bool
		// Of another server, no session has the same number, transaction and table.
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = pg_catalog.current_database()
			WHERE l.locktype = 'relation' AND l.pid = $2::int4 AND l.virtualtransaction = $3::text
				AND (l.relation = $1::oid OR l.relation IN (SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass))))`, t.oid, s.pid, s.transaction).Scan(&reads)
		switch {
		case err != nil:
			return queryError(err, "look at who reads "+t.name)
		case reads:
			return holdfast.Errorf(holdfast.CodeInvalid, "load %s: the flow reads the table %s, which it is to replace", f.plan.Load.Name, t.name).
				WithHint("use mode merge, which deletes what does not arrive; or load into another table, and replace this one from there")
		}
	}
	return nil
}

// hindranceSQL names the first thing about a table that a copy made with LIKE
// would not have, or that would keep on to the old table. No operator may stand
// here, and in any other SQL of the engine, between two types for which pg_catalog
// has none: anybody's own would fit better, and run with our rights.
const hindranceSQL = `WITH t AS (SELECT * FROM pg_catalog.pg_class WHERE oid = $1),
owned AS (
	SELECT oid FROM pg_catalog.pg_constraint WHERE conrelid = $1
	UNION ALL SELECT oid FROM pg_catalog.pg_attrdef WHERE adrelid = $1
	UNION ALL SELECT indexrelid FROM pg_catalog.pg_index WHERE indrelid = $1
	UNION ALL SELECT reltype FROM t UNION ALL SELECT reltoastrelid FROM t)
SELECT reason FROM t, LATERAL (VALUES
	(relkind <> 'r' OR relispartition OR reloftype OPERATOR(pg_catalog.<>) 0 OR EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE $1 IN (inhrelid, inhparent)), 'it is no plain table'),
	(relpersistence <> 'p', 'it is not permanent'),
	(relowner <> (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user), 'it belongs to another role'),
	(NOT pg_catalog.has_schema_privilege(relnamespace, 'CREATE'), 'the role may not create tables in its schema'),
	(relrowsecurity OR EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = $1), 'it has row security'),
	(relreplident <> 'd', 'it has a replica identity of its own'),
	(reloptions IS NOT NULL OR reltablespace OPERATOR(pg_catalog.<>) 0 OR relam <> (SELECT oid FROM pg_catalog.pg_am WHERE amname = pg_catalog.current_setting('default_table_access_method'))
		OR EXISTS (SELECT FROM pg_catalog.pg_class toast WHERE toast.oid = t.reltoastrelid AND toast.reloptions IS NOT NULL), 'it has storage settings'),
	(EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal), 'it has triggers'),
	(EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = $1), 'it has rules'),
	(EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f' AND $1 IN (conrelid, confrelid)), 'it has foreign keys'),
	(EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
		AND (attidentity <> '' OR attacl IS NOT NULL OR attoptions::text LIKE '%n_distinct%' OR attstattarget >= 0)), 'it has columns with an identity, grants or settings'),
	(EXISTS (SELECT FROM pg_catalog.pg_statistic_ext WHERE stxrelid = $1), 'it has extended statistics'),
	(EXISTS (SELECT FROM pg_catalog.pg_publication_tables p JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname
		WHERE n.oid = relnamespace AND p.tablename = relname), 'it is in a publication'),
	(EXISTS (SELECT FROM pg_catalog.pg_subscription_rel WHERE srrelid = $1), 'a subscription fills it'),
	(EXISTS (SELECT FROM pg_catalog.pg_seclabel WHERE objoid = $1), 'it has security labels'),
	(EXISTS (SELECT FROM pg_catalog.pg_index WHERE indrelid = $1 AND (indisclustered OR NOT indisvalid)), 'it is clustered, or has an invalid index'),
	(EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass::pg_catalog.oid AND refobjid = $1 AND objid NOT IN (SELECT oid FROM owned))
		OR EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid AND refobjid = reltype AND deptype <> 'i'
			AND objid <> (SELECT typarray FROM pg_catalog.pg_type WHERE oid = reltype))
		OR EXISTS (SELECT FROM pg_catalog.pg_depend WHERE refclassid = 'pg_catalog.pg_type'::pg_catalog.regclass::pg_catalog.oid
			AND refobjid = (SELECT typarray FROM pg_catalog.pg_type WHERE oid = reltype)), 'views, sequences or functions depend on it')
) AS h (is_so, reason) WHERE is_so LIMIT 1`

// swapHindrance says why the table cannot be replaced by a copy; empty: it can.
func swapHindrance(ctx context.Context, tx pgx.Tx, t *target) (string, error) {
	var why string
	err := tx.QueryRow(ctx, hindranceSQL, t.oid).Scan(&why)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", queryError(err, "look at what depends on "+t.name)
	}
	return why, nil
}

// swap is a table that takes another one's place.
type swap struct {
	tx      pgx.Tx
	old     *target
	name    string
	sql     string
	oid     uint32
	copied  shape       // of the old table
	renames [][2]string // indexes: their names, and those of the old table's
}

func newSwap(ctx context.Context, tx pgx.Tx, t *target) (*swap, error) {
	// A name for each table: another load may replace another table of the schema.
	s := &swap{tx: tx, old: t, name: fmt.Sprintf("holdfast_new_%d", t.oid)}
	s.sql = definition.QuoteIdentifier(t.schema) + "." + s.name
	if err := s.exec(ctx, "CREATE TABLE "+s.sql+" (LIKE "+t.sql+" INCLUDING ALL)"); err != nil {
		return nil, err
	}
	if err := tx.QueryRow(ctx, "SELECT $1::regclass::oid", s.sql).Scan(&s.oid); err != nil {
		return nil, queryError(err, "look at the new table")
	}
	return s, nil
}

func (s *swap) exec(ctx context.Context, sql string) error {
	if _, err := s.tx.Exec(ctx, sql); err != nil {
		return queryError(err, "replace table "+s.old.name)
	}
	return nil
}

// prepare gives the new table what LIKE does not copy, and compares. It says why
// the new table is not as the old one; empty: it is.
func (s *swap) prepare(ctx context.Context) (string, error) {
	if err := s.grants(ctx); err != nil {
		return "", err
	}
	var comment *string
	if err := s.tx.QueryRow(ctx, "SELECT pg_catalog.quote_literal(pg_catalog.obj_description($1, 'pg_class'))", s.old.oid).Scan(&comment); err != nil {
		return "", queryError(err, "read the comment of "+s.old.name)
	}
	if comment != nil {
		if err := s.exec(ctx, "COMMENT ON TABLE "+s.sql+" IS "+*comment); err != nil {
			return "", err
		}
	}
	a, err := s.shape(ctx, s.old.oid)
	if err != nil {
		return "", err
	}
	b, err := s.shape(ctx, s.oid)
	switch {
	case err != nil:
		return "", err
	case !slices.Equal(a.parts, b.parts):
		return "a copy of it would differ", nil
	}
	s.copied = a
	for i := range a.indexes {
		s.renames = append(s.renames, [2]string{b.indexes[i], a.indexes[i]})
	}
	return "", nil
}

// grants gives the new table the old one's grants, and no others.
func (s *swap) grants(ctx context.Context) error {
	rows, err := s.tx.Query(ctx, `SELECT CASE WHEN grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(grantee)) END, privilege_type, is_grantable
		FROM pg_catalog.pg_class, pg_catalog.aclexplode(relacl) WHERE oid = $1 AND grantee <> relowner`, s.old.oid)
	if err != nil {
		return queryError(err, "read the grants of "+s.old.name)
	}
	var statements []string
	var grantee, privilege string
	var option bool
	_, err = pgx.ForEachRow(rows, []any{&grantee, &privilege, &option}, func() error {
		g := "GRANT " + privilege + " ON " + s.sql + " TO " + grantee
		if option {
			g += " WITH GRANT OPTION"
		}
		statements = append(statements, g)
		return nil
	})
	if err != nil {
		return queryError(err, "read the grants of "+s.old.name)
	}
	for _, g := range statements {
		if err := s.exec(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// shape is all that two tables have to have in common.
type shape struct {
	parts   []string
	indexes []string // names, in the order of what they are
}

func (s *swap) shape(ctx context.Context, oid uint32) (shape, error) {
	var sh shape
	rows, err := s.tx.Query(ctx, `
		SELECT 'index ' || pg_catalog.regexp_replace(pg_catalog.pg_get_indexdef(i.indexrelid), '^CREATE( UNIQUE)? INDEX .* USING ', '\1 ')
			|| pg_catalog.concat_ws(' ', '', c.contype, c.condeferrable, c.condeferred,
			pg_catalog.obj_description(i.indexrelid, 'pg_class'), pg_catalog.obj_description(c.oid, 'pg_constraint')) AS part, r.relname::text AS index
		FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid
		LEFT JOIN pg_catalog.pg_constraint c ON c.conindid = i.indexrelid AND c.conrelid = i.indrelid WHERE i.indrelid = $1
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'column', pg_catalog.row_number() OVER (ORDER BY a.attnum), a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod),
			a.attnotnull, a.attgenerated, a.attcollation, a.attstorage, pg_catalog.pg_get_expr(d.adbin, d.adrelid), pg_catalog.col_description($1, a.attnum)), NULL
		FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'check', conname, pg_catalog.pg_get_constraintdef(oid)), NULL FROM pg_catalog.pg_constraint WHERE conrelid = $1 AND contype = 'c'
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'grant', grantee, privilege_type, is_grantable), NULL
		FROM pg_catalog.pg_class, pg_catalog.aclexplode(coalesce(relacl, pg_catalog.acldefault('r', relowner))) WHERE oid = $1
		UNION ALL SELECT pg_catalog.concat_ws(' ', 'owner', relowner, pg_catalog.obj_description($1, 'pg_class')), NULL FROM pg_catalog.pg_class WHERE oid = $1
		ORDER BY 1, 2`, oid)
	if err != nil {
		return sh, queryError(err, "compare "+s.old.name+" with its copy")
	}
	var part string
	var index *string
	_, err = pgx.ForEachRow(rows, []any{&part, &index}, func() error {
		sh.parts = append(sh.parts, part)
		if index != nil {
			sh.indexes = append(sh.indexes, *index)
		}
		return nil
	})
	if err != nil {
		return sh, queryError(err, "compare "+s.old.name+" with its copy")
	}
	return sh, nil
}

// settle waits for the old table to be ours alone, and proves that it is still what
// was copied: grants, comments and publications can be made while rows come.
func (s *swap) settle(ctx context.Context) error {
	if err := s.exec(ctx, "LOCK TABLE "+s.old.sql+" IN ACCESS EXCLUSIVE MODE"); err != nil {
		return err
	}
	why, err := swapHindrance(ctx, s.tx, s.old)
	if err != nil {
		return err
	}
	now, err := s.shape(ctx, s.old.oid)
	if err != nil {
		return err
	}
	if why != "" || !slices.Equal(now.parts, s.copied.parts) || !slices.Equal(now.indexes, s.copied.indexes) {
		return holdfast.Errorf(holdfast.CodeUnavailable, "table %s was altered while its new rows were loaded", s.old.name).WithHint("it is tried again")
	}
	return nil
}

// finish puts the new table into the old one's place. From here readers wait for
// the commit. One with an older snapshot sees the new table without rows.
func (s *swap) finish(ctx context.Context) error {
	schema := definition.QuoteIdentifier(s.old.schema) + "."
	all := []string{"DROP TABLE " + s.old.sql, "ALTER TABLE " + s.sql + " RENAME TO " + definition.QuoteIdentifier(s.old.table)}
	for _, r := range s.renames {
		all = append(all, "ALTER INDEX "+schema+definition.QuoteIdentifier(r[0])+" RENAME TO "+definition.QuoteIdentifier(r[1]))
	}
	for _, sql := range append(all, "ANALYZE "+s.old.sql) {
		if err := s.exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// empty removes all rows. The table stays locked until the transaction ends, so that
// readers see the old rows or the new ones; but for those whose snapshot is older than
// the end and who had not locked the table: they see none. See [source.changed].
func (f *flow) empty(ctx context.Context, tx pgx.Tx, t *target) error {
	rows, err := tx.Query(ctx, `SELECT DISTINCT conrelid::regclass::text FROM pg_catalog.pg_constraint
		WHERE contype = 'f' AND confrelid = $1 AND conrelid <> confrelid ORDER BY 1`, t.oid)
	if err != nil {
		return queryError(err, "look for references to "+t.name)
	}
	from, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return queryError(err, "look for references to "+t.name)
	}
	if len(from) > 0 {
		return holdfast.Errorf(holdfast.CodeInvalid, "load %s: table %s cannot be replaced: foreign keys of %s refer to it", f.plan.Load.Name, t.name, strings.Join(from, ", ")).
			WithHint("use mode merge, which leaves the rows that are still there in their place")
	}
	sql := "TRUNCATE TABLE " + t.sql
	if t.kind == plainTable { // tables that inherit from it keep their rows; partitions are its own
		sql = "TRUNCATE TABLE ONLY " + t.sql
	}
	if _, err := tx.Exec(ctx, sql); err != nil {
		return queryError(err, "empty table "+t.name)
	}
	return nil
}
