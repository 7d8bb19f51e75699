package etl

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// loadByTarget lets the rows arrive in a temporary table, runs the flow's steps
// over it, and loads the last one's rows.
func (f *flow) loadByTarget(ctx context.Context, tx pgx.Tx, t *target, fd feed) (counts, error) {
	if err := set(ctx, tx, bind.Settings(f.e.plan.Parameters)); err != nil {
		return counts{}, err
	}
	c, err := f.arrive(ctx, tx, f.plan.Arrived, fd)
	if err != nil {
		return c, err
	}
	made := []string{f.plan.Arrived}
	result := f.plan.Arrived
	for _, s := range f.plan.Target {
		if s.Assert {
			if err := f.assert(ctx, tx, s); err != nil {
				return c, err
			}
			continue
		}
		if err := f.makeStep(ctx, tx, s); err != nil {
			return c, err
		}
		made, result = append(made, s.Name), s.Name
	}
	from := "pg_temp." + definition.QuoteIdentifier(result)
	columns, err := describe(ctx, tx.Conn(), "SELECT * FROM "+from, "step "+result)
	if err != nil {
		return c, err
	}
	m, err := t.match(ctx, tx.Conn(), f.plan.Load.Name, columns, false)
	if err != nil {
		return c, err
	}
	if err := f.loadFrom(ctx, tx, t, m, from, &c); err != nil {
		return c, err
	}
	return c, drop(ctx, tx, made...)
}

// makeStep makes the temporary table of a step.
func (f *flow) makeStep(ctx context.Context, tx pgx.Tx, s definition.Step) error {
	sql, err := f.e.bound(s.SQL)
	if err != nil {
		return err
	}
	if _, err := describe(ctx, tx.Conn(), sql, "step "+s.Name); err != nil {
		return err
	}
	// Prepared as one statement before: nothing can follow it.
	tag, err := tx.Exec(ctx, "CREATE TEMP TABLE "+definition.QuoteIdentifier(s.Name)+" ON COMMIT DROP AS SELECT * FROM (\n"+sql+"\n) AS q")
	if err != nil {
		return queryError(err, "run step "+s.Name)
	}
	f.e.log.InfoContext(ctx, "step computed", "flow", f.plan.Load.Name, "step", s.Name, "rows", tag.RowsAffected())
	return nil
}

// loadFrom loads the rows of a temporary table.
func (f *flow) loadFrom(ctx context.Context, tx pgx.Tx, t *target, m mapping, from string, c *counts) (err error) {
	if f.byKey() {
		c.loaded, err = f.putByKey(ctx, tx, t, m.columns, from, c)
		return err
	}
	if f.plan.Load.Mode == definition.LoadReplace {
		if err := f.empty(ctx, tx, t); err != nil {
			return err
		}
	}
	tag, err := tx.Exec(ctx, insertSQL(t.sql, m.columns, quoted(m.columns), from))
	if err != nil {
		return queryError(err, "load rows into "+t.name)
	}
	c.loaded = tag.RowsAffected()
	return nil
}

// assert runs a question that has one answer.
func (f *flow) assert(ctx context.Context, tx pgx.Tx, s definition.Step) error {
	sql, err := f.e.bound(s.SQL)
	if err != nil {
		return err
	}
	columns, err := describe(ctx, tx.Conn(), sql, "assertion "+s.Name)
	if err != nil {
		return err
	}
	if len(columns) != 1 {
		return holdfast.Errorf(holdfast.CodeInvalid, "assertion %s selects %d columns, want 1", s.Name, len(columns))
	}
	rows, err := tx.Query(ctx, "SELECT q.v::text FROM (\n"+sql+"\n) AS q (v) LIMIT 2")
	if err != nil {
		return queryError(err, "run assertion "+s.Name)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[*string])
	if err != nil {
		return queryError(err, "run assertion "+s.Name)
	}
	answer := make([]string, len(got))
	for i, g := range got {
		if answer[i] = "NULL"; g != nil {
			answer[i] = *g
		}
	}
	return f.judgeAssert(ctx, s, strings.Join(answer, ", "))
}

// judgeAssert compares the answer of an assertion with what was expected.
func (f *flow) judgeAssert(ctx context.Context, s definition.Step, got string) error {
	if got == s.Expect || s.Severity == definition.SeverityOK {
		return nil
	}
	got = clip(got, 200)
	if s.Severity == definition.SeverityWarning {
		f.e.warn(ctx, "an assertion does not hold", "assertion", s.Name, "got", got, "expected", s.Expect)
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "assertion %s does not hold: got %s, expected %s", s.Name, got, s.Expect).
		WithHint("look at the data; nothing of this unit was loaded")
}
