package bmcetl

import (
	"context"
	"net/http"
	"net/url"

	"github.com/holdfast-backup/holdfast"
)

// listed is one ETL of the list.
type listed struct {
	Name           string          `json:"name"`
	ETL            int64           `json:"etl_id"`
	Configurations []configuration `json:"run_configurations"`
	Type           string          `json:"type"`
}

// configuration is a run configuration without its properties.
type configuration struct {
	Name   string `json:"name"`
	Active bool   `json:"active"`
	ID     int64  `json:"run_configuration_id"`
}

func configurationOf(c holdfast.RunConfiguration) configuration {
	return configuration{Name: c.Name, Active: c.Active, ID: int64(c.ID)}
}

func listedOf(j holdfast.Job) listed {
	out := listed{Name: j.Name, ETL: int64(j.ID), Configurations: make([]configuration, len(j.ETL.Configurations)), Type: typeName(j.ETL.Service)}
	for i, c := range j.ETL.Configurations {
		out.Configurations[i] = configurationOf(c)
	}
	return out
}

func (h *handler) list(ctx context.Context, c *call) error {
	q, err := url.ParseQuery(c.request.URL.RawQuery)
	if err != nil {
		return holdfast.Wrap(holdfast.CodeInvalid, err, "the query of the URL is malformed").
			WithHint("separate parameters with & and encode special characters with %%")
	}
	page, size, paged, err := readPage(q)
	if err != nil {
		return err
	}
	f, err := h.filter(c, q)
	if err != nil {
		return err
	}
	if err := f.mayAsk(c.actor.Credential.Role); err != nil {
		return err
	}
	jobs, err := h.selected(ctx, c.actor, f)
	if err != nil {
		return err
	}
	if paged {
		jobs = pageOf(jobs, page, size)
	}
	list := make([]listed, len(jobs))
	for i, j := range jobs {
		list[i] = listedOf(j)
	}
	writeJSON(c.w, http.StatusOK, list)
	return nil
}
