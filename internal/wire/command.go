package wire

import (
	"time"

	"github.com/holdfast-backup/holdfast"
)

// CommandKind is what a command wants of a worker.
type CommandKind string

// The commands.
const (
	CommandWish    CommandKind = "wish"    // somebody wants something else of an execution; takes no answer
	CommandTest    CommandKind = "test"    // look at a site
	CommandRelease CommandKind = "release" // end what an execution left on a site's server
	CommandReap    CommandKind = "reap"    // remove the snapshot of what has expired, or was never finished

	CommandCounters   CommandKind = "counters"    // read how far each flow of an ETL has been loaded
	CommandSetCounter CommandKind = "set_counter" // make a flow of an ETL go on from another value
	CommandPreview    CommandKind = "preview"     // read the first rows of each relation of an ETL
)

// Command is what the control plane wants of one worker.
type Command struct {
	Kind         CommandKind          `json:"kind"`
	Installation string               `json:"installation,omitempty"` // for release and reap
	Execution    holdfast.ExecutionID `json:"execution,omitempty"`
	Fence        holdfast.Fence       `json:"fence,omitempty"`
	Wanted       holdfast.Wanted      `json:"wanted"`

	Engine     holdfast.Engine `json:"engine,omitempty"`     // for test and release
	Site       *Site           `json:"site,omitempty"`       // for test and release
	Repository *Repository     `json:"repository,omitempty"` // for reap
	Snapshot   string          `json:"snapshot,omitempty"`   // for reap
	Sealed     []byte          `json:"sealed,omitempty"`     // Secrets, sealed to the worker's key

	ETL     *ETL           `json:"etl,omitempty"` // for release, in place of Site, and for all that follows
	Job     holdfast.JobID `json:"job,omitempty"` // for counters and set_counter
	JobName string         `json:"job_name,omitempty"`
	Flow    string         `json:"flow,omitempty"`    // for set_counter
	Extract string         `json:"extract,omitempty"` // for set_counter
	Value   string         `json:"value,omitempty"`   // for set_counter; empty: from the beginning
	Rows    int            `json:"rows,omitempty"`    // of each relation, for preview
}

// Validate checks the command.
func (c *Command) Validate() error {
	if err := first(short("secrets", string(c.Sealed), maxSealed), short("installation", c.Installation, maxText)); err != nil {
		return err
	}
	switch c.Kind {
	case CommandWish:
		return first(positive("execution", c.Execution), fenced(c.Fence))
	case CommandTest:
		return c.validateSite()
	case CommandRelease:
		if c.ETL != nil {
			return first(positive("execution", c.Execution), fenced(c.Fence), c.validateETL())
		}
		return first(positive("execution", c.Execution), fenced(c.Fence), c.validateSite())
	case CommandCounters:
		return first(positive("job", c.Job), c.validateETL())
	case CommandSetCounter:
		return first(
			positive("job", c.Job), c.validateETL(), short("flow", c.Flow, maxText), short("extract", c.Extract, maxText),
			short("counter", c.Value, maxCounter),
		)
	case CommandPreview:
		if c.Rows < 1 || c.Rows > MaxRows {
			return holdfast.Errorf(holdfast.CodeInvalid, "a preview of %d rows is out of range", c.Rows).WithHint("use 1 to %d", MaxRows)
		}
		return c.validateETL()
	case CommandReap:
		if c.Repository == nil {
			return holdfast.Errorf(holdfast.CodeInvalid, "a command to reap names no repository")
		}
		return first(c.Repository.validate(), hexID("snapshot", c.Snapshot))
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "command %q is unknown", Clip(string(c.Kind), maxText)).
		WithHint("upgrade the worker")
}

func (c *Command) validateSite() error {
	if c.Site == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "a command to %s names no site", c.Kind)
	}
	return first(short("engine", string(c.Engine), maxText), c.Site.validate())
}

func (c *Command) validateETL() error {
	return first(c.ETL.validate(), short("engine", string(c.Engine), maxText), short("job name", c.JobName, 4*holdfast.MaxJobName))
}

// Finding is one thing that a test of a site saw.
type Finding struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
	Fix  string `json:"fix,omitempty"`
}

// Answer is what a worker says to a command.
type Answer struct {
	Failure  *Failure  `json:"failure,omitempty"`
	Findings []Finding `json:"findings,omitempty"` // of a test
	// Found is true when there was a snapshot to reap: it will not come back.
	Found bool `json:"found,omitempty"`
	// Retained is true when the store may not delete the snapshot yet. Until says when
	// it may; zero: the store does not say.
	Retained  bool          `json:"retained,omitempty"`
	Until     time.Time     `json:"until,omitzero"`
	Counters  []FlowCounter `json:"counters,omitempty"`
	Relations []Relation    `json:"relations,omitempty"` // of a preview
}

// Validate checks the answer.
func (a *Answer) Validate() error {
	if len(a.Findings) > 1000 {
		return holdfast.Errorf(holdfast.CodeInvalid, "%d findings are too many", len(a.Findings))
	}
	if len(a.Counters) > maxFlows || len(a.Relations) > maxFlows {
		return holdfast.Errorf(holdfast.CodeInvalid, "%d counters and %d relations are too many", len(a.Counters), len(a.Relations))
	}
	for i := range a.Counters {
		if err := a.Counters[i].validate(); err != nil {
			return err
		}
	}
	for i := range a.Relations {
		if err := a.Relations[i].validate(); err != nil {
			return err
		}
	}
	return a.Failure.validate()
}
