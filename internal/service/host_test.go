package service_test

import (
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

func TestHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	local := must(r.svc.CreateHost(ctx, r.admin, service.NewHost{Name: "db3", Address: "10.0.0.3"}))(t)
	remote := must(r.svc.CreateHost(ctx, r.admin, service.NewHost{Name: "db4", Remote: true}))(t)
	worker := must(r.svc.Workers(ctx, r.admin))(t)[0]
	if !worker.StandsOn(local.ID) || worker.StandsOn(remote.ID) {
		t.Errorf("the worker inside serve stands on %v, want %d and not %d", worker.Hosts, local.ID, remote.ID)
	}
	if got := must(r.svc.Host(ctx, r.admin, local.ID))(t); got.Name != "db3" || got.Address != "10.0.0.3" {
		t.Errorf("got host %+v", got)
	}
	for _, c := range []struct {
		name string
		in   service.NewHost
		want holdfast.Code
	}{
		{"no name", service.NewHost{}, holdfast.CodeInvalid},
		{"a path", service.NewHost{Name: "../etc"}, holdfast.CodeInvalid},
		{"taken", service.NewHost{Name: "db3"}, holdfast.CodeConflict},
		{"long address", service.NewHost{Name: "x", Address: strings.Repeat("x", 256)}, holdfast.CodeInvalid},
		{"address with a line feed", service.NewHost{Name: "x", Address: "a\nb"}, holdfast.CodeInvalid},
	} {
		if _, err := r.svc.CreateHost(ctx, r.admin, c.in); holdfast.ErrorCode(err) != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
	}
	wantCode(t, r.svc.DeleteHost(ctx, r.admin, r.hosts[0].ID), holdfast.CodeConflict)
	if err := r.svc.DeleteHost(ctx, r.admin, local.ID); err != nil {
		t.Fatal(err)
	}
	wantCode(t, r.svc.DeleteHost(ctx, r.admin, local.ID), holdfast.CodeNotFound)
	if worker := must(r.svc.Workers(ctx, r.admin))(t)[0]; worker.StandsOn(local.ID) {
		t.Error("the worker stands on a host that is gone")
	}
}
