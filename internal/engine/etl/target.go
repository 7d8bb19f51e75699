package etl

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/rows"
)

// target is a table that rows are loaded into.
type target struct {
	oid       uint32
	name      string // "mart.orders", for people
	sql       string // the same, quoted
	schema    string
	table     string
	kind      string // pg_class.relkind
	columns   []column
	generated map[string]bool // columns that the server computes

	// Of a load by key:
	always     []string // columns that nobody may update: GENERATED ALWAYS AS IDENTITY
	nullsEqual bool     // two rows with NULL in the key have the same key
}

// relkinds of targets; see pg_class in the manual.
const (
	plainTable       = "r"
	partitionedTable = "p"
)

// openTarget looks at the load's table.
func (f *flow) openTarget(ctx context.Context, conn *pgx.Conn) (*target, error) {
	load := f.plan.Load
	name, err := definition.ParseTable(load.Table)
	if err != nil {
		return nil, holdfast.Wrap(holdfast.CodeInvalid, err, "load %s: the table's name %s", load.Name, err)
	}
	t := &target{generated: map[string]bool{}}
	var usable bool
	// Where the name has a schema, to_regclass refuses one that we may not use.
	err = conn.QueryRow(ctx, `SELECT c.oid, n.nspname, c.relname, c.relkind::text, pg_catalog.has_schema_privilege(n.oid, 'USAGE') FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE CASE WHEN $1::text = '' THEN c.oid = pg_catalog.to_regclass($3)::pg_catalog.oid ELSE n.nspname = $1::text AND c.relname = $2::text END`,
		name.Schema, name.Name, definition.QuoteIdentifier(name.Name)).Scan(&t.oid, &t.schema, &t.table, &t.kind, &usable)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "load %s: the target has no table %s", load.Name, load.Table).
			WithHint("create it in the database %s, or name another; a load makes no tables, and the case of names counts", conn.Config().Database)
	case err != nil:
		return nil, queryError(err, "look at the target's table")
	}
	t.name = t.schema + "." + t.table
	t.sql = definition.QuoteIdentifier(t.schema) + "." + definition.QuoteIdentifier(t.table)
	if err := f.checkKind(ctx, conn, t); err != nil {
		return nil, err
	}
	if err := f.checkRights(ctx, conn, t, usable); err != nil {
		return nil, err
	}
	if t.columns, err = describe(ctx, conn, "SELECT * FROM "+t.sql, "table "+t.name); err != nil {
		return nil, err
	}
	found, err := conn.Query(ctx, "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND attgenerated <> ''", t.oid)
	if err != nil {
		return nil, queryError(err, "look at the target's columns")
	}
	generated, err := pgx.CollectRows(found, pgx.RowTo[string])
	if err != nil {
		return nil, queryError(err, "look at the target's columns")
	}
	for _, g := range generated {
		t.generated[g] = true
	}
	return t, t.checkKey(ctx, conn, load)
}

// checkKind refuses what cannot keep rows together with their counter: what lies on
// another server commits for itself, and what is not logged is lost in a crash.
func (f *flow) checkKind(ctx context.Context, conn *pgx.Conn, t *target) error {
	load := f.plan.Load
	if t.kind != plainTable && t.kind != partitionedTable {
		return holdfast.Errorf(holdfast.CodeInvalid, "load %s: %s is no plain or partitioned table", load.Name, t.name).
			WithHint("load into a table of the target itself: what stands behind views and foreign tables may keep rows of a unit that was rolled back")
	}
	var name, kind, persistence string
	err := conn.QueryRow(ctx, `SELECT c.oid::pg_catalog.regclass::text, c.relkind::text, c.relpersistence::text FROM pg_catalog.pg_class c
		WHERE (c.oid = $1 OR c.oid IN (SELECT relid::pg_catalog.oid FROM pg_catalog.pg_partition_tree($1::oid::pg_catalog.regclass)))
			AND (c.relkind NOT IN ('r', 'p') OR c.relpersistence <> 'p') ORDER BY c.relkind, 1 LIMIT 1`, t.oid).Scan(&name, &kind, &persistence)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return queryError(err, "look at the target's table")
	case kind == "f":
		return holdfast.Errorf(holdfast.CodeInvalid, "load %s: the partition %s of %s is a foreign table", load.Name, name, t.name).
			WithHint("load into a table of the target itself: another server may keep rows of a unit that was rolled back")
	case load.Mode == definition.LoadReplace && persistence == "u":
		return nil // there is no counter, and the next execution makes it whole
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "load %s: the table %s is not logged: a crash of the server would empty it, and its counter would stay", load.Name, name).
		WithHint("run in the target: ALTER TABLE %s SET LOGGED; with mode replace it may stay as it is", name)
}

// checkRights asks for all that the load needs before it begins, and says what to
// grant.
func (f *flow) checkRights(ctx context.Context, conn *pgx.Conn, t *target, usable bool) error {
	user, database := conn.Config().User, conn.Config().Database
	to := definition.QuoteIdentifier(user)
	needs := map[definition.LoadMode][]string{
		definition.LoadAppend:  {"INSERT"},
		definition.LoadReplace: {"INSERT", "TRUNCATE"},
		definition.LoadUpsert:  {"SELECT", "INSERT", "UPDATE"},
		definition.LoadMerge:   {"SELECT", "INSERT", "UPDATE", "DELETE"},
	}[f.plan.Load.Mode]
	var grants []string
	if !usable {
		grants = append(grants, "GRANT USAGE ON SCHEMA "+definition.QuoteIdentifier(t.schema)+" TO "+to)
	}
	var missing []string
	err := conn.QueryRow(ctx, `SELECT coalesce(pg_catalog.array_agg(p ORDER BY n) FILTER (WHERE NOT CASE WHEN p IN ('TRUNCATE', 'DELETE')
			THEN pg_catalog.has_table_privilege($1::oid, p) ELSE pg_catalog.has_any_column_privilege($1::oid, p) END), '{}'::text[])
		FROM pg_catalog.unnest($2::text[]) WITH ORDINALITY AS needs (p, n)`, t.oid, needs).Scan(&missing)
	if err != nil {
		return queryError(err, "look at the rights on the target's table")
	}
	if len(missing) > 0 {
		grants = append(grants, "GRANT "+strings.Join(missing, ", ")+" ON TABLE "+t.sql+" TO "+to)
	}
	if len(grants) == 0 {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeForbidden, "load %s: the user %s lacks rights on table %s of database %s", f.plan.Load.Name, user, t.name, database).
		WithHint("as the table's owner run in the database %s: %s", database, strings.Join(grants, "; "))
}

// checkKey proves that a load by key has a unique index to find rows with, and notes
// what such a load has to know.
func (t *target) checkKey(ctx context.Context, conn *pgx.Conn, load definition.Load) error {
	if load.Mode != definition.LoadUpsert && load.Mode != definition.LoadMerge {
		return nil
	}
	for _, k := range slices.Concat(load.Key, load.Update) {
		if !slices.Contains(names(t.columns), k) {
			return holdfast.Errorf(holdfast.CodeInvalid, "load %s: table %s has no column %q", load.Name, t.name, k).
				WithHint("its columns are %s", strings.Join(names(t.columns), ", "))
		}
	}
	var there bool
	// Names are sorted in one way, whatever the database's. NULLS NOT DISTINCT is newer
	// than the oldest server that we load.
	err := conn.QueryRow(ctx, `SELECT pg_catalog.count(*) > 0,
			coalesce(pg_catalog.bool_or((pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>) 'indnullsnotdistinct'::text)::boolean), false),
			ARRAY(SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = $1 AND attnum > 0 AND attidentity = 'a')
		FROM pg_catalog.pg_index i WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate
		AND i.indpred IS NULL AND i.indexprs IS NULL AND (
			SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attname::text COLLATE pg_catalog."C") FROM pg_catalog.pg_attribute a
			WHERE a.attrelid = i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
		) OPERATOR(pg_catalog.=) (SELECT pg_catalog.array_agg(k ORDER BY k COLLATE pg_catalog."C") FROM (SELECT DISTINCT pg_catalog.unnest($2::text[]) AS k) AS q)`,
		t.oid, load.Key).Scan(&there, &t.nullsEqual, &t.always)
	switch {
	case err != nil:
		return queryError(err, "look at the target's indexes")
	case !there:
		return holdfast.Errorf(holdfast.CodeInvalid, "load %s: table %s has no unique index on (%s)", load.Name, t.name, strings.Join(load.Key, ", ")).
			WithHint("run in the target: CREATE UNIQUE INDEX ON %s (%s)", t.sql, quoted(load.Key))
	}
	return nil
}

// mapping is how arriving columns fit the target's.
type mapping struct {
	columns []string          // in the order of arrival
	casts   map[string]string // types that a source casts columns to before it sends them
	same    bool              // the types are the target's own, or a cast makes them so
	// readable says that the target's types read the text of what arrives.
	readable bool
	parses   []string // SQL of the columns, with text made values of the target's types where text stands for these
}

// match maps columns by name. What the target cannot take is an error, before
// anything is read. Written text stands for values of any type.
func (t *target) match(ctx context.Context, conn *pgx.Conn, flow string, arriving []column, written bool) (mapping, error) {
	m := mapping{casts: map[string]string{}, same: true, readable: true}
	values := make([]string, len(arriving))
	for i, a := range arriving {
		at := slices.IndexFunc(t.columns, func(c column) bool { return c.name == a.name })
		switch {
		case at < 0:
			return m, holdfast.Errorf(holdfast.CodeInvalid, "flow %s brings the column %q, which table %s does not have", flow, a.name, t.name).
				WithHint("add the column to the table, or leave it out; the table's are %s", strings.Join(names(t.columns), ", "))
		case t.generated[a.name]:
			return m, holdfast.Errorf(holdfast.CodeInvalid, "flow %s brings the column %q, which table %s generates by itself", flow, a.name, t.name).
				WithHint("leave the column out")
		}
		c := t.columns[at]
		m.readable = m.readable && readable(a, c)
		m.columns = append(m.columns, a.name)
		values[i] = "NULL"
		switch {
		case written && a.oid == pgtype.TextOID:
			m.parses = append(m.parses, definition.QuoteIdentifier(a.name)+"::"+c.typ)
			continue
		case !a.builtIn() || !c.builtIn():
			m.same = false
			if a.oid == pgtype.TextOID { // of a row step, for example
				m.parses = append(m.parses, definition.QuoteIdentifier(a.name)+"::"+c.typ)
				continue
			}
		case a.oid != c.oid:
			m.casts[a.name] = c.typ
			fallthrough
		default:
			values[i] = "NULL::" + a.typ
		}
		m.parses = append(m.parses, definition.QuoteIdentifier(a.name))
	}
	if len(arriving) == 0 {
		return m, holdfast.Errorf(holdfast.CodeInvalid, "flow %s brings no columns", flow)
	}
	// The server's own rules say what may be assigned to what.
	_, err := conn.Prepare(ctx, "", "INSERT INTO "+t.sql+" ("+quoted(m.columns)+") OVERRIDING SYSTEM VALUE SELECT "+strings.Join(values, ", "))
	if err != nil {
		return m, queryError(err, "take the columns of flow "+flow+" into table "+t.name)
	}
	return m, nil
}

// readable reports whether the text of a value is text of the other type, with the
// same value.
func readable(from, to column) bool {
	whole := func(c column) bool {
		switch c.oid {
		case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
			return true
		case pgtype.NumericOID:
			return strings.HasSuffix(c.full, ",0)")
		}
		return false
	}
	number := whole(to) || slices.Contains([]uint32{pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID}, to.oid)
	return from.oid == to.oid || from.oid == pgtype.TextOID || whole(from) && number
}

// rowColumns returns the target's columns with these names, in this order.
func (t *target) rowColumns(names []string) []rows.Column {
	var all []rows.Column
	for _, n := range names {
		for _, c := range t.columns {
			if c.name == n {
				all = append(all, c.row())
			}
		}
	}
	return all
}

func (c column) row() rows.Column {
	return rows.Column{Name: c.name, OID: c.oid, Type: c.full, Textual: c.textual}
}
