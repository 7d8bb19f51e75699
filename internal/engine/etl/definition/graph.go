package definition

import (
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

// inExtract is the place of what an extract reads, before any step.
const inExtract Place = ""

// relation is an extract or a transform, as a part of the graph that these make.
type relation struct {
	at        string // path in the definition
	name      string
	place     Place
	extract   *Extract   // of inExtract
	transform *Transform // of the others
	// reads are the relations that it reads, one for each place of its SQL that does.
	reads []*relation
	// repeats is true when one of these places may be read several times.
	repeats bool
	// over is what its over names; nil in the engine, and when there is none.
	over *relation
}

func (r *relation) assertion() bool { return r.transform != nil && r.transform.Assert != "" }

// sqlAt is the path of its SQL.
func (r *relation) sqlAt() string {
	if r.assertion() {
		return r.at + ".assert"
	}
	return r.at + ".sql"
}

// sql returns what its SQL reads from.
func (r *relation) sql() (reads []bind.Relation, repeats bool) {
	reads, repeats, err := bind.Relations(r.transform.SQL + r.transform.Assert) // one of the two
	if err != nil {
		return nil, false // Parse has refused it
	}
	return reads, repeats
}

// graph is what the relations of a definition read of each other.
type graph struct {
	all    []*relation // in the order of the definition, extracts first
	byName map[string]*relation
}

// newGraph builds the graph of a definition whose parts are sound each by itself.
func newGraph(d *Definition) *graph {
	g := &graph{byName: map[string]*relation{}}
	for i := range d.Extract {
		g.add(&relation{at: index("extract", i), name: d.Extract[i].Name, extract: &d.Extract[i]})
	}
	for i := range d.Transform {
		t := &d.Transform[i]
		g.add(&relation{at: index("transform", i), name: t.Name, place: t.In, transform: t})
	}
	for _, r := range g.all {
		g.connect(r)
	}
	return g
}

func (g *graph) add(r *relation) {
	g.all = append(g.all, r)
	g.byName[r.name] = r
}

// connect finds what r reads. Assertions have no rows to read.
func (g *graph) connect(r *relation) {
	if r.place == inExtract {
		return
	}
	if r.place != InEngine {
		if over := g.byName[r.transform.Over]; over != nil && !over.assertion() {
			r.over, r.reads = over, []*relation{over}
		}
		return
	}
	reads, repeats := r.sql()
	r.repeats = repeats
	for _, named := range reads {
		if read := g.byName[strings.ToLower(named.Name)]; read != nil && !read.assertion() {
			r.reads = append(r.reads, read)
		}
	}
}

// cycle returns the relations of a cycle, the first again at the end; nil when
// there is none.
func (g *graph) cycle() []*relation {
	const open, closed = 1, 2
	state := map[*relation]int{}
	var path []*relation
	var visit func(r *relation) []*relation
	visit = func(r *relation) []*relation {
		path = append(path, r)
		state[r] = open
		for _, next := range r.reads {
			switch state[next] {
			case open:
				return append(slices.Clone(path[slices.Index(path, next):]), next)
			case closed:
			default:
				if found := visit(next); found != nil {
					return found
				}
			}
		}
		state[r] = closed
		path = path[:len(path)-1]
		return nil
	}
	for _, r := range g.all {
		if state[r] != closed {
			if found := visit(r); found != nil {
				return found
			}
		}
	}
	return nil
}
