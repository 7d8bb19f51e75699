package definition

import (
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

// placement checks that each transform stands over what it may stand over, and
// that each load comes from a relation.
func (v *validator) placement() {
	for _, r := range v.graph.all {
		switch {
		case r.place == inExtract:
		case r.place == InEngine:
			v.engineReads(r)
		case v.relation(r.at+".over", "is", r.transform.Over) && r.over != nil:
			v.over(r)
		}
	}
	for i, l := range v.d.Load {
		at := index("load", i) + ".from"
		if !v.relation(at, "is", l.From) {
			continue
		}
		if v.graph.byName[l.From].place == InTarget && l.Output != nil {
			v.fault(at, "is a step in the target, which only a load into a table has")
		}
	}
}

// relation checks that a name is that of a relation. verb says what is done to it.
func (v *validator) relation(at, verb, name string) bool {
	switch r := v.graph.byName[name]; {
	case r == nil:
		v.fault(at, "%s %q, which is no relation: those are %s", verb, shorten(name), v.relations())
	case r.assertion():
		v.fault(at, "%s %q, an assertion, which has no rows", verb, name)
	default:
		return true
	}
	return false
}

// relations lists the names of the relations.
func (v *validator) relations() string {
	var names []string
	for _, r := range v.graph.all {
		if !r.assertion() {
			names = append(names, r.name)
		}
	}
	return shorten(strings.Join(names, ", "))
}

// over checks the place of a transform that stands over one relation.
func (v *validator) over(r *relation) {
	at, below := r.at+".over", r.over
	if reads, _ := r.sql(); r.place != InRows && !slices.ContainsFunc(reads, func(b bind.Relation) bool { return strings.EqualFold(b.Name, below.name) }) {
		v.fault(r.sqlAt(), "does not read %s, which the step is over", below.name)
	}
	switch r.place { //nolint:exhaustive // the others stand over nothing, or over anything
	case InSource:
		if below.place != InSource && (below.place != inExtract || below.extract.File != nil) {
			v.fault(at, "is %s: a step in the source stands over a table, a query or another step in the source", below.kind())
		}
	case InRows:
		if below.place == InEngine || below.place == InTarget {
			v.fault(at, "is %s: row steps stand over an extract, a step in its source or other row steps", below.kind())
		}
	}
}

// kind says what a relation is.
func (r *relation) kind() string {
	switch r.place {
	case InSource:
		return "a step in the source"
	case InRows:
		return "row steps"
	case InEngine:
		return "a step in the engine"
	case InTarget:
		return "a step in the target"
	case inExtract:
	}
	if r.extract.File != nil {
		return "a file"
	}
	return "an extract"
}

func (v *validator) engineReads(r *relation) {
	at := r.sqlAt()
	named, _ := r.sql()
	for _, n := range named {
		if !n.Qualified {
			v.relation(at, "reads", strings.ToLower(n.Name))
		}
	}
	if r.assertion() && len(named) == 0 {
		v.fault(at, "reads no relation: those are %s", v.relations())
	}
	for _, read := range r.reads {
		if read.place == InTarget {
			v.fault(at, "reads %s, a step in the target: the engine comes before it", read.name)
		}
	}
}

func (v *validator) cycles() {
	cycle := v.graph.cycle()
	if cycle == nil {
		return
	}
	names := make([]string, len(cycle))
	for i, r := range cycle {
		names[i] = r.name
	}
	v.fault(cycle[0].at, "reads itself: %s", strings.Join(names, " reads "))
}

// flows checks what each load needs as a whole.
func (v *validator) flows() {
	asserted := map[string]bool{}
	for i, l := range v.d.Load {
		f := v.graph.flow(l)
		for _, s := range append(f.Engine, f.Target...) {
			asserted[s.Name] = asserted[s.Name] || s.Assert
		}
		v.flow(index("load", i), &f)
	}
	for _, r := range v.graph.all {
		if r.assertion() && !asserted[r.name] {
			v.fault(r.at+".assert", "is never checked: no load needs all that it reads")
		}
	}
	for i, e := range v.d.Extract {
		if e.OnReject != nil && e.File == nil && !v.rejects(e.Name) {
			v.fault(index("extract", i)+".on_reject", "has nothing to reject: no row steps stand over the extract")
		}
	}
}

// rejects reports whether row steps stand over an extract.
func (v *validator) rejects(extract string) bool {
	for _, r := range v.graph.all {
		if r.place == InRows && v.graph.input(r).Extract.Name == extract {
			return true
		}
	}
	return false
}

func (v *validator) flow(at string, f *Flow) {
	if len(f.Inputs) == 0 {
		v.fault(at+".from", "is %q, for which no extract is read", f.Load.From)
		return
	}
	incremental := v.incrementals(at, f)
	if f.Load.Output != nil {
		v.outputRejects(at, f)
		if len(f.Target) > 0 {
			v.fault(at+".from", "has an assertion in the target, %s: that needs a load into a table", f.Target[0].Name)
		}
	}
	if len(incremental) > 0 && (f.Load.Mode == LoadReplace || f.Load.Mode == LoadMerge) {
		v.fault(at+".mode", "is %s, which would delete what was loaded before: the extract %s reads what is new only; use mode: upsert or append",
			f.Load.Mode, incremental[0].Name)
	}
	if v.d.Mode == ModeService && len(incremental) == 0 && f.Load.Mode == LoadAppend {
		v.fault(at, "appends all rows again in each round of the service: make an extract incremental, or use mode: upsert, merge or replace")
	}
	if v.d.Batch.Rows == 0 {
		return
	}
	if len(incremental) != 1 || incremental[0].Incremental.Strategy != StrategyColumn {
		v.fault("batch.rows", "needs exactly one extract with incremental: {strategy: column} in each flow: %s has another number of them, or another strategy", at)
	}
}

// incrementals returns the incremental extracts of a flow, each of which may be
// read once.
func (v *validator) incrementals(at string, f *Flow) []Extract {
	var all []Extract
	first := map[string]string{}
	for _, in := range f.Inputs {
		if in.Extract.Incremental == nil {
			continue
		}
		if name, ok := first[in.Extract.Name]; ok {
			v.fault(at+".from", "reads the incremental extract %s twice, as %s and as %s: let the steps that differ be in the engine", in.Extract.Name, name, in.Name)
			continue
		}
		first[in.Extract.Name] = in.Name
		all = append(all, in.Extract)
	}
	return all
}

// outputRejects refuses rejected rows where there is no table to keep them in.
func (v *validator) outputRejects(at string, f *Flow) {
	for _, in := range f.Inputs {
		rejects := in.Extract.OnReject != nil
		for _, s := range in.RowSteps() {
			rejects = rejects || s.Reject != nil
		}
		if rejects {
			v.fault(at+".output", "has no table for the rows of %s that are rejected: use filter instead, or load into a table", in.Name)
		}
	}
}

// targets checks that no load deletes what another one loads, and that outputs
// have directories of their own.
func (v *validator) targets() {
	type target struct{ connection, table string }
	first := map[target]int{}
	for i, l := range v.d.Load {
		at := index("load", i)
		c := v.d.Connections[l.Connection]
		if l.Output != nil {
			t := target{c.Directory, l.Output.Path}
			if before, ok := first[t]; ok {
				v.fault(at+".output.path", "is that of load[%d]: give each output a directory of its own", before)
			}
			first[t] = i
			continue
		}
		name, err := ParseTable(l.Table)
		if err != nil {
			continue // which loads has told of
		}
		t := target{c.Site + "/" + c.Database, name.SQL()}
		before, ok := first[t]
		first[t] = i
		if !ok {
			continue
		}
		for _, deleting := range []Load{l, v.d.Load[before]} {
			if deleting.Mode == LoadReplace || deleting.Mode == LoadMerge {
				v.fault(at+".table", "is that of load[%d], and mode: %s deletes what the other one has loaded: use mode: append or upsert for both", before, deleting.Mode)
				break
			}
		}
	}
}
