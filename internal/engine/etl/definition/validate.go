package definition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/bind"
)

// Limits of a definition.
const (
	maxName        = 128 // characters, of the definition
	maxDescription = 4096
	maxParameters  = 128
	maxEnum        = 256
	maxConnections = 64
	maxExtracts    = 32
	maxTransforms  = 64
	maxLoads       = 32
	maxRowSteps    = 256  // of one transform
	maxFields      = 1600 // columns of a table in PostgreSQL: MaxHeapAttributeNumber
)

// The bounds of what a definition sets.
const (
	minInterval = 100 * time.Millisecond
	maxInterval = 24 * time.Hour
	maxLag      = 24 * time.Hour
	maxRecycle  = 1_000_000
	minMemory   = Size(64 << 20)
	maxMemory   = Size(1 << 40)
	minTemp     = Size(16 << 20)
	maxTemp     = Size(64 << 40)
	maxThreads  = 256
)

var namePattern = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// reserved begins the names that the engine makes itself.
const reserved = "holdfast_"

// validator checks what a definition means. It tells of faults through the decoder,
// which knows where each part stands.
type validator struct {
	*decoder
	d     *Definition
	types map[string]string // of the parameters
	graph *graph
}

func newValidator(d *Definition, dec *decoder) *validator {
	v := &validator{decoder: dec, d: d, types: map[string]string{}}
	for name, p := range d.Parameters {
		v.types[name] = typeText // of one whose own is no type, so that this is told of once
		if slices.Contains(parameterTypes, p.Type) {
			v.types[name] = p.Type
		}
	}
	return v
}

// fault tells of a fault, unless another one that was told of may be its cause.
func (v *validator) fault(path, format string, args ...any) {
	if !v.follows(path) {
		v.tell(path, format, args...)
	}
}

// definition checks all, and reports whether nothing kept it from that.
func (v *validator) definition() bool {
	v.header()
	v.service()
	v.resources()
	v.parameters()
	v.connections()
	v.extracts()
	v.transforms()
	v.loads()
	v.names()
	if v.faulty("extract") || v.faulty("transform") {
		return false // references are read from sound parts only
	}
	v.graph = newGraph(v.d)
	v.placement()
	if len(v.faults) == 0 {
		v.cycles()
	}
	if len(v.faults) > 0 {
		return false
	}
	v.columnsKnown()
	v.flows()
	v.targets()
	return true
}

// faulty reports whether a section, or a part of it, has a fault, or was not read.
func (v *validator) faulty(section string) bool {
	return v.unread(section) || slices.ContainsFunc(v.faults, func(f Fault) bool { return within(f.Path, section) })
}

func (v *validator) header() {
	switch n := utf8.RuneCountInString(v.d.Name); {
	case strings.TrimSpace(v.d.Name) == "":
		v.fault("name", "is empty")
	case n > maxName:
		v.fault("name", "has %d characters: at most %d", n, maxName)
	case strings.ContainsFunc(v.d.Name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		v.fault("name", "holds a control character")
	}
	if n := utf8.RuneCountInString(v.d.Description); n > maxDescription {
		v.fault("description", "has %d characters: at most %d", n, maxDescription)
	}
}

func (v *validator) service() {
	s := v.d.Service
	switch {
	case s == nil && v.d.Mode == ModeService:
		v.fault("mode", "is service, which needs the interval between its rounds: service: {interval: 30s}")
	case s == nil:
	case v.d.Mode != ModeService:
		v.fault("service", "is for mode: service only")
	default:
		v.duration("service.interval", s.Interval, minInterval, maxInterval)
		v.duration("service.idle_backoff", s.IdleBackoff, time.Duration(s.Interval), maxInterval)
		v.number("service.recycle_after", int64(s.RecycleAfter), 1, maxRecycle)
	}
}

func (v *validator) resources() {
	r := v.d.Resources
	v.size("resources.memory", r.Memory, minMemory, maxMemory)
	v.size("resources.temp", r.Temp, minTemp, maxTemp)
	v.number("resources.threads", int64(r.Threads), 0, maxThreads)
	if v.d.Batch.Rows < 0 {
		v.fault("batch.rows", "is %d: write how many rows are committed together", v.d.Batch.Rows)
	}
}

func (v *validator) duration(path string, d Duration, low, high time.Duration) {
	if t := time.Duration(d); t < low || t > high {
		v.fault(path, "is %s: it may be from %s to %s", text(d), text(Duration(low)), text(Duration(high)))
	}
}

func (v *validator) size(path string, s, low, high Size) {
	if s < low || s > high {
		v.fault(path, "is %s: it may be from %s to %s", text(s), text(low), text(high))
	}
}

func (v *validator) number(path string, n, low, high int64) {
	if n < low || n > high {
		v.fault(path, "is %d: it may be from %d to %d", n, low, high)
	}
}

// text returns a value as a definition writes it.
func text(m interface{ MarshalText() ([]byte, error) }) string {
	b, err := m.MarshalText()
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// atMost checks how many of something there are.
func (v *validator) atMost(path string, n, most int, what string) {
	if n > most {
		v.fault(path, "has %d %s: at most %d", n, what, most)
	}
}

// name checks the name of a relation, parameter, connection or flow.
func (v *validator) name(path, name string) bool {
	switch {
	case !namePattern.MatchString(name):
		v.fault(path, "is %q: a name has 1 to 63 of a to z, 0 to 9 and _, and begins with no digit", shorten(name))
	case strings.HasPrefix(name, reserved):
		v.fault(path, "is %q: names that begin with %s are the engine's own", name, reserved)
	default:
		return true
	}
	return false
}

// column checks the name of a column.
func (v *validator) column(path, name string) bool {
	if err := checkIdentifier(name); err != nil {
		v.fault(path, "%v", err)
		return false
	}
	return true
}

// columns checks a list of columns, each of which may stand there once.
func (v *validator) columns(path string, names []string) {
	v.atMost(path, len(names), maxFields, "columns")
	seen := map[string]int{}
	for i, name := range names {
		at := index(path, i)
		if !v.column(at, name) {
			continue
		}
		if first, ok := seen[name]; ok {
			v.fault(at, "is %q again, after %s", shorten(name), index(path, first))
			continue
		}
		seen[name] = i
	}
}

func (v *validator) parameters() {
	v.atMost("parameters", len(v.d.Parameters), maxParameters, "parameters")
	properties := map[string]string{}
	for _, name := range sorted(v.d.Parameters) {
		path, p := join("parameters", name), v.d.Parameters[name]
		if v.name(path, name) {
			v.parameter(path, p)
		}
		if first, ok := properties[p.Property]; ok {
			v.fault(path+".property", "is %q, which gives the parameter %s already", shorten(p.Property), first)
		}
		properties[p.Property] = name
	}
}

func (v *validator) parameter(path string, p Parameter) {
	if !slices.Contains(parameterTypes, p.Type) {
		v.fault(path+".type", "is %q: it may be %s", shorten(p.Type), oneOf(parameterTypes))
		return
	}
	v.atMost(path+".enum", len(p.Enum), maxEnum, "values")
	sound := true
	for i, e := range p.Enum {
		if _, err := convert(p.Type, e, time.Time{}); err != nil {
			v.fault(index(path+".enum", i), "%v", err)
			sound = false
		}
	}
	switch {
	case p.Default == nil:
	case p.Required:
		v.fault(path+".default", "is never used: the parameter is required")
	case sound:
		if _, err := p.value("", false, time.Time{}); err != nil {
			v.fault(path+".default", "%v", err)
		}
	}
	switch {
	case len(p.Property) > holdfast.MaxPropertyName:
		v.fault(path+".property", "has %d bytes: at most %d", len(p.Property), holdfast.MaxPropertyName)
	case p.Property == holdfast.PropertySimulation:
		v.fault(path+".property", "is %q, which asks for a simulation", p.Property)
	}
}

// declared checks that a parameter is declared.
func (v *validator) declared(path, name string) {
	if _, ok := v.d.Parameters[name]; !ok && !v.unread("parameters") {
		v.fault(path, "is %q, which is no parameter: declare it below parameters", shorten(name))
	}
}

// postgres checks SQL that a server runs.
func (v *validator) postgres(path, sql string) {
	if !v.statement(path, sql) || v.unread("parameters") {
		return
	}
	if _, err := bind.Postgres(sql, v.types, nil); err != nil {
		v.sql(path, err)
	}
}

// engine checks SQL that the engine runs.
func (v *validator) engine(path, sql string) {
	if !v.statement(path, sql) || v.unread("parameters") {
		return
	}
	names, err := bind.EngineParameters(sql)
	if err != nil {
		v.sql(path, err)
		return
	}
	for _, name := range names {
		if _, ok := v.d.Parameters[name]; !ok {
			v.fault(path, "names $%s, which is no parameter: declare it below parameters", shorten(name))
		}
	}
	names, err = bind.Parameters(sql)
	if err != nil {
		v.sql(path, err)
		return
	}
	for _, name := range names {
		if _, ok := v.d.Parameters[name]; ok {
			v.fault(path, "names the parameter %s as :%s: in the engine it is $%s", name, name, name)
		}
	}
}

// statement checks that SQL is one statement that reads.
func (v *validator) statement(path, sql string) bool {
	if err := bind.SingleSelect(sql); err != nil {
		v.sql(path, err)
		return false
	}
	return true
}

// sql tells of what is wrong with SQL.
func (v *validator) sql(path string, err error) {
	text := holdfast.ErrorMessage(err)
	if hint := holdfast.ErrorHint(err); hint != "" {
		text += fmt.Sprintf(" (%s)", hint)
	}
	v.fault(path, "%s", text)
}
