package service_test

import (
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// TestQueuedExecutionsFollowTheirSite moves a site to another host and pool while
// executions of it wait: they wait for that host's workers, and not for ever for
// those of the old one.
func TestQueuedExecutionsFollowTheirSite(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	queued, other := r.run(r.job(0, "queued")), r.run(r.job(1, "other"))
	running := r.move(r.run(r.job(0, "running")), holdfast.MoveStart)
	planned := must(r.svc.Execute(ctx, r.admin, service.Run{Job: r.job(0, "planned").ID, Due: start.AddDate(0, 0, 1)}))(t)
	ended := r.move(r.move(r.run(r.job(0, "ended")), holdfast.MoveStart), holdfast.MoveFail)
	r.out.forget()
	in := r.sites[0]
	in.Host, in.Pool = r.hosts[1].ID, "fast"
	must(r.svc.UpdateSite(ctx, r.admin, service.NewSite{Site: in}))(t)
	for name, c := range map[string]struct {
		was  holdfast.Execution
		host holdfast.HostID
		pool string
	}{
		"queued": {queued, r.hosts[1].ID, "fast"}, "planned": {planned, r.hosts[1].ID, "fast"}, "running": {running, r.hosts[1].ID, "fast"},
		"ended": {ended, r.hosts[0].ID, "default"}, "of another site": {other, r.hosts[1].ID, "default"},
	} {
		e := must(r.svc.Execution(ctx, r.admin, c.was.ID))(t)
		if e.Host != c.host || e.Pool != c.pool || e.Status != c.was.Status {
			t.Errorf("%s: got host %d, pool %s, %+v; want host %d, pool %s, %+v", name, e.Host, e.Pool, e.Status, c.host, c.pool, c.was.Status)
		}
	}
	if got := r.out.rung(); len(got) != 1 || got[0] != "fast" {
		t.Errorf("rung: got %v, want the new pool's bell", got)
	}
}

// TestWhatALiveExecutionNeedsStays keeps the repository and the host of an
// execution that has not ended, also when no site names them any more.
func TestWhatALiveExecutionNeedsStays(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	spare, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "spare", Location: "file:///backup/spare"})
	if err != nil {
		t.Fatal(err)
	}
	j := r.job(0, "nightly")
	use := func(id holdfast.RepositoryID) {
		t.Helper()
		must(r.svc.UpdateJob(ctx, r.admin, j.ID, func(j *holdfast.Job) error { j.Repository = id; return nil }))(t)
	}
	use(spare.ID)
	e := r.move(r.run(j), holdfast.MoveStart)
	use(0)
	err = r.svc.DeleteRepository(ctx, r.admin, spare.ID)
	wantCode(t, err, holdfast.CodeConflict)
	if holdfast.ErrorHint(err) == "" {
		t.Error("the refusal does not say what to do")
	}
	r.move(e, holdfast.MoveFail)
	if err := r.svc.DeleteRepository(ctx, r.admin, spare.ID); err != nil {
		t.Errorf("after its end: %v", err)
	}

	h := must(r.svc.CreateHost(ctx, r.admin, service.NewHost{Name: "spare"}))(t)
	_, set := r.backup(j, holdfast.CopyComplete)
	restore := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Host: h.ID, Directory: "/restores/a"}}))(t)
	wantCode(t, r.svc.DeleteHost(ctx, r.admin, h.ID), holdfast.CodeConflict)
	must(r.svc.Kill(ctx, r.admin, restore.ID))(t)
	if err := r.svc.DeleteHost(ctx, r.admin, h.ID); err != nil {
		t.Errorf("after its end: %v", err)
	}
}

// TestAWorkerIsNotInvitedAsTheLocalOne invites while the worker inside serve has
// never been: it would take the other one's row over, with its connection.
func TestAWorkerIsNotInvitedAsTheLocalOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.update(func(tx store.Tx) error { // as with --no-worker from the beginning
		w, err := tx.Worker(ctx, r.worker.ID)
		w.Name = "somebody"
		return firstError(err, tx.UpdateWorker(ctx, w))
	})
	_, err := r.svc.InviteWorker(ctx, r.admin, service.Invite{Name: service.LocalWorkerName, Hosts: []holdfast.HostID{r.hosts[0].ID}})
	wantCode(t, err, holdfast.CodeConflict)
}

// TestAKeyIsForOneRequest repeats requests with their keys and something else in
// them: a client that reuses a key by mistake must not take another run for its
// own.
func TestAKeyIsForOneRequest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "nightly")
	e := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, RunType: holdfast.RunDelta, IdempotencyKey: "k1"}))(t)
	if again := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, RunType: holdfast.RunDelta, IdempotencyKey: "k1"}))(t); again.ID != e.ID {
		t.Errorf("repeated: got %d, want %d", again.ID, e.ID)
	}
	_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, RunType: holdfast.RunFull, IdempotencyKey: "k1"})
	wantCode(t, err, holdfast.CodeConflict)
	must(r.svc.Kill(ctx, r.admin, e.ID))(t)

	_, set := r.backup(j, holdfast.CopyComplete)
	spec := holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restores/a"}
	first := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: "k2"}))(t)
	if again := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: "k2"}))(t); again.ID != first.ID {
		t.Errorf("repeated: got %d, want %d", again.ID, first.ID)
	}
	spec.Host = r.hosts[0].ID // the site's, said aloud
	if again := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: "k2"}))(t); again.ID != first.ID {
		t.Errorf("with the default named: got %d, want %d", again.ID, first.ID)
	}
	for name, change := range map[string]func(*holdfast.RestoreSpec){
		"host":          func(s *holdfast.RestoreSpec) { s.Host = r.hosts[1].ID },
		"directory":     func(s *holdfast.RestoreSpec) { s.Directory = "/restores/b" },
		"configuration": func(s *holdfast.RestoreSpec) { s.Configuration = true },
	} {
		other := spec
		change(&other)
		if _, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: other, IdempotencyKey: "k2"}); holdfast.ErrorCode(err) != holdfast.CodeConflict {
			t.Errorf("another %s: got %v, want a conflict", name, err)
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
