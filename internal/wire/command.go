package wire

import (
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
		return first(positive("execution", c.Execution), fenced(c.Fence), c.validateSite())
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
}

// Validate checks the answer.
func (a *Answer) Validate() error {
	if len(a.Findings) > 1000 {
		return holdfast.Errorf(holdfast.CodeInvalid, "%d findings are too many", len(a.Findings))
	}
	return a.Failure.validate()
}
