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
	Inputs  []Input // in the order of the definition
	Engine  []Step  // in the order of their dependencies; empty: there is one input, and no engine is started
	Result  string  // relation that leaves the engine; empty without one
	Rows    []RowStep
	Target  []Step // SELECTs over the arrived rows, in order; the last one's rows are loaded
	Arrived string // name by which the first of Target knows the arrived rows
}

// Input is an extract as it is read: its SQL steps wrapped around it.
type Input struct {
	Extract Extract
	Name    string // by which the next step knows it: of the extract, or of its last step in the source
	// Query is the SELECT to run, with :name for parameters; empty for a file. What
	// an incremental column compares is not in it: the engine wraps it.
	Query string
	// Rows are row steps between this input and the engine; without an engine they
	// are the flow's.
	Rows []RowStep
	// Streamed is true when exactly one step of the engine reads it, once: it need
	// not be kept.
	Streamed bool
}

// Step is a SELECT, or an assertion, over named relations.
type Step struct {
	Name     string
	SQL      string
	Assert   bool
	Expect   string
	Severity Severity
	Streamed bool // as of Input
}
