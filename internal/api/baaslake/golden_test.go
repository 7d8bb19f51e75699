package baaslake_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baaslake"
)

func TestGoldenExchanges(t *testing.T) {
	apitest.Run(t, "testdata/*.txt", func(w *apitest.World) http.Handler {
		local, err := w.Service.LocalActor(t.Context(), "apitest", "")
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Service.SetAliases(t.Context(), local, holdfast.FirstID, func(aliases []string) []string { return append(aliases, "bxxxx-e1") })
		if err != nil {
			t.Fatal(err)
		}
		return newHandler(w)
	})
}

func newHandler(w *apitest.World) http.Handler {
	return baaslake.Handler(baaslake.Config{Service: w.Service, Now: w.Now, Log: w.Log})
}

// TestDocumentAndTestsNameEachOther: what the document calls golden exists, and
// every golden file stands in the document and cites a section that exists.
func TestDocumentAndTestsNameEachOther(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/api/lake.md")
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
	cited := regexp.MustCompile(`source: docs/api/lake\.md#([a-z0-9-]+) \((documented|inferred|proposed)\)`)
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
	tests, err := os.ReadFile("token_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(string(doc), -1) {
		if !strings.Contains(string(tests), "func "+m[1]+"(") {
			t.Errorf("the document names %s, which does not exist", m[1])
		}
	}
}
