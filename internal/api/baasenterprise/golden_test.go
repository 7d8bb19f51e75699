package baasenterprise_test

import (
	"net/http"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/baasenterprise"
)

func TestGoldenExchanges(t *testing.T) {
	apitest.Run(t, "testdata/*.txt", func(w *apitest.World) http.Handler {
		return baasenterprise.Handler(baasenterprise.Config{Service: w.Service, Log: w.Log})
	})
}

func TestDocumentAndGoldenFilesNameEachOther(t *testing.T) {
	apitest.CheckDocument(t, "docs/api/enterprise.md", "testdata/*.txt")
}
