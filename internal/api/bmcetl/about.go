package bmcetl

import (
	"context"
	_ "embed" // for the description of the API
	"net/http"
)

// openAPI is the description of the calls, in OpenAPI 3.1.
//
//go:embed openapi.yaml
var openAPI []byte

// aboutService says which service answers, and which version it is.
type aboutService struct {
	Name    string `json:"name"`
	Product string `json:"product"`
	Version string `json:"version"`
	Status  string `json:"status"`
}

func (h *handler) about(_ context.Context, c *call) error {
	writeJSON(c.w, http.StatusOK, aboutService{Name: "backend", Product: "Holdfast", Version: h.Version, Status: "UP"})
	return nil
}

func (h *handler) openAPI(_ context.Context, c *call) error {
	write(c.w, http.StatusOK, "application/yaml; charset=utf-8", openAPI)
	return nil
}
