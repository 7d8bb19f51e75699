package etl

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/holdfast-backup/holdfast"
)

// misfit says of a value that could not be cast which columns it may be of: where a
// server says "integer out of range", it names the type and no column. casts are the
// types that columns are cast to for the target.
func (f *flow) misfit(err error, casts map[string]string) error {
	pe, ok := errors.AsType[*pgconn.PgError](err)
	e, known := errors.AsType[*holdfast.Error](err)
	if !ok || !known || !strings.HasPrefix(pe.Code, "22") || len(casts) == 0 { // data exception
		return err
	}
	var said, all []string
	for _, name := range slices.Sorted(maps.Keys(casts)) {
		what := name + " to " + casts[name]
		all = append(all, what)
		if strings.Contains(pe.Message, casts[name]) {
			said = append(said, what)
		}
	}
	if len(said) == 0 {
		said = all
	}
	return holdfast.Wrap(e.Code, err, "flow %s: %s; what is cast for table %s: %s", f.plan.Load.Name, e.Msg, f.plan.Load.Table, strings.Join(said, ", ")).
		WithHint("%s", e.Hint)
}

// assigned are the columns that arrive with another type than the target's, and the
// target's.
func assigned(t *target, arriving []column) map[string]string {
	casts := map[string]string{}
	for _, a := range arriving {
		for _, c := range t.columns {
			if c.name == a.name && (c.oid != a.oid || !c.builtIn()) {
				casts[a.name] = c.typ
			}
		}
	}
	return casts
}
