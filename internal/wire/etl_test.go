package wire_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

func validETL() *wire.ETL {
	return &wire.ETL{
		Definition: "extracts: [{sql: select 1 < 2}]", Version: 3, Identity: "k7w2mmq4ab2c5d6e", Simulate: true,
		Sites: []wire.Site{{ID: 1001, Slug: "shop"}, {ID: 1002, Slug: "dwh"}},
	}
}

func etlOrder() *wire.Order {
	o := validOrder()
	o.Type, o.Engine, o.Repository, o.RunType, o.Set, o.ETL = holdfast.JobETL, holdfast.EngineETL, wire.Repository{}, "", 0, validETL()
	return o
}

func TestETLOrder(t *testing.T) {
	t.Parallel()
	b, err := wire.Encode(&wire.AskReply{Order: etlOrder()})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), "1 < 2") {
		t.Errorf("the definition is written with escapes: %s", b)
	}
	r, err := wire.Decode[wire.AskReply](b)
	if err != nil || !reflect.DeepEqual(r.Order, etlOrder()) {
		t.Errorf("round trip: got %+v, %v", r.Order, err)
	}
	for name, spoil := range map[string]func(*wire.Order){
		"nothing to do":      func(o *wire.Order) { o.ETL = nil },
		"no definition":      func(o *wire.Order) { o.ETL.Definition = "" },
		"long definition":    func(o *wire.Order) { o.ETL.Definition = strings.Repeat("x", holdfast.MaxDefinition+1) },
		"negative version":   func(o *wire.Order) { o.ETL.Version = -1 },
		"identity of a path": func(o *wire.Order) { o.ETL.Identity = "../a" },
		"long identity":      func(o *wire.Order) { o.ETL.Identity = strings.Repeat("a", 1000) },
		"site without an id": func(o *wire.Order) { o.ETL.Sites[0].ID = 0 },
		"many sites":         func(o *wire.Order) { o.ETL.Sites = make([]wire.Site, 65) },
		"large secrets":      func(o *wire.Order) { o.Sealed = make([]byte, 1<<20) },
	} {
		o := etlOrder()
		spoil(o)
		if _, err := wire.Encode(o); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, holdfast.CodeInvalid)
		}
	}
	largest := etlOrder()
	largest.ETL.Definition = strings.Repeat("<\n", holdfast.MaxDefinition/2)
	largest.Sealed = make([]byte, 400<<10)
	if _, err := wire.Encode(largest); err != nil {
		t.Errorf("the largest parts: got %v, want that they fit into one message", err)
	}
}

func TestETLRefused(t *testing.T) {
	t.Parallel()
	text := "x"
	for name, m := range map[string]wire.Message{
		"ask for less than nothing":    &wire.Ask{Request: "r", Free: -1, Services: 2},
		"ask for no services":          &wire.Ask{Request: "r", Services: -1, Free: 1},
		"negative rounds":              &wire.Beat{Fence: 1, Number: 1, Rounds: -1},
		"negative version":             &wire.Beat{Fence: 1, Number: 1, Version: -1},
		"negative version in a reply":  &wire.BeatReply{Version: -1},
		"long properties in a reply":   &wire.BeatReply{Version: 1, Sealed: make([]byte, 1<<20)},
		"release of nothing":           &wire.Command{Kind: wire.CommandRelease, Execution: 1001, Fence: 1, ETL: &wire.ETL{}},
		"release without a fence":      &wire.Command{Kind: wire.CommandRelease, Execution: 1001, ETL: validETL()},
		"counters of no job":           &wire.Command{Kind: wire.CommandCounters, ETL: validETL()},
		"counters of nothing":          &wire.Command{Kind: wire.CommandCounters, Job: 1001},
		"counter of a long flow":       &wire.Command{Kind: wire.CommandSetCounter, Job: 1001, ETL: validETL(), Flow: strings.Repeat("f", 2000)},
		"counter of a long value":      &wire.Command{Kind: wire.CommandSetCounter, Job: 1001, ETL: validETL(), Value: strings.Repeat("v", 1<<20)},
		"preview of nothing":           &wire.Command{Kind: wire.CommandPreview, Rows: 1},
		"preview without rows":         &wire.Command{Kind: wire.CommandPreview, ETL: validETL()},
		"preview of many rows":         &wire.Command{Kind: wire.CommandPreview, ETL: validETL(), Rows: wire.MaxRows + 1},
		"too many counters":            &wire.Answer{Counters: make([]wire.FlowCounter, 20_000)},
		"row of another width":         &wire.Answer{Relations: []wire.Relation{{Rows: [][]*string{{&text}}}}},
		"too many rows":                &wire.Answer{Relations: []wire.Relation{{Rows: make([][]*string, wire.MaxRows+1)}}},
		"relation with a long name":    &wire.Answer{Relations: []wire.Relation{{Name: strings.Repeat("n", 2000)}}},
		"counter with a long name":     &wire.Answer{Counters: []wire.FlowCounter{{Flow: strings.Repeat("n", 2000)}}},
		"too many columns":             &wire.Answer{Relations: []wire.Relation{{Columns: make([]wire.Column, 2000)}}},
		"finish with too many details": &wire.Finish{Fence: 1, Move: holdfast.MoveRest, Detail: strings.Repeat("d", 1<<20)},
	} {
		if _, err := wire.Encode(m); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, holdfast.CodeInvalid)
		}
	}
	for name, m := range map[string]wire.Message{
		"ask for a service only": &wire.Ask{Request: "r", Services: 1},
		"release":                &wire.Command{Kind: wire.CommandRelease, Execution: 1001, Fence: 1, ETL: validETL()},
		"counters":               &wire.Command{Kind: wire.CommandCounters, Job: 1001, ETL: validETL()},
		"counter from the start": &wire.Command{Kind: wire.CommandSetCounter, Job: 1001, ETL: validETL(), Flow: "f", Extract: "e"},
		"preview":                &wire.Command{Kind: wire.CommandPreview, ETL: validETL(), Rows: 10},
		"properties":             &wire.BeatReply{Version: 1, Sealed: []byte("x")},
	} {
		if _, err := wire.Encode(m); err != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestETLSecrets(t *testing.T) {
	t.Parallel()
	in := wire.Secrets{
		Sites:      map[holdfast.SiteID]holdfast.Secret{1001: holdfast.NewSecret("a"), 1002: holdfast.NewSecret(`b"`)},
		Properties: map[string]string{"day": "2026-01-01", "api.key": "<&>"},
	}
	packed, err := in.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out, err := wire.UnpackSecrets(packed)
	if err != nil || len(out.Sites) != 2 || out.Sites[1001].Reveal() != "a" || out.Sites[1002].Reveal() != `b"` || !maps.Equal(out.Properties, in.Properties) {
		t.Errorf("round trip: got %v", err)
	}
	many := func(n int, value string) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("p", i)] = value
		}
		return m
	}
	for name, p := range map[string]map[string]string{
		"long property name":   {strings.Repeat("n", 257): ""},
		"long property value":  many(1, strings.Repeat("v", 8<<10+1)),
		"many properties":      many(400, ""),
		"properties too large": many(100, strings.Repeat("v", 8<<10)),
	} {
		if _, err := (wire.Secrets{Properties: p}).Pack(); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, holdfast.CodeInvalid)
		}
	}
	b, err := json.Marshal(map[string]any{"properties": many(400, "")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.UnpackSecrets(holdfast.NewSecret(string(b))); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
		t.Errorf("many properties from elsewhere: got %v, want %s", err, holdfast.CodeInvalid)
	}
}

// TestBound cuts previews of every shape: what is left fits into an answer, a NULL
// stays one, and a relation with rows keeps one.
func TestBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var in []wire.Relation
		for i := range rapid.IntRange(1, 5).Draw(t, "relations") {
			columns := rapid.IntRange(1, 20).Draw(t, "columns")
			r := wire.Relation{Name: fmt.Sprint("r", i), Columns: make([]wire.Column, columns)}
			unit := rapid.SampledFrom([]string{"x", "\x01", "ä", "\"", "<", "\xff"}).Draw(t, "unit")
			cell := strings.Repeat(unit, rapid.SampledFrom([]int{0, 10, 5000, 100_000}).Draw(t, "length"))
			for range rapid.SampledFrom([]int{0, 1, 20, 1500}).Draw(t, "rows") {
				row := make([]*string, columns)
				for j := range row {
					if j%3 != 2 {
						row[j] = &cell
					}
				}
				r.Rows = append(r.Rows, row)
			}
			in = append(in, r)
		}
		out := wire.Bound(in)
		if _, err := wire.Encode(&wire.Answer{Relations: out}); err != nil {
			t.Fatal(err)
		}
		for i, r := range out {
			if len(in[i].Rows) > 0 && len(r.Rows) == 0 {
				t.Fatalf("relation %d: no row is left of %d", i, len(in[i].Rows))
			}
			for _, row := range r.Rows {
				for j, v := range row {
					if (v == nil) != (in[i].Rows[0][j] == nil) {
						t.Fatalf("a NULL has become a value, or the other way round")
					}
				}
			}
		}
	})
}
