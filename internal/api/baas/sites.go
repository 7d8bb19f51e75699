package baas

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// sites lists the sites that the caller may see.
func (h *handler) sites(ctx context.Context, c *Call) error {
	q, err := c.Query()
	if err != nil {
		return err
	}
	page, err := q.Page(false)
	if err != nil {
		return err
	}
	all, err := h.Service.Sites(ctx, c.Actor)
	if err != nil {
		return err
	}
	view, err := h.view(ctx, c, holdfast.Site{})
	if err != nil {
		return err
	}
	list := make([]Site, 0, len(all))
	from := min(page.Store().Offset, len(all))
	for _, s := range all[from:min(from+page.Size, len(all))] {
		list = append(list, view.SiteItem(s))
	}
	writeList(c.w, page, len(all), list)
	return nil
}

// view gathers what the shapes of a site's jobs and executions need.
func (h *handler) view(ctx context.Context, c *Call, site holdfast.Site) (View, error) {
	all, err := h.Service.Repositories(ctx, c.Actor)
	if err != nil {
		return View{}, err
	}
	v := View{
		Words: h.Words, Account: c.account, Site: site,
		Repositories: make(map[holdfast.RepositoryID]holdfast.Repository, len(all)),
	}
	for _, r := range all {
		v.Repositories[r.ID] = r
	}
	return v, nil
}

// withRows adds to the view what the executions name: sets, and other sites that
// they restore to.
func (h *handler) withRows(ctx context.Context, c *Call, v View, list []holdfast.Execution) (View, error) {
	v.Sets, v.Targets = map[holdfast.SetID]service.SetView{}, map[holdfast.SiteID]string{}
	var ids []holdfast.SetID
	for _, e := range list {
		if hasSet(e) {
			ids = append(ids, e.Set)
		}
		if e.Restore != nil {
			if err := h.withTarget(ctx, c, v, e.Restore.Site); err != nil {
				return v, err
			}
		}
	}
	if len(ids) == 0 {
		return v, nil
	}
	sets, _, err := h.Service.Sets(ctx, c.Actor, store.SetFilter{IDs: ids, Sites: []holdfast.SiteID{v.Site.ID}})
	if err != nil {
		return v, err
	}
	for _, s := range sets {
		v.Sets[s.ID] = s
	}
	return v, nil
}

// withTarget adds the site that a restore writes to. One that is gone, or that
// the caller may not see, has no name.
func (h *handler) withTarget(ctx context.Context, c *Call, v View, id holdfast.SiteID) error {
	if _, known := v.Targets[id]; known || id == 0 || id == v.Site.ID {
		return nil
	}
	site, err := h.Service.Site(ctx, c.Actor, id)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	v.Targets[id] = site.Slug
	return nil
}
