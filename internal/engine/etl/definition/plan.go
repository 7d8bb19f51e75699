package definition

// Plan is what the engine does in one execution: flows, one after the other, each
// with its own counters and its own transactions.
type Plan struct {
	Definition *Definition
	Flows      []Flow
	// Parameters holds the value of each parameter, as text of its type; nil is NULL.
	Parameters map[string]*string
	// Ignored are the properties that no parameter names, by name.
	Ignored []string
}

// Flow is one load with all that it needs, folded: steps in a source are part of
// the extract's query, and what needs no engine has none.
type Flow struct {
	Load    Load
	Inputs  []Input // in the order of the definition; an incremental extract is in one of them only
	Engine  []Step  // in the order of their dependencies; empty: there is one input, and no engine is started
	Result  string  // relation that leaves the engine: a step, or an input; empty without one
	Target  []Step  // over the arrived rows, in order; rows of the last that is no assertion are loaded, or else those that arrived
	Arrived string  // name by which Target knows the arrived rows
}

// Input is an extract as it is read.
type Input struct {
	Extract Extract
	Name    string // by which the next step knows it: of the extract, or of its last step in the source or in rows
	// Base is the SELECT of the extract alone, with :name for parameters; empty for a
	// file. What an incremental extract compares goes around it, so that the steps in
	// the source see new rows only, and need not keep the compared columns: see
	// [Input.Query].
	Base  string
	Steps []Step // in the source, in order
	// Rows are the transforms in rows between this input and the engine, or the target
	// when there is no engine, in order.
	Rows []RowTransform
	// Streamed is true when exactly one step of the engine reads it, once: it need
	// not be kept.
	Streamed bool
}

// RowSteps are the steps of all transforms in rows, in order.
func (in Input) RowSteps() []RowStep {
	var all []RowStep
	for _, t := range in.Rows {
		all = append(all, t.Steps...)
	}
	return all
}

// RowTransform is a transform in rows: its steps, under its name.
type RowTransform struct {
	Name  string
	Steps []RowStep
}

// Step is a SELECT, or an assertion, over named relations.
type Step struct {
	Name     string
	Over     string // in source and target: the one relation that it reads
	SQL      string
	Assert   bool
	Expect   string
	Severity Severity
	Streamed bool // as of Input
}
