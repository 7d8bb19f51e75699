package etl

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// column is a column of a relation on a server. Domains show as what they are
// based on.
type column struct {
	name string
	oid  uint32 // of the type
	typ  string // the type without its modifier, as SQL on that server knows it; of a built-in one, on any
	full string // the type with it: numeric(18,6)
	// textual is true for a type that is not built in and whose binary form is text.
	textual bool
	// table and number say which table's column it is; zero for an expression.
	table  uint32
	number uint16
}

// builtIn reports whether the column's values are the same on every server, in their
// binary form, too.
func (c column) builtIn() bool {
	_, ok := builtInName(c.oid, -1)
	return ok && !serverOwn[c.oid] && !serverOwn[arrays[c.oid]]
}

func names(columns []column) []string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = c.name
	}
	return all
}

// quoted returns names as a list in SQL.
func quoted(names []string) string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = definition.QuoteIdentifier(n)
	}
	return strings.Join(all, ", ")
}

// describe returns the columns of a SELECT, which it does not run. It also proves
// that the text is one SELECT: what is sent to be prepared cannot be several
// statements.
func describe(ctx context.Context, conn *pgx.Conn, sql, what string) ([]column, error) {
	d, err := conn.Prepare(ctx, "", "SELECT * FROM (\n"+sql+"\n) AS q")
	if err != nil {
		return nil, queryError(err, "read "+what)
	}
	columns := make([]column, len(d.Fields))
	oids, mods := make([]uint32, len(d.Fields)), make([]int32, len(d.Fields))
	seen := map[string]bool{}
	for i, f := range d.Fields {
		columns[i] = column{name: f.Name, oid: f.DataTypeOID, table: f.TableOID, number: f.TableAttributeNumber}
		oids[i], mods[i] = f.DataTypeOID, f.TypeModifier
		if seen[f.Name] {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s has two columns named %q", what, f.Name).WithHint("give one of them another name with AS")
		}
		seen[f.Name] = true
	}
	return columns, nameTypes(ctx, conn, columns, oids, mods)
}

// nameTypes gives columns the names of their types. The server is asked for those
// that are not built in only.
func nameTypes(ctx context.Context, conn *pgx.Conn, columns []column, oids []uint32, mods []int32) error {
	asked := false
	for i := range columns {
		c := &columns[i]
		var ok bool
		if c.typ, ok = builtInName(oids[i], -1); ok {
			c.full, _ = builtInName(oids[i], mods[i])
		}
		asked = asked || !ok
	}
	if !asked {
		return nil
	}
	rows, err := conn.Query(ctx, `SELECT n, pg_catalog.format_type(o, -1), pg_catalog.format_type(o, m), coalesce(t.typtype = 'e' OR t.typname = 'citext', false)
		FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::int4[])) WITH ORDINALITY AS c (o, m, n)
		LEFT JOIN pg_catalog.pg_type t ON t.oid = c.o`, oids, mods)
	if err != nil {
		return queryError(err, "name the types of columns")
	}
	var n int
	var typ, full string
	var textual bool
	_, err = pgx.ForEachRow(rows, []any{&n, &typ, &full, &textual}, func() error {
		if n < 1 || n > len(columns) || columns[n-1].typ != "" {
			return nil
		}
		columns[n-1].typ, columns[n-1].full, columns[n-1].textual = typ, full, textual
		return nil
	})
	if err != nil {
		return queryError(err, "name the types of columns")
	}
	return nil
}

// namedTypes returns columns with types by name, as the server knows them.
func namedTypes(ctx context.Context, conn *pgx.Conn, fields []definition.Field) ([]column, error) {
	columns := make([]column, len(fields))
	for i, f := range fields {
		columns[i] = column{name: f.Name, full: f.Type}
		err := conn.QueryRow(ctx, "SELECT o, pg_catalog.format_type(o, -1) FROM (SELECT $1::text::regtype::oid AS o) AS t", f.Type).Scan(&columns[i].oid, &columns[i].typ)
		if err != nil {
			return nil, queryError(err, "understand the type "+f.Type+" of column "+f.Name)
		}
		if name, ok := builtInName(columns[i].oid, -1); ok {
			columns[i].typ = name
		}
	}
	return columns, nil
}
