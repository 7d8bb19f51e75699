package definition_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
)

// What the documentation shows, works.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/etl.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, m := range regexp.MustCompile("(?s)```(?:yaml|json)\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(m[1], definition.APIVersion) {
			continue
		}
		shown++
		if _, err := definition.Parse([]byte(m[1])); err != nil {
			t.Errorf("%v\nof\n%s", err, m[1])
		}
	}
	if shown == 0 {
		t.Error("docs/etl.md shows no definition")
	}
}
