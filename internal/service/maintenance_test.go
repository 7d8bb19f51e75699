package service_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
)

func TestSetMaintenance(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id := holdfast.WorkerID(newWorker(r))
	for _, on := range []bool{true, true, false} {
		if w := must(r.svc.SetMaintenance(t.Context(), r.admin, id, on))(t); w.Maintenance != on {
			t.Errorf("got %t, want %t", w.Maintenance, on)
		}
	}
	if e := r.lastEvent(); e.Kind != "worker.maintenance" || string(e.Data) == "" {
		t.Errorf("got the event %+v", e)
	}
	if w := must(r.svc.SetMaintenance(t.Context(), r.admin, r.worker.ID, false))(t); w.Maintenance {
		t.Error("the worker inside serve is still marked")
	}
	again := must(r.svc.LocalWorker(t.Context(), "XKEY", 2, "test"))(t)
	if again.Maintenance {
		t.Error("the next start marks it again")
	}
	_, err := r.svc.SetMaintenance(t.Context(), r.actor(holdfast.RoleAdmin), r.worker.ID, true)
	wantCode(t, err, holdfast.CodeForbidden)
	_, err = r.svc.SetMaintenance(t.Context(), r.admin, unknown, true)
	wantCode(t, err, holdfast.CodeNotFound)
}
