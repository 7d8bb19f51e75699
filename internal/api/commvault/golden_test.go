package commvault_test

import (
	"net/http"
	"testing"

	"github.com/holdfast-backup/holdfast/internal/api/apitest"
	"github.com/holdfast-backup/holdfast/internal/api/commvault"
)

func handlerOf(w *apitest.World) http.Handler {
	return commvault.Handler(commvault.Config{Service: w.Service, Now: w.Now, Log: w.Log})
}

func TestGoldenExchanges(t *testing.T) { apitest.Run(t, "testdata/*.txt", handlerOf) }
