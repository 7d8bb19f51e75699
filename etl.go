package holdfast

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// EngineETL extracts, transforms and loads.
const EngineETL Engine = "etl"

// Limits of an ETL job's fields.
const (
	MaxDefinition    = 256 << 10 // bytes
	MaxProperties    = 64        // of one execution: given and removed
	MaxPropertyName  = 256       // bytes
	MaxPropertyValue = 8 << 10   // bytes
	MaxConfigured    = 256       // of one configuration, with those that no parameter names
	MaxConfiguration = 192 << 10 // bytes of all names and values of one configuration
	MaxRequested     = 64 << 10  // bytes of all names and values of one execution
	MaxETLSites      = 64        // that a definition names
	MaxFollowUps     = 16        // executions of one ETL that wait for their turn
)

// PropertySimulation is the property that makes executions simulations: "true",
// "yes", "on" or "1", in any case. It is no parameter of a definition.
const PropertySimulation = "simulation.mode"

// MaskedProperty stands for the value of a secret property wherever it is shown.
const MaskedProperty = "********"

// SecretProperty reports whether the value of a property is a secret by its name,
// in any case: one that contains password, passwd, passphrase, secret, token or
// credential, or ends in key.
func SecretProperty(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, "key") || slices.ContainsFunc(
		[]string{"password", "passwd", "passphrase", "secret", "token", "credential"},
		func(word string) bool { return strings.Contains(name, word) },
	)
}

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
	// Scheduled is when somebody scheduled it last that had been killed or lost since
	// its next execution was planned; zero: nobody has.
	Scheduled time.Time `json:"scheduled,omitzero"`
}

// RunConfiguration is a named set of properties of an ETL.
type RunConfiguration struct {
	ID         RunConfigurationID `json:"id"`
	Name       string             `json:"name"`
	Active     bool               `json:"active,omitempty"`
	Properties map[string]string  `json:"properties,omitempty"`
	// Sealed holds the values of secret properties as they are stored, whose values
	// in Properties are empty; nil where they have been opened.
	Sealed map[string][]byte `json:"sealed,omitempty"`
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

// ETLRun is what is particular to one execution of an ETL.
type ETLRun struct {
	// Service is true for an execution of a service: it takes no slot of a batch.
	Service bool `json:"service,omitempty"`
	// Properties are those of the request; see [ETLSpec.PropertiesOf].
	Properties map[string]string `json:"properties,omitempty"`
	Sealed     map[string][]byte `json:"sealed,omitempty"`   // as of a [RunConfiguration]
	Removed    []string          `json:"removed,omitempty"`  // names that the request takes away from this execution; sorted
	Simulate   bool              `json:"simulate,omitempty"` // everything but the commit
	// Identity tells the execution from every other one that has its number, which
	// comes again when the metadata database goes back to an older copy of itself. It
	// is made with the execution and never changes; empty: an earlier release made it.
	Identity string `json:"identity,omitempty"`
	// Asked is the call that asked for it, as "native run"; empty: a timing, a schedule
	// or a trigger made it.
	Asked string `json:"asked,omitempty"`
	// Timed is true when somebody has named the time it is due: it waits for its turn,
	// whatever else works then.
	Timed bool `json:"timed,omitempty"`
	// Version rises when the execution gets other properties. Those of a service
	// that runs apply from its next round.
	Version int `json:"version,omitempty"`
}

// ETLStart is what an execution of an ETL has started with. It has it until it has
// ended, at each of its starts, whatever becomes of its job and sites meanwhile: what
// an earlier start has committed is known by names that the definition gives.
type ETLStart struct {
	Spec    ETLSpec           // the job's, of its run configurations the active one alone
	Servers map[SiteID]Server // of Spec.Sites; their passwords are the sites' own at any time
}

// StartOf is what an execution of the ETL starts with now. CodeInvalid when no run
// configuration is active.
func (s ETLSpec) StartOf(sites []Site) (ETLStart, error) {
	active := s.Active()
	if active == nil {
		return ETLStart{}, errNoActive()
	}
	start := ETLStart{
		Spec:    ETLSpec{Service: s.Service, Definition: s.Definition, Sites: s.Sites, Configurations: []RunConfiguration{*active}},
		Servers: make(map[SiteID]Server, len(sites)),
	}
	for _, site := range sites {
		start.Servers[site.ID] = site.Server
	}
	return start, nil
}

func errNoActive() error {
	return Errorf(CodeInvalid, "no active run configuration").WithHint("activate one of the run configurations of the ETL")
}

// ETLTask is an ETL as a worker is asked about it.
type ETLTask struct {
	Job        Job               // with its ETL; without an id it is not stored yet
	Site       Site              // the job's
	Sites      []Site            // Job.ETL.Sites
	Properties map[string]string // as of an execution
}

// Same reports whether two executions are asked for alike.
func (r ETLRun) Same(other ETLRun) bool {
	return r.Simulate == other.Simulate && maps.Equal(r.Properties, other.Properties) && slices.Equal(r.Removed, other.Removed)
}

// RunOf is what a request with the properties means for an execution of the ETL,
// and without any what a planned execution is. Names that are taken away may come
// in any order, and more than once.
func (s ETLSpec) RunOf(properties map[string]string, removed []string, simulate bool) ETLRun {
	r := ETLRun{Service: s.Service, Simulate: simulate}
	if len(properties) > 0 {
		r.Properties = maps.Clone(properties)
	}
	if len(removed) > 0 {
		r.Removed = slices.Clone(removed)
		slices.Sort(r.Removed)
		r.Removed = slices.Compact(r.Removed)
	}
	switch strings.ToLower(strings.TrimSpace(s.merged(r)[PropertySimulation])) {
	case "true", "yes", "on", "1":
		r.Simulate = true
	}
	return r
}

// PropertiesOf returns the properties that an execution has: those of the request
// over those of the active run configuration, without the names that the request
// takes away and without [PropertySimulation]. CodeInvalid when no run
// configuration is active, or one of the values is still sealed.
func (s ETLSpec) PropertiesOf(r ETLRun) (map[string]string, error) {
	if s.Active() == nil {
		return nil, errNoActive()
	}
	m := s.merged(r)
	delete(m, PropertySimulation)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		_, sealed := s.Active().Sealed[name]
		if _, ok := r.Properties[name]; ok {
			_, sealed = r.Sealed[name]
		}
		if sealed {
			return nil, Errorf(CodeInvalid, "the secret value of property %q cannot be opened", name).
				WithHint("put the master key file back that was in use when it was stored, or give the property a value again")
		}
	}
	return m, nil
}

func (s ETLSpec) merged(r ETLRun) map[string]string {
	m := map[string]string{}
	if c := s.Active(); c != nil {
		maps.Copy(m, c.Properties)
	}
	for _, name := range r.Removed {
		delete(m, name)
	}
	maps.Copy(m, r.Properties)
	return m
}

// Validate checks everything that can be checked without reading the definition.
func (s ETLSpec) Validate() error {
	switch {
	case strings.TrimSpace(s.Definition) == "":
		return Errorf(CodeInvalid, "the definition is missing")
	case len(s.Definition) > MaxDefinition:
		return Errorf(CodeInvalid, "the definition has %d bytes", len(s.Definition)).WithHint("use at most %d", MaxDefinition)
	case !plainText(s.Definition):
		return Errorf(CodeInvalid, "the definition is not text: it holds a zero byte or is not UTF-8")
	case len(s.Sites) == 0:
		return Errorf(CodeInvalid, "the ETL has no site").WithHint("name the site whose worker runs it")
	case len(s.Sites) > MaxETLSites:
		return Errorf(CodeInvalid, "the ETL has %d sites", len(s.Sites)).WithHint("use at most %d", MaxETLSites)
	case s.Sites[0] <= 0 || !ascending(s.Sites):
		return Errorf(CodeInvalid, "the sites %v of the ETL are not in order, each once", s.Sites)
	case s.Aborted && !s.Service:
		return Errorf(CodeInvalid, "only a service can be aborted while it is off")
	}
	if err := s.validateConfigurations(); err != nil {
		return err
	}
	if s.Recurrence == nil {
		return nil
	}
	if s.Service && s.Recurrence.Armed {
		return Errorf(CodeInvalid, "a service has no planned executions that recur").WithHint("switch it on, or make a batch ETL")
	}
	return s.Recurrence.Validate()
}

func (s ETLSpec) validateConfigurations() error {
	if len(s.Configurations) == 0 {
		return Errorf(CodeInvalid, "the ETL has no run configuration").WithHint("give it one")
	}
	active, last, names := 0, RunConfigurationID(0), map[string]bool{}
	for _, c := range s.Configurations {
		if c.ID <= last {
			return Errorf(CodeInvalid, "run configuration %d is not in the order of ids, each once and above zero", c.ID)
		}
		last = c.ID
		if names[c.Name] {
			return Errorf(CodeInvalid, "two run configurations are named %q", c.Name).WithHint("give each a name of its own")
		}
		names[c.Name] = true
		if c.Active {
			active++
		}
		if err := c.validate(); err != nil {
			return err
		}
	}
	if active > 1 {
		return Errorf(CodeInvalid, "%d run configurations are active", active).WithHint("activate one of them")
	}
	return nil
}

func (c RunConfiguration) validate() error {
	switch n := len([]rune(c.Name)); {
	case strings.TrimSpace(c.Name) == "":
		return Errorf(CodeInvalid, "the name of run configuration %d is missing", c.ID)
	case n > MaxJobName:
		return Errorf(CodeInvalid, "the name of run configuration %d has %d characters", c.ID, n).WithHint("use at most %d", MaxJobName)
	case !printable(c.Name):
		return Errorf(CodeInvalid, "the name of run configuration %d holds a control character", c.ID)
	}
	return validProperties(c.Properties, MaxConfigured, MaxConfiguration)
}

// Validate checks what a request says of an execution.
func (r ETLRun) Validate() error {
	if n := len(r.Properties) + len(r.Removed); n > MaxProperties {
		return errManyProperties(n, MaxProperties)
	}
	if err := validProperties(r.Properties, MaxProperties, MaxRequested); err != nil {
		return err
	}
	for _, name := range r.Removed {
		if err := validPropertyName(name); err != nil {
			return err
		}
		if _, ok := r.Properties[name]; ok {
			return Errorf(CodeInvalid, "property %q is both given and removed", name).WithHint("do one of the two")
		}
	}
	if !ascending(r.Removed) {
		return Errorf(CodeInvalid, "the names of the removed properties are not in order, each once")
	}
	if r.Version < 0 {
		return Errorf(CodeInvalid, "version %d of the properties is negative", r.Version)
	}
	return nil
}

func errManyProperties(n, most int) error {
	return Errorf(CodeInvalid, "%d properties are too many", n).WithHint("use at most %d", most)
}

// validProperties checks properties of which there are at most so many, with so
// many bytes.
func validProperties(properties map[string]string, most, mostBytes int) error {
	if len(properties) > most {
		return errManyProperties(len(properties), most)
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(properties)) { // the same error each time
		if err := validPropertyName(name); err != nil {
			return err
		}
		switch value := properties[name]; {
		case len(value) > MaxPropertyValue:
			return Errorf(CodeInvalid, "the value of property %q has %d bytes", name, len(value)).WithHint("use at most %d", MaxPropertyValue)
		case !plainText(value):
			return Errorf(CodeInvalid, "the value of property %q is not text: it holds a zero byte or is not UTF-8", name)
		}
		size += len(name) + len(properties[name])
	}
	if size > mostBytes {
		return Errorf(CodeInvalid, "the properties take %d bytes", size).WithHint("keep them below %d", mostBytes)
	}
	return nil
}

func validPropertyName(name string) error {
	switch {
	case name == "":
		return Errorf(CodeInvalid, "a property has no name")
	case len(name) > MaxPropertyName:
		return Errorf(CodeInvalid, "the name of property %.32q… has %d bytes", name, len(name)).WithHint("use at most %d", MaxPropertyName)
	case !printable(name):
		return Errorf(CodeInvalid, "the name of property %q is not printable text", name)
	}
	return nil
}

// plainText reports whether a text can be kept and sent anywhere.
func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// printable is plainText without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func ascending[T SiteID | string](list []T) bool {
	for i := 1; i < len(list); i++ {
		if list[i] <= list[i-1] {
			return false
		}
	}
	return true
}
