package wire

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Limits of what an ETL says, in bytes where nothing else is said.
const (
	MaxRows       = 1000      // of each relation of a preview
	MaxCell       = 64 << 10  // a value of a preview; longer ones are cut
	MaxPreview    = 768 << 10 // a whole preview, as it is written; rows beyond it are left out
	maxETLSites   = 64
	maxIdentity   = 64
	maxProperties = 256 << 10 // all names and values of an execution
	maxNames      = holdfast.MaxConfigured + holdfast.MaxProperties
	maxFlows      = 10_000
	maxCounter    = 128 << 10
	maxColumns    = 1600 // of a table in PostgreSQL
)

// ETL is what an order or a command says of an ETL.
type ETL struct {
	Definition string `json:"definition"`
	Version    int    `json:"version,omitempty"`  // of the properties, which are among the secrets
	Identity   string `json:"identity,omitempty"` // of the execution; see [holdfast.ETLRun]
	Simulate   bool   `json:"simulate,omitempty"`
	Service    bool   `json:"service,omitempty"`
	Sites      []Site `json:"sites"` // that the definition names
}

func (e *ETL) validate() error {
	if e == nil {
		return holdfast.Errorf(holdfast.CodeInvalid, "what the ETL does is missing")
	}
	switch {
	case e.Definition == "":
		return holdfast.Errorf(holdfast.CodeInvalid, "the ETL's definition is missing")
	case e.Version < 0:
		return holdfast.Errorf(holdfast.CodeInvalid, "version %d of the properties is negative", e.Version)
	case len(e.Sites) > maxETLSites:
		return holdfast.Errorf(holdfast.CodeInvalid, "an ETL names %d sites", len(e.Sites)).WithHint("name at most %d", maxETLSites)
	}
	for i := range e.Sites {
		if err := e.Sites[i].validate(); err != nil {
			return err
		}
	}
	return first(identity(e.Identity), short("definition", e.Definition, holdfast.MaxDefinition))
}

// identity checks an execution's identity, of which file names are made.
func identity(s string) error {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return holdfast.Errorf(holdfast.CodeInvalid, "the identity of an execution holds more than letters and digits")
	}
	return short("identity", s, maxIdentity)
}

func validProperties(p map[string]string) error {
	if len(p) > maxNames {
		return holdfast.Errorf(holdfast.CodeInvalid, "an execution has %d properties", len(p)).WithHint("use at most %d", maxNames)
	}
	n := 0
	for name, value := range p {
		n += len(name) + len(value)
		if err := first(short("property name", name, holdfast.MaxPropertyName), short("property "+Clip(name, 80), value, holdfast.MaxPropertyValue)); err != nil {
			return err
		}
	}
	if n > maxProperties {
		return holdfast.Errorf(holdfast.CodeInvalid, "the properties of an execution take %d bytes", n).WithHint("keep them below %d", maxProperties)
	}
	return nil
}

// FlowCounter is how far a flow has been loaded.
type FlowCounter struct {
	Flow      string               `json:"flow"`
	Extract   string               `json:"extract"`
	Value     string               `json:"value"`
	Updated   time.Time            `json:"updated,omitzero"`
	Execution holdfast.ExecutionID `json:"execution,omitempty"`
}

func (c *FlowCounter) validate() error {
	return first(short("flow", c.Flow, maxText), short("extract", c.Extract, maxText), short("counter", c.Value, maxCounter))
}

// Relation is the beginning of a relation, as text; nil is NULL.
type Relation struct {
	Name    string      `json:"name"`
	Columns []Column    `json:"columns"`
	Rows    [][]*string `json:"rows"`
	// Rejected is how many rows were left out, and Reason why the first was.
	Rejected int64  `json:"rejected,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// Column is a column of a relation.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func (r *Relation) validate() error {
	if len(r.Rows) > MaxRows || len(r.Columns) > maxColumns {
		return holdfast.Errorf(holdfast.CodeInvalid, "a relation of %d rows and %d columns is too large", len(r.Rows), len(r.Columns))
	}
	for _, row := range r.Rows {
		if len(row) != len(r.Columns) {
			return holdfast.Errorf(holdfast.CodeInvalid, "a row has %d values for %d columns", len(row), len(r.Columns))
		}
	}
	return first(short("relation", r.Name, maxText), short("reason", r.Reason, maxText))
}

// Bound cuts what is too long out of a preview, so that it fits into an answer:
// the ends of long values, and the last rows of long relations.
func Bound(relations []Relation) []Relation {
	if len(relations) == 0 {
		return relations
	}
	room := MaxPreview / len(relations)
	out := make([]Relation, 0, len(relations))
	for _, r := range relations {
		out = append(out, r.bound(room))
	}
	return out
}

// escaped is how many bytes a character takes at most in JSON: \u0001.
const escaped = 6

// bound cuts one relation to about so many bytes; of a relation that has rows, one
// stays.
func (r Relation) bound(room int) Relation {
	cell := min(MaxCell, room/escaped/max(len(r.Columns), 1))
	left := room
	rows := make([][]*string, 0, min(len(r.Rows), MaxRows))
	for _, row := range r.Rows {
		if len(rows) == MaxRows {
			break
		}
		kept := make([]*string, len(row))
		for i, v := range row {
			if v != nil {
				s := Clip(*v, MaxCell)
				kept[i] = &s
			}
		}
		size := jsonSize(kept)
		if size > left && len(rows) == 0 {
			for i, v := range kept {
				if v != nil {
					s := Clip(*v, cell)
					kept[i] = &s
				}
			}
			size = jsonSize(kept)
		}
		if left -= size; left < 0 && len(rows) > 0 {
			break
		}
		rows = append(rows, kept)
	}
	r.Rows = rows
	return r
}

func jsonSize(row []*string) int {
	b, err := json.Marshal(row)
	if err != nil {
		return MaxPreview // strings can always be encoded
	}
	return len(b) + 1
}
