package session

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

// maxHeld bounds the files that streamed relations keep open: they must stay below the
// slots.
const maxHeld = 1024

// input declares a relation that is read from a pipe, or from Parquet files.
func (s *Session) input(ctx context.Context, in *duck.Input, files []*os.File, r *duck.Response) error {
	if in.Format != duck.FormatParquet && !in.Streamed {
		r.Read = []string{in.Relation} // now, whatever becomes of it
	}
	rel := &relation{name: in.Relation, columns: in.Columns, input: in}
	if in.Format == duck.FormatParquet {
		if err := s.parquet(ctx, rel, files); err != nil {
			rel.close()
			return err
		}
	} else {
		rel.files = slices.Clone(files)
		clear(files) // they are the relation's
	}
	if in.Streamed {
		s.mu.Lock()
		defer s.mu.Unlock()
		err := s.declare(rel)
		if err == nil && s.held+len(rel.files) > maxHeld {
			err = holdfast.Errorf(holdfast.CodeInvalid, "streamed relations hold more than %d files open", maxHeld).WithHint("keep some of them")
			s.held += len(rel.files)
			s.forget(rel)
		}
		if err != nil {
			rel.close()
			return err
		}
		s.held += len(rel.files)
		return nil
	}
	defer rel.close()
	q := query{chain: []*relation{rel}, sql: "SELECT * FROM " + identifier(rel.name)}
	return s.use(ctx, q, r, func(q query) error { return s.keep(ctx, in, q, r) })
}

// keep reads an input into a table.
func (s *Session) keep(ctx context.Context, in *duck.Input, q query, r *duck.Response) error {
	if !in.Append {
		return s.table(ctx, &relation{name: in.Relation, kept: true, columns: in.Columns}, q.text("*"), nil, r)
	}
	s.mu.Lock()
	rel, err := s.find(in.Relation)
	s.mu.Unlock()
	if err == nil && (!rel.kept || !slices.Equal(rel.columns, in.Columns)) {
		err = holdfast.Errorf(holdfast.CodeInvalid, "rows cannot be added to the relation %s", in.Relation)
	}
	if err != nil {
		return err
	}
	return s.db.QueryRowContext(ctx, "INSERT INTO "+identifier(rel.name)+" SELECT * FROM ("+q.text("*")+")").Scan(&r.Rows)
}

// table makes a relation a table.
func (s *Session) table(ctx context.Context, rel *relation, body string, args []any, r *duck.Response) error {
	s.mu.Lock()
	err := s.declare(rel) // before there is a table: no other request makes one of this name
	s.mu.Unlock()
	if err != nil {
		return err
	}
	err = s.db.QueryRowContext(ctx, "CREATE TABLE "+identifier(rel.name)+" AS "+body, args...).Scan(&r.Rows)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(rel)
	}
	return err
}

// The longest row is a part of the memory: the engine holds some of them at once.
const (
	linesInMemory = 16
	minLine       = 2 << 20  // bytes
	maxLine       = 64 << 20 // bytes
)

// scanCSV reads the CSV that a server has sent. Where the reader would pass over faults
// in silence, it reads text, and an expression makes the value. Columns get their names
// behind the reader, which folds and compares names in its own ways.
func scanCSV(in *duck.Input, path string, line int64) string {
	columns, selected := make([]string, len(in.Columns)), make([]string, len(in.Columns))
	for i, c := range in.Columns {
		t := duck.TypeOf(c.Type)
		as, raw := t.DuckDB, fmt.Sprintf("%s.%d.%s", in.Relation, i, c.Name)
		value := identifier(raw)
		if t.Copied != "" {
			as, value = "VARCHAR", apply(t.Copied, value)
		}
		selected[i] = value + " AS " + identifier(c.Name)
		columns[i] = literal(raw) + ": " + literal(as)
	}
	// PostgreSQL quotes what looks like its NULL; and so a quoted text is never NULL.
	return fmt.Sprintf(`SELECT %s FROM read_csv(%s, auto_detect = false, header = false, delim = ',', quote = '"', escape = '"', nullstr = '', `+
		`new_line = '\n', allow_quoted_nulls = false, strict_mode = true, max_line_size = %d, buffer_size = %[3]d, columns = {%[4]s})`,
		strings.Join(selected, ", "), literal(path), line, strings.Join(columns, ", "))
}

// apply puts a column into an expression of package duck.
func apply(expression, column string) string {
	return strings.NewReplacer("%s", column, "%[1]s", column).Replace(expression)
}

// list is a list of strings as SQL.
func list(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = literal(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
