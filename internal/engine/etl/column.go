package etl

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// firstUserOID is the first number of what is not built into the server: numbers
// below are the same on every server. Source: FirstNormalObjectId in
// src/include/access/transam.h.
const firstUserOID = 16384

// column is a column of a relation on a server. Domains show as what they are
// based on.
type column struct {
	name string
	oid  uint32 // of the type
	typ  string // the type without its modifier, as SQL on that server knows it
	// table and number say which table's column it is; zero for an expression.
	table  uint32
	number uint16
}

func (c column) builtIn() bool { return c.oid < firstUserOID }

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
	oids := make([]uint32, len(d.Fields))
	seen := map[string]bool{}
	for i, f := range d.Fields {
		columns[i] = column{name: f.Name, oid: f.DataTypeOID, table: f.TableOID, number: f.TableAttributeNumber}
		oids[i] = f.DataTypeOID
		if seen[f.Name] {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "%s has two columns named %q", what, f.Name).WithHint("give one of them another name with AS")
		}
		seen[f.Name] = true
	}
	types, err := typeNames(ctx, conn, oids)
	if err != nil {
		return nil, err
	}
	for i := range columns {
		columns[i].typ = types[columns[i].oid]
	}
	return columns, nil
}

// typeNames returns the types' names as SQL on this server knows them, without
// modifiers.
func typeNames(ctx context.Context, conn *pgx.Conn, oids []uint32) (map[uint32]string, error) {
	rows, err := conn.Query(ctx, "SELECT o, pg_catalog.format_type(o, -1) FROM pg_catalog.unnest($1::oid[]) AS o", oids)
	if err != nil {
		return nil, queryError(err, "name the types of columns")
	}
	all := map[uint32]string{}
	var oid uint32
	var name string
	_, err = pgx.ForEachRow(rows, []any{&oid, &name}, func() error {
		all[oid] = name
		return nil
	})
	if err != nil {
		return nil, queryError(err, "name the types of columns")
	}
	return all, nil
}
