package baasenterprise

import (
	"context"
	"net/http"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// sites lists the sites that the caller may see.
func (h *handler) sites(w http.ResponseWriter, r *http.Request, c call) error {
	q, err := baas.ReadQuery(r.URL)
	if err != nil {
		return err
	}
	page, err := q.Page(false)
	if err != nil {
		return err
	}
	all, err := h.Service.Sites(r.Context(), c.actor)
	if err != nil {
		return err
	}
	view, err := h.view(r.Context(), c, holdfast.Site{})
	if err != nil {
		return err
	}
	list := make([]baas.Site, 0, len(all))
	from := min(page.Store().Offset, len(all))
	for _, s := range all[from:min(from+page.Size, len(all))] {
		list = append(list, view.SiteItem(s))
	}
	baas.WriteList(w, page, len(all), list)
	return nil
}

// site returns the site that the path names. One that the caller may not see is
// answered as one that does not exist.
func (h *handler) site(ctx context.Context, c call) (holdfast.Site, error) {
	slug := c.path["site"]
	s, err := h.Service.SiteBySlug(ctx, c.actor, slug)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return s, unknown("site", slug)
	}
	return s, err
}

func unknown(what, id string) error {
	const most = 100
	if len(id) > most {
		id = id[:most] + "…"
	}
	return holdfast.Errorf(holdfast.CodeNotFound, "%s %q does not exist", what, id)
}

// number reads an id of the path. What is no number is the id of nothing.
func number(what, s string) (int64, error) {
	id, err := strconv.ParseUint(s, 10, 63)
	if err != nil || id > holdfast.MaxID {
		return 0, unknown(what, s)
	}
	return int64(id), nil
}

// view gathers what the shapes of a site's jobs and executions need.
func (h *handler) view(ctx context.Context, c call, site holdfast.Site) (baas.View, error) {
	all, err := h.Service.Repositories(ctx, c.actor)
	if err != nil {
		return baas.View{}, err
	}
	v := baas.View{
		Words: h.Words, Site: site,
		Repositories: make(map[holdfast.RepositoryID]holdfast.Repository, len(all)),
	}
	for _, r := range all {
		v.Repositories[r.ID] = r
	}
	return v, nil
}

// withSets adds the sets that the executions name to the view.
func (h *handler) withSets(ctx context.Context, c call, v baas.View, list []holdfast.Execution) (baas.View, error) {
	v.Sets = map[holdfast.SetID]service.SetView{}
	var ids []holdfast.SetID
	for _, e := range list {
		if baas.HasSet(e) {
			ids = append(ids, e.Set)
		}
	}
	if len(ids) == 0 {
		return v, nil
	}
	sets, _, err := h.Service.Sets(ctx, c.actor, store.SetFilter{IDs: ids, Sites: []holdfast.SiteID{v.Site.ID}})
	if err != nil {
		return v, err
	}
	for _, s := range sets {
		v.Sets[s.ID] = s
	}
	return v, nil
}
