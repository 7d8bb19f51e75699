package definition_test

import (
	"bytes"
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// schemaOf is the part of a JSON Schema that the reference shows, and that the
// types are compared with.
type schemaOf struct {
	Ref                  string              `json:"$ref"`
	Defs                 map[string]schemaOf `json:"$defs"`
	Type                 any                 `json:"type"`
	Const                any                 `json:"const"`
	Enum                 []string            `json:"enum"`
	Description          string              `json:"description"`
	Default              any                 `json:"default"`
	Required             []string            `json:"required"`
	Properties           map[string]schemaOf `json:"properties"`
	Items                *schemaOf           `json:"items"`
	AdditionalProperties json.RawMessage     `json:"additionalProperties"`
}

func (s schemaOf) ref() string { return strings.TrimPrefix(s.Ref, "#/$defs/") }

func publishedSchema(t *testing.T) schemaOf {
	t.Helper()
	var s schemaOf
	if err := json.Unmarshal(definition.Schema(), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func compiledSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(definition.Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	if err := c.AddResource("urn:holdfast:etl:v1", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:holdfast:etl:v1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// The words of fields that are plain text in Go, or that take a part of their
// type's.
var words = map[string][]string{
	"Parameter.type":     {"text", "integer", "bigint", "numeric", "boolean", "date", "timestamptz", "uuid"},
	"Check.op":           {"=", "<>", "<", "<=", ">", ">=", "in", "is null", "is not null"},
	"Transform.severity": {"warning", "error"},
	"Output.format":      {"csv", "parquet"},
}

// The words of the types that have a fixed set of them.
var wordsOf = map[reflect.Type][]string{
	reflect.TypeFor[definition.Mode]():     {"batch", "service"},
	reflect.TypeFor[definition.Unknown]():  {"ignore", "warn", "reject"},
	reflect.TypeFor[definition.Severity](): {"ok", "warning", "error"},
	reflect.TypeFor[definition.Format]():   {"csv", "json", "parquet"},
	reflect.TypeFor[definition.Strategy](): {"column", "file"},
	reflect.TypeFor[definition.Place]():    {"source", "rows", "engine", "target"},
	reflect.TypeFor[definition.LoadMode](): {"append", "replace", "upsert", "merge"},
}

// structs returns the structures of a definition in the order in which they are
// first met.
func structs() []reflect.Type {
	var all []reflect.Type
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || slices.Contains(all, t) {
			return
		}
		all = append(all, t)
		for f := range t.Fields() {
			visit(f.Type)
		}
	}
	visit(reflect.TypeFor[definition.Definition]())
	return all
}

// The schema has the structures, keys, types, words and required keys of the types
// that Parse fills; nothing is in one of the two only.
func TestSchemaIsOfTheTypes(t *testing.T) {
	s := publishedSchema(t)
	plain := []string{"Name", "Column", "Type", "Scalar", "ScalarOrNull", "Duration", "Size"}
	for _, typ := range structs() {
		def, ok := s.Defs[typ.Name()]
		if !ok {
			t.Errorf("the schema lacks %s", typ.Name())
			continue
		}
		plain = append(plain, typ.Name())
		compareStructure(t, typ, def)
	}
	for name := range s.Defs {
		if !slices.Contains(plain, name) {
			t.Errorf("the schema has %s, which no type is", name)
		}
	}
}

func compareStructure(t *testing.T, typ reflect.Type, def schemaOf) {
	t.Helper()
	if def.Type != "object" || string(def.AdditionalProperties) != "false" || def.Description == "" {
		t.Errorf("%s is no closed object with a description", typ.Name())
	}
	keys := map[string]bool{}
	for f := range typ.Fields() {
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		keys[key] = true
		at := typ.Name() + "." + key
		got, ok := def.Properties[key]
		if !ok {
			t.Errorf("the schema lacks %s", at)
			continue
		}
		if got.Description == "" {
			t.Errorf("%s has no description", at)
		}
		if required := slices.Contains(def.Required, key); required != (options == "") {
			t.Errorf("%s: required is %v", at, required)
		}
		compareField(t, at, f, got)
	}
	for key := range def.Properties {
		if !keys[key] {
			t.Errorf("the schema has %s.%s, which the type lacks", typ.Name(), key)
		}
	}
	for _, key := range def.Required {
		if !keys[key] {
			t.Errorf("the schema requires %s.%s, which the type lacks", typ.Name(), key)
		}
	}
}

func compareField(t *testing.T, at string, f reflect.StructField, got schemaOf) {
	t.Helper()
	typ := f.Type
	scalar := f.Tag.Get("etl") == "scalar"
	want, ok := words[at]
	if !ok {
		want = wordsOf[typ]
	}
	if len(want) > 0 || got.Enum != nil {
		if !slices.Equal(got.Enum, want) {
			t.Errorf("%s has the words %q, want %q", at, got.Enum, want)
		}
		return
	}
	switch typ.Kind() {
	case reflect.Slice:
		if got.Type != "array" || got.Items == nil {
			t.Errorf("%s is no array", at)
			return
		}
		compareValue(t, at+"[]", typ.Elem(), scalar, *got.Items)
	case reflect.Map:
		var values schemaOf
		if err := json.Unmarshal(got.AdditionalProperties, &values); err != nil || got.Type != "object" {
			t.Errorf("%s is no object of values: %v", at, err)
			return
		}
		compareValue(t, at+".*", typ.Elem(), scalar, values)
	default:
		compareValue(t, at, typ, scalar, got)
	}
}

func compareValue(t *testing.T, at string, typ reflect.Type, scalar bool, got schemaOf) {
	t.Helper()
	pointer := typ.Kind() == reflect.Pointer
	if pointer {
		typ = typ.Elem()
	}
	_, text := reflect.TypeAssert[encoding.TextUnmarshaler](reflect.New(typ))
	want := ""
	switch {
	case scalar && pointer:
		want = "ScalarOrNull"
	case scalar:
		want = "Scalar"
	case text, typ.Kind() == reflect.Struct:
		want = typ.Name()
	}
	if want != "" {
		if got.ref() != want {
			t.Errorf("%s is %q, want %q", at, got.ref(), want)
		}
		return
	}
	kinds := map[reflect.Kind]string{reflect.Bool: "boolean", reflect.Int: "integer", reflect.Int64: "integer", reflect.Float64: "number", reflect.String: "string"}
	ofText := typ.Kind() == reflect.String && (got.Const != nil || slices.Contains([]string{"Name", "Column", "Type"}, got.ref()))
	if got.Type != kinds[typ.Kind()] && !ofText {
		t.Errorf("%s is %v, want %s", at, got.Type, kinds[typ.Kind()])
	}
}

// What Parse takes, the schema takes: as it was written, and with the defaults.
func TestSchemaTakesExamples(t *testing.T) {
	s := compiledSchema(t)
	all := examples(t)
	all["sound"], all["plain"] = []byte(sound), []byte(plain)
	for name, text := range all {
		var written any
		if err := yaml.Unmarshal(text, &written); err != nil {
			t.Fatal(err)
		}
		asWritten, err := json.Marshal(written)
		if err != nil {
			t.Fatal(err)
		}
		d, err := definition.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for how, b := range map[string][]byte{"as written": asWritten, "with defaults": []byte(asJSON(d))} {
			v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(v); err != nil {
				t.Errorf("%s, %s: %v", name, how, err)
			}
		}
	}
}

// What is wrong with the structure of a text, the schema refuses as well.
func TestSchemaRefuses(t *testing.T) {
	s := compiledSchema(t)
	for _, c := range []struct{ old, new string }{
		{"etl/v1", "etl/v2"},
		{"name: orders\nmode", "name: 1\nmode"},
		{"mode: batch", "mode: daily"},
		{"mode: batch", "modes: batch"},
		{"{site: shop}", "{}"},
		{"{site: shop}", "{site: shop, directory: /srv}"},
		{"{site: shop}", "{url: 'ftp://x'}"},
		{"connection: shop", "connexion: shop"},
		{"query: |", "table: orders\n    query: |"},
		{"lag: 5s", "lag: 5"},
		{"column: id", "tie: id"},
		{"type: numeric", "kind: numeric"},
		{"in: rows, over: clean", "in: rows"},
		{"in: engine", "in: engine, over: masked"},
		{"keep: 4", "keep: -4"},
		{"{mask: {column: card, keep: 4}}", "{}"},
		{", expect: 0", ""},
		{", key: [id]", ""},
		{"mode: upsert", "mode: append"},
		{"table: mart.orders, ", ""},
	} {
		if strings.Count(sound, c.old) == 0 {
			t.Fatalf("%q is not in the definition", c.old)
		}
		var v any
		if err := yaml.Unmarshal([]byte(strings.Replace(sound, c.old, c.new, 1)), &v); err != nil {
			t.Fatal(err)
		}
		decoded, err := jsonschema.UnmarshalJSON(strings.NewReader(asJSON(v)))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(decoded); err == nil {
			t.Errorf("the schema takes %q instead of %q", c.new, c.old)
		}
	}
}
