package baas

import (
	"context"
	"net/http"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// RetainedCopy is a save set: what a backup left. DependsOn is empty,
// because every set restores alone.
type RetainedCopy struct {
	Saveset     int64   `json:"saveset_id"`
	Job         int64   `json:"job_id"`
	Execution   string  `json:"execution_id"`
	RunType     string  `json:"run_type"`
	Created     *string `json:"created_time"`
	Size        int64   `json:"byte_count"`
	Retained    bool    `json:"is_saveset_retained"` // protected
	Deleted     bool    `json:"is_saveset_deleted"`
	Replication *string `json:"saveset_replication_status"`
	DependsOn   []int64 `json:"depends_on"`
}

func retainedCopy(s service.SetView) RetainedCopy {
	kept := isKept(s)
	return RetainedCopy{
		Saveset: int64(s.ID), Job: int64(s.Job), Execution: ID(s.Execution), RunType: string(s.RunType), Created: stamp(s.Created),
		Size: s.Bytes, Retained: kept && s.Protected, Deleted: !kept, DependsOn: []int64{},
	}
}

// siteCopies lists the save sets of a site, those that are gone too.
func (h *handler) siteCopies(ctx context.Context, c *Call) error {
	site, err := h.Scope.Site(ctx, c)
	if err != nil {
		return err
	}
	return h.writeCopies(ctx, c, store.SetFilter{Sites: []holdfast.SiteID{site.ID}})
}

// jobCopies lists the save sets that a job made.
func (h *handler) jobCopies(ctx context.Context, c *Call) error {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return err
	}
	return h.writeCopies(ctx, c, store.SetFilter{Sites: []holdfast.SiteID{site.ID}, Job: j.ID})
}

func (h *handler) writeCopies(ctx context.Context, c *Call, f store.SetFilter) error {
	q, err := c.Query()
	if err != nil {
		return err
	}
	page, err := q.Page(false)
	if err != nil {
		return err
	}
	f.Gone, f.Page = true, page.Store()
	sets, total, err := h.Service.Sets(ctx, c.Actor, f)
	if err != nil {
		return err
	}
	list := make([]RetainedCopy, len(sets))
	for i, s := range sets {
		list[i] = retainedCopy(s)
	}
	writeList(c.w, page, total, list)
	return nil
}

// findCopy returns the save set that the path names: one that the job made.
func (h *handler) findCopy(ctx context.Context, c *Call) (service.SetView, error) {
	site, j, err := h.find(ctx, c)
	if err != nil {
		return service.SetView{}, err
	}
	id, err := number("saveset", c.Path["saveset"])
	if err != nil {
		return service.SetView{}, err
	}
	list, _, err := h.Service.Sets(ctx, c.Actor, store.SetFilter{
		IDs: []holdfast.SetID{holdfast.SetID(id)}, Sites: []holdfast.SiteID{site.ID}, Job: j.ID, Gone: true,
	})
	if err == nil && len(list) == 0 {
		err = Unknown("saveset", c.Path["saveset"])
	}
	if err != nil {
		return service.SetView{}, err
	}
	return list[0], nil
}

// retainedCopy returns one save set.
func (h *handler) retainedCopy(ctx context.Context, c *Call) error {
	set, err := h.findCopy(ctx, c)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, retainedCopy(set))
	return nil
}

// protectCopy protects a save set, or not any more. Where only one set of a job
// may be protected, another one is replaced when the request confirms it.
func (h *handler) protectCopy(ctx context.Context, c *Call) error {
	set, err := h.findCopy(ctx, c)
	if err != nil {
		return err
	}
	q, err := c.Query()
	if err != nil {
		return err
	}
	confirm, err := q.Flag("confirm")
	if err != nil {
		return err
	}
	tree, err := c.Body()
	if err != nil {
		return err
	}
	if err := respell("", tree, []alias{{from: "isRetained", to: []string{retainedFlag}}}); err != nil {
		return err
	}
	r := reader{}
	top := r.object("", map[string]any(tree))
	in := service.Protection{On: r.flag(top, retainedFlag, false)}
	confirm = r.flag(top, "confirm", confirm)
	if tree[retainedFlag] == nil && r.err == nil {
		r.err = holdfast.Errorf(holdfast.CodeInvalid, "%s is missing", retainedFlag).WithHint("send {\"%s\":true} or false", retainedFlag)
	}
	if r.err != nil {
		return r.err
	}
	switch {
	case !h.Dialect.OneProtected:
		in.Others = service.AllowOthers
	case confirm:
		in.Others = service.ReplaceOthers
	default:
		in.Others = service.RefuseOthers
	}
	changed, err := h.Service.Protect(ctx, c.Actor, set.ID, in)
	if err != nil {
		return confirmable(err, set)
	}
	writeJSON(c.w, http.StatusOK, retainedCopy(changed))
	return nil
}

// confirmable is FailureOf; another protected set can be replaced.
func confirmable(err error, set service.SetView) *Failure {
	f := Offer(err)
	if f.Status == http.StatusConflict && isKept(set) {
		f.Available = []string{opConfirm}
		f.Hint = "repeat the request with confirm=true, and this save set is protected instead of the other one"
	}
	return f
}

// isKept reports whether readers still see the set.
func isKept(s service.SetView) bool { return slices.ContainsFunc(s.Copies, holdfast.Copy.Readable) }
