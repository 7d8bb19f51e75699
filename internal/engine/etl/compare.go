package etl

import (
	"context"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// compare proves that the engine holds what the source sent: as many rows, and in
// columns that may be NULL as many values. Readers of text have been known to make
// NULL of values that they cannot read, without a word.
func (r *reading) compare(ctx context.Context, c *duck.Client) error {
	got, err := c.Counts(ctx, r.in.Name)
	if err != nil {
		return err
	}
	if got.Rows != r.read {
		return r.differs("rows", strconv.FormatInt(got.Rows, 10), strconv.FormatInt(r.read, 10))
	}
	var nullable []int
	for i, col := range r.columns {
		notNull, err := r.src.notNull(ctx, r.in, col)
		if err != nil {
			return err
		}
		if !notNull {
			nullable = append(nullable, i)
		}
	}
	if len(nullable) == 0 {
		return nil
	}
	counts := make([]string, len(nullable))
	for i, at := range nullable {
		counts[i] = "pg_catalog.count(q." + definition.QuoteIdentifier(r.columns[at].name) + ")"
	}
	var want []int64
	if err := r.src.tx.QueryRow(ctx, "SELECT ARRAY["+strings.Join(counts, ", ")+"] FROM (\n"+r.sql+"\n) AS q").Scan(&want); err != nil {
		return queryError(err, "count the values of extract "+r.in.Extract.Name)
	}
	for i, at := range nullable {
		if at >= len(got.Values) || got.Values[at] != want[i] {
			return r.differs("values in column "+r.columns[at].name, strconv.FormatInt(got.Values[at], 10), strconv.FormatInt(want[i], 10))
		}
	}
	return nil
}

func (r *reading) differs(what, got, want string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "extract %s: the engine has %s %s, and the source sent %s", r.in.Extract.Name, got, what, want).
		WithHint("cast the column to text in the extract's query; nothing of this unit was loaded")
}
