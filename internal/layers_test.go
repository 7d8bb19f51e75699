// Package internal_test holds the tree to its architecture: what may import
// what, and that every package says what it is.
package internal_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/holdfast-backup/holdfast"

// Groups of packages that stand together in the table.
var (
	domain   = []string{""}
	bucket   = []string{"", "internal/objstore"}
	metadata = []string{"", "internal/store"}
	// A dialect translates: it knows the use cases and the words they use.
	dialect = []string{"", "internal/service", "internal/store", "internal/expire", "internal/engine", "internal/api/baas"}
	// main wires everything.
	everything = []string{"*"}
)

// layers says what each package may import of this module, tests apart. The
// picture is in docs/architecture.md: dependencies point down.
var layers = map[string][]string{
	"":             nil, // the domain
	"cmd/holdfast": everything,

	"internal/certificate": nil,
	"internal/direct":      nil,
	"internal/durable":     nil,

	"internal/pg":     domain,
	"internal/seal":   {"", "internal/durable"},
	"internal/wire":   domain,
	"internal/config": domain,
	"internal/cron":   domain,

	"internal/objstore":              domain,
	"internal/objstore/fault":        {"", "internal/objstore", "internal/objstore/fs"},
	"internal/objstore/fs":           {"", "internal/direct", "internal/objstore"},
	"internal/objstore/limit":        bucket,
	"internal/objstore/mem":          bucket,
	"internal/objstore/retry":        bucket,
	"internal/objstore/s3":           bucket,
	"internal/objstore/s3/s3test":    {"", "internal/objstore/s3"},
	"internal/objstore/objstoretest": bucket,
	"internal/objstore/place": {
		"", "internal/objstore", "internal/objstore/fs", "internal/objstore/limit", "internal/objstore/retry", "internal/objstore/s3",
	},

	"internal/store":           domain,
	"internal/store/sqlite":    {"", "internal/durable", "internal/store"},
	"internal/store/storetest": metadata,
	"internal/store/sealed":    metadata,

	"internal/expire": metadata,

	"internal/engine":            domain,
	"internal/engine/pgsession":  {"", "internal/engine"},
	"internal/engine/pgphysical": {"", "internal/direct", "internal/engine", "internal/engine/pgsession", "internal/pg"},
	"internal/engine/enginetest": {"", "internal/engine", "internal/pg", "internal/testkit"},

	"internal/engine/etl": {
		"", "internal/engine", "internal/engine/etl/bind", "internal/engine/etl/definition", "internal/engine/etl/duck", "internal/engine/etl/rows",
		"internal/engine/pgsession", "internal/objstore", "internal/objstore/place",
	},
	"internal/engine/etl/rows":          {"", "internal/engine/etl/definition", "internal/engine/etl/jsonline"},
	"internal/engine/etl/jsonline":      domain,
	"internal/engine/etl/bind":          domain,
	"internal/engine/etl/definition":    {"", "internal/engine/etl/bind"},
	"internal/engine/etl/duck":          domain,
	"internal/engine/etl/duck/ducktest": nil,

	"internal/repository/compress": domain,
	"internal/repository/crypt":    domain,
	"internal/repository/hash":     domain,
	"internal/repository/pack":     {"", "internal/repository/compress", "internal/repository/crypt", "internal/repository/hash"},
	"internal/repository/index":    {"", "internal/repository/crypt", "internal/repository/hash", "internal/repository/pack"},
	"internal/repository": {
		"", "internal/engine", "internal/objstore", "internal/repository/compress", "internal/repository/crypt",
		"internal/repository/hash", "internal/repository/index", "internal/repository/pack",
	},

	"internal/execlog":   {""},
	"internal/worker":    {"", "internal/durable", "internal/engine", "internal/execlog", "internal/objstore", "internal/objstore/limit", "internal/repository", "internal/seal", "internal/wire"},
	"internal/dispatch":  {"", "internal/certificate", "internal/durable", "internal/engine", "internal/execlog", "internal/expire", "internal/seal", "internal/store", "internal/wire"},
	"internal/service":   {"", "internal/cron", "internal/engine", "internal/engine/etl/definition", "internal/expire", "internal/store"},
	"internal/scheduler": nil,

	"internal/server":             {"", "internal/certificate", "internal/durable"},
	"internal/api/native":         append(slices.Clone(dialect), "internal/engine/etl/definition", "internal/execlog"), // whose schema it hands out
	"internal/api/native/client":  {"", "internal/api/native", "internal/engine"},                                      // the wire types are native's
	"internal/api/baas":           dialect,
	"internal/api/baasenterprise": dialect,
	"internal/api/baaslake":       dialect,
	"internal/api/bmcetl":         dialect,
	"internal/api/commvault":      dialect,

	"internal/testkit":     domain,
	"internal/api/apitest": everything,
}

// listed is what go list says of a package.
type listed struct {
	ImportPath string
	Dir        string
	GoFiles    []string
	CgoFiles   []string
	Imports    []string
}

func (p listed) name() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,GoFiles,CgoFiles,Imports", "./...")
	cmd.Dir = ".."
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if p.GoFiles = append(p.GoFiles, p.CgoFiles...); len(p.GoFiles) > 0 { // else it holds tests only
			all = append(all, p)
		}
	}
}

func TestDependenciesPointDown(t *testing.T) {
	stale := maps.Clone(layers)
	for _, p := range packages(t) {
		for _, complaint := range check(layers, p) {
			t.Error(complaint)
		}
		delete(stale, p.name())
	}
	for name := range stale {
		t.Errorf("the table of layers has a line for %q, which is no package", name)
	}
}

// check says what a package imports against the table.
func check(table map[string][]string, p listed) []string {
	allowed, ok := table[p.name()]
	if !ok {
		return []string{fmt.Sprintf("package %q has no line in the table of layers", p.name())}
	}
	var all []string
	for _, path := range p.Imports {
		if path != module && !strings.HasPrefix(path, module+"/") {
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") && (p.name() == "" || p.name() == "internal/pg") {
				all = append(all, fmt.Sprintf("package %q imports %s: it may use the standard library only", p.name(), path))
			}
			continue
		}
		name := listed{ImportPath: path}.name()
		if !slices.Contains(allowed, name) && !slices.Contains(allowed, "*") {
			all = append(all, fmt.Sprintf("package %q may not import %q: its line allows %q", p.name(), name, allowed))
		}
	}
	return all
}

func TestCheckComplains(t *testing.T) {
	table := map[string][]string{"": nil, "internal/a": {""}, "internal/b": everything}
	for _, c := range []struct {
		name, from, imports string
		want                int
	}{
		{"the standard library is free", "", "context", 0},
		{"a line allows", "internal/a", module, 0},
		{"a line forbids", "internal/a", module + "/internal/b", 1},
		{"the star allows all", "internal/b", module + "/internal/a", 0},
		{"other modules are free", "internal/a", "github.com/jackc/pgx/v5", 0},
		{"but not for the domain", "", "github.com/jackc/pgx/v5", 1},
		{"a package without a line", "internal/c", "context", 1},
	} {
		p := listed{ImportPath: strings.TrimSuffix(module+"/"+c.from, "/"), Imports: []string{c.imports}}
		if got := check(table, p); len(got) != c.want {
			t.Errorf("%s: got %q, want %d complaints", c.name, got, c.want)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	for _, p := range packages(t) {
		var with []string
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			if f.Doc == nil {
				continue
			}
			with = append(with, name)
			want := "Package " + f.Name.Name + " "
			if f.Name.Name == "main" {
				want = "Command " + filepath.Base(p.Dir) + " "
			}
			if got := f.Doc.Text(); !strings.HasPrefix(got, want) {
				line, _, _ := strings.Cut(got, "\n")
				t.Errorf("package %q: its comment begins %q, want %q", p.name(), line, want)
			}
		}
		if len(with) != 1 {
			t.Errorf("package %q: %d files have a package comment (%q), want 1", p.name(), len(with), with)
		}
	}
}
