package service_test

import (
	"strings"
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
	ctx := t.Context()
	findings := must(r.svc.TestSite(ctx, r.admin, r.sites[0].ID, ""))(t)
	if len(findings) != 1 || len(r.out.tested) != 1 || r.out.tested[0].Slug != "berlin" || findings[0].Text != string(holdfast.EnginePhysical) {
		t.Errorf("got findings %v of sites %v", findings, r.out.tested)
	}
	findings = must(r.svc.TestSite(ctx, r.admin, r.sites[0].ID, holdfast.JobETL))(t)
	if len(findings) != 1 || findings[0].Text != string(holdfast.EngineETL) {
		t.Errorf("for ETLs: got findings %v", findings)
	}
	_, err := r.svc.TestSite(ctx, r.admin, r.sites[0].ID, holdfast.JobRestore)
	wantInvalid(t, err)
	_, err = r.svc.TestSite(ctx, r.admin, unknown, "")
	wantCode(t, err, holdfast.CodeNotFound)
}

// TestSiteForETLs is a site of which no backup is made: two may stand on one host,
// nothing of it needs a backup's rights, and a backup is refused with what to do.
func TestSiteForETLs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	in := holdfast.Site{Host: r.hosts[0].ID, Slug: "shop", Server: holdfast.Server{Host: "db", User: "etl"}}
	site := must(r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: in}))(t)
	in.Slug = "dwh"
	must(r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: in}))(t)
	if _, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "beside", Location: "file:///srv/beside"}); err != nil {
		t.Fatal(err)
	}
	findings := must(r.svc.TestSite(ctx, r.admin, site.ID, ""))(t)
	if len(findings) != 1 || findings[0].Text != string(holdfast.EngineETL) {
		t.Errorf("got findings %v, want those of an ETL", findings)
	}
	_, err := r.svc.TestSite(ctx, r.admin, site.ID, holdfast.JobBackup)
	wantInvalid(t, err)
	_, err = r.svc.CreateJob(ctx, r.admin, holdfast.Job{Site: site.ID, Name: "nightly"})
	wantInvalid(t, err)
	if hint := holdfast.ErrorHint(err); !strings.Contains(hint, "--data-dir") {
		t.Errorf("got the hint %q", hint)
	}
	j := r.job(0, "full")
	berlin := r.sites[0]
	berlin.DataDir = ""
	_, err = r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: berlin})
	wantCode(t, err, holdfast.CodeConflict)
	if err := r.svc.DeleteJob(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}
	if got := must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: berlin}))(t); got.DataDir != "" {
		t.Errorf("got data directory %q", got.DataDir)
	}
}
