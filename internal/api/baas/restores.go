package baas

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// createRestore makes a RESTORE job of an execution's save set, and runs it
// (E14, A-42).
func (h *handler) createRestore(ctx context.Context, c *Call) error {
	site, e, err := h.findBackup(ctx, c)
	if err != nil {
		return err
	}
	if err := checkCredentials(c.Request.Header); err != nil {
		return err
	}
	tree, err := c.Body()
	if err != nil {
		return err
	}
	in, err := readRestore(tree)
	if err != nil {
		return err
	}
	if err := withSet(e); err != nil {
		return err
	}
	if err := in.of(e); err != nil {
		return err
	}
	if err := in.whole(); err != nil {
		return err
	}
	p, err := h.places(ctx, c, site)
	if err != nil {
		return err
	}
	spec, err := p.spec(in, e.Set)
	if err != nil {
		return err
	}
	var j holdfast.Job
	if err := (extras{Settings: in.settings}).keep(&j); err != nil {
		return err
	}
	made, err := h.Service.Restore(ctx, c.Actor, service.NewRestore{
		Spec: spec, Name: in.name, Annotations: j.Annotations, IdempotencyKey: c.Request.Header.Get("Idempotency-Key"),
	})
	if err != nil {
		return err
	}
	writeAccepted(c.w, ID(made.ID), h.restorePath(c, site, e, made.ID))
	return nil
}

// siteRestores lists the restores of a site's save sets (E10).
func (h *handler) siteRestores(ctx context.Context, c *Call) error {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	return h.writeExecutions(ctx, c, site, store.ExecutionFilter{Types: []holdfast.JobType{holdfast.JobRestore}})
}

// restores lists the restores of an execution's save set (E13, A-12).
func (h *handler) restores(ctx context.Context, c *Call) error {
	site, e, err := h.findBackup(ctx, c)
	if err != nil {
		return err
	}
	return h.writeExecutions(ctx, c, site, store.ExecutionFilter{Parent: e.ID, Types: []holdfast.JobType{holdfast.JobRestore}})
}

// restore returns one restore (E9).
func (h *handler) restore(ctx context.Context, c *Call) error {
	site, _, e, err := h.findRestore(ctx, c)
	if err != nil {
		return err
	}
	j, err := h.Service.Job(ctx, c.Actor, e.Job)
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	if err != nil { // deleted: its history stays
		j.Job = holdfast.Job{Name: e.JobName, Restore: e.Restore}
	}
	return h.writeRestore(ctx, c, site, e, j.Job, *e.Restore)
}

func (h *handler) writeRestore(ctx context.Context, c *Call, site holdfast.Site, e holdfast.Execution, j holdfast.Job, spec holdfast.RestoreSpec) error {
	view, err := h.view(ctx, c, site)
	if err != nil {
		return err
	}
	if view, err = h.withRows(ctx, c, view, []holdfast.Execution{e}); err != nil {
		return err
	}
	if err := h.withTarget(ctx, c, view, spec.Site); err != nil {
		return err
	}
	p, err := h.places(ctx, c, site)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, view.Restore(e, j, spec, p.hostNames()))
	return nil
}

// patchRestore merges the request into the job of a restore: it counts from the
// next run on.
func (h *handler) patchRestore(ctx context.Context, c *Call) error {
	site, _, e, err := h.findRestore(ctx, c)
	if err != nil {
		return err
	}
	tree, err := c.Body()
	if err != nil {
		return err
	}
	p, err := h.places(ctx, c, site)
	if err != nil {
		return err
	}
	j, err := h.Service.UpdateJob(ctx, c.Actor, e.Job, func(j *holdfast.Job) error { return p.patch(tree, j, e) })
	if err != nil {
		return gone(err)
	}
	return h.writeRestore(ctx, c, site, e, j, *j.Restore)
}

// rerun runs the job of a restore again.
func (h *handler) rerun(ctx context.Context, c *Call) error {
	site, from, e, err := h.findRestore(ctx, c)
	if err != nil {
		return err
	}
	if err := checkCredentials(c.Request.Header); err != nil {
		return err
	}
	j, err := h.Service.Job(ctx, c.Actor, e.Job)
	if err != nil {
		return gone(err)
	}
	if err := wholeJob(j.Job); err != nil {
		return err
	}
	made, err := h.Service.Execute(ctx, c.Actor, service.Run{
		Job: e.Job, IfBusy: service.Refuse, IdempotencyKey: c.Request.Header.Get("Idempotency-Key"),
	})
	if err != nil {
		return offerBusy(err)
	}
	writeAccepted(c.w, ID(made.ID), h.restorePath(c, site, from, made.ID))
	return nil
}

// offerBusy is FailureOf; an execution that stands in the way can be aborted.
func offerBusy(err error) *Failure {
	f := FailureOf(err)
	if f.Execution != 0 {
		return Offer(f, opAbort)
	}
	return f
}

// gone is the answer when the job of a restore that is still in the history has
// been deleted.
func gone(err error) error {
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	return unavailable("the job of this restore has been deleted", "make another restore of the same execution", opRestore)
}

// findBackup returns the execution that the path names when it is a backup of
// the job.
func (h *handler) findBackup(ctx context.Context, c *Call) (holdfast.Site, holdfast.Execution, error) {
	site, e, err := h.findExecution(ctx, c)
	if err == nil && e.Type != holdfast.JobBackup {
		err = unavailable("execution "+ID(e.ID)+" is a restore, and made no save set", "name an execution of a BACKUP job")
	}
	return site, e, err
}

// findRestore returns the restore that the path names, by the id of its
// execution or of its job, and the backup that it reads.
func (h *handler) findRestore(ctx context.Context, c *Call) (site holdfast.Site, from, e holdfast.Execution, err error) {
	if site, from, err = h.findBackup(ctx, c); err != nil {
		return site, from, e, err
	}
	missing := Unknown("restore", c.Path["restore"])
	id, err := number("restore", c.Path["restore"])
	if err != nil {
		return site, from, e, err
	}
	e, err = h.Service.Execution(ctx, c.Actor, holdfast.ExecutionID(id))
	if err == nil && e.Parent == from.ID && e.Type == holdfast.JobRestore {
		return site, from, e, nil
	}
	if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return site, from, e, err
	}
	list, _, err := h.Service.Executions(ctx, c.Actor, store.ExecutionFilter{
		Parent: from.ID, Job: holdfast.JobID(id), Types: []holdfast.JobType{holdfast.JobRestore}, Page: store.Page{Limit: 1},
	})
	if err != nil || len(list) == 0 {
		if err == nil {
			err = missing
		}
		return site, from, e, err
	}
	return site, from, list[0], nil
}

// withSet refuses an execution that has left nothing to restore.
func withSet(e holdfast.Execution) error {
	if hasSet(e) {
		return nil
	}
	if e.State != holdfast.StateEnded {
		return unavailable("execution "+ID(e.ID)+" has not ended, and has no save set yet", "wait until it is SUCCESSFUL", opAbort)
	}
	return unavailable("execution "+ID(e.ID)+" left no save set", "choose an execution that is SUCCESSFUL", opExecute)
}

// places reads what a restore may name.
func (h *handler) places(ctx context.Context, c *Call, site holdfast.Site) (places, error) {
	sites, err := h.Service.Sites(ctx, c.Actor)
	if err != nil {
		return places{}, err
	}
	hosts, err := h.Service.Hosts(ctx, c.Actor)
	return places{source: site, sites: sites, hosts: hosts}, err
}

func (h *handler) restorePath(c *Call, site holdfast.Site, from holdfast.Execution, id holdfast.ExecutionID) string {
	return h.executionPath(c, site, from) + "/restores/" + ID(id)
}
