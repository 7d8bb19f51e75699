package session

import (
	"context"
	"encoding/json"
	"fmt"
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

	// Of a streamed one:
	body       string   // a SELECT
	shape      string   // of an input: a SELECT of the same columns that reads nothing
	reads      []string // folded names
	parameters []string
	slots      []int // files, which stay open while there is the relation
	pipe       bool  // it can be read once
	spent      bool  // it was
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
	s.slots.free(r.slots)
	r.slots = nil
	delete(s.relations, fold(r.name))
	s.declared = slices.DeleteFunc(s.declared, func(d *relation) bool { return d == r })
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
	keep  bool // pipes are read into memory first, because the plan would read one twice
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
		body, how := r.body, ""
		if shape && r.shape != "" {
			body = r.shape
		}
		if q.keep && r.pipe && !shape {
			how = "MATERIALIZED "
		}
		parts[i] = identifier(r.name) + " AS " + how + "(\n" + body + "\n)"
	}
	return "WITH " + strings.Join(parts, ", ") + " "
}

// pipes are those that a query may read.
func (q query) pipes() []*relation {
	return slices.DeleteFunc(slices.Clone(q.chain), func(r *relation) bool { return !r.pipe })
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

// use runs what reads a query, and says in the response which pipes it has read: what
// is not read of them now, nobody reads.
func (s *Session) use(ctx context.Context, q query, r *duck.Response, run func(query) error) error {
	pipes := q.pipes()
	if len(pipes) == 0 {
		return run(q)
	}
	s.mu.Lock()
	for _, p := range pipes {
		if p.spent {
			s.mu.Unlock()
			return holdfast.Errorf(holdfast.CodeInvalid, "the relation %s is streamed, and was read before", p.name).
				WithHint("keep it, or the step that is read twice")
		}
	}
	for _, p := range pipes {
		p.spent = true
		r.Read = append(r.Read, p.name)
	}
	s.mu.Unlock()
	defer func() {
		for _, p := range pipes {
			s.freeSlots(p.slots)
			p.slots = nil
		}
	}()
	var err error
	if q.keep, err = s.readsTwice(ctx, q); err != nil {
		return err
	}
	return run(q)
}

// readsTwice returns whether the engine's plan for a query reads a pipe more often
// than once: two readers of one pipe would share its rows. Not only does SQL name a
// relation twice: the engine rewrites some queries so that they do, and repeats parts
// of a recursive one.
func (s *Session) readsTwice(ctx context.Context, q query) (bool, error) {
	scans, recursive, err := s.scans(ctx, q)
	if err != nil {
		return false, err
	}
	if !recursive && scans <= len(q.pipes()) {
		return false, nil
	}
	q.keep = true
	if scans, _, err = s.scans(ctx, q); err != nil {
		return false, err
	}
	if scans > len(q.pipes()) {
		return false, holdfast.Errorf(holdfast.CodeInvalid, "the SQL reads a streamed relation more often than once").WithHint("keep the relation")
	}
	return true, nil
}

// node is an operator of a plan.
type node struct {
	Name     string          `json:"name"`
	Extra    json.RawMessage `json:"extra_info"`
	Children []node          `json:"children"`
}

// scans counts the operators of a query's plan that read pipes.
func (s *Session) scans(ctx context.Context, q query) (pipes int, recursive bool, err error) {
	var key, text string
	if err := s.db.QueryRowContext(ctx, "EXPLAIN (FORMAT JSON) "+q.text("*"), q.args...).Scan(&key, &text); err != nil {
		return 0, false, err
	}
	var plan []node
	if err := json.Unmarshal([]byte(text), &plan); err != nil {
		return 0, false, fmt.Errorf("read the engine's plan: %w", err)
	}
	var walk func(n node)
	walk = func(n node) {
		name := strings.TrimSpace(n.Name)
		switch {
		case strings.Contains(name, "REC"): // REC_CTE, RECURSIVE_CTE, REC_REC_CTE
			recursive = true
		case name == "READ_CSV" && !strings.Contains(string(n.Extra), fileMark):
			pipes++ // a scan that tells of no columns counts as one of a pipe
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	for _, n := range plan {
		walk(n)
	}
	return pipes, recursive, nil
}

// fileMark is in the names that columns of files have before they get their own.
const fileMark = "\u200bfile"
