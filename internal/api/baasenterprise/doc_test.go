package baasenterprise_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDocumentAndGoldenFilesNameEachOther: a golden file cites a section that
// exists, and the document names every golden file.
func TestDocumentAndGoldenFilesNameEachOther(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/api/enterprise.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(doc), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile(`docs/api/enterprise\.md#([a-z0-9-]+) \((documented|inferred|proposed)\)`)
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".txt"); !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("the document does not name %s", name)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found := cited.FindAllStringSubmatch(string(text), -1)
		if want := strings.Count(string(text), "-- request --"); len(found) != want {
			t.Errorf("%s: %d of %d exchanges cite their source", file, len(found), want)
		}
		for _, m := range found {
			if !anchors[m[1]] {
				t.Errorf("%s cites the section %s, which does not exist", file, m[1])
			}
		}
	}
}
