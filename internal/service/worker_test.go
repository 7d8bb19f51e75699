package service_test

import (
	"crypto/sha256"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestLocalWorkerKeepsItsHosts(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := must(r.svc.LocalWorker(t.Context(), "XNEW", 4, "v2"))(t)
	if w.ID != r.worker.ID || w.Name != service.LocalWorkerName || w.SealKey != "XNEW" || w.Slots != 4 || w.Version != "v2" ||
		!w.Maintenance || !w.StandsOn(r.hosts[0].ID) || !w.StandsOn(r.hosts[1].ID) || len(w.Pools) != 1 || w.Pools[0] != "default" {
		t.Errorf("got worker %+v at the second start", w)
	}
	_, err := r.svc.LocalWorker(t.Context(), "X", 0, "")
	wantInvalid(t, err)
}

func TestInviteWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	host := []holdfast.HostID{r.hosts[0].ID}
	token := must(r.svc.InviteWorker(ctx, r.admin, service.Invite{Name: "w1", Hosts: append(host, host...)}))(t)
	secret := r.out.joinSecrets[0]
	if token.Reveal() != "wrapped."+secret {
		t.Error("the token is not what the dispatcher wrapped")
	}
	hash := sha256.Sum256([]byte(secret))
	var c holdfast.Credential
	if err := r.store.View(ctx, func(rd store.Reader) (err error) {
		c, err = rd.CredentialByHash(ctx, hash[:])
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if c.Kind != holdfast.CredentialJoin || c.Name != "w1" || len(c.Hosts) != 1 || len(c.Pools) != 1 || c.Pools[0] != "default" ||
		!c.Expires.Equal(start.AddDate(0, 0, 1)) || c.Role != "" {
		t.Errorf("got credential %+v", c)
	}
	if n := len(must(r.svc.Tokens(ctx, r.admin))(t)); n != 0 {
		t.Errorf("got %d tokens, want the join's to be none", n)
	}
	wantCode(t, r.svc.RevokeToken(ctx, r.admin, c.ID), holdfast.CodeNotFound)
	for _, bad := range []struct {
		name string
		in   service.Invite
		want holdfast.Code
	}{
		{"no name", service.Invite{Hosts: host}, holdfast.CodeInvalid},
		{"the local worker's name", service.Invite{Name: "local", Hosts: host}, holdfast.CodeConflict},
		{"no hosts", service.Invite{Name: "x"}, holdfast.CodeInvalid},
		{"unknown host", service.Invite{Name: "x", Hosts: []holdfast.HostID{unknown}}, holdfast.CodeNotFound},
		{"pool", service.Invite{Name: "x", Hosts: host, Pools: []string{"a b"}}, holdfast.CodeInvalid},
		{"pool with a dot", service.Invite{Name: "x", Hosts: host, Pools: []string{"a.b"}}, holdfast.CodeInvalid},
	} {
		if _, err := r.svc.InviteWorker(ctx, r.admin, bad.in); holdfast.ErrorCode(err) != bad.want {
			t.Errorf("%s: got %v, want code %q", bad.name, err, bad.want)
		}
	}
	r.out.joinErr = holdfast.Errorf(holdfast.CodeConflict, "no listener for workers is open")
	_, err := r.svc.InviteWorker(ctx, r.admin, service.Invite{Name: "x", Hosts: host})
	wantCode(t, err, holdfast.CodeConflict)
}

func TestRemoveWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	id := holdfast.WorkerID(newWorker(r))
	if n := len(must(r.svc.Workers(ctx, r.admin))(t)); n != 2 {
		t.Fatalf("got %d workers, want 2", n)
	}
	if err := r.svc.RemoveWorker(ctx, r.admin, id); err != nil {
		t.Fatal(err)
	}
	if len(r.out.disconnected) != 1 || r.out.disconnected[0] != id {
		t.Errorf("got %v cut off, want worker %d", r.out.disconnected, id)
	}
	if n := len(must(r.svc.Workers(ctx, r.admin))(t)); n != 1 {
		t.Errorf("got %d workers, want 1", n)
	}
	wantCode(t, r.svc.RemoveWorker(ctx, r.admin, id), holdfast.CodeNotFound)
	wantCode(t, r.svc.RemoveWorker(ctx, r.admin, unknown), holdfast.CodeNotFound)
	wantCode(t, r.svc.RemoveWorker(ctx, r.admin, r.worker.ID), holdfast.CodeConflict)
}
