package service_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

func TestSites(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	site := r.sites[0]
	if site.Name != "berlin" || site.Pool != "default" || site.Server.Port != 5432 || site.Server.Database != "postgres" {
		t.Errorf("got site %+v, want the defaults", site)
	}
	if got := must(r.svc.SiteBySlug(ctx, r.admin, "berlin"))(t); got.ID != site.ID {
		t.Errorf("got site %d by its slug, want %d", got.ID, site.ID)
	}
	good := holdfast.Site{Host: r.hosts[0].ID, Slug: "new", DataDir: "/pg/new", Server: holdfast.Server{Host: "db", User: "u"}}
	with := func(change func(*holdfast.Site)) holdfast.Site {
		s := good
		change(&s)
		return s
	}
	for _, c := range []struct {
		name string
		in   holdfast.Site
		want holdfast.Code
	}{
		{"no slug", with(func(s *holdfast.Site) { s.Slug = "" }), holdfast.CodeInvalid},
		{"slash in the slug", with(func(s *holdfast.Site) { s.Slug = "a/b" }), holdfast.CodeInvalid},
		{"slug taken", with(func(s *holdfast.Site) { s.Slug = "berlin" }), holdfast.CodeConflict},
		{"no host", with(func(s *holdfast.Site) { s.Host = 0 }), holdfast.CodeNotFound},
		{"unknown host", with(func(s *holdfast.Site) { s.Host = unknown }), holdfast.CodeNotFound},
		{"unknown repository", with(func(s *holdfast.Site) { s.Repository = unknown }), holdfast.CodeNotFound},
		{"relative data directory", with(func(s *holdfast.Site) { s.DataDir = "data" }), holdfast.CodeInvalid},
		{"no server", with(func(s *holdfast.Site) { s.Server.Host = "" }), holdfast.CodeInvalid},
		{"no user", with(func(s *holdfast.Site) { s.Server.User = "" }), holdfast.CodeInvalid},
		{"sslmode", with(func(s *holdfast.Site) { s.Server.SSLMode = "maybe" }), holdfast.CodeInvalid},
		{"pool", with(func(s *holdfast.Site) { s.Pool = "a.b" }), holdfast.CodeInvalid},
	} {
		if _, err := r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: c.in}); holdfast.ErrorCode(err) != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
	}
	if n := len(must(r.svc.Sites(ctx, r.admin))(t)); n != 2 {
		t.Errorf("got %d sites after refusals, want 2", n)
	}
}

func TestUpdateSite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	in := r.sites[0]
	in.Name, in.Slug, in.Server.Port, in.Pool, in.Password = "Berlin", "", 5433, "fast", []byte("not sealed")
	got := must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: in}))(t)
	if got.Name != "Berlin" || got.Slug != "berlin" || got.Server.Port != 5433 || got.Account != holdfast.FirstID || !got.Created.Equal(start) {
		t.Errorf("got site %+v", got)
	}
	if p := must(r.master.Open(got.Password))(t); p.Reveal() != sitePassword {
		t.Error("an update without a password has changed it")
	}
	worker := must(r.svc.Workers(ctx, r.admin))(t)[0]
	if len(worker.Pools) != 2 || worker.Pools[1] != "fast" {
		t.Errorf("the worker on the site's host serves %v, want the site's pool too", worker.Pools)
	}
	if got = must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: in, NoPassword: true}))(t); len(got.Password) != 0 {
		t.Error("the password was not forgotten")
	}
	in.Slug = "munich"
	_, err := r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: in})
	wantInvalid(t, err)
	in.Slug, in.Host = "", unknown
	_, err = r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: in})
	wantCode(t, err, holdfast.CodeNotFound)
	in.ID = unknown
	_, err = r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: in})
	wantCode(t, err, holdfast.CodeNotFound)
	if now := must(r.svc.Site(ctx, r.admin, r.sites[0].ID))(t); now.Host != r.hosts[0].ID || now.Slug != "berlin" {
		t.Errorf("got site %+v after refusals", now)
	}
}

func TestDeleteSite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	wantCode(t, r.svc.DeleteSite(ctx, r.admin, r.sites[0].ID), holdfast.CodeConflict)
	if err := r.svc.DeleteJob(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	if err := r.svc.DeleteSite(ctx, r.admin, r.sites[1].ID); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.svc.DeleteSite(ctx, r.admin, r.sites[1].ID), holdfast.CodeNotFound)
}

func TestTestSite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	findings := must(r.svc.TestSite(t.Context(), r.admin, r.sites[0].ID))(t)
	if len(findings) != 1 || len(r.out.tested) != 1 || r.out.tested[0].Slug != "berlin" {
		t.Errorf("got findings %v of sites %v", findings, r.out.tested)
	}
	_, err := r.svc.TestSite(t.Context(), r.admin, unknown)
	wantCode(t, err, holdfast.CodeNotFound)
}
