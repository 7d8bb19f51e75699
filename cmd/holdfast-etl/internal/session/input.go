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

// input declares a relation that is read from a pipe or from files.
func (s *Session) input(ctx context.Context, in *duck.Input, files []*os.File, r *duck.Response) error {
	if in.Format == duck.FormatCopy && !in.Streamed {
		r.Read = []string{in.Relation} // now, whatever becomes of it
	}
	slots, err := s.takeFiles(files)
	if err != nil {
		return err
	}
	if in.Streamed {
		s.mu.Lock()
		defer s.mu.Unlock()
		rel := &relation{
			name: in.Relation, columns: in.Columns, shape: shape(in.Columns), slots: slots, pipe: in.Format == duck.FormatCopy,
		}
		if rel.body, err = s.scan(ctx, in, slots); err == nil {
			err = s.declare(rel)
		}
		if err != nil {
			s.slots.free(slots)
		}
		return err
	}
	defer s.freeSlots(slots)
	return s.keep(ctx, in, slots, r)
}

// keep reads a relation into a table.
func (s *Session) keep(ctx context.Context, in *duck.Input, slots []int, r *duck.Response) error {
	body, err := s.scan(ctx, in, slots)
	if err != nil {
		return err
	}
	if in.Append {
		s.mu.Lock()
		rel, err := s.find(in.Relation)
		s.mu.Unlock()
		if err == nil && (!rel.kept || !slices.Equal(rel.columns, in.Columns)) {
			err = holdfast.Errorf(holdfast.CodeInvalid, "rows cannot be added to the relation %s", in.Relation)
		}
		if err != nil {
			return err
		}
		return s.db.QueryRowContext(ctx, "INSERT INTO "+identifier(rel.name)+" "+body).Scan(&r.Rows)
	}
	return s.table(ctx, &relation{name: in.Relation, kept: true, columns: in.Columns}, body, nil, r)
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

// shape is a SELECT of columns that reads nothing.
func shape(columns []duck.Column) string {
	all := make([]string, len(columns))
	for i, c := range columns {
		all[i] = fmt.Sprintf("CAST(NULL AS %s) AS %s", duck.TypeOf(c.Type).DuckDB, identifier(c.Name))
	}
	return "SELECT " + strings.Join(all, ", ") + " WHERE false"
}

// scan is the SELECT that reads an input.
func (s *Session) scan(ctx context.Context, in *duck.Input, slots []int) (string, error) {
	paths := make([]string, len(slots))
	for i, slot := range slots {
		paths[i] = literal(slotPath(slot))
	}
	from := "[" + strings.Join(paths, ", ") + "]"
	switch in.Format {
	case duck.FormatCopy, duck.FormatCSV:
		return scanCSV(in, from, s.line), nil
	case duck.FormatJSON:
		return scanJSON(in, from, s.line), nil
	case duck.FormatParquet:
		return s.scanParquet(ctx, in, from)
	}
	return "", holdfast.Errorf(holdfast.CodeInvalid, "the engine cannot read %q", in.Format)
}

// The longest row of CSV, or JSON object, is a part of the memory: the engine holds
// some of them at once.
const (
	linesInMemory = 16
	minLine       = 2 << 20  // bytes
	maxLine       = 64 << 20 // bytes
)

// scanCSV reads CSV. Where the reader would pass over faults in silence, it reads text,
// and an expression makes the value. Columns get their names behind the reader, which
// folds and compares names in its own ways.
func scanCSV(in *duck.Input, from string, line int64) string {
	prefix := in.Relation + "."
	if in.Format != duck.FormatCopy {
		prefix += fileMark + "."
	}
	order := in.Order
	if len(order) == 0 {
		for _, c := range in.Columns {
			order = append(order, c.Name)
		}
	}
	columns := make([]string, len(order))
	selected := make([]string, len(in.Columns))
	for i, name := range order {
		as, raw := "VARCHAR", fmt.Sprintf("%s%d.%s", prefix, i, name)
		if at := slices.IndexFunc(in.Columns, func(c duck.Column) bool { return c.Name == name }); at >= 0 {
			t := duck.TypeOf(in.Columns[at].Type)
			expression := t.Copied
			if in.Format != duck.FormatCopy {
				expression = t.Foreign
			}
			value := identifier(raw)
			if expression == "" {
				as = t.DuckDB
			} else {
				value = apply(expression, value)
			}
			selected[at] = value + " AS " + identifier(name)
		}
		columns[i] = literal(raw) + ": " + literal(as)
	}
	comma := in.Comma
	if comma == "" {
		comma = ","
	}
	// PostgreSQL quotes what looks like its NULL; and so a quoted text is never NULL.
	return fmt.Sprintf(`SELECT %s FROM read_csv(%s, auto_detect = false, header = %t, delim = %s, quote = '"', escape = '"', nullstr = %s, `+
		`allow_quoted_nulls = false, strict_mode = true, max_line_size = %d, buffer_size = %[6]d, columns = {%[7]s})`,
		strings.Join(selected, ", "), from, in.Header, literal(comma), literal(in.Null), line, strings.Join(columns, ", "))
}

// apply puts a column into an expression of package duck.
func apply(expression, column string) string {
	return strings.NewReplacer("%s", column, "%[1]s", column).Replace(expression)
}

// scanJSON reads objects, one a line. Text is cast, so that numbers keep their
// digits.
func scanJSON(in *duck.Input, from string, line int64) string {
	columns, selected := make([]string, len(in.Columns)), make([]string, len(in.Columns))
	for i, c := range in.Columns {
		columns[i] = literal(c.Name) + ": 'VARCHAR'"
		t := duck.TypeOf(c.Type)
		if t.Foreign == "" {
			t.Foreign = "CAST(%s AS " + t.DuckDB + ")"
		}
		selected[i] = apply(t.Foreign, identifier(c.Name)) + " AS " + identifier(c.Name)
	}
	return fmt.Sprintf("SELECT %s FROM read_json(%s, format = 'newline_delimited', ignore_errors = false, maximum_object_size = %d, columns = {%s})",
		strings.Join(selected, ", "), from, line, strings.Join(columns, ", "))
}

// scanParquet reads Parquet, whose columns have types of their own.
func (s *Session) scanParquet(ctx context.Context, in *duck.Input, from string) (string, error) {
	source := "read_parquet(" + from + ")"
	rows, err := s.db.QueryContext(ctx, "SELECT column_name, column_type FROM (DESCRIBE SELECT * FROM "+source+")")
	if err != nil {
		return "", err
	}
	defer rows.Close()
	types := map[string]string{}
	var names []string
	for rows.Next() {
		var name, typ string
		if err := rows.Scan(&name, &typ); err != nil {
			return "", err
		}
		types[name] = typ
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		return "", err
	}
	selected := make([]string, len(in.Columns))
	for i, c := range in.Columns {
		typ, ok := types[c.Name]
		if !ok {
			return "", holdfast.Errorf(holdfast.CodeInvalid, "the Parquet file has no column %s", c.Name).
				WithHint("it has %s", strings.Join(names, ", "))
		}
		value, want := identifier(c.Name), duck.TypeOf(c.Type).DuckDB
		if typ == "BLOB" || want == "VARCHAR" { // as PostgreSQL writes it
			_, value = duck.ResultOf(typ, value)
		}
		selected[i] = fmt.Sprintf("CAST(%s AS %s) AS %s", value, want, identifier(c.Name))
	}
	return "SELECT " + strings.Join(selected, ", ") + " FROM " + source, nil
}
