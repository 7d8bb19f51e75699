package etl

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// loadByKey loads by way of a temporary table: rows whose key the target has are
// updated, others are inserted. A merge deletes what did not arrive.
func (f *flow) loadByKey(ctx context.Context, tx pgx.Tx, t *target, m mapping, fd feed) (counts, error) {
	if _, err := tx.Exec(ctx, "CREATE TEMP TABLE "+stage+" ON COMMIT DROP AS SELECT "+quoted(m.columns)+" FROM "+t.sql+" WITH NO DATA"); err != nil {
		return counts{}, queryError(err, "make a temporary table in the target")
	}
	c, err := f.copyInto(ctx, tx, t, "pg_temp."+stage, m, fd)
	if err != nil {
		return c, err
	}
	if c.loaded, err = f.putByKey(ctx, tx, t, m.columns, "pg_temp."+stage, &c); err != nil {
		return c, err
	}
	return c, drop(ctx, tx, stage)
}

// putByKey brings the rows of a temporary table into the target by key, and
// returns how many were inserted or updated. It counts what it deletes, and rows that
// others of the same key have replaced.
func (f *flow) putByKey(ctx context.Context, tx pgx.Tx, t *target, columns []string, from string, c *counts) (int64, error) {
	load := f.plan.Load
	for _, k := range slices.Concat(load.Key, load.Update) {
		if !slices.Contains(columns, k) {
			return 0, holdfast.Errorf(holdfast.CodeInvalid, "load %s: the column %q does not arrive", load.Name, k).
				WithHint("what arrives is %s", strings.Join(columns, ", "))
		}
	}
	if load.Mode == definition.LoadMerge {
		var err error
		// Before the rows are put: those without a key are put again each time.
		if c.deleted, err = f.deleteMissing(ctx, tx, t, from); err != nil {
			return 0, err
		}
	}
	put := func(from string) string {
		return insertSQL(t.sql, columns, quoted(columns), from) + onConflict(load, columns, t.always)
	}
	f.e.p.step("staged")
	n, err := execWithin(ctx, tx, put(from))
	if isCode(err, "21000") { // cardinality_violation: two rows have one key
		last := lastOfEach(load.Key, columns, from, t.nullsEqual)
		// What is put may be less for other reasons: the target's triggers leave rows out.
		sql := "SELECT (SELECT pg_catalog.count(*) FROM " + from + ") OPERATOR(pg_catalog.-) (SELECT pg_catalog.count(*) FROM " + last + ")"
		if err := tx.QueryRow(ctx, sql).Scan(&c.duplicates); err != nil {
			return 0, queryError(err, "count the rows that have one key")
		}
		n, err = execWithin(ctx, tx, put(last))
	}
	if err != nil {
		return 0, queryError(err, "load rows into "+t.name)
	}
	return n, nil
}

// onConflict says what becomes of rows that are there. Columns that nobody may update
// keep what they have.
func onConflict(load definition.Load, columns, always []string) string {
	update := load.Update
	if len(update) == 0 {
		for _, c := range columns {
			if !slices.Contains(load.Key, c) && !slices.Contains(always, c) {
				update = append(update, c)
			}
		}
	}
	s := " ON CONFLICT (" + quoted(load.Key) + ") DO "
	if len(update) == 0 { // the key is all there is: the row is as it should be
		update = load.Key[:1]
		if slices.Contains(always, update[0]) {
			return s + "NOTHING"
		}
	}
	sets := make([]string, len(update))
	for i, c := range update {
		q := definition.QuoteIdentifier(c)
		sets[i] = q + " = excluded." + q
	}
	return s + "UPDATE SET " + strings.Join(sets, ", ")
}

// lastOfEach is a relation with the last row of each key. Rows of a temporary
// table that was only filled stand in the order in which they came; those without
// a whole key are in nobody's way, unless NULL equals NULL.
func lastOfEach(key, columns []string, from string, nullsEqual bool) string {
	missing := make([]string, len(key))
	for i, k := range key {
		missing[i] = definition.QuoteIdentifier(k) + " IS NULL"
	}
	if nullsEqual {
		missing = []string{"false"}
	}
	return "(SELECT " + quoted(columns) + ", pg_catalog.row_number() OVER (PARTITION BY " + quoted(key) + " ORDER BY ctid DESC) AS holdfast_number FROM " + from +
		") AS q WHERE holdfast_number = 1 OR " + strings.Join(missing, " OR ")
}

// deleteMissing deletes what did not arrive. When rows were rejected it is not known
// which: some of them may be there with a good earlier version.
func (f *flow) deleteMissing(ctx context.Context, tx pgx.Tx, t *target, from string) (int64, error) {
	rejected, err := f.work.rejected()
	if err != nil {
		return 0, err
	}
	if rejected > 0 {
		f.e.warn(ctx, "rows were rejected, so the merge deletes none: a rejected row may be there in an earlier version", "flow", f.plan.Load.Name, "rejected", rejected)
		return 0, nil
	}
	key := f.plan.Load.Key
	if _, err := tx.Exec(ctx, "ANALYZE "+from); err != nil {
		return 0, queryError(err, "look at the rows that arrived")
	}
	same := make([]string, len(key))
	for i, k := range key {
		q := definition.QuoteIdentifier(k)
		equals := " = "
		if slices.ContainsFunc(t.columns, func(c column) bool {
			_, named := builtInName(c.oid, -1)
			return c.name == k && named
		}) {
			equals = " OPERATOR(pg_catalog.=) " // anybody's own may fit better, and runs with our rights
		}
		same[i] = "s." + q + equals + "t." + q
	}
	tag, err := tx.Exec(ctx, "DELETE FROM "+t.sql+" AS t WHERE NOT EXISTS (SELECT FROM "+from+" AS s WHERE "+strings.Join(same, " AND ")+")")
	if err != nil {
		return 0, queryError(err, "delete from "+t.name+" what did not arrive")
	}
	return tag.RowsAffected(), nil
}

// execWithin runs a statement whose failure leaves the transaction as it was.
func execWithin(ctx context.Context, tx pgx.Tx, sql string) (int64, error) {
	inner, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		return 0, err
	}
	tag, err := inner.Exec(ctx, sql)
	if err != nil {
		rollback(ctx, inner)
		return 0, err
	}
	return tag.RowsAffected(), inner.Commit(ctx)
}
