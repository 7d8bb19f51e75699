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

// relation is what SQL knows by a name: a table, when it is kept, or else a part of
// the WITH of each statement that reads it.
type relation struct {
	name    string
	kept    bool
	columns []duck.Column // of an input

	// Of a streamed step:
	sql        string
	reads      []string // folded names
	parameters []string

	// Of a streamed input:
	input *duck.Input
	files []*os.File // of CSV and JSON; a pipe, when the format is that of COPY
	spent bool       // the pipe was read
	body  string     // of Parquet: the SELECT that reads the links
	links []string   // paths
}

// piped says whether a relation reaches the engine through pipes.
func (r *relation) piped() bool { return r.input != nil && r.input.Format != duck.FormatParquet }

// shape is a SELECT of the columns of an input that reads nothing.
func (r *relation) shape() string {
	all := make([]string, len(r.columns))
	for i, c := range r.columns {
		all[i] = fmt.Sprintf("CAST(NULL AS %s) AS %s", duck.TypeOf(c.Type).DuckDB, identifier(c.Name))
	}
	return "SELECT " + strings.Join(all, ", ") + " WHERE false"
}

// fold makes names equal that the engine does not tell apart.
func fold(name string) string { return strings.ToLower(name) }

// declare adds a relation. The caller holds the session's lock.
func (s *Session) declare(r *relation) error {
	if s.relations[fold(r.name)] != nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "there is a relation %s already", r.name)
	}
	s.relations[fold(r.name)] = r
	s.declared = append(s.declared, r)
	return nil
}

// forget takes a relation away. The caller holds the session's lock.
func (s *Session) forget(r *relation) {
	s.held -= len(r.files)
	r.close()
	delete(s.relations, fold(r.name))
	s.declared = slices.DeleteFunc(s.declared, func(d *relation) bool { return d == r })
}

// close lets go of an input's files.
func (r *relation) close() {
	closeAll(r.files)
	r.files = nil
	for _, path := range r.links {
		_ = os.Remove(path) // the whole directory goes with the session
	}
	r.links = nil
}

// find returns a relation. The caller holds the session's lock.
func (s *Session) find(name string) (*relation, error) {
	if r := s.relations[fold(name)]; r != nil {
		return r, nil
	}
	return nil, holdfast.Errorf(holdfast.CodeInvalid, "there is no relation %s", name)
}

// query is a SELECT with what it needs.
type query struct {
	chain []*relation // streamed ones that it may read, in the order of their declaration
	sql   string
	args  []any
	scans map[*relation]string // how piped relations are read now
	keep  bool                 // they are read into memory first, because the plan would read one twice
}

// query makes SQL a query. The caller holds the session's lock.
func (s *Session) query(q rewritten) query {
	needed, parameters := map[*relation]bool{}, slices.Clone(q.parameters)
	var add func(names []string)
	add = func(names []string) {
		for _, n := range names {
			r := s.relations[n]
			if r == nil || r.kept || needed[r] {
				continue
			}
			needed[r] = true
			parameters = append(parameters, r.parameters...)
			add(r.reads)
		}
	}
	add(q.reads)
	result := query{sql: q.sql}
	for _, r := range s.declared {
		if needed[r] {
			result.chain = append(result.chain, r)
		}
	}
	slices.Sort(parameters)
	for _, name := range slices.Compact(parameters) {
		result.args = append(result.args, s.parameters[name].argument())
	}
	return result
}

// of makes a query that returns a relation.
func (s *Session) of(name string) (query, error) {
	r, err := s.find(name)
	if err != nil {
		return query{}, err
	}
	return s.query(rewritten{sql: "SELECT * FROM " + identifier(r.name), reads: []string{fold(name)}}), nil
}

// text is the SQL of a query, with a list of columns.
func (q query) text(columns string) string {
	return q.with(false) + "SELECT " + columns + " FROM (\n" + q.sql + "\n)"
}

// described is the SQL of a query that returns no rows, and reads none.
func (q query) described() string {
	return q.with(true) + "SELECT * FROM (\n" + q.sql + "\n) LIMIT 0"
}

func (q query) with(shape bool) string {
	if len(q.chain) == 0 {
		return ""
	}
	parts := make([]string, len(q.chain))
	for i, r := range q.chain {
		body, how := r.sql, ""
		switch {
		case r.input != nil && shape:
			body = r.shape()
		case r.piped():
			if body = q.scans[r]; q.keep {
				how = "MATERIALIZED "
			}
		case r.input != nil:
			body = r.body
		}
		parts[i] = identifier(r.name) + " AS " + how + "(\n" + body + "\n)"
	}
	return "WITH " + strings.Join(parts, ", ") + " "
}

// columns returns a query's columns with the engine's types.
func (s *Session) columns(ctx context.Context, q query) ([]duck.Column, error) {
	rows, err := s.db.QueryContext(ctx, "DESCRIBE "+q.described(), q.args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []duck.Column
	for rows.Next() {
		var c duck.Column
		var null, key, other, extra any
		if err := rows.Scan(&c.Name, &c.Type, &null, &key, &other, &extra); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}
