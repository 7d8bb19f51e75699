package bind

import (
	"slices"
	"strings"
)

// Relation is a name that SQL reads rows from.
type Relation struct {
	Name      string // unquoted, in lower case; quoted, as it is
	Qualified bool   // a schema stands before it
}

// Relations returns what SQL reads rows from, once for each place that does, in
// order: the tables behind FROM and JOIN, without the names that the SQL defines in
// WITH.
//
// repeats is true when a place may be read more often than once, as through a name of
// WITH that is used twice.
func Relations(sql string) (all []Relation, repeats bool, err error) {
	tokens, err := scan(sql)
	if err != nil {
		return nil, false, err
	}
	r := relations{sql: sql, tokens: tokens, used: map[*with]bool{}}
	r.stack = []frame{{query: true, start: true}}
	for r.pos = 0; r.pos < len(tokens); r.pos++ {
		r.token(tokens[r.pos])
	}
	return r.all, r.repeats, nil
}

// with is a name that WITH defines.
type with struct {
	name   string
	usable bool // its body has ended, or it is recursive
}

// frame is what is between two parentheses, or outside of all.
type frame struct {
	query     bool // a SELECT, or a part of FROM: not the arguments of a function
	start     bool // nothing was read of it yet
	from      bool // within FROM
	item      bool // the next name is that of a relation
	with      bool // within the list of WITH
	recursive bool
	name      bool    // the next name is one that WITH defines
	defined   []*with // the last may not have ended
}

type relations struct {
	sql     string
	tokens  []token
	pos     int
	stack   []frame
	used    map[*with]bool
	all     []Relation
	repeats bool
}

func (r *relations) top() *frame { return &r.stack[len(r.stack)-1] }

// ahead returns the keyword or the mark behind the current token.
func (r *relations) ahead() string {
	if r.pos+1 == len(r.tokens) {
		return ""
	}
	t := r.tokens[r.pos+1]
	if t.kind == word {
		return keyword(r.sql, t)
	}
	if t.kind != mark {
		return ""
	}
	return r.sql[t.start:t.end]
}

func (r *relations) token(t token) {
	f := r.top()
	switch t.kind {
	case mark:
		r.mark(r.sql[t.start:t.end])
	case word:
		if f.query && r.keyword(keyword(r.sql, t)) {
			f.start = false
			return
		}
		r.identifier(keyword(r.sql, t))
	case quoted:
		r.identifier(strings.ReplaceAll(r.sql[t.start+1:t.end-1], `""`, `"`))
	case text, number, parameter, dollar, operator:
		f.item = false
	}
	if t.kind != mark {
		f.start = false
	}
}

// beginsQuery are the words that a query can begin with, in either dialect.
var beginsQuery = []string{"select", "with", "values", "table", "from", "pivot", "unpivot", "summarize", "describe", "show"}

func (r *relations) mark(m string) {
	f := r.top()
	switch m {
	case "(":
		query := slices.Contains(beginsQuery, r.ahead())
		inner := frame{query: query, start: true}
		if !query && f.query && (f.item || f.start && !f.with) {
			inner = frame{query: true, start: true, from: f.item, item: f.item} // a join, or a query, in parentheses
		}
		f.item, f.start = false, false
		r.stack = append(r.stack, inner)
	case "[", "{":
		f.item = false
		r.stack = append(r.stack, frame{})
	case ")", "]", "}":
		if len(r.stack) > 1 {
			r.stack = r.stack[:len(r.stack)-1]
		}
	case ",":
		f.item = f.from
		if f.with {
			r.endDefinition()
			f.name = true
		}
	}
}

// endDefinition makes the last name that WITH defines known to what follows.
func (r *relations) endDefinition() {
	if f := r.top(); len(f.defined) > 0 {
		f.defined[len(f.defined)-1].usable = true
	}
}

// endsFrom are the words that end FROM.
var endsFrom = []string{
	"where", "group", "order", "having", "limit", "offset", "fetch", "window", "qualify", "union", "except", "intersect", "select", "values", "returning",
}

// keyword takes a word that says what follows, and returns false for others.
func (r *relations) keyword(w string) bool {
	f := r.top()
	switch {
	case f.start && w == "with":
		f.with, f.name = true, true
	case f.with && f.name && w == "recursive":
		f.recursive, r.repeats = true, true
	case f.with && f.name:
		return false
	case f.start && (w == "pivot" || w == "unpivot"):
		f.from, f.item, r.repeats = true, true, true
	case f.start && (w == "table" || w == "summarize" || w == "describe" || w == "show"):
		f.from, f.item = true, true
	case w == "from":
		if r.pos > 0 && keyword(r.sql, r.tokens[r.pos-1]) == "distinct" && !r.emptyDistinct() {
			return true // IS DISTINCT FROM
		}
		r.endWith()
		f.from, f.item = true, true
	case f.from && w == "join":
		f.item = true
	case f.item && (w == "lateral" || w == "only"):
	case slices.Contains(endsFrom, w):
		r.endWith()
		f.from, f.item = false, false
	case f.from && !f.item && (w == "pivot" || w == "unpivot"):
		r.repeats = true
	default:
		return false
	}
	return true
}

// emptyDistinct reports whether DISTINCT before the current FROM is that of a SELECT
// without columns.
func (r *relations) emptyDistinct() bool {
	return r.pos > 1 && keyword(r.sql, r.tokens[r.pos-2]) == "select"
}

func (r *relations) endWith() {
	if f := r.top(); f.with {
		r.endDefinition()
		f.with, f.name = false, false
	}
}

// identifier takes a name, or a word that says nothing here.
func (r *relations) identifier(name string) {
	f := r.top()
	switch {
	case f.with && f.name:
		f.name = false
		f.defined = append(f.defined, &with{name: name, usable: f.recursive})
	case f.item && r.ahead() == ".": // a schema: the name follows, after the dot
	case f.item && r.ahead() == "(":
		f.item = false // a function
	case f.item:
		f.item = false
		r.read(name)
	}
}

// qualified reports whether a schema stands before the current name.
func (r *relations) qualified() bool {
	if r.pos == 0 {
		return false
	}
	t := r.tokens[r.pos-1]
	return r.sql[t.start:t.end] == "."
}

// read notes a place that reads a relation, or a name that WITH defines.
func (r *relations) read(name string) {
	for _, f := range slices.Backward(r.stack) {
		for _, w := range f.defined {
			if !w.usable || r.qualified() || !strings.EqualFold(w.name, name) {
				continue
			}
			r.repeats = r.repeats || r.used[w]
			r.used[w] = true
			return
		}
	}
	r.all = append(r.all, Relation{name, r.qualified()})
}
