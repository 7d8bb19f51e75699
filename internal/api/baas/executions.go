package baas

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// execute starts a run of a job (E3).
func (h *handler) execute(ctx context.Context, c *Call) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	q, err := c.Query()
	if err != nil {
		return err
	}
	tree, err := c.Body()
	if err != nil {
		return err
	}
	runType, err := q.RunType(tree)
	if err != nil {
		return err
	}
	if err := wholeJob(j.Job); err != nil {
		return err
	}
	e, err := h.Service.Execute(ctx, c.Actor, service.Run{
		Job: j.ID, RunType: runType, IfBusy: service.Refuse, IdempotencyKey: c.Request.Header.Get("Idempotency-Key"),
	})
	if err != nil {
		return Offer(err, opAbort) // with the id of the run that is under way
	}
	writeAccepted(c.w, ID(e.ID), h.executionPath(c, site, e))
	return nil
}

// siteExecutions lists the executions of a site, restores too (E4).
func (h *handler) siteExecutions(ctx context.Context, c *Call) error {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	return h.writeExecutions(ctx, c, site, store.ExecutionFilter{Types: JobTypes()})
}

// jobExecutions lists the executions of a job and the restores of its sets (E5,
//
func (h *handler) jobExecutions(ctx context.Context, c *Call) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	return h.writeExecutions(ctx, c, site, store.ExecutionFilter{Job: j.ID, Restores: true, Types: JobTypes()})
}

func (h *handler) writeExecutions(ctx context.Context, c *Call, site holdfast.Site, f store.ExecutionFilter) error {
	q, err := c.Query()
	if err != nil {
		return err
	}
	page, err := q.Page(false)
	if err != nil {
		return err
	}
	f.Sites, f.Page = []holdfast.SiteID{site.ID}, page.Store()
	found, total, err := h.Service.Executions(ctx, c.Actor, f)
	if err != nil {
		return err
	}
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	if view, err = h.withRows(ctx, c, view, found); err != nil {
		return err
	}
	list := make([]Execution, len(found))
	for i, e := range found {
		list[i] = view.Execution(e)
	}
	writeList(c.w, page, total, list)
	return nil
}

// execution returns one execution.
func (h *handler) execution(ctx context.Context, c *Call) error {
	site, e, err := h.findExecution(ctx, c)
	if err != nil {
		return err
	}
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	if view, err = h.withRows(ctx, c, view, []holdfast.Execution{e}); err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, view.Execution(e))
	return nil
}

// findExecution returns the execution that the path names: one of the job, or a
// restore of what the job made.
func (h *handler) findExecution(ctx context.Context, c *Call) (holdfast.Site, holdfast.Execution, error) {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return site, holdfast.Execution{}, err
	}
	missing := Unknown("execution", c.Path["execution"])
	id, err := number("execution", c.Path["execution"])
	if err != nil {
		return site, holdfast.Execution{}, err
	}
	e, err := h.Service.Execution(ctx, c.Actor, holdfast.ExecutionID(id))
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return site, e, missing
	case err != nil:
		return site, e, err
	case e.Site == site.ID && e.Job == j.ID:
		return site, e, nil
	case e.Site != site.ID || e.Type != holdfast.JobRestore || e.Parent == 0:
		return site, holdfast.Execution{}, missing
	}
	parent, err := h.Service.Execution(ctx, c.Actor, e.Parent)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound || (err == nil && parent.Job != j.ID) {
		return site, holdfast.Execution{}, missing
	}
	return site, e, err
}

// abortJob ends the run of a job that is under way.
func (h *handler) abortJob(ctx context.Context, c *Call) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	e, err := h.busy(ctx, c, site, j.ID)
	if err != nil {
		return err
	}
	return h.abort(ctx, c, site, e)
}

// busy returns the execution that runs, or else the one that will run first.
func (h *handler) busy(ctx context.Context, c *Call, site holdfast.Site, job holdfast.JobID) (holdfast.Execution, error) {
	live, _, err := h.Service.Executions(ctx, c.Actor, store.ExecutionFilter{
		Sites: []holdfast.SiteID{site.ID}, Job: job,
		States: []holdfast.State{holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended},
	})
	if err != nil {
		return holdfast.Execution{}, err
	}
	for _, e := range live {
		if e.State != holdfast.StateQueued {
			return e, nil
		}
	}
	if len(live) == 0 {
		return holdfast.Execution{}, Offer(
			holdfast.Errorf(holdfast.CodeConflict, "no execution of the job is queued or running"), opExecute)
	}
	return live[len(live)-1], nil // the newest comes first
}

// abortExecution ends one execution.
func (h *handler) abortExecution(ctx context.Context, c *Call) error {
	site, e, err := h.findExecution(ctx, c)
	if err != nil {
		return err
	}
	return h.abort(ctx, c, site, e)
}

// abort kills the execution: only then it is certain that it leaves no save set.
// One that is being killed already is accepted again.
func (h *handler) abort(ctx context.Context, c *Call, site holdfast.Site, e holdfast.Execution) error {
	if _, err := h.Service.Kill(ctx, c.Actor, e.ID); err != nil {
		return Offer(err, opExecute)
	}
	writeAccepted(c.w, ID(e.ID), h.executionPath(c, site, e))
	return nil
}

func (h *handler) executionPath(c *Call, site holdfast.Site, e holdfast.Execution) string {
	return h.jobPath(c, site, e.Job) + "/executions/" + ID(e.ID)
}
