package service_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// trigger makes an active trigger.
func (r *rig) trigger(job, run holdfast.Job) holdfast.Trigger {
	r.t.Helper()
	return must(r.svc.CreateTrigger(r.t.Context(), r.admin, holdfast.Trigger{Job: job.ID, Run: run.ID, Active: true}))(r.t)
}

// newTriggered is a job of berlin with one trigger.
func newTriggered(r *rig) int64 {
	j := r.job(0, newName())
	r.trigger(j, r.job(0, newName()))
	return int64(j.ID)
}

// triggerOf returns the trigger of the job that newTriggered made; a number of no
// trigger when there is none.
func (r *rig) triggerOf(job int64) holdfast.TriggerID {
	r.t.Helper()
	var all []holdfast.Trigger
	noErr(r.t, r.store.View(r.t.Context(), func(rd store.Reader) (err error) {
		all, err = rd.Triggers(r.t.Context(), 0, holdfast.JobID(job))
		return err
	}))
	if len(all) == 0 {
		return unknown
	}
	return all[0].ID
}

func TestTriggersAreMadeChangedAndDeleted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	load, nightly, report := r.etl("load", berlinETL), r.job(1, "nightly"), r.etl("report", berlinETL)
	before := r.lastEvent().ID
	backup := r.trigger(load, nightly)
	wantSame(t, "trigger", backup, holdfast.Trigger{
		ID: holdfast.FirstID, Account: holdfast.FirstID, Job: load.ID, Run: nightly.ID, On: holdfast.OnSucceeded, RunType: holdfast.RunDelta,
		Active: true, Created: start,
	})
	asked := holdfast.Trigger{ID: 7, Account: 8, Job: load.ID, Run: report.ID, On: holdfast.OnDone, Created: start.AddDate(1, 0, 0)}
	chain := must(r.svc.CreateTrigger(t.Context(), r.admin, asked))(t)
	wantSame(t, "second", chain, holdfast.Trigger{
		ID: holdfast.FirstID + 1, Account: holdfast.FirstID, Job: load.ID, Run: report.ID, On: holdfast.OnDone, Created: start,
	})
	wantSame(t, "list", must(r.svc.Triggers(t.Context(), r.admin, load.ID))(t), []holdfast.Trigger{backup, chain})
	wantSame(t, "list of another", must(r.svc.Triggers(t.Context(), r.admin, nightly.ID))(t), []holdfast.Trigger(nil))

	on := must(r.svc.SetTriggerActive(t.Context(), r.admin, load.ID, chain.ID, true))(t)
	must(r.svc.SetTriggerActive(t.Context(), r.admin, load.ID, chain.ID, true))(t)
	chain.Active = true
	wantSame(t, "active", on, chain)
	noErr(t, r.svc.DeleteTrigger(t.Context(), r.admin, load.ID, backup.ID))
	wantSame(t, "list at last", must(r.svc.Triggers(t.Context(), r.admin, load.ID))(t), []holdfast.Trigger{chain})

	_, err := r.svc.SetTriggerActive(t.Context(), r.admin, load.ID, backup.ID, false)
	wantCode(t, err, holdfast.CodeNotFound)
	wantCode(t, r.svc.DeleteTrigger(t.Context(), r.admin, load.ID, backup.ID), holdfast.CodeNotFound)
	wantCode(t, r.svc.DeleteTrigger(t.Context(), r.admin, nightly.ID, chain.ID), holdfast.CodeNotFound)
	var told []string
	for _, e := range r.events(before) {
		if e.Site != load.Site {
			t.Errorf("event %+v is of another site's history", e)
		}
		told = append(told, e.Kind+" "+e.Subject)
	}
	want := "trigger.created trigger 1001, trigger.created trigger 1002, trigger.updated trigger 1002, trigger.deleted trigger 1001"
	if got := strings.Join(told, ", "); got != want {
		t.Errorf("got events %q, want %q", got, want)
	}
}

func TestTriggersThatCannotBeMade(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	load, nightly := r.etl("load", berlinETL), r.job(0, "nightly")
	service1, service2 := r.etl("follow", serviceETL), r.etl("follow too", serviceETL)
	_, set := r.backup(nightly, holdfast.CopyComplete)
	restore := must(r.svc.CreateJob(t.Context(), r.admin, holdfast.Job{
		Site: r.sites[0].ID, Type: holdfast.JobRestore, Name: "restore",
		Restore: &holdfast.RestoreSpec{Set: set.ID, Host: r.hosts[0].ID, Directory: "/restore/a", Tablespaces: spaces()},
	}))(t)
	gone := r.job(0, "gone")
	noErr(t, r.svc.DeleteJob(t.Context(), r.admin, gone.ID))
	r.trigger(load, nightly)
	for _, c := range []struct {
		name string
		in   holdfast.Trigger
		want holdfast.Code
	}{
		{"after itself", holdfast.Trigger{Job: load.ID, Run: load.ID}, holdfast.CodeInvalid},
		{"back", holdfast.Trigger{Job: nightly.ID, Run: load.ID}, holdfast.CodeInvalid},
		{"twice", holdfast.Trigger{Job: load.ID, Run: nightly.ID, On: holdfast.OnDone}, holdfast.CodeConflict},
		{"after a service", holdfast.Trigger{Job: service1.ID, Run: nightly.ID}, holdfast.CodeInvalid},
		{"a service", holdfast.Trigger{Job: nightly.ID, Run: service2.ID}, holdfast.CodeInvalid},
		{"a restore", holdfast.Trigger{Job: nightly.ID, Run: restore.ID}, holdfast.CodeInvalid},
		{"after a restore", holdfast.Trigger{Job: restore.ID, Run: load.ID}, ""},
		{"after failures", holdfast.Trigger{Job: restore.ID, Run: nightly.ID, On: "FAILED"}, holdfast.CodeInvalid},
		{"half a backup", holdfast.Trigger{Job: restore.ID, Run: nightly.ID, RunType: "HALF"}, holdfast.CodeInvalid},
		{"an ETL with a run type", holdfast.Trigger{Job: nightly.ID, Run: load.ID, RunType: holdfast.RunFull}, holdfast.CodeInvalid},
		{"after what is gone", holdfast.Trigger{Job: gone.ID, Run: nightly.ID}, holdfast.CodeNotFound},
		{"what is gone", holdfast.Trigger{Job: nightly.ID, Run: gone.ID}, holdfast.CodeNotFound},
		{"what never was", holdfast.Trigger{Job: nightly.ID, Run: unknown}, holdfast.CodeNotFound},
	} {
		if _, err := r.svc.CreateTrigger(t.Context(), r.admin, c.in); holdfast.ErrorCode(err) != c.want || err != nil && holdfast.ErrorMessage(err) == "" {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// TestTriggersMakeNoLoops builds a diamond, and closes it in every way.
func TestTriggersMakeNoLoops(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	var jobs []holdfast.Job
	for i := range 6 {
		jobs = append(jobs, r.job(i%2, fmt.Sprint("job ", i)))
	}
	for _, edge := range [][2]int{{0, 1}, {0, 2}, {1, 3}, {2, 3}, {3, 4}} {
		tr := r.trigger(jobs[edge[0]], jobs[edge[1]])
		if edge[0] == 3 { // one that rests may be woken
			must(r.svc.SetTriggerActive(t.Context(), r.admin, tr.Job, tr.ID, false))(t)
		}
	}
	for _, edge := range [][2]int{{4, 0}, {4, 1}, {4, 2}, {4, 3}, {3, 0}, {3, 1}, {3, 2}, {2, 0}, {1, 0}} {
		_, err := r.svc.CreateTrigger(t.Context(), r.admin, holdfast.Trigger{Job: jobs[edge[0]].ID, Run: jobs[edge[1]].ID})
		if holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%v: got %v, want it refused", edge, err)
		}
	}
	r.trigger(jobs[1], jobs[2])
	r.trigger(jobs[4], jobs[5])
	for i := range holdfast.MaxTriggers {
		r.trigger(jobs[5], r.job(0, fmt.Sprint("more ", i)))
	}
	_, err := r.svc.CreateTrigger(t.Context(), r.admin, holdfast.Trigger{Job: jobs[5].ID, Run: r.job(0, "one more").ID})
	wantCode(t, err, holdfast.CodeConflict)
}

// TestTriggersOfADeletedJob deletes a job in the middle of a chain.
func TestTriggersOfADeletedJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second, third := r.job(0, "first"), r.job(0, "second"), r.job(0, "third")
	r.trigger(first, second)
	r.trigger(second, third)
	kept := r.trigger(first, third)
	noErr(t, r.svc.DeleteJob(t.Context(), r.admin, second.ID))
	wantSame(t, "triggers of the first", must(r.svc.Triggers(t.Context(), r.admin, first.ID))(t), []holdfast.Trigger{kept})
	noErr(t, r.store.View(t.Context(), func(rd store.Reader) error {
		waiting, err := rd.Triggers(t.Context(), 0, second.ID)
		if err != nil || len(waiting) != 0 {
			t.Errorf("got triggers %+v and error %v of a job that is deleted, want none", waiting, err)
		}
		return nil
	}))
	if got := r.kinds("trigger.deleted"); len(got) != 2 {
		t.Errorf("got events %+v, want two", got)
	}
}

// TestTriggersAndScopes has a credential for berlin look at chains that lead to
// paris.
func TestTriggersAndScopes(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	here, there := r.job(0, "here"), r.job(1, "there")
	home := must(r.svc.CreateETL(t.Context(), r.admin, service.NewETL{Name: "home", Site: r.sites[0].ID, Definition: berlinETL}))(t)
	both := must(r.svc.CreateETL(t.Context(), r.admin, service.NewETL{
		Name: "both", Site: r.sites[0].ID, Definition: definitionOf("both", "", "paris", "berlin"),
	}))(t)
	away, near := r.trigger(here, there), r.trigger(here, home)
	far := r.trigger(here, both)
	bound := r.actor(holdfast.RoleAdmin, r.sites[0].ID)
	wantSame(t, "triggers", must(r.svc.Triggers(t.Context(), bound, here.ID))(t), []holdfast.Trigger{near, far})
	wantCode(t, r.svc.DeleteTrigger(t.Context(), bound, here.ID, away.ID), holdfast.CodeNotFound)
	_, err := r.svc.SetTriggerActive(t.Context(), bound, here.ID, away.ID, false)
	wantCode(t, err, holdfast.CodeNotFound)
	_, err = r.svc.SetTriggerActive(t.Context(), bound, here.ID, far.ID, true)
	wantCode(t, err, holdfast.CodeForbidden)
	other := r.job(0, "other")
	for run, want := range map[holdfast.JobID]holdfast.Code{there.ID: holdfast.CodeNotFound, both.ID: holdfast.CodeForbidden, home.ID: ""} {
		if _, err := r.svc.CreateTrigger(t.Context(), bound, holdfast.Trigger{Job: other.ID, Run: run}); holdfast.ErrorCode(err) != want {
			t.Errorf("run job %d: got %v, want %q", run, err, want)
		}
	}
	noErr(t, r.svc.DeleteTrigger(t.Context(), bound, here.ID, near.ID))
}

// TestAnETLHasSchedules runs a batch ETL by a schedule: once at a time, with the
// properties of its run configuration, and only while it is active.
func TestAnETLHasSchedules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.etl("orders", berlinETL)
	sc := r.schedule(j, "30 2 * * *", "UTC", holdfast.RunDelta)
	if sc.RunType != "" || sc.NextRun.IsZero() {
		t.Errorf("got schedule %+v, want one without a run type", sc)
	}
	changed := must(r.svc.UpdateSchedule(t.Context(), r.admin, j.ID, sc.ID, func(s *holdfast.Schedule) error {
		s.RunType, s.Expression = holdfast.RunFull, "*/30 * * * *"
		return nil
	}))(t)
	if changed.RunType != "" {
		t.Errorf("got run type %q, want none", changed.RunType)
	}
	p := must(r.svc.PreviewSchedule(t.Context(), r.admin, holdfast.Schedule{Job: j.ID, Expression: "0 3 * * *"}, 1))(t)
	if len(p.Next) != 1 || len(p.Conflicts) != 1 || p.Conflicts[0].Schedule != sc.ID {
		t.Errorf("got preview %+v, want that it meets the other schedule", p)
	}
	r.clock.add(30 * time.Minute)
	r.look()
	list := r.executions(j)
	if len(list) != 1 {
		t.Fatalf("got %d executions, want one", len(list))
	}
	e := list[0]
	if e.State != holdfast.StateQueued || e.Schedule != sc.ID || e.ETL == nil || e.ETL.Service || e.RunAsked != "" || e.RunType != "" ||
		e.Repository != 0 || e.Actor != "scheduler" || !e.Due.Equal(start.Add(30*time.Minute)) || e.Submission == 0 {
		t.Errorf("got %+v, want an execution of the schedule", e)
	}
	r.clock.add(30 * time.Minute)
	r.look()
	r.wantSkips(holdfast.SkipBusy)
	r.endAll()
	must(r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error { j.Active = false; return nil }))(t)
	r.walk(start.Add(4*time.Hour), 30*time.Minute)
	if n := len(r.executions(j)); n != 1 {
		t.Errorf("got %d executions of an inactive ETL, want the one before", n)
	}
	must(r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error {
		j.Active, j.ETL.Configurations[0].Active = true, false
		return nil
	}))(t)
	r.clock.add(30 * time.Minute)
	r.look()
	r.wantSkips(holdfast.SkipBusy, holdfast.SkipRefused)
	must(r.svc.UpdateETL(t.Context(), r.admin, j.ID, func(j *holdfast.Job) error { j.ETL.Configurations[0].Active = true; return nil }))(t)
	r.clock.add(30 * time.Minute)
	r.look()
	if n := len(r.executions(j)); n != 2 {
		t.Errorf("got %d executions, want another one", n)
	}
	if list := must(r.svc.SiteSchedules(t.Context(), r.admin, nil, store.Page{}))(t); len(list) != 0 {
		t.Errorf("got %+v among the schedules of backups", list)
	}
	_, err := r.svc.CreateSchedule(t.Context(), r.admin, holdfast.Schedule{Job: r.etl("follow", serviceETL).ID, Expression: "@daily", Active: true})
	wantInvalid(t, err)
}
