package service_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestRestoreMakesAJobAndItsExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	done, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	r.out.forget()
	spec := holdfast.RestoreSpec{Set: set.ID, Directory: "/restore/a", Tablespaces: map[uint32]string{16400: "/restore/space"}, Configuration: true}
	e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t)
	got := must(r.svc.Execution(ctx, r.admin, e.ID))(t)
	if got.Type != holdfast.JobRestore || got.State != holdfast.StateQueued || got.Parent != done.ID || got.Set != set.ID ||
		got.RunType != holdfast.RunFull || got.RunAsked != "" || got.Host != r.hosts[0].ID || got.Repository != r.repo.ID ||
		got.Restore == nil || got.Restore.Host != r.hosts[0].ID || got.Restore.Tablespaces[16400] != "/restore/space" || !got.Restore.Configuration {
		t.Errorf("got execution %+v with spec %+v", got, got.Restore)
	}
	j := must(r.svc.Job(ctx, r.admin, e.Job))(t)
	if j.Type != holdfast.JobRestore || j.Site != r.sites[0].ID || j.Name == "" || j.Name != got.Name || j.Restore.Directory != "/restore/a" {
		t.Errorf("got job %+v", j.Job)
	}
	if len(r.out.rung()) != 1 {
		t.Errorf("got rings %v, want one", r.out.rung())
	}
	again := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t)
	if again.Job == e.Job || again.JobName == e.JobName {
		t.Errorf("got job %d %q for the second restore, want one of its own", again.Job, again.JobName)
	}

	// The job runs again as it is.
	must(r.svc.Kill(ctx, r.admin, e.ID))(t)
	rerun := must(r.svc.Execute(ctx, r.admin, service.Run{Job: e.Job, RunType: holdfast.RunDelta}))(t)
	if rerun.ID == e.ID || rerun.Parent != done.ID || rerun.RunType != holdfast.RunFull || rerun.Restore == nil {
		t.Errorf("got execution %+v of the restore job", rerun)
	}
}

func TestARestoreJobMayBeRenamedWhenItsSetIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"}}))(t)
	must(r.svc.Kill(ctx, r.admin, e.ID))(t)
	r.update(func(tx store.Tx) error {
		copies, err := tx.Copies(ctx, set.Account, set.ID)
		if err != nil {
			return err
		}
		gone := copies[0]
		gone.State = holdfast.CopyDeleted
		return tx.MoveCopy(ctx, copies[0], gone)
	})
	must(r.svc.UpdateJob(ctx, r.admin, e.Job, func(j *holdfast.Job) error {
		j.Name = "old drill"
		return nil
	}))(t)
	_, err := r.svc.UpdateJob(ctx, r.admin, e.Job, func(j *holdfast.Job) error {
		j.Restore.Directory = "/restore/b"
		return nil
	})
	wantCode(t, err, holdfast.CodeConflict)
	_, err = r.svc.Execute(ctx, r.admin, service.Run{Job: e.Job})
	wantCode(t, err, holdfast.CodeConflict)
}

func TestRestoreElsewhere(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyVerified)
	spec := holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Host: r.hosts[1].ID, Directory: "/restore/a"}
	e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, Name: "drill"}))(t)
	if e.Host != r.hosts[1].ID || e.JobName != "drill" || e.Pool != holdfast.DefaultPool {
		t.Errorf("got execution on host %d in pool %q for job %q", e.Host, e.Pool, e.JobName)
	}
	_, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, Name: "drill"})
	wantCode(t, err, holdfast.CodeConflict)

	// A machine whose only worker serves another pool.
	far := must(r.svc.CreateHost(ctx, r.admin, service.NewHost{Name: "far", Remote: true}))(t)
	spec.Host = far.ID
	if e = must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t); e.Pool != holdfast.DefaultPool {
		t.Errorf("got pool %q without a worker, want the site's", e.Pool)
	}
	r.update(func(tx store.Tx) error {
		return tx.InsertWorker(ctx, &holdfast.Worker{Account: holdfast.FirstID, Name: "far", Key: "U", Pools: []string{"west"}, Hosts: []holdfast.HostID{far.ID}, Created: start})
	})
	if e = must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t); e.Pool != "west" {
		t.Errorf("got pool %q, want the one that the host's worker serves", e.Pool)
	}
}

func TestRestoresThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	_, gone := r.backup(r.job(0, "gone"), holdfast.CopyDeleted)
	_, writing := r.backup(r.job(0, "writing"), holdfast.CopyWriting)
	_, orphan := r.backup(r.job(0, "orphan"), holdfast.CopyOrphaned)
	ok := holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"}
	with := func(change func(*holdfast.RestoreSpec)) service.NewRestore {
		spec := ok
		change(&spec)
		return service.NewRestore{Spec: spec}
	}
	for _, c := range []struct {
		name string
		in   service.NewRestore
		want holdfast.Code
	}{
		{"unknown set", with(func(s *holdfast.RestoreSpec) { s.Set = unknown }), holdfast.CodeNotFound},
		{"deleted set", with(func(s *holdfast.RestoreSpec) { s.Set = gone.ID }), holdfast.CodeConflict},
		{"set that is being written", with(func(s *holdfast.RestoreSpec) { s.Set = writing.ID }), holdfast.CodeNotFound},
		{"orphaned set", with(func(s *holdfast.RestoreSpec) { s.Set = orphan.ID }), holdfast.CodeNotFound},
		{"unknown host", with(func(s *holdfast.RestoreSpec) { s.Host = unknown }), holdfast.CodeNotFound},
		{"no directory", with(func(s *holdfast.RestoreSpec) { s.Directory = "" }), holdfast.CodeInvalid},
		{"relative directory", with(func(s *holdfast.RestoreSpec) { s.Directory = "restore" }), holdfast.CodeInvalid},
		{"climbing directory", with(func(s *holdfast.RestoreSpec) { s.Directory = "/restore/../etc" }), holdfast.CodeInvalid},
		{"inside a live server", with(func(s *holdfast.RestoreSpec) { s.Directory = "/pg/berlin/base" }), holdfast.CodeInvalid},
		{"tablespace inside a live server", with(func(s *holdfast.RestoreSpec) {
			s.Tablespaces = map[uint32]string{16400: "/pg/berlin/space"}
		}), holdfast.CodeInvalid},
		{"tablespace inside the directory", with(func(s *holdfast.RestoreSpec) {
			s.Tablespaces = map[uint32]string{16400: "/restore/a/space"}
		}), holdfast.CodeInvalid},
		{"tablespace without a directory", with(func(s *holdfast.RestoreSpec) { s.Tablespaces = nil }), holdfast.CodeInvalid},
		{"unknown tablespace", with(func(s *holdfast.RestoreSpec) {
			s.Tablespaces = map[uint32]string{1: "/restore/space"}
		}), holdfast.CodeInvalid},
		{"long name", service.NewRestore{Spec: ok, Name: strings.Repeat("x", 129)}, holdfast.CodeInvalid},
		{"taken name", service.NewRestore{Spec: ok, Name: "full"}, holdfast.CodeConflict},
		{"long key", service.NewRestore{Spec: ok, IdempotencyKey: strings.Repeat("k", 256)}, holdfast.CodeInvalid},
	} {
		_, err := r.svc.Restore(ctx, r.admin, c.in)
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
	}
	_, err := r.svc.Restore(ctx, r.admin, with(func(s *holdfast.RestoreSpec) { s.Tablespaces = nil }))
	for _, typed := range []string{"--tablespace 16400=DIR", `"tablespaces":{"16400":"DIR"}`} {
		if hint := holdfast.ErrorHint(err); !strings.Contains(hint, typed) {
			t.Errorf("got hint %q, want %q in it", hint, typed)
		}
	}
	if _, n, err := r.svc.Jobs(ctx, r.admin, store.JobFilter{Types: []holdfast.JobType{holdfast.JobRestore}}); err != nil || n != 0 {
		t.Errorf("got %d restore jobs and error %v after refusals, want none", n, err)
	}
	// The data directory itself may be the target: the worker looks whether it is
	// empty. Inside another machine's server it may lie as well.
	must(r.svc.Restore(ctx, r.admin, with(func(s *holdfast.RestoreSpec) { s.Directory = "/pg/berlin" })))(t)
	must(r.svc.Restore(ctx, r.admin, with(func(s *holdfast.RestoreSpec) { s.Directory = "/pg/paris/x" })))(t)
}

func TestARestoreNeedsToSeeItsHost(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	a := r.actor(holdfast.RoleOperator, r.sites[0].ID)
	spec := holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Host: r.hosts[1].ID, Directory: "/restore/a"}
	_, err := r.svc.Restore(t.Context(), a, service.NewRestore{Spec: spec})
	wantCode(t, err, holdfast.CodeNotFound)
	spec.Host = 0
	must(r.svc.Restore(t.Context(), a, service.NewRestore{Spec: spec}))(t)
}

func TestRestoreReadsTheBestCopy(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	done, set := r.backup(r.job(0, "full"), holdfast.CopyDamaged)
	second, _, err := r.svc.CreateRepository(ctx, r.admin, service.NewRepository{Name: "second", Location: "file:///backup/second"})
	if err != nil {
		t.Fatal(err)
	}
	spec := holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"}
	if e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t); e.Repository != r.repo.ID {
		t.Errorf("got repository %d, want the damaged copy's, the only one", e.Repository)
	}
	r.update(func(tx store.Tx) error {
		return tx.InsertCopy(ctx, &holdfast.Copy{
			Account: set.Account, Set: set.ID, Repository: second.ID, Snapshot: strings.Repeat("a", 64), State: holdfast.CopyComplete,
			Execution: done.ID, Fence: done.Fence + 1, Intended: start,
		})
	})
	if e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec}))(t); e.Repository != second.ID {
		t.Errorf("got repository %d, want the good copy's, %d", e.Repository, second.ID)
	}
	spec.Repository = r.repo.ID
	e := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: "one"}))(t)
	if e.Repository != r.repo.ID || e.Restore.Repository != r.repo.ID {
		t.Errorf("got repository %d, want the one that was asked for", e.Repository)
	}
	spec.Repository = unknown
	for _, key := range []string{"one", ""} {
		_, err = r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: key})
		wantCode(t, err, holdfast.CodeConflict)
	}
	if v := must(r.svc.Set(ctx, r.admin, set.ID))(t); len(v.Copies) != 2 {
		t.Errorf("got %d copies, want 2", len(v.Copies))
	}
}

func TestTheSameRestoreKeyAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	ids := make([]holdfast.ExecutionID, racers)
	var wg sync.WaitGroup
	for i := range racers {
		wg.Go(func() {
			e, err := r.svc.Restore(t.Context(), r.admin, service.NewRestore{
				Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"}, IdempotencyKey: "one",
			})
			if err != nil {
				t.Error(err)
			}
			ids[i] = e.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("got executions %v for one key, want one", ids)
		}
	}
	_, err := r.svc.Restore(t.Context(), r.admin, service.NewRestore{
		Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/b"}, IdempotencyKey: "one",
	})
	wantCode(t, err, holdfast.CodeConflict)
}

func TestALongDirectoryMakesAShortName(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	dir := "/restore/" + strings.Repeat("é", 300) + "\n/end"
	for range 3 {
		e := must(r.svc.Restore(t.Context(), r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: dir}}))(t)
		if n := len([]rune(e.JobName)); n != holdfast.MaxJobName || strings.ContainsRune(e.JobName, '\n') || !strings.Contains(e.JobName, "/end #") {
			t.Errorf("got a name of %d characters: %q", n, e.JobName)
		}
	}
}

func TestASetWithoutFinishedCopiesDoesNotExist(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for state, want := range map[holdfast.CopyState]holdfast.Code{
		holdfast.CopyWriting: holdfast.CodeNotFound, holdfast.CopyOrphaned: holdfast.CodeNotFound, holdfast.CopyDeleted: "",
		holdfast.CopyComplete: "", holdfast.CopyVerified: "", holdfast.CopyDamaged: "", holdfast.CopyUnconfirmed: "",
	} {
		_, set := r.backup(r.job(0, newName()), state)
		_, err := r.svc.Set(t.Context(), r.admin, set.ID)
		if got := holdfast.ErrorCode(err); got != want {
			t.Errorf("%s: got %v, want code %q", state, err, want)
		}
	}
	list, n, err := r.svc.Sets(t.Context(), r.admin, store.SetFilter{})
	if err != nil || n != 4 || len(list) != 4 {
		t.Errorf("got %d sets of %d and error %v, want the 4 that can be read", len(list), n, err)
	}
}

// TestRestoreByDelta may write over a site's own directory, for who may know of the
// site, and over nothing else that is known here.
func TestRestoreByDelta(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	_, set := r.backup(r.job(0, "full"), holdfast.CopyComplete)
	_, other := r.backup(r.job(1, "full"), holdfast.CopyComplete)
	inside := r.plantSite("inside", "/pg/both/cellar")
	berlin := r.actor(holdfast.RoleOperator, r.sites[0].ID)
	for name, c := range map[string]struct {
		actor holdfast.Actor
		set   holdfast.SetID
		host  holdfast.HostID
		dir   string
		site  holdfast.SiteID
		want  string // empty: it is allowed
	}{
		"a directory of its own":        {r.admin, set.ID, 0, "/restore/a", 0, ""},
		"the site's own":                {berlin, set.ID, 0, "/pg/berlin", 0, ""},
		"another site's own":            {r.admin, other.ID, 0, "/pg/paris", 0, ""},
		"inside a server":               {r.admin, set.ID, 0, "/pg/berlin/base", 0, "inside a server's data directory"},
		"what a server lies in":         {r.admin, set.ID, 0, "/pg/both", 0, `cannot be written over: the data directory of site "inside"`},
		"what the repository lies in":   {r.admin, set.ID, 0, "/backup", 0, "cannot be written over: the repository"},
		"in place":                      {r.admin, set.ID, 0, "", r.sites[0].ID, "not done in place"},
		"a site that it may not see":    {berlin, set.ID, 0, inside.DataDir, 0, "that of another site"},
		"a site that it may not see, 2": {berlin, set.ID, 0, "/pg/both", 0, "the data directory of another site"},
	} {
		spec := holdfast.RestoreSpec{Set: c.set, Host: c.host, Directory: c.dir, Site: c.site, Tablespaces: spaces(), Delta: true}
		e, err := r.svc.Restore(ctx, c.actor, service.NewRestore{Spec: spec})
		if c.want == "" {
			if err != nil || !e.Restore.Delta {
				t.Errorf("%s: got %+v, %v", name, e.Restore, err)
			}
			continue
		}
		wantInvalid(t, err)
		wantWords(t, err, c.want)
	}
	spec := holdfast.RestoreSpec{Set: set.ID, Directory: "/restore/b", Tablespaces: spaces(), Delta: true}
	must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: "one"}))(t)
	if !strings.Contains(string(r.lastEvent().Data), `"delta":true`) {
		t.Errorf("the event does not say that it writes over: %s", r.lastEvent().Data)
	}
	spec.Delta = false
	_, err := r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: spec, IdempotencyKey: "one"})
	wantCode(t, err, holdfast.CodeConflict)
}
