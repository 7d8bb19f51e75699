package commvault_test

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
)

func handlerOf(w *apitest.World) http.Handler {
	return commvault.Handler(commvault.Config{Service: w.Service, Now: w.Now, Log: w.Log})
}

func TestGoldenExchanges(t *testing.T) { apitest.Run(t, "testdata/*.txt", handlerOf) }

// TestTraps shows what this server answers where clients stumble. It is to have
// the name of one of its clients, which is one of the traps.
func TestTraps(t *testing.T) {
	apitest.Run(t, "testdata/traps/*.txt", func(w *apitest.World) http.Handler {
		return commvault.Handler(commvault.Config{Service: w.Service, Name: "DB1", Now: w.Now, Log: w.Log})
	})
}

// TestDocumentAndGoldenFilesNameEachOther: a golden file cites sections that
// exist, and the document names every golden file, or a pattern that it fits.
func TestDocumentAndGoldenFilesNameEachOther(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/api/commvault.md")
	if err != nil {
		t.Fatal(err)
	}
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(string(doc), -1) {
		anchors[strings.ReplaceAll(strings.ToLower(m[1]), " ", "-")] = true
	}
	var named []string
	for _, m := range regexp.MustCompile("`([a-z0-9*-]+)`").FindAllStringSubmatch(string(doc), -1) {
		named = append(named, m[1])
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	traps, err := filepath.Glob("testdata/traps/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cited := regexp.MustCompile(`docs/api/commvault\.md#([a-z0-9-]+) \(`)
	for _, file := range append(files, traps...) {
		found := false
		for _, pattern := range named {
			ok, err := filepath.Match(pattern, strings.TrimSuffix(filepath.Base(file), ".txt"))
			found = found || ok && err == nil
		}
		if !found {
			t.Errorf("the document does not name %s", file)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sources := cited.FindAllStringSubmatch(string(text), -1)
		if len(sources) == 0 {
			t.Errorf("%s cites no source", file)
		}
		for _, m := range sources {
			if !anchors[m[1]] {
				t.Errorf("%s cites the section %s, which does not exist", file, m[1])
			}
		}
	}
}
