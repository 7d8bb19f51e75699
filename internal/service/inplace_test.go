package service_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestRestoreInPlace(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	own := holdfast.RestoreSpec{Set: set.ID, Site: r.sites[0].ID}
	e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: own, IdempotencyKey: "one"}))(t)
	got := e.Restore
	if got == nil || got.Site != r.sites[0].ID || got.Directory != "/pg/berlin" || got.Host != r.hosts[0].ID || e.Host != r.hosts[0].ID ||
		!maps.Equal(got.Tablespaces, map[uint32]string{16400: "/pg/space"}) {
		t.Errorf("got execution on host %d with spec %+v", e.Host, got)
	}
	if !strings.Contains(e.JobName, "/pg/berlin") {
		t.Errorf("the made-up name %q does not say where", e.JobName)
	}
	if last := r.lastEvent(); !strings.Contains(string(last.Data), `"in_place":`) {
		t.Errorf("the event does not say that it is in place: %s", last.Data)
	}
	if again := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: own, IdempotencyKey: "one"}))(t); again.ID != e.ID {
		t.Errorf("the same request made execution %d, want %d", again.ID, e.ID)
	}
	_, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{
		Set: set.ID, Directory: "/pg/berlin", Tablespaces: map[uint32]string{16400: "/pg/space"},
	}, IdempotencyKey: "one"})
	wantCode(t, err, holdfast.CodeConflict) // into an empty directory is something else

	// What the request says itself is taken, as long as it is the same.
	named := holdfast.RestoreSpec{Set: set.ID, Site: r.sites[0].ID, Directory: "/pg/berlin", Host: r.hosts[0].ID, Tablespaces: spaces()}
	e = must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: named}))(t)
	if !maps.Equal(e.Restore.Tablespaces, spaces()) {
		t.Errorf("got tablespaces %v, want those of the request", e.Restore.Tablespaces)
	}

	// Into another site's place: on its host, by its pool's worker.
	there := holdfast.RestoreSpec{Set: set.ID, Site: r.sites[1].ID, Tablespaces: spaces()}
	e = must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: there}))(t)
	if e.Site != r.sites[0].ID || e.Restore.Site != r.sites[1].ID || e.Restore.Directory != "/pg/paris" || e.Host != r.hosts[1].ID {
		t.Errorf("got execution of site %d on host %d with spec %+v", e.Site, e.Host, e.Restore)
	}

	// The job goes where the site is, unless the site has moved since.
	must(r.svc.Kill(ctx, r.admin, e.ID))(t)
	e = must(r.svc.Execute(ctx, r.admin, service.Run{Job: e.Job}))(t)
	if e.Restore.Directory != "/pg/paris" {
		t.Errorf("got directory %s when the job ran again", e.Restore.Directory)
	}
	must(r.svc.Kill(ctx, r.admin, e.ID))(t)
	moved := r.sites[1]
	moved.DataDir = "/pg/paris2"
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: moved}))(t)
	_, err = r.svc.Execute(ctx, r.admin, service.Run{Job: e.Job})
	wantInvalid(t, err)
}

func TestRestoresInPlaceThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	ok := holdfast.RestoreSpec{Set: set.ID, Site: r.sites[0].ID}
	reader, berlin := r.actor(holdfast.RoleReader), r.actor(holdfast.RoleOperator, r.sites[0].ID)
	for name, c := range map[string]struct {
		actor  holdfast.Actor
		change func(*holdfast.RestoreSpec)
		want   holdfast.Code
	}{
		"unknown site":              {r.admin, func(s *holdfast.RestoreSpec) { s.Site = unknown }, holdfast.CodeNotFound},
		"another directory":         {r.admin, func(s *holdfast.RestoreSpec) { s.Directory = "/restore/a" }, holdfast.CodeInvalid},
		"another site's directory":  {r.admin, func(s *holdfast.RestoreSpec) { s.Directory = "/pg/paris" }, holdfast.CodeInvalid},
		"another host":              {r.admin, func(s *holdfast.RestoreSpec) { s.Host = r.hosts[1].ID }, holdfast.CodeInvalid},
		"a tablespace inside of it": {r.admin, func(s *holdfast.RestoreSpec) { s.Tablespaces = map[uint32]string{16400: "/pg/berlin/space"} }, holdfast.CodeInvalid},
		"unknown tablespace":        {r.admin, func(s *holdfast.RestoreSpec) { s.Tablespaces = map[uint32]string{1: "/spaces/a"} }, holdfast.CodeInvalid},
		"no map for another site":   {r.admin, func(s *holdfast.RestoreSpec) { s.Site = r.sites[1].ID }, holdfast.CodeInvalid},
		"a reader":                  {reader, func(*holdfast.RestoreSpec) {}, holdfast.CodeForbidden},
		"a site outside of the scope": {berlin, func(s *holdfast.RestoreSpec) {
			s.Site, s.Tablespaces = r.sites[1].ID, spaces()
		}, holdfast.CodeNotFound},
		"a tablespace in another server": {r.admin, func(s *holdfast.RestoreSpec) {
			s.Site, s.Tablespaces = r.sites[1].ID, map[uint32]string{16400: "/pg/paris/base"}
		}, holdfast.CodeInvalid},
	} {
		spec := ok
		c.change(&spec)
		_, err := r.svc.Restore(t.Context(), c.actor, service.NewRestore{Spec: spec})
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", name, err, c.want)
		}
	}
	must(r.svc.Restore(t.Context(), berlin, service.NewRestore{Spec: ok}))(t)
	jobs, _, err := r.svc.Jobs(t.Context(), r.admin, store.JobFilter{Types: []holdfast.JobType{holdfast.JobRestore}})
	if err != nil || len(jobs) != 1 || !slices.ContainsFunc(jobs, func(j service.JobView) bool { return j.Restore.Site == r.sites[0].ID }) {
		t.Errorf("got restore jobs %+v, %v, want the one that was allowed", jobs, err)
	}
}

// TestRestoreInPlaceMovesNoOtherSiteAway replaces a directory in which another
// site's data directory lies.
func TestRestoreInPlaceMovesNoOtherSiteAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	inside := r.plantSite("inside", "/pg/berlin/cellar")
	_, err := r.svc.Restore(t.Context(), r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Site: r.sites[0].ID}})
	wantInvalid(t, err)
	wantWords(t, err, `site "inside"`)
	inside.DataDir = "/pg/berlin-cellar"
	must(r.svc.UpdateSite(t.Context(), r.admin, service.NewSite{Site: inside}))(t)
	must(r.svc.Restore(t.Context(), r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Site: r.sites[0].ID}}))(t)
}
