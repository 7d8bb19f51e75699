package baas

import (
	"context"
	"errors"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// jobs lists the jobs of a site (E1, L1).
func (h *handler) jobs(ctx context.Context, c *Call) error {
	q, err := c.Query()
	if err != nil {
		return err
	}
	page, err := q.Page(true)
	if err != nil {
		return err
	}
	filter, err := q.JobFilter()
	if err != nil {
		return err
	}
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	if filter.None {
		writeList[Job](c.w, page, 0, nil)
		return nil
	}
	found, total, err := h.Service.Jobs(ctx, c.Actor, store.JobFilter{
		Sites: []holdfast.SiteID{site.ID}, Types: filter.Types, ActiveOnly: filter.ActiveOnly, Page: page.Store(),
	})
	if err != nil {
		return err
	}
	list := make([]Job, len(found))
	for i, j := range found {
		list[i] = view.Job(j)
	}
	writeList(c.w, page, total, list)
	return nil
}

// find returns the site and the job that the call names. A job of another site
// does not exist here.
func (h *handler) find(ctx context.Context, c *Call) (holdfast.Site, service.JobView, error) {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return site, service.JobView{}, err
	}
	j, err := c.Job(ctx)
	if err == nil && j.Site != site.ID {
		err = Unknown("job", c.Path["job"])
	}
	return site, j, err
}

// job returns a job (E2, L2).
func (h *handler) job(ctx context.Context, c *Call) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	return h.writeJob(ctx, c, http.StatusOK, site, j)
}

func (h *handler) writeJob(ctx context.Context, c *Call, status int, site holdfast.Site, j service.JobView) error {
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	writeJSON(c.w, status, view.JobDetail(j))
	return nil
}

// createJob makes a backup job.
func (h *handler) createJob(ctx context.Context, c *Call) error {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	in, err := h.input(c)
	if err != nil {
		return err
	}
	j, err := in.New(site.ID)
	if err != nil {
		return err
	}
	if j, err = h.Service.CreateJob(ctx, c.Actor, j); err != nil {
		return err
	}
	c.w.Header().Set(ResourceHeader, ID(j.ID))
	c.w.Header().Set("Location", h.jobPath(c, site, j.ID))
	return h.writeJob(ctx, c, http.StatusCreated, site, service.JobView{Job: j})
}

func (h *handler) input(c *Call) (Input, error) {
	tree, err := c.Body()
	if err != nil {
		return Input{}, err
	}
	return NewInput(tree, h.Words)
}

// replaceJob makes a job what the request describes.
func (h *handler) replaceJob(ctx context.Context, c *Call) error {
	return h.changeJob(ctx, c, Input.Replace)
}

// patchJob merges the request into a job.
func (h *handler) patchJob(ctx context.Context, c *Call) error {
	return h.changeJob(ctx, c, Input.Patch)
}

func (h *handler) changeJob(ctx context.Context, c *Call, change func(Input, *holdfast.Job) error) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	in, err := h.input(c)
	if err != nil {
		return err
	}
	_, err = h.Service.UpdateJob(ctx, c.Actor, j.ID, func(j *holdfast.Job) error { return change(in, j) })
	if err != nil {
		return err
	}
	if j, err = h.Service.Job(ctx, c.Actor, j.ID); err != nil { // with its next run, which may be another one now
		return err
	}
	return h.writeJob(ctx, c, http.StatusOK, site, j)
}

// deleteJob deletes a job; its history stays, and its save sets too unless the
// request asks for their deletion. The last good one of the site goes only when
// the request confirms that.
func (h *handler) deleteJob(ctx context.Context, c *Call) error {
	q, err := c.Query()
	if err != nil {
		return err
	}
	purge, err := q.Flag("delete-savesets", "delete_savesets")
	if err != nil {
		return err
	}
	confirm, err := q.Flag(opConfirm)
	if err != nil {
		return err
	}
	_, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	remove := h.Service.DeleteJob
	switch {
	case purge && confirm:
		remove = h.Service.DeleteJobAndLastSets
	case purge:
		remove = h.Service.DeleteJobAndSets
	}
	err = remove(ctx, c.Actor, j.ID)
	switch {
	case errors.Is(err, service.ErrLastGood):
		f := Offer(err, opConfirm)
		f.Hint = "make another backup first, or repeat the request with confirm=true: after it, nothing of this site can be restored"
		return f
	case err != nil:
		return offerBusy(err)
	}
	h.writeDeleted(c)
	return nil
}

// writeDeleted answers that something is gone.
func (h *handler) writeDeleted(c *Call) {
	if h.Dialect.EmptyBodies {
		writeJSON(c.w, http.StatusOK, struct{}{})
		return
	}
	c.w.WriteHeader(http.StatusNoContent)
}

func (h *handler) jobPath(c *Call, site holdfast.Site, id holdfast.JobID) string {
	return h.Scope.Base(c, site) + "/jobs/" + ID(id)
}
