package session

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// prepared rewrites SQL of a definition and finds what it needs.
func (s *Session) prepared(sql string) (rewritten, query, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	re, err := s.rewrite(sql)
	if err != nil {
		return rewritten{}, query{}, err
	}
	return re, s.query(re), nil
}

// named finds what a relation needs.
func (s *Session) named(relation string) (query, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(relation)
}

// step makes a relation by a SELECT.
func (s *Session) step(ctx context.Context, step *duck.Step, r *duck.Response) error {
	re, q, err := s.prepared(step.SQL)
	if err != nil {
		return err
	}
	if step.Streamed {
		if _, err := s.columns(ctx, q); err != nil { // wrong SQL shows here, before anything is read
			return err
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.declare(&relation{name: step.Name, sql: re.sql, reads: re.reads, parameters: re.parameters})
	}
	return s.use(ctx, q, r, func(q query) error {
		return s.table(ctx, &relation{name: step.Name, kept: true}, q.text("*"), q.args, r)
	})
}

// assert returns the one value of a SELECT.
func (s *Session) assert(ctx context.Context, a *duck.Assert, r *duck.Response) error {
	_, q, err := s.prepared(a.SQL)
	if err != nil {
		return err
	}
	columns, err := s.columns(ctx, q)
	if err != nil {
		return err
	}
	if len(columns) != 1 {
		return holdfast.Errorf(holdfast.CodeInvalid, "an assertion selects one value, and this one has %d columns", len(columns))
	}
	return s.use(ctx, q, r, func(q query) error {
		sample, err := s.sample(ctx, q, columns, 2)
		if err != nil {
			return err
		}
		if len(sample) != 1 {
			return holdfast.Errorf(holdfast.CodeInvalid, "an assertion selects one value, and this one has %s rows", map[bool]string{true: "no", false: "several"}[len(sample) == 0])
		}
		r.Value = sample[0][0]
		return nil
	})
}

// look says what a relation is.
func (s *Session) look(ctx context.Context, l *duck.Look, r *duck.Response) error {
	q, err := s.named(l.Relation)
	if err != nil {
		return err
	}
	columns, err := s.columns(ctx, q)
	if err != nil {
		return err
	}
	for _, c := range columns {
		postgres, _ := duck.ResultOf(c.Type, "")
		r.Columns = append(r.Columns, duck.Column{Name: c.Name, Type: postgres})
	}
	if l.Rows == 0 && !l.Count {
		return nil
	}
	return s.use(ctx, q, r, func(q query) error {
		if l.Rows > 0 {
			if r.Sample, err = s.sample(ctx, q, columns, l.Rows); err != nil {
				return err
			}
		}
		if l.Count {
			r.Counts, err = s.count(ctx, q, columns)
		}
		return err
	})
}

// sample returns the first rows of a query as text.
func (s *Session) sample(ctx context.Context, q query, columns []duck.Column, n int) ([][]*string, error) {
	all := make([]string, len(columns))
	for i, c := range columns {
		_, value := duck.ResultOf(c.Type, identifier(c.Name))
		all[i] = fmt.Sprintf("left(CAST(%s AS VARCHAR), %d)", value, duck.MaxSampling)
	}
	rows, err := s.db.QueryContext(ctx, q.text(strings.Join(all, ", "))+fmt.Sprintf(" LIMIT %d", n), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var sample [][]*string
	for rows.Next() {
		row := make([]*string, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		sample = append(sample, row)
	}
	return sample, rows.Err()
}

// count counts rows, and values of each column.
func (s *Session) count(ctx context.Context, q query, columns []duck.Column) (*duck.Counts, error) {
	c := &duck.Counts{Values: make([]int64, len(columns))}
	all, into := []string{"count(*)"}, []any{&c.Rows}
	for i, column := range columns {
		all = append(all, "count("+identifier(column.Name)+")")
		into = append(into, &c.Values[i])
	}
	return c, s.db.QueryRowContext(ctx, q.text(strings.Join(all, ", ")), q.args...).Scan(into...)
}

// copyOptions are those of PostgreSQL's COPY ... (format csv).
const copyOptions = `FORMAT csv, HEADER %t, DELIMITER ',', QUOTE '"', ESCAPE '"', NULLSTR ''`

// output writes a relation.
func (s *Session) output(ctx context.Context, o *duck.Output, files []*os.File, r *duck.Response) error {
	q, err := s.named(o.Relation)
	if err != nil {
		return err
	}
	columns, err := s.columns(ctx, q)
	if err != nil {
		return err
	}
	if o.Format == duck.FormatBinary {
		return s.use(ctx, q, r, func(q query) error {
			r.Rows, err = s.sunk(ctx, q, columns, files[0])
			return err
		})
	}
	selected := make([]string, len(columns))
	for i, c := range columns {
		name := identifier(c.Name)
		value := parquetValue(c.Type, name)
		if o.Format != duck.FormatParquet {
			_, value = duck.ResultOf(c.Type, name)
		}
		selected[i] = value + " AS " + name
	}
	options := fmt.Sprintf(copyOptions, o.Format == duck.FormatCSV)
	switch {
	case o.Format == duck.FormatParquet:
		options = "FORMAT parquet, COMPRESSION zstd"
	case len(columns) == 1:
		// An unquoted \. in a line of its own ends a COPY.
		options += ", FORCE_QUOTE (" + identifier(columns[0].Name) + ")"
	}
	slots, err := s.takeFiles(files)
	if err != nil {
		return err
	}
	defer s.freeSlots(slots)
	return s.use(ctx, q, r, func(q query) error {
		statement := fmt.Sprintf("COPY (%s) TO %s (%s, USE_TMP_FILE false)", q.text(strings.Join(selected, ", ")), literal(slotPath(slots[0])), options)
		return s.db.QueryRowContext(ctx, statement, q.args...).Scan(&r.Rows)
	})
}

// parquetValue keeps from loss what Parquet has no type for: it would make double
// precision of wide integers, and milliseconds of intervals.
func parquetValue(typ, column string) string {
	switch typ {
	case "HUGEINT", "UHUGEINT":
		return "CAST(" + column + " AS DECIMAL(38,0))"
	case "INTERVAL", "BIT", "BIGNUM", "TIME WITH TIME ZONE":
		return "CAST(" + column + " AS VARCHAR)"
	}
	return column
}

// reset forgets every relation and parameter.
func (s *Session) reset(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.declared) > 0 {
		r := s.declared[len(s.declared)-1]
		if r.kept {
			if _, err := s.db.ExecContext(ctx, "DROP TABLE IF EXISTS "+identifier(r.name)); err != nil {
				return err
			}
		}
		s.forget(r)
	}
	clear(s.parameters)
	return nil
}
