package definition

import (
	"reflect"
	"slices"
	"unicode/utf8"
)

// Parse reads a definition in YAML or JSON, checks it, and fills in the defaults.
// The error has the code invalid; it tells of up to 20 faults, each with line and
// column, which [Faults] returns one by one.
func Parse(text []byte) (*Definition, error) {
	switch {
	case len(text) > MaxText:
		return nil, invalid([]Fault{{1, 1, "", "the text is longer than 256 KiB"}}, false)
	case !utf8.Valid(text):
		return nil, invalid([]Fault{{1, 1, "", "the text is not in UTF-8"}}, false)
	}
	read := readYAML
	if isJSON(text) {
		read = readJSON
	}
	n, found := read(text)
	if len(found) > 0 {
		return nil, invalid(found, false)
	}
	var d Definition
	dec := &decoder{places: map[string]place{}}
	dec.value(n, reflect.ValueOf(&d).Elem(), "", false)
	if _, given := dec.places["apiVersion"]; given && d.APIVersion != APIVersion && !slices.Contains(dec.wrong, "apiVersion") {
		// What its keys mean there is not known here.
		dec.faults = nil
		dec.tell("apiVersion", "is %q: this program reads %q", shorten(d.APIVersion), APIVersion)
		return nil, invalid(dec.faults, false)
	}
	d.fill()
	v := newValidator(&d, dec)
	complete := v.definition()
	if len(dec.faults) > 0 {
		return nil, invalid(dec.faults, complete)
	}
	return &d, nil
}

// Defaults of a definition.
const (
	defaultRecycleAfter = 500
	defaultMemory       = Size(512 << 20)
	defaultTemp         = Size(20 << 30)
	defaultMaxSize      = Size(1 << 30)
	defaultComma        = ","
)

// orElse sets a field that was left out.
func orElse[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// fill sets what was left out and has a default.
func (d *Definition) fill() {
	orElse(&d.Mode, ModeBatch)
	orElse(&d.UnknownProperties, UnknownIgnore)
	orElse(&d.Resources.Memory, defaultMemory)
	orElse(&d.Resources.Temp, defaultTemp)
	if d.Service != nil {
		orElse(&d.Service.IdleBackoff, d.Service.Interval)
		orElse(&d.Service.RecycleAfter, defaultRecycleAfter)
	}
	for name, p := range d.Parameters {
		orElse(&p.Property, name)
		d.Parameters[name] = p
	}
	for i := range d.Extract {
		e := &d.Extract[i]
		if e.File == nil {
			continue
		}
		if e.File.Format == FormatCSV {
			orElse(&e.File.Comma, defaultComma)
		}
		if c := d.Connections[e.Connection]; c.URL != "" || c.Bucket != nil {
			orElse(&e.File.MaxSize, defaultMaxSize)
		}
	}
	for i := range d.Transform {
		if d.Transform[i].Assert != "" {
			orElse(&d.Transform[i].Severity, SeverityError)
		}
	}
	for i := range d.Load {
		orElse(&d.Load[i].Name, d.Load[i].From)
		orElse(&d.Load[i].Mode, LoadAppend)
	}
}
