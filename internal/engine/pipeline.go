package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Pipeline does the work of ETL jobs. Implementations may be used by several
// executions at once. Nothing that they log, report or return holds the value of a
// secret property, whoever said it.
type Pipeline interface {
	// Run does one execution to its end: a batch, or the rounds of a service. What
	// it commits, it commits together with its counters and its fence, so that no
	// row is loaded twice by another fence of the same execution, and none by an
	// older fence than the newest.
	//
	// When the context ends, what is not committed is rolled back, and no session
	// or process of the execution is left. When stop is closed the current unit of
	// work is finished and committed, and Run returns an error that wraps [ErrWish];
	// a service, and a batch that was complete, returns nil. The result says what
	// was committed, also beside an error.
	//
	// Errors are as those of [Engine]. A service comes back from failures by itself;
	// it returns an error when it has given up.
	Run(ctx context.Context, req ETL) (Result, error)
	// Release ends what this execution, with any fence up to the given one, left on
	// the servers, and keeps those fences from committing: their worker is silent, and
	// may wake up. A later fence of the execution may go on.
	Release(ctx context.Context, req ETL) error
	// Counters reads from the targets how far each flow has been loaded.
	Counters(ctx context.Context, req ETL) ([]FlowCounter, error)
	// SetCounter makes the next execution go on from another value; an empty one
	// means from the beginning. CodeNotFound when the flow has no such extract,
	// CodeInvalid when the value is none of the column that it counts by, CodeConflict
	// while an execution of the job has a transaction open.
	SetCounter(ctx context.Context, req ETL, flow, extract, value string) error
	// Preview reads the first rows of each relation that the definition names, in
	// its order, and changes nothing.
	Preview(ctx context.Context, req ETL, rows int) ([]Relation, error)
	// Test looks at the site and says what an ETL that reads there or loads there
	// would miss.
	Test(ctx context.Context, site Site) ([]Finding, error)
}

// ETL asks for one execution of an ETL job.
type ETL struct {
	// Installation is the control plane's own id: flows of several may lead into one
	// server.
	Installation string
	Job          holdfast.JobID
	JobName      string
	Execution    holdfast.ExecutionID
	// Identity tells executions with one number apart: lower-case letters and digits. It
	// is the same with every fence. Empty: the execution is known by its number alone.
	Identity   string
	Fence      holdfast.Fence
	Definition string
	// Properties are those of the run configuration and of the request, merged.
	Properties map[string]string
	Simulate   bool
	// Sites are the sites that the definition names, by slug.
	Sites map[string]Site
	// Roots are the directories below which files may be read and written.
	Roots []string
	// Stop is closed when the execution is wanted to come to rest at the end of its
	// unit of work, and when the context ends: whoever hears of it looks at that first.
	Stop <-chan struct{}
	// Changed gives the properties that a running service has from its next round
	// on. May be nil.
	Changed <-chan map[string]string
	// Round is called by a service after each round that was good: failures are
	// counted anew from there. May be nil.
	Round  func()
	Report Report       // of rows, where it says files, and of their bytes
	Log    *slog.Logger // goes to the execution's log
}

// FlowResult is what one flow of an ETL did.
type FlowResult struct {
	Flow     string    `json:"flow"`
	Target   string    `json:"target"` // "site dwh, table mart.orders", or a directory
	Read     int64     `json:"read"`   // rows
	Loaded   int64     `json:"loaded"`
	Rejected int64     `json:"rejected,omitempty"`
	Deleted  int64     `json:"deleted,omitempty"`
	Units    int64     `json:"units"` // that were committed; none in a simulation
	Counters []Counter `json:"counters,omitempty"`
}

// FlowCounter is a counter, with the flow that has it.
type FlowCounter struct {
	Flow    string    `json:"flow"`
	Extract string    `json:"extract"`
	Value   string    `json:"value"` // empty: nothing was loaded yet
	Updated time.Time `json:"updated,omitzero"`
	// Execution that moved it last; zero: a person set it.
	Execution holdfast.ExecutionID `json:"execution,omitempty"`
}

// Relation is the beginning of a relation, as text; nil is NULL.
type Relation struct {
	Name    string      `json:"name"`
	Columns []Column    `json:"columns"`
	Rows    [][]*string `json:"rows"`
	// Rejected is how many of the rows that were read for it could not be taken, and
	// Reason says which was the first, and why.
	Rejected int64  `json:"rejected,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Column is a column of a relation.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Counter is how far an incremental extract has been loaded by a flow.
type Counter struct {
	Extract string `json:"extract"`
	Before  string `json:"before,omitempty"`
	After   string `json:"after,omitempty"`
}
