package definition_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The reference in docs is made of the schema, in the order of the types.
func TestReference(t *testing.T) {
	golden(t, "../../../../docs/etl-reference.md", reference(t))
}

func reference(t *testing.T) string {
	t.Helper()
	s := publishedSchema(t)
	var b strings.Builder
	b.WriteString("<!-- Made by go generate of internal/engine/etl/definition/schema.json; change that. -->\n\n")
	b.WriteString("# Reference of ETL definitions\n\n")
	b.WriteString("Every key of a definition, made of its JSON Schema (`holdfast etl schema`). [ETL](etl.md) says what they are for.\n")
	b.WriteString("A key in bold is required. Limits: 32 extracts, 64 transforms, 32 loads, 128 parameters, 1,600 columns of a relation, 256 KiB of text.\n")
	for _, typ := range structs() {
		def := s.Defs[typ.Name()]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n", typ.Name(), def.Description)
		for f := range typ.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			p := def.Properties[key]
			name := "`" + key + "`"
			if slices.Contains(def.Required, key) {
				name = "**" + name + "**"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, typeText(t, f.Type, p), defaultText(p), p.Description)
		}
	}
	b.WriteString("\n## Values\n\n| Type | Meaning |\n|---|---|\n")
	for _, name := range []string{"Name", "Column", "Type", "Scalar", "Duration", "Size"} {
		def := s.Defs[name]
		fmt.Fprintf(&b, "| %s | %s |\n", strings.ToLower(name), def.Description)
	}
	return b.String()
}

// typeText is a type as the reference shows it.
func typeText(t *testing.T, typ reflect.Type, p schemaOf) string {
	t.Helper()
	switch {
	case len(p.Enum) > 0:
		return "`" + strings.Join(p.Enum, "`, `") + "`"
	case p.Items != nil:
		return "list of " + typeText(t, typ.Elem(), *p.Items)
	case typ.Kind() == reflect.Map:
		var values schemaOf
		if err := json.Unmarshal(p.AdditionalProperties, &values); err != nil {
			t.Fatal(err)
		}
		return "mapping of names to " + typeText(t, typ.Elem(), values)
	case p.Const != nil:
		return "text"
	}
	switch ref := p.ref(); ref {
	case "":
	case "ScalarOrNull":
		return "scalar"
	case "Name", "Column", "Type", "Scalar", "Duration", "Size":
		return strings.ToLower(ref)
	default:
		return fmt.Sprintf("[%s](#%s)", ref, strings.ToLower(ref))
	}
	if p.Type == "string" {
		return "text"
	}
	return fmt.Sprint(p.Type)
}

func defaultText(p schemaOf) string {
	if p.Default == nil {
		return ""
	}
	if p.Default == "" {
		return "empty"
	}
	return fmt.Sprintf("`%v`", p.Default)
}
