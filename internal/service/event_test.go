package service_test

import (
	"slices"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestASiteHasItsOwnHistory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	berlin, oslo := r.sites[0], r.sites[1]
	kinds := func(actor holdfast.Actor, site holdfast.SiteID, p store.Page) []string {
		var all []string
		for _, e := range must(r.svc.SiteEvents(ctx, actor, site, p))(t) {
			if e.Site != site {
				t.Errorf("event %+v is in the history of site %d", e, site)
			}
			all = append(all, e.Kind)
		}
		return all
	}
	j := must(r.svc.CreateJob(ctx, r.admin, holdfast.Job{Site: berlin.ID, Name: "full"}))(t)
	e := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID}))(t)
	must(r.svc.Stop(ctx, r.admin, e.ID))(t)
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: oslo}))(t)
	want := []string{"execution.ended", "execution.queued", "job.created", "site.created"}
	if got := kinds(r.actor(holdfast.RoleReader, berlin.ID), berlin.ID, store.Page{}); !slices.Equal(got, want) {
		t.Errorf("berlin: got %q, want %q", got, want)
	}
	if got := kinds(r.admin, berlin.ID, store.Page{Offset: 1, Limit: 2}); !slices.Equal(got, want[1:3]) {
		t.Errorf("a page: got %q, want %q", got, want[1:3])
	}
	if got, want := kinds(r.admin, oslo.ID, store.Page{}), []string{"site.updated", "site.created"}; !slices.Equal(got, want) {
		t.Errorf("oslo: got %q, want %q", got, want)
	}
	_, err := r.svc.SiteEvents(ctx, r.admin, berlin.ID, store.Page{Offset: -1})
	wantCode(t, err, holdfast.CodeInvalid)
}
