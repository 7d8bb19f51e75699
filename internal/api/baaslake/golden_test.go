package baaslake_test

import (
	"net/http"
	"os"
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

func TestDocumentAndGoldenFilesNameEachOther(t *testing.T) {
	apitest.CheckDocument(t, "docs/api/lake.md", "testdata/*.txt")
}

// TestDocumentNamesTestsThatExist: what cannot be a golden file, because a token
// is good for a minute.
func TestDocumentNamesTestsThatExist(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/api/lake.md")
	if err != nil {
		t.Fatal(err)
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
