package holdfast

import "time"

// EngineETL extracts, transforms and loads.
const EngineETL Engine = "etl"

// Limits of an ETL job's fields.
const (
	MaxDefinition    = 256 << 10 // bytes
	MaxProperties    = 64        // of one configuration, or of one execution
	MaxPropertyName  = 256       // bytes
	MaxPropertyValue = 8 << 10   // bytes
	MaxConfigured    = 256       // properties of a configuration, with those that no parameter names
)

// RunConfigurationID numbers run configurations.
type RunConfigurationID int64

// ETLSpec says what an ETL job does.
type ETLSpec struct {
	// Service is true for one endless execution that works in rounds until it is
	// stopped; false for an execution that ends when what there was is loaded.
	Service bool `json:"service,omitempty"`
	// Definition is what its author wrote, in YAML or JSON; package definition
	// reads it.
	Definition string `json:"definition"`
	// Sites are the sites that its connections name, by id. Job.Site is one of
	// them: its worker runs the executions.
	Sites []SiteID `json:"sites"`
	// Configurations are its run configurations, by id; at least one, and at most
	// one is active.
	Configurations []RunConfiguration `json:"configurations"`
	// Recurrence is the stored timing of planned executions; nil: there is none.
	Recurrence *Recurrence `json:"recurrence,omitempty"`
	// Aborted marks a service that was killed while it was off: it has no execution
	// that could say so.
	Aborted bool `json:"aborted,omitempty"`
}

// RunConfiguration is a named set of properties of an ETL.
type RunConfiguration struct {
	ID         RunConfigurationID `json:"id"`
	Name       string             `json:"name"`
	Active     bool               `json:"active,omitempty"`
	Properties map[string]string  `json:"properties,omitempty"`
}

// Active returns the run configuration that executions use; nil when none is
// active.
func (s ETLSpec) Active() *RunConfiguration {
	for i := range s.Configurations {
		if s.Configurations[i].Active {
			return &s.Configurations[i]
		}
	}
	return nil
}

// Recurrence is when planned executions of an ETL follow each other.
type Recurrence struct {
	Start  time.Time     `json:"start"`           // a time at which one is due; the others are whole periods from it
	Period time.Duration `json:"period"`          // whole seconds, at least one
	Armed  bool          `json:"armed,omitempty"` // the next execution is planned
}

// ETLRun is what is particular to one execution of an ETL.
type ETLRun struct {
	// Properties are those of the request, over those of the active run
	// configuration; a name without a value in Removed is in neither.
	Properties map[string]string `json:"properties,omitempty"`
	Removed    []string          `json:"removed,omitempty"`  // names that the request takes away from this execution
	Simulate   bool              `json:"simulate,omitempty"` // everything but the commit
	// Version rises when a service that runs gets other properties: they apply from
	// its next round.
	Version int `json:"version,omitempty"`
}
