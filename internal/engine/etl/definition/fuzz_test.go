package definition_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// FuzzParse holds Parse to its word: it never panics, says where a fault is, and
// takes what it has read again when that is written as JSON. What it takes can be
// planned, and the schema takes it as well.
func FuzzParse(f *testing.F) {
	for _, text := range examples(f) {
		f.Add(text)
	}
	f.Add([]byte(sound))
	f.Add([]byte(plain))
	schema := compiledSchema(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := definition.Parse(text)
		if err != nil {
			refused(t, err)
			return
		}
		again, err := definition.Parse(marshal(t, d))
		if err != nil {
			t.Fatalf("Parse of the same, as JSON: %v\n%s", err, marshal(t, d))
		}
		if !reflect.DeepEqual(d, again) {
			t.Fatalf("Parse of the same, as JSON, is another: %s\nwant %s", marshal(t, again), marshal(t, d))
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(marshal(t, d)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Fatalf("the schema refuses what Parse takes: %v\n%s", err, marshal(t, d))
		}
		if _, err := d.Plan(nil, now); err != nil && holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Fatalf("Plan: %v", err)
		}
	})
}

func refused(t *testing.T, err error) {
	t.Helper()
	faults := definition.Faults(err)
	if len(faults) == 0 || len(faults) > 20 || holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Fatalf("the error is %q with the faults %v", err, faults)
	}
	for _, f := range faults {
		if f.Line < 1 || f.Column < 1 || f.Text == "" {
			t.Fatalf("the fault is %+v", f)
		}
	}
}

func marshal(t *testing.T, d *definition.Definition) []byte {
	t.Helper()
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
