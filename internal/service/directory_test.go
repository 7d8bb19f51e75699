package service_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
)

// TestListsAreTheCallers changes what lists return, which others must not see:
// the store keeps these lists in memory.
func TestListsAreTheCallers(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	for _, actor := range []holdfast.Actor{r.admin, r.actor(holdfast.RoleReader, r.sites[0].ID)} {
		hosts, sites, repositories := must(r.svc.Hosts(ctx, actor))(t), must(r.svc.Sites(ctx, actor))(t), must(r.svc.Repositories(ctx, actor))(t)
		for i := range hosts {
			hosts[i] = holdfast.Host{}
		}
		for i := range sites {
			sites[i] = holdfast.Site{}
		}
		for i := range repositories {
			repositories[i] = holdfast.Repository{}
		}
		if got := must(r.svc.Hosts(ctx, actor))(t); got[0].Name == "" {
			t.Errorf("got hosts %+v after a caller had changed its list", got)
		}
		if got := must(r.svc.Sites(ctx, actor))(t); got[0].Slug == "" {
			t.Errorf("got sites %+v after a caller had changed its list", got)
		}
		if got := must(r.svc.Repositories(ctx, actor))(t); got[0].Name == "" {
			t.Errorf("got repositories %+v after a caller had changed its list", got)
		}
	}
}

func TestDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	all := must(r.svc.Directory(ctx, r.admin))(t)
	bound := must(r.svc.Directory(ctx, r.actor(holdfast.RoleReader, r.sites[0].ID)))(t)
	for i, site := range r.sites {
		if got, ok := all.Site(site.ID); !ok || got.Slug != site.Slug {
			t.Errorf("got site %+v, want %q", got, site.Slug)
		}
		if got, ok := all.Host(site.Host); !ok || got.ID != site.Host {
			t.Errorf("got host %+v, want %d", got, site.Host)
		}
		if _, ok := bound.Site(site.ID); ok != (i == 0) {
			t.Errorf("site %q is seen by a credential for %q: %t", site.Slug, r.sites[0].Slug, ok)
		}
	}
	if got, ok := all.Repository(r.repo.ID); !ok || got.Name != r.repo.Name {
		t.Errorf("got repository %+v, want %q", got, r.repo.Name)
	}
	if got, ok := all.Site(5); ok || got.ID != 0 {
		t.Errorf("got site %+v for a number that none has", got)
	}
}
