package definition

import (
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// enums are the words of the types that have a fixed set of them.
var enums = map[reflect.Type][]string{
	reflect.TypeFor[Mode]():     {string(ModeBatch), string(ModeService)},
	reflect.TypeFor[Unknown]():  {string(UnknownIgnore), string(UnknownWarn), string(UnknownReject)},
	reflect.TypeFor[Severity](): {string(SeverityOK), string(SeverityWarning), string(SeverityError)},
	reflect.TypeFor[Format]():   {string(FormatCSV), string(FormatJSON), string(FormatParquet)},
	reflect.TypeFor[Strategy](): {string(StrategyColumn), string(StrategyFile)},
	reflect.TypeFor[Place]():    {string(InSource), string(InRows), string(InEngine), string(InTarget)},
	reflect.TypeFor[LoadMode](): {string(LoadAppend), string(LoadReplace), string(LoadUpsert), string(LoadMerge)},
}

// decoder makes a Definition of a node, and remembers where each part stood.
type decoder struct {
	places map[string]place
	faults []Fault
	wrong  []string // paths of values that are missing or could not be taken
	stray  []string // paths of keys that are not known
}

// fault tells of a value that is missing or cannot be taken.
func (d *decoder) fault(path, format string, args ...any) {
	d.wrong = append(d.wrong, path)
	d.tell(path, format, args...)
}

// tell tells of what is wrong with the value at path, which may be missing: then
// the place is that of what should hold it.
func (d *decoder) tell(path, format string, args ...any) {
	at := d.find(path)
	d.faults = append(d.faults, Fault{at.line, at.column, path, fmt.Sprintf(format, args...)})
}

// follows reports whether a fault at path may be nothing but a consequence of one
// of the text's structure: the value is the same one, holds it or is held by it, or
// stands beside a value that is missing or could not be taken; or it is missing
// itself where a key is not known, which may be that key misspelled.
func (d *decoder) follows(path string) bool {
	owner := ownerOf(path)
	if slices.ContainsFunc(d.wrong, func(w string) bool { return within(w, path) || within(path, w) || ownerOf(w) == owner }) {
		return true
	}
	_, given := d.places[path]
	return slices.ContainsFunc(d.stray, func(k string) bool { return within(k, path) || !given && ownerOf(k) == owner })
}

// unread reports whether a section at the top was not read, so that what names its
// parts cannot be judged.
func (d *decoder) unread(section string) bool {
	_, given := d.places[section]
	return slices.Contains(d.wrong, section) || !given && slices.ContainsFunc(d.stray, func(k string) bool { return ownerOf(k) == "" })
}

// ownerOf returns the path of what holds the value at path.
func ownerOf(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// within reports whether the value at path is the one at other, or a part of it.
func within(path, other string) bool {
	rest, ok := strings.CutPrefix(path, other)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func (d *decoder) find(path string) place {
	for p := path; ; {
		if at, ok := d.places[p]; ok {
			return at
		}
		i := strings.LastIndexAny(p, ".[")
		if i < 0 {
			return d.places[""]
		}
		p = p[:i]
	}
}

// join appends a key to a path.
func join(path, key string) string {
	switch {
	case strings.ContainsAny(key, `.[]" `) || key == "":
		return fmt.Sprintf("%s[%q]", path, shorten(key))
	case path == "":
		return shorten(key)
	}
	return path + "." + shorten(key)
}

// index appends an index to a path.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// value decodes n into v. scalar is true for the text of a value, which may stand
// without quotes.
func (d *decoder) value(n *node, v reflect.Value, path string, scalar bool) {
	d.places[path] = n.place
	if n.kind == kindNull {
		if v.Kind() == reflect.Pointer && scalar {
			return // NULL, or none
		}
		d.fault(path, "has no value: give it one, or leave the key out")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr()); ok {
		d.unmarshal(n, u, path)
		return
	}
	switch v.Kind() { //nolint:exhaustive // the kinds that a definition has
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.list(n, v, path, scalar)
	case reflect.String:
		d.text(n, v, path, scalar)
	case reflect.Bool:
		if d.is(n, kindBoolean, path, "true or false") {
			v.SetBool(n.text == "true")
		}
	case reflect.Int, reflect.Int64:
		if d.is(n, kindNumber, path, "a whole number") {
			d.integer(n, v, path)
		}
	case reflect.Float64:
		if d.is(n, kindNumber, path, "a number") {
			d.float(n, v, path)
		}
	default:
		panic("definition: no decoding for " + v.Type().String())
	}
}

// is tells of a value of another kind.
func (d *decoder) is(n *node, want kind, path, name string) bool {
	if n.kind == want {
		return true
	}
	d.fault(path, "is %s where %s belongs", n.kind, name)
	return false
}

func (d *decoder) unmarshal(n *node, u encoding.TextUnmarshaler, path string) {
	if n.kind != kindText && n.kind != kindNumber {
		d.is(n, kindText, path, "a text")
		return
	}
	if err := u.UnmarshalText([]byte(n.text)); err != nil {
		d.fault(path, "%q %v", shorten(n.text), err)
	}
}

func (d *decoder) text(n *node, v reflect.Value, path string, scalar bool) {
	switch {
	case scalar && !n.isScalar():
		d.fault(path, "is %s where a value belongs", n.kind)
	case !scalar && n.kind != kindText && n.isScalar():
		d.fault(path, "is %s where a text belongs: write it in quotes, %q", n.kind, shorten(n.text))
	case !scalar && n.kind != kindText:
		d.fault(path, "is %s where a text belongs", n.kind)
	case strings.ContainsRune(n.text, 0):
		d.fault(path, "holds a NUL character, which no database takes")
	default:
		words, ok := enums[v.Type()]
		if ok && !slices.Contains(words, n.text) {
			d.fault(path, "is %q: it may be %s", shorten(n.text), oneOf(words))
			return
		}
		v.SetString(n.text)
	}
}

// oneOf lists words: a, b or c.
func oneOf(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (d *decoder) integer(n *node, v reflect.Value, path string) {
	i, err := strconv.ParseInt(n.text, 10, 64)
	if err != nil {
		d.fault(path, "is %s: write a whole number in digits, below 2^63", shorten(n.text))
		return
	}
	v.SetInt(i)
}

func (d *decoder) float(n *node, v reflect.Value, path string) {
	f, err := strconv.ParseFloat(n.text, 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		d.fault(path, "is %s: write a number such as 0.01", shorten(n.text))
		return
	}
	v.SetFloat(f)
}

func (d *decoder) list(n *node, v reflect.Value, path string, scalar bool) {
	if !d.is(n, kindList, path, "a list") {
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		d.value(item, list.Index(i), index(path, i), scalar)
	}
	if len(n.items) > 0 {
		v.Set(list)
	}
}

// mapping decodes a map from names to structures.
func (d *decoder) mapping(n *node, v reflect.Value, path string) {
	if !d.is(n, kindMapping, path, "a mapping of names") {
		return
	}
	m := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	for _, e := range n.entries {
		value := reflect.New(v.Type().Elem()).Elem()
		at := join(path, e.key)
		d.value(e.value, value, at, false)
		d.places[at] = e.place
		m.SetMapIndex(reflect.ValueOf(e.key), value)
	}
	if len(n.entries) > 0 {
		v.Set(m)
	}
}

// structure decodes a mapping with fixed keys.
func (d *decoder) structure(n *node, v reflect.Value, path string) {
	if !d.is(n, kindMapping, path, "a mapping") {
		return
	}
	fields := fieldsOf(v.Type())
	given := map[string]bool{}
	for _, e := range n.entries {
		i := slices.IndexFunc(fields, func(f field) bool { return f.key == e.key })
		at := join(path, e.key)
		if i < 0 {
			d.places[at] = e.place
			d.stray = append(d.stray, at)
			d.tell(at, "is not known here: the keys are %s", knownKeys(fields))
			continue
		}
		given[e.key] = true
		d.value(e.value, v.Field(fields[i].index), at, fields[i].scalar)
	}
	for _, f := range fields {
		if f.required && !given[f.key] {
			d.fault(join(path, f.key), "is missing")
		}
	}
}

func knownKeys(fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	return strings.Join(names, ", ")
}

// field is how a key of a mapping becomes a field of a structure.
type field struct {
	index    int
	key      string
	required bool
	scalar   bool
}

// fieldsOf reads the tags of a structure of a definition.
func fieldsOf(t reflect.Type) []field {
	fields := make([]field, t.NumField())
	for i := range fields {
		tag := t.Field(i).Tag
		key, options, _ := strings.Cut(tag.Get("json"), ",")
		fields[i] = field{i, key, options == "", tag.Get("etl") == "scalar"}
	}
	return fields
}

// sorted returns the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
