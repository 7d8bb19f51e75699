package definition

import (
	"slices"
	"time"
)

// flow folds what one load needs.
func (g *graph) flow(load Load) Flow {
	f := Flow{Load: load}
	base := g.byName[load.From]
	chain := []*relation{} // target steps, from the base up
	for ; base.place == InTarget; base = base.over {
		chain = append(chain, base)
	}
	slices.Reverse(chain)
	needed := g.engineNeeds(base)
	var steps []*relation
	for _, r := range g.all {
		switch {
		case !needed[r]:
		case r.place == InEngine:
			steps = append(steps, r)
		default:
			f.Inputs = append(f.Inputs, g.input(r))
		}
	}
	if len(steps) > 0 {
		f.Result = base.name
		f.Engine = g.engineSteps(steps, base)
		f.markInputs(steps, base)
	}
	f.Target = g.targetSteps(base, chain)
	if len(f.Target) > 0 {
		f.Arrived = base.name
	}
	return f
}

// engineNeeds returns what the engine needs for base, or the one input when base
// is one: relations, and the assertions that read nothing else. What a step in the
// source or in rows stands over is part of its input.
func (g *graph) engineNeeds(base *relation) map[*relation]bool {
	needed := map[*relation]bool{}
	var visit func(r *relation)
	visit = func(r *relation) {
		if needed[r] {
			return
		}
		needed[r] = true
		if r.place == InEngine {
			for _, read := range r.reads {
				visit(read)
			}
		}
	}
	visit(base)
	for _, r := range g.all {
		if r.place == InEngine && r.assertion() && !slices.ContainsFunc(r.reads, func(read *relation) bool { return !needed[read] }) {
			needed[r] = true
		}
	}
	return needed
}

// input folds the chain of steps below a relation that is read from outside.
func (g *graph) input(r *relation) Input {
	in := Input{Name: r.name}
	for ; r.place == InRows; r = r.over {
		in.Rows = append([]RowTransform{{Name: r.name, Steps: r.transform.Rows}}, in.Rows...)
	}
	for ; r.place == InSource; r = r.over {
		in.Steps = append([]Step{r.step()}, in.Steps...)
	}
	in.Extract = *r.extract
	in.Base = r.extract.base()
	return in
}

// step returns a transform as a step.
func (r *relation) step() Step {
	t := r.transform
	s := Step{Name: t.Name, Over: t.Over, SQL: t.SQL}
	if t.Assert != "" {
		s.SQL, s.Assert, s.Expect, s.Severity = t.Assert, true, t.Expect, t.Severity
	}
	return s
}

// engineSteps puts steps into the order of what they read; where that says
// nothing, into that of the definition.
func (g *graph) engineSteps(steps []*relation, result *relation) []Step {
	done := map[*relation]bool{}
	ready := func(r *relation) bool {
		return !done[r] && !slices.ContainsFunc(r.reads, func(read *relation) bool { return read.place == InEngine && !done[read] })
	}
	ordered := make([]Step, 0, len(steps))
	for len(ordered) < len(steps) {
		i := slices.IndexFunc(steps, ready)
		if i < 0 {
			return nil // a cycle: Parse has refused it
		}
		done[steps[i]] = true
		s := steps[i].step()
		s.Streamed = !s.Assert && streamed(steps[i].name, steps, result)
		ordered = append(ordered, s)
	}
	return ordered
}

func (f *Flow) markInputs(steps []*relation, result *relation) {
	for i := range f.Inputs {
		f.Inputs[i].Streamed = streamed(f.Inputs[i].Name, steps, result)
	}
}

// streamed reports whether the relation with this name is read once in all, by
// steps or as the result.
func streamed(name string, steps []*relation, result *relation) bool {
	times := 0
	if result.name == name {
		times++
	}
	for _, s := range steps {
		for _, read := range s.reads {
			if read.name != name {
				continue
			}
			times++
			if s.repeats {
				return false
			}
		}
	}
	return times == 1
}

// targetSteps returns the steps of a chain, each followed by the assertions over
// it; those over the base come first.
func (g *graph) targetSteps(base *relation, chain []*relation) []Step {
	var steps []Step
	asserted := func(over *relation) {
		for _, r := range g.all {
			if r.place == InTarget && r.assertion() && r.over == over {
				steps = append(steps, r.step())
			}
		}
	}
	asserted(base)
	for _, r := range chain {
		steps = append(steps, r.step())
		asserted(r)
	}
	return steps
}

// Plan folds the definition into what the engine does in one execution, with the
// values that [Definition.Bind] finds, whose errors it returns.
func (d *Definition) Plan(src Source, now time.Time) (*Plan, error) {
	values, ignored, err := d.Bind(src, now)
	if err != nil {
		return nil, err
	}
	g := newGraph(d)
	p := &Plan{Definition: d, Flows: make([]Flow, len(d.Load)), Parameters: values, Ignored: ignored}
	for i, l := range d.Load {
		p.Flows[i] = g.flow(l)
	}
	return p, nil
}
