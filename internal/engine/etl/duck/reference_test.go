package duck_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/duck"
)

//go:generate go test -count=1 -run ^TestTypeReference$ . -args -update

var update = flag.Bool("update", false, "write docs/etl-types.md")

// TestTypeReference compares the tables of types with the page that shows them.
func TestTypeReference(t *testing.T) {
	const file = "../../../../docs/etl-types.md"
	var b strings.Builder
	b.WriteString(`# Types on their way

Made from the engine's own tables by ` + "`make generate`" + `. Without a step in the engine, rows go from server to server in PostgreSQL's binary
form: every type arrives as it left, in a column of the same type. A load into a column of another type is cast by the
target's server. With a step in the engine, these stand for them there, without loss:

## Into the engine

| PostgreSQL | DuckDB | |
|---|---|---|
`)
	for _, m := range duck.Types() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(m.Postgres, ", "), m.DuckDB, m.Note)
	}
	b.WriteString("\n## Out of the engine\n\n| DuckDB | PostgreSQL | |\n|---|---|---|\n")
	for _, r := range duck.Results() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.DuckDB, r.Postgres, r.Note)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Error("docs/etl-types.md is stale: run make generate")
	}
}
