package baas_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// decisions is how many numbered decisions docs/api/enterprise.md and lake.md
// rest on.
const decisions = 44

// TestEveryDecisionHasAnExchange: each numbered decision is shown by a golden
// exchange of one of the dialects that is named after it. Those about tokens that
// callers sign are cases of a Go test, because such a token is good for a minute.
func TestEveryDecisionHasAnExchange(t *testing.T) {
	shown := map[string]bool{}
	for pattern, named := range map[string]string{
		"../baas*/testdata/*.txt": `(?m)^# (A-\d\d): `,
		"../baaslake/*_test.go":   `(?m)(?:^\s*\{"|^// Test\w+ is )(A-\d\d)\b`,
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("no file matches %s (%v)", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(named).FindAllStringSubmatch(string(text), -1) {
				shown[m[1]] = true
			}
		}
	}
	for n := 1; n <= decisions; n++ {
		id := fmt.Sprintf("A-%02d", n)
		if !shown[id] {
			t.Errorf("no exchange is named after %s", id)
		}
		delete(shown, id)
	}
	for id := range shown {
		t.Errorf("an exchange is named after %s, which is no decision", id)
	}
}
