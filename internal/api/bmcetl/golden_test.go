package bmcetl_test

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/bmcetl"
)

// tokenKey signs the tokens of tests.
func tokenKey() []byte { return bytes.Repeat([]byte{7}, 32) }

func handlerOf(w *apitest.World) http.Handler {
	return bmcetl.Handler(bmcetl.Config{Service: w.Service, Key: tokenKey(), Version: "test", Now: w.Now, Log: w.Log})
}

func TestGoldenExchanges(t *testing.T) { apitest.Run(t, "testdata/*.txt", handlerOf) }

func TestDocumentAndGoldenFilesNameEachOther(t *testing.T) {
	apitest.CheckDocument(t, "docs/api/bmc.md", "testdata/*.txt")
}
