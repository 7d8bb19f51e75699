package etl

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// had reports whether the table of a replace has rows before they go. It is not
// looked for where the definition says what reading nothing is, or where the role may
// not look: then it counts as having some.
func (f *flow) had(ctx context.Context, tx pgx.Tx, t *target) (bool, error) {
	if f.plan.Load.Mode != definition.LoadReplace || f.e.plan.Definition.Empty != "" {
		return false, nil
	}
	var may bool
	if err := tx.QueryRow(ctx, "SELECT pg_catalog.has_table_privilege($1::pg_catalog.oid, 'SELECT')", t.oid).Scan(&may); err != nil {
		return false, queryError(err, "look at the rights to "+t.name)
	}
	if !may {
		return true, nil
	}
	var some bool
	if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+t.sql+")").Scan(&some); err != nil {
		return false, queryError(err, "look whether "+t.name+" has rows")
	}
	return some, nil
}

// checkEmptied keeps a source that has nothing from taking everything from a target,
// unless the definition says that it may: a filter that is wrong, a view without
// rights and a table that somebody fills at this moment look the same. had says
// whether a replaced table had rows.
func (f *flow) checkEmptied(c counts, had bool) error {
	if f.e.plan.Definition.Empty != "" || c.read > c.rejected || c.loaded > 0 || c.deleted == 0 && !had {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "flow %s has read nothing that was not rejected, and its %s would have emptied its target", f.plan.Load.Name, f.plan.Load.Mode).
		WithHint("look at the source; where it may have no rows, let the definition say empty: ok")
}
