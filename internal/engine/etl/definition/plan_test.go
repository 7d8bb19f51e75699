package definition_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)

// examples returns the definitions in testdata, by name.
func examples(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, pattern := range []string{"testdata/*.yaml", "testdata/*.json"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("Glob(%q) = %v, %v", pattern, names, err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = text
		}
	}
	return all
}

func TestPlan(t *testing.T) {
	for name, text := range examples(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			d, err := definition.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			p, err := d.Plan(nil, now)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(name, filepath.Ext(name))+".plan.txt", show(p))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is another (-update rewrites it): got\n%s\nwant\n%s", name, got, want)
	}
}

// show writes a plan for people to compare.
func show(p *definition.Plan) string {
	var b strings.Builder
	for name, v := range p.Parameters {
		if v != nil {
			fmt.Fprintf(&b, "parameter %s = %q\n", name, *v)
		}
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	sortStrings(lines)
	b.Reset()
	b.WriteString(strings.Join(lines, "\n"))
	for _, f := range p.Flows {
		fmt.Fprintf(&b, "\nflow %s: %s into %s%s\n", f.Load.Name, f.Load.Mode, f.Load.Connection, into(f.Load))
		for _, in := range f.Inputs {
			showInput(&b, in)
		}
		for _, s := range f.Engine {
			fmt.Fprintf(&b, "  engine %s\n", showStep(s))
		}
		if f.Result != "" {
			fmt.Fprintf(&b, "  result %s\n", f.Result)
		}
		if f.Arrived != "" {
			fmt.Fprintf(&b, "  arrived as %s\n", f.Arrived)
		}
		for _, s := range f.Target {
			fmt.Fprintf(&b, "  target over %s %s\n", s.Over, showStep(s))
		}
	}
	return strings.TrimPrefix(b.String(), "\n")
}

func into(l definition.Load) string {
	if l.Output != nil {
		return fmt.Sprintf(" %+v", *l.Output)
	}
	return fmt.Sprintf(" %s key=%q update=%q", l.Table, l.Key, l.Update)
}

func showInput(b *strings.Builder, in definition.Input) {
	fmt.Fprintf(b, "  input %s of %s%s", in.Name, in.Extract.Name, streamed(in.Streamed))
	if i := in.Extract.Incremental; i != nil {
		fmt.Fprintf(b, " incremental by %s %s", i.Strategy, i.Column)
	}
	b.WriteByte('\n')
	if f := in.Extract.File; f != nil {
		fmt.Fprintf(b, "    file %s %s comma=%q null=%q max=%d fields=%v\n", f.Format, f.Path, f.Comma, f.Null, f.MaxSize, f.Fields)
	} else {
		b.WriteString(indent(in.Query("select * from (\n"+in.Base+"\n) as new"), "    | "))
	}
	for _, t := range in.Rows {
		for _, s := range t.Steps {
			fmt.Fprintf(b, "    rows %s: %s\n", t.Name, asJSON(s))
		}
	}
}

func showStep(s definition.Step) string {
	head := s.Name + streamed(s.Streamed)
	if s.Assert {
		head += fmt.Sprintf(" expects %q, else %s", s.Expect, s.Severity)
	}
	return head + "\n" + strings.TrimSuffix(indent(s.SQL, "    | "), "\n")
}

func streamed(yes bool) string {
	if yes {
		return " (streamed)"
	}
	return ""
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+by) + "\n"
}
