package baasenterprise

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/baas"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// The names of operations in availableOperations.
const (
	opExecute = "execute"
	opAbort   = "abort"
)

// jobs lists the jobs of a site (E1).
func (h *handler) jobs(w http.ResponseWriter, r *http.Request, c call) error {
	ctx := r.Context()
	q, err := baas.ReadQuery(r.URL)
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
	site, err := h.site(ctx, c)
	if err != nil {
		return err
	}
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	if filter.None {
		baas.WriteList[baas.Job](w, page, 0, nil)
		return nil
	}
	found, total, err := h.Service.Jobs(ctx, c.actor, store.JobFilter{
		Sites: []holdfast.SiteID{site.ID}, Types: filter.Types, ActiveOnly: filter.ActiveOnly, Page: page.Store(),
	})
	if err != nil {
		return err
	}
	list := make([]baas.Job, len(found))
	for i, j := range found {
		list[i] = view.Job(j)
	}
	baas.WriteList(w, page, total, list)
	return nil
}

// find returns the site and the job that the path names. A job of another site
// does not exist here.
func (h *handler) find(ctx context.Context, c call) (holdfast.Site, service.JobView, error) {
	site, err := h.site(ctx, c)
	if err != nil {
		return site, service.JobView{}, err
	}
	id, err := number("job", c.path["job"])
	if err != nil {
		return site, service.JobView{}, err
	}
	j, err := h.Service.Job(ctx, c.actor, holdfast.JobID(id))
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound || (err == nil && !shown(j.Job, site)) {
		return site, service.JobView{}, unknown("job", c.path["job"])
	}
	return site, j, err
}

// shown reports whether the job is one of this dialect's, on the site.
func shown(j holdfast.Job, site holdfast.Site) bool {
	switch j.Type {
	case holdfast.JobBackup, holdfast.JobRestore:
		return j.Site == site.ID
	case holdfast.JobETL:
	}
	return false
}

// job returns a job (E2).
func (h *handler) job(w http.ResponseWriter, r *http.Request, c call) error {
	site, j, err := h.find(r.Context(), c)
	if err != nil {
		return err
	}
	return h.writeJob(r.Context(), w, c, http.StatusOK, site, j)
}

func (h *handler) writeJob(ctx context.Context, w http.ResponseWriter, c call, status int, site holdfast.Site, j service.JobView) error {
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	baas.WriteJSON(w, status, view.JobDetail(j))
	return nil
}

// createJob makes a backup job.
func (h *handler) createJob(w http.ResponseWriter, r *http.Request, c call) error {
	ctx := r.Context()
	site, err := h.site(ctx, c)
	if err != nil {
		return err
	}
	in, err := h.input(w, r)
	if err != nil {
		return err
	}
	j, err := in.New(site.ID)
	if err != nil {
		return err
	}
	if j, err = h.Service.CreateJob(ctx, c.actor, j); err != nil {
		return err
	}
	w.Header().Set(baas.ResourceHeader, baas.ID(j.ID))
	w.Header().Set("Location", h.jobPath(site, j.ID))
	return h.writeJob(ctx, w, c, http.StatusCreated, site, service.JobView{Job: j})
}

func (h *handler) input(w http.ResponseWriter, r *http.Request) (baas.Input, error) {
	tree, err := baas.ReadTree(w, r)
	if err != nil {
		return baas.Input{}, err
	}
	return baas.NewInput(tree, h.Words)
}

// replaceJob makes a job what the request describes.
func (h *handler) replaceJob(w http.ResponseWriter, r *http.Request, c call) error {
	return h.changeJob(w, r, c, baas.Input.Replace)
}

// patchJob merges the request into a job.
func (h *handler) patchJob(w http.ResponseWriter, r *http.Request, c call) error {
	return h.changeJob(w, r, c, baas.Input.Patch)
}

func (h *handler) changeJob(w http.ResponseWriter, r *http.Request, c call, change func(baas.Input, *holdfast.Job) error) error {
	ctx := r.Context()
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	in, err := h.input(w, r)
	if err != nil {
		return err
	}
	changed, err := h.Service.UpdateJob(ctx, c.actor, j.ID, func(j *holdfast.Job) error { return change(in, j) })
	if err != nil {
		return err
	}
	j.Job = changed
	return h.writeJob(ctx, w, c, http.StatusOK, site, j)
}

// deleteJob deletes a job; its save sets and its history stay.
func (h *handler) deleteJob(w http.ResponseWriter, r *http.Request, c call) error {
	ctx := r.Context()
	q, err := baas.ReadQuery(r.URL)
	if err != nil {
		return err
	}
	purge, err := q.Flag("delete-savesets", "delete_savesets")
	if err != nil {
		return err
	}
	if purge {
		return holdfast.Errorf(holdfast.CodeInvalid, "this call does not delete save sets").
			WithHint("send delete-savesets=false: the job goes and its save sets stay")
	}
	_, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	if err := h.Service.DeleteJob(ctx, c.actor, j.ID); err != nil {
		return baas.Offer(err, opAbort)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *handler) jobPath(site holdfast.Site, id holdfast.JobID) string {
	return h.Prefix + Root + "/sites/" + site.Slug + "/jobs/" + baas.ID(id)
}
