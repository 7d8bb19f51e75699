package definition

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Bind returns the value of each parameter, as text of its type; nil is NULL. The
// later mapping of src goes over the earlier, and both over a default. now is what
// words such as yesterday are relative to. The property that asks for a simulation
// is the caller's, and not unknown.
//
// ignored are the properties that no parameter names, in order, whether they are to
// be warned of or not. The error has the code invalid, and names properties; never
// their values, which may be secrets.
func (d *Definition) Bind(src Source, now time.Time) (values map[string]*string, ignored []string, err error) {
	given := map[string]string{}
	for _, properties := range src {
		maps.Copy(given, properties)
	}
	values = make(map[string]*string, len(d.Parameters))
	named := map[string]bool{holdfast.PropertySimulation: true}
	var wrong []string
	for _, name := range sorted(d.Parameters) {
		p := d.Parameters[name]
		named[p.Property] = true
		value, ok := given[p.Property]
		v, err := p.value(value, ok, now)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("property %q, for the parameter %s, %v", p.Property, name, err))
			continue
		}
		values[name] = v
	}
	for _, name := range sorted(given) {
		if !named[name] {
			ignored = append(ignored, name)
		}
	}
	if len(ignored) > 0 && d.UnknownProperties == UnknownReject {
		for _, name := range ignored {
			wrong = append(wrong, fmt.Sprintf("property %q is that of no parameter, and the definition rejects such", shorten(name)))
		}
	}
	if len(wrong) > 0 {
		shown := wrong[:min(len(wrong), maxFaults)]
		text := strings.Join(shown, "; ")
		if more := len(wrong) - len(shown); more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		return nil, ignored, holdfast.Errorf(holdfast.CodeInvalid, "%s", text).
			WithHint("give the properties values of their types, in the run configuration or in the request")
	}
	return values, ignored, nil
}

// value returns a parameter's value: the given one, or the default.
func (p Parameter) value(given string, ok bool, now time.Time) (*string, error) {
	switch {
	case ok:
	case p.Required:
		return nil, errors.New("is missing, and has to be given")
	case p.Default == nil:
		return nil, nil //nolint:nilnil // NULL
	default:
		given = *p.Default
	}
	v, err := convert(p.Type, given, now)
	if err != nil {
		return nil, err
	}
	if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, func(e string) bool {
		c, err := convert(p.Type, e, now)
		return err == nil && c == v
	}) {
		return nil, fmt.Errorf("is none of the values that are allowed: %s", strings.Join(p.Enum, ", "))
	}
	return &v, nil
}
