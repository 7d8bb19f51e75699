package service_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestCreateJobFillsDefaults(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := must(r.svc.CreateJob(t.Context(), r.admin, holdfast.Job{ID: 5, Account: 7, Deleted: start, Site: r.sites[0].ID, Name: "full"}))(t)
	if j.ID < holdfast.FirstID || j.Account != holdfast.FirstID || !j.Deleted.IsZero() || !j.Created.Equal(start) {
		t.Errorf("got job %+v, want its own id, account and times", j)
	}
	if j.Type != holdfast.JobBackup || j.Engine != holdfast.EnginePhysical || j.Priority != 5 || j.Retention.Count != 7 || j.AutoAbort.Active {
		t.Errorf("got job %+v, want the defaults", j)
	}
}

func TestJobsThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.job(0, "taken")
	_, gone := r.backup(r.job(0, "gone"), holdfast.CopyDeleted)
	_, set := r.backup(r.job(1, "paris"), holdfast.CopyComplete)
	site := r.sites[0].ID
	for _, c := range []struct {
		name string
		in   holdfast.Job
		want holdfast.Code
	}{
		{"no name", holdfast.Job{Site: site}, holdfast.CodeInvalid},
		{"a long name", holdfast.Job{Site: site, Name: strings.Repeat("x", 129)}, holdfast.CodeInvalid},
		{"a taken name", holdfast.Job{Site: site, Name: "taken"}, holdfast.CodeConflict},
		{"no site", holdfast.Job{Name: "x"}, holdfast.CodeNotFound},
		{"unknown site", holdfast.Job{Site: unknown, Name: "x"}, holdfast.CodeNotFound},
		{"unknown repository", holdfast.Job{Site: site, Name: "x", Repository: unknown}, holdfast.CodeNotFound},
		{"unknown engine", holdfast.Job{Site: site, Name: "x", Engine: "tar"}, holdfast.CodeInvalid},
		{"unknown type", holdfast.Job{Site: site, Name: "x", Type: "COPY"}, holdfast.CodeInvalid},
		{"ETL", holdfast.Job{Site: site, Name: "x", Type: holdfast.JobETL}, holdfast.CodeInvalid},
		{"priority 6", holdfast.Job{Site: site, Name: "x", Priority: 6}, holdfast.CodeInvalid},
		{"retention -1", holdfast.Job{Site: site, Name: "x", Retention: holdfast.Retention{Count: -1}}, holdfast.CodeInvalid},
		{"half a minute", holdfast.Job{Site: site, Name: "x", AutoAbort: holdfast.AutoAbort{Active: true, After: 30 * time.Second}}, holdfast.CodeInvalid},
		{"restore of nothing", holdfast.Job{Site: site, Name: "x", Type: holdfast.JobRestore}, holdfast.CodeInvalid},
		{"restore of an unknown set", holdfast.Job{
			Site: site, Name: "x", Type: holdfast.JobRestore, Restore: &holdfast.RestoreSpec{Set: unknown, Directory: "/restore/a"},
		}, holdfast.CodeNotFound},
		{"restore of a deleted set", holdfast.Job{
			Site: site, Name: "x", Type: holdfast.JobRestore, Restore: &holdfast.RestoreSpec{Set: gone.ID, Directory: "/restore/a"},
		}, holdfast.CodeConflict},
		{"restore of another site's set", holdfast.Job{
			Site: site, Name: "x", Type: holdfast.JobRestore, Restore: &holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"},
		}, holdfast.CodeInvalid},
	} {
		_, err := r.svc.CreateJob(t.Context(), r.admin, c.in)
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
	}
	if _, n, err := r.svc.Jobs(t.Context(), r.admin, store.JobFilter{}); err != nil || n != 3 {
		t.Errorf("got %d jobs and error %v after refusals, want 3", n, err)
	}
	must(r.svc.CreateJob(t.Context(), r.admin, holdfast.Job{Site: r.sites[1].ID, Name: "taken"}))(t) // another site's names are its own
}

func TestUpdateJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateJob(ctx, r.admin, holdfast.Job{
		Site: r.sites[0].ID, Name: "full", Annotations: map[string]json.RawMessage{"d": json.RawMessage(`{"a":1}`)},
	}))(t)
	r.job(0, "taken")
	changed := must(r.svc.UpdateJob(ctx, r.admin, j.ID, func(j *holdfast.Job) error {
		j.Name, j.Priority, j.Active = "renamed", 1, true
		j.Annotations["d"] = json.RawMessage(`{"a":2}`)
		return nil
	}))(t)
	got := must(r.svc.Job(ctx, r.admin, j.ID))(t)
	if got.Name != "renamed" || got.Priority != 1 || !got.Active || string(got.Annotations["d"]) != `{"a":2}` || changed.Name != got.Name {
		t.Errorf("got job %+v, want it changed", got.Job)
	}

	mine := holdfast.Errorf(holdfast.CodeInvalid, "the dialect's own error")
	for _, c := range []struct {
		name   string
		mutate func(*holdfast.Job) error
		want   holdfast.Code
	}{
		{"id", func(j *holdfast.Job) error { j.ID++; return nil }, holdfast.CodeInvalid},
		{"account", func(j *holdfast.Job) error { j.Account++; return nil }, holdfast.CodeInvalid},
		{"site", func(j *holdfast.Job) error { j.Site = r.sites[1].ID; return nil }, holdfast.CodeInvalid},
		{"type", func(j *holdfast.Job) error { j.Type = holdfast.JobRestore; return nil }, holdfast.CodeInvalid},
		{"engine", func(j *holdfast.Job) error { j.Engine = "tar"; return nil }, holdfast.CodeInvalid},
		{"created", func(j *holdfast.Job) error { j.Created = start.Add(1); return nil }, holdfast.CodeInvalid},
		{"deleted", func(j *holdfast.Job) error { j.Deleted = start; return nil }, holdfast.CodeInvalid},
		{"priority", func(j *holdfast.Job) error { j.Priority = 9; return nil }, holdfast.CodeInvalid},
		{"name taken", func(j *holdfast.Job) error { j.Name = "taken"; return nil }, holdfast.CodeConflict},
		{"unknown repository", func(j *holdfast.Job) error { j.Repository = unknown; return nil }, holdfast.CodeNotFound},
		{"own error", func(j *holdfast.Job) error { j.Name = "half"; return mine }, holdfast.CodeInvalid},
	} {
		_, err := r.svc.UpdateJob(ctx, r.admin, j.ID, c.mutate)
		if got := holdfast.ErrorCode(err); got != c.want {
			t.Errorf("%s: got %v, want code %q", c.name, err, c.want)
		}
	}
	if after := must(r.svc.Job(ctx, r.admin, j.ID))(t); after.Name != "renamed" || after.Priority != 1 {
		t.Errorf("got job %+v after refusals, want it unchanged", after.Job)
	}
}

func TestDeleteJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "full")
	done, set := r.backup(j, holdfast.CopyComplete)
	planned := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: start.Add(time.Hour)}))(t)
	busy := r.run(j)
	err := r.svc.DeleteJob(ctx, r.admin, j.ID)
	wantBusy(t, err, busy.ID)
	must(r.svc.Stop(ctx, r.admin, busy.ID))(t)
	if err := r.svc.DeleteJob(ctx, r.admin, j.ID); err != nil {
		t.Fatal(err)
	}

	_, err = r.svc.Job(ctx, r.admin, j.ID)
	wantCode(t, err, holdfast.CodeNotFound)
	_, err = r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID})
	wantCode(t, err, holdfast.CodeNotFound)
	_, err = r.svc.UpdateJob(ctx, r.admin, j.ID, func(*holdfast.Job) error { return nil })
	wantCode(t, err, holdfast.CodeNotFound)
	wantCode(t, r.svc.DeleteJob(ctx, r.admin, j.ID), holdfast.CodeNotFound)
	if got := must(r.svc.Execution(ctx, r.admin, planned.ID))(t); got.Outcome != holdfast.OutcomeCancelled {
		t.Errorf("got planned run %s %s, want it cancelled", got.State, got.Outcome)
	}
	must(r.svc.Execution(ctx, r.admin, done.ID))(t)
	must(r.svc.Set(ctx, r.admin, set.ID))(t)
	r.job(0, "full") // the name is free again
}

// wantBusy checks for the refusal that names the execution in the way.
func wantBusy(t *testing.T, err error, id holdfast.ExecutionID) {
	t.Helper()
	wantCode(t, err, holdfast.CodeConflict)
	var e *holdfast.Error
	if !asError(err, &e) || e.Execution != id {
		t.Errorf("got %+v, want the refusal to name execution %d", err, id)
	}
	if holdfast.ErrorHint(err) == "" {
		t.Error("the refusal has no hint")
	}
}

func TestJobViewKnowsTheLastRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j, other := r.job(0, "full"), r.job(0, "other")
	v := must(r.svc.Job(ctx, r.admin, j.ID))(t)
	if v.Last != nil || v.LastRestore != nil {
		t.Errorf("got view %+v of a new job, want no runs", v)
	}
	_, set := r.backup(j, holdfast.CopyComplete)
	first := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/a"}}))(t)
	second := must(r.svc.Restore(ctx, r.admin, service.NewRestore{Spec: holdfast.RestoreSpec{Set: set.ID, Tablespaces: spaces(), Directory: "/restore/b"}}))(t)
	latest := r.run(j)
	list, n, err := r.svc.Jobs(ctx, r.admin, store.JobFilter{})
	if err != nil || n != 4 {
		t.Fatalf("got %d jobs and error %v, want 4", n, err)
	}
	v = list[0]
	if v.ID != j.ID || v.Last == nil || v.Last.ID != latest.ID || v.LastRestore == nil || v.LastRestore.ID != second.ID {
		t.Errorf("got view %+v, want last run %d and last restore %d", v, latest.ID, second.ID)
	}
	if list[1].ID != other.ID || list[1].Last != nil || list[1].LastRestore != nil {
		t.Errorf("got view %+v of a job that never ran", list[1])
	}
	if list[2].Last == nil || list[2].Last.ID != first.ID || list[2].LastRestore != nil {
		t.Errorf("got view %+v of the first restore job, want its own run only", list[2])
	}
	page, n, err := r.svc.Jobs(ctx, r.admin, store.JobFilter{Types: []holdfast.JobType{holdfast.JobRestore}, Page: store.Page{Offset: 1, Limit: 1}})
	if err != nil || n != 2 || len(page) != 1 || page[0].Last.ID != second.ID {
		t.Errorf("got page %+v of %d restores and error %v, want the second of 2", page, n, err)
	}
}

func TestUpdateJobIsOneChangeAtATime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "full")
	const writers = 8
	errs := make(chan error, writers)
	for range writers {
		go func() {
			_, err := r.svc.UpdateJob(context.WithoutCancel(t.Context()), r.admin, j.ID, func(j *holdfast.Job) error {
				j.Retention.Count++
				return nil
			})
			errs <- err
		}()
	}
	for range writers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if got := must(r.svc.Job(t.Context(), r.admin, j.ID))(t).Retention.Count; got != 7+writers {
		t.Errorf("got retention %d, want %d: a change was lost", got, 7+writers)
	}
}
