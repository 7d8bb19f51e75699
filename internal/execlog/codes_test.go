package execlog_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/execlog"
)

// logged finds the messages of an execution's log in the sources. The worker's own
// log, w.log, is another one.
var logged = regexp.MustCompile(`\b(?:r|e|s)\.log(?:\.With\([^)]*\.\.\.\))?\.(?:Info|Warn|Error|Log)(?:Context)?\((?:[^,"\n]+, ){0,2}"([^"]+)"|\n\t+log\.(?:Info|Warn|Error)Context\([^,"\n]+, "([^"]+)"|execlog\.Line\([^\n]*slog\.Level\w+, "([^"]+)"`)

// TestCodesAreDocumented compares the codes that ETLs log with the list in
// docs/etl.md: scripts wait for them, and a message that is worded anew changes one.
func TestCodesAreDocumented(t *testing.T) {
	t.Parallel()
	codes := map[string]bool{"ROTATED": true}
	for _, pattern := range []string{"../engine/etl/*.go", "../engine/etl/duck/process.go", "../worker/run.go", "../worker/etl.go", "../worker/beat.go", "../dispatch/log*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: got no files, error %v", pattern, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range logged.FindAllStringSubmatch(string(b), -1) {
				codes[execlog.Code(m[1]+m[2]+m[3])] = true
			}
		}
	}
	delete(codes, execlog.Code("left out or damaged")) // of backups
	b, err := os.ReadFile("../../docs/etl.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(b), "The codes of an ETL's log:")
	list, _, _ = strings.Cut(list, "\n\n")
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("`([A-Z0-9_]+)`").FindAllStringSubmatch(list, -1) {
		documented[m[1]] = true
	}
	if got, want := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(codes)); !slices.Equal(got, want) {
		t.Errorf("docs/etl.md lists\n%s\nand the code logs\n%s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}
