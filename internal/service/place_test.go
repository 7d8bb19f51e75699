package service_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// plantSite records a site as earlier releases did, which looked at no other.
func (r *rig) plantSite(slug, dir string) holdfast.Site {
	r.t.Helper()
	site := r.sites[0]
	site.ID, site.Slug, site.Name, site.DataDir, site.Password = 0, slug, slug, dir, nil
	r.update(func(tx store.Tx) error { return tx.InsertSite(r.t.Context(), &site) })
	return site
}

// wantWords checks that message and hint say what they must.
func wantWords(t *testing.T, err error, words ...string) {
	t.Helper()
	text := holdfast.ErrorMessage(err) + ": " + holdfast.ErrorHint(err)
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("got %q, want it to say %q", text, w)
		}
	}
}

// A repository in a data directory went aside with it when a restore took its place.
func TestNoRepositoryInADataDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	made := len(r.out.locations)
	for _, at := range []string{"/pg/berlin/backups", "/pg/berlin", "/pg", "/pg/paris/a%20b"} {
		_, _, err := r.svc.CreateRepository(t.Context(), r.admin, service.NewRepository{Name: "x", Location: "file://" + at})
		wantInvalid(t, err)
		wantWords(t, err, "lie inside each other", "of site ", "outside of every server's files")
	}
	if len(r.out.locations) != made {
		t.Errorf("refusals have made directories: %v", r.out.locations[made:])
	}
	if _, _, err := r.svc.CreateRepository(t.Context(), r.admin, service.NewRepository{Name: "x", Location: "file:///pg/berlin2"}); err != nil {
		t.Errorf("beside a data directory: got error %v, want none", err)
	}
}

func TestNoDataDirectoryAroundARepository(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	spaced, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "spaced", Location: "file:///srv/a%20b"})
	if err != nil {
		t.Fatal(err)
	}
	for dir, repo := range map[string]string{
		"/backup": "main", "/backup/main": "main", "/backup/main/pg": "main", "/srv": spaced.Name, "/srv/a b/pg": spaced.Name,
	} {
		site := r.sites[1]
		site.DataDir = dir
		_, err := r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: site})
		wantInvalid(t, err)
		wantWords(t, err, "lie inside each other", `repository "`+repo+`"`)
		site.Slug = "new"
		_, err = r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: site})
		wantInvalid(t, err)
	}
	site := r.sites[1]
	site.DataDir = "/backup/main2"
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: site}))(t)
}

// What an earlier release let pass is told, and moved aside by no restore.
func TestARepositoryThatLiesInADataDirectoryStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	around := r.plantSite("around", "/backup")
	findings := must(r.svc.TestSite(ctx, r.admin, around.ID, ""))(t)
	if n := len(findings); n != 2 || findings[1].OK || findings[1].Fix == "" || !strings.Contains(findings[1].Text, "file:///backup/main") {
		t.Errorf("got findings %+v, want one of the repository", findings)
	}
	_, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Site: around.ID, Tablespaces: spaces()}})
	wantInvalid(t, err)
	wantWords(t, err, "/backup cannot be moved aside", "file:///backup/main")
	_, err = r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{
		Set: set.ID, Site: r.sites[0].ID, Tablespaces: map[uint32]string{16400: "/backup/main"},
	}})
	wantInvalid(t, err)

	around.Name = "renamed" // what is wrong already bars no other change
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: around}))(t)
}

// A site that was registered with a parent directory barred the others' restores.
func TestNoSiteInAnotherOnesDataDirectory(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	for _, dir := range []string{"/pg", "/pg/berlin/base"} {
		site := r.sites[0]
		site.Slug, site.DataDir = "new", dir
		_, err := r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: site})
		wantCode(t, err, holdfast.CodeConflict)
		wantWords(t, err, `site "berlin"`, dir, "SHOW data_directory")
	}
	site := r.sites[0]
	site.Slug, site.DataDir = "new", "/pg/berlin2"
	site = must(r.svc.CreateSite(ctx, r.admin, service.NewSite{Site: site}))(t)
	site.DataDir = "/pg"
	_, err := r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: site})
	wantCode(t, err, holdfast.CodeConflict)
	site.Host = r.hosts[1].ID // another machine has another /pg/berlin
	site.DataDir = "/pg/berlin"
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: site}))(t)
	site.Host = r.hosts[0].ID // a second name for the same server
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: site}))(t)
}

func TestAWrongParentBarsNoRestoreInPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	r.plantSite("wrong", "/pg")
	berlin := r.actor(holdfast.RoleOperator, r.sites[0].ID)
	own := holdfast.RestoreSpec{Set: set.ID, Site: r.sites[0].ID}
	must(r.svc.Restore(ctx, berlin, service.NewRestore{Spec: own}))(t) // to /pg/berlin and /pg/space

	other := own
	other.Tablespaces = map[uint32]string{16400: "/pg/elsewhere"}
	_, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: other})
	wantInvalid(t, err)
	wantWords(t, err, "/pg/elsewhere", `/pg of site "wrong"`, "holdfast site remove wrong")
	inIt := own
	inIt.Tablespaces = map[uint32]string{16400: "/pg/berlin/space"}
	_, err = r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: inIt})
	wantInvalid(t, err)

	beside := holdfast.RestoreSpec{Set: set.ID, Directory: "/pg/copy", Tablespaces: spaces()}
	_, err = r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: beside})
	wantInvalid(t, err)
	wantWords(t, err, `site "wrong"`, "holdfast site remove wrong")
	_, err = r.svc.Restore(ctx, berlin, service.NewRestore{Spec: beside})
	wantInvalid(t, err)
	if text := holdfast.ErrorMessage(err) + holdfast.ErrorHint(err); strings.Contains(text, "wrong") {
		t.Errorf("got %q: it names a site outside of the credential's scope", text)
	}
}
