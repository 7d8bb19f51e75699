package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// schedule makes an active schedule of a job.
func (r *rig) schedule(j holdfast.Job, expression, zone string, rt holdfast.RunType) holdfast.Schedule {
	r.t.Helper()
	return must(r.svc.CreateSchedule(r.t.Context(), r.admin, holdfast.Schedule{
		Job: j.ID, Expression: expression, TimeZone: zone, RunType: rt, Active: true,
	}))(r.t)
}

// newScheduled is a job of berlin with one schedule.
func newScheduled(r *rig) int64 {
	j := r.job(0, newName())
	r.schedule(j, "@daily", "UTC", holdfast.RunFull)
	return int64(j.ID)
}

// scheduleOf returns the schedule of the job that newScheduled made; a number of
// no schedule when there is none.
func (r *rig) scheduleOf(job int64) holdfast.ScheduleID {
	r.t.Helper()
	var all []holdfast.Schedule
	noErr(r.t, r.store.View(r.t.Context(), func(rd store.Reader) (err error) {
		all, err = rd.Schedules(r.t.Context(), 0, holdfast.JobID(job))
		return err
	}))
	if len(all) == 0 {
		return unknown
	}
	return all[0].ID
}

func noErr(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// data is what an event says.
func data(t testing.TB, e holdfast.Event) map[string]any {
	t.Helper()
	var m map[string]any
	noErr(t, json.Unmarshal(e.Data, &m))
	return m
}

func TestScheduleLives(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "nightly")
	view := must(r.svc.Job(ctx, r.admin, j.ID))(t)
	if !view.NextRun.IsZero() {
		t.Errorf("got next run %s without a schedule, want none", view.NextRun)
	}

	made := must(r.svc.CreateSchedule(ctx, r.admin, holdfast.Schedule{Job: j.ID, Expression: " 30  2 * * * ", Active: true}))(t)
	want := holdfast.Schedule{
		ID: made.ID, Account: j.Account, Job: j.ID, Expression: "30 2 * * *", TimeZone: "UTC", RunType: holdfast.RunFull, Active: true,
		NextRun: start.Add(30 * time.Minute), Created: start, Changed: start,
	}
	if made != want {
		t.Errorf("got %+v, want %+v", made, want)
	}
	if e := r.lastEvent(); e.Kind != "schedule.created" || e.Site != j.Site || data(t, e)["next_run"] != "2026-03-01T02:30:00Z" {
		t.Errorf("got event %s of site %d: %s", e.Kind, e.Site, e.Data)
	}
	if got := must(r.svc.Schedule(ctx, r.admin, j.ID, made.ID))(t); got != made {
		t.Errorf("got %+v back, want %+v", got, made)
	}
	delta := r.schedule(j, "15 */6 * * *", "Europe/Berlin", holdfast.RunDelta)
	if got := must(r.svc.Schedules(ctx, r.admin, j.ID))(t); !slices.Equal(got, []holdfast.Schedule{made, delta}) {
		t.Errorf("got schedules %+v", got)
	}
	if got := must(r.svc.Job(ctx, r.admin, j.ID))(t).NextRun; !got.Equal(made.NextRun) {
		t.Errorf("got the job's next run %s, want the earlier of %s and %s", got, made.NextRun, delta.NextRun)
	}
	runs := must(r.svc.NextRuns(ctx, r.admin, j.ID, 3))(t)
	wantRuns := []service.NextRun{
		{At: made.NextRun, Schedule: made.ID, RunType: holdfast.RunFull},
		{At: start.Add(3*time.Hour + 15*time.Minute), Schedule: delta.ID, RunType: holdfast.RunDelta},
		{At: start.Add(9*time.Hour + 15*time.Minute), Schedule: delta.ID, RunType: holdfast.RunDelta},
	}
	if !slices.Equal(runs, wantRuns) {
		t.Errorf("got next runs %v, want %v", runs, wantRuns)
	}

	r.clock.add(time.Hour)
	changed := must(r.svc.UpdateSchedule(ctx, r.admin, j.ID, made.ID, func(s *holdfast.Schedule) error {
		s.Expression, s.RunType = "rate(2 days)", holdfast.RunCumulative
		return nil
	}))(t)
	if !changed.NextRun.Equal(start.Add(49*time.Hour)) || !changed.Changed.Equal(start.Add(time.Hour)) || !changed.Created.Equal(start) {
		t.Errorf("got %+v after the change", changed)
	}
	if e := r.lastEvent(); e.Kind != "schedule.updated" || data(t, e)["run_type"] != "CUMULATIVE" {
		t.Errorf("got event %s: %s", e.Kind, e.Data)
	}
	resting := must(r.svc.UpdateSchedule(ctx, r.admin, j.ID, made.ID, func(s *holdfast.Schedule) error {
		s.Active = false
		return nil
	}))(t)
	if !resting.NextRun.IsZero() {
		t.Errorf("got next run %s of a schedule that rests, want none", resting.NextRun)
	}

	noErr(t, r.svc.DeleteSchedule(ctx, r.admin, j.ID, made.ID))
	if e := r.lastEvent(); e.Kind != "schedule.deleted" {
		t.Errorf("got event %s, want schedule.deleted", e.Kind)
	}
	_, err := r.svc.Schedule(ctx, r.admin, j.ID, made.ID)
	wantCode(t, err, holdfast.CodeNotFound)
	wantCode(t, r.svc.DeleteSchedule(ctx, r.admin, j.ID, made.ID), holdfast.CodeNotFound)
}

func TestNextRunFollowsTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "nightly")
	sc := r.schedule(j, "@hourly", "UTC", holdfast.RunFull)
	resting := must(r.svc.CreateSchedule(ctx, r.admin, holdfast.Schedule{Job: j.ID, Expression: "@daily"}))(t)
	activate := func(on bool) {
		must(r.svc.UpdateJob(ctx, r.admin, j.ID, func(j *holdfast.Job) error {
			j.Active = on
			return nil
		}))(t)
	}
	next := func(id holdfast.ScheduleID) time.Time { return must(r.svc.Schedule(ctx, r.admin, j.ID, id))(t).NextRun }

	activate(false)
	if got := next(sc.ID); !got.IsZero() {
		t.Errorf("got next run %s while the job rests, want none", got)
	}
	if got := must(r.svc.Job(ctx, r.admin, j.ID))(t).NextRun; !got.IsZero() {
		t.Errorf("got the job's next run %s while it rests, want none", got)
	}
	if got := r.schedule(j, "@daily", "UTC", holdfast.RunFull).NextRun; !got.IsZero() {
		t.Errorf("got next run %s of a new schedule while the job rests, want none", got)
	}
	if got := must(r.svc.NextRuns(ctx, r.admin, j.ID, 0))(t); len(got) != 0 {
		t.Errorf("got next runs %v while the job rests, want none", got)
	}
	r.clock.add(90 * time.Minute)
	activate(true)
	if got, want := next(sc.ID), start.Add(2*time.Hour); !got.Equal(want) {
		t.Errorf("got next run %s after the rest, want %s", got, want)
	}
	if got := next(resting.ID); !got.IsZero() {
		t.Errorf("got next run %s of a schedule that rests, want none", got)
	}
	must(r.svc.UpdateJob(ctx, r.admin, j.ID, func(j *holdfast.Job) error {
		j.Description = "changed"
		return nil
	}))(t)
	if got, want := next(sc.ID), start.Add(2*time.Hour); !got.Equal(want) {
		t.Errorf("got next run %s after another change, want %s", got, want)
	}

	noErr(t, r.svc.DeleteJob(ctx, r.admin, j.ID))
	if left := r.scheduleOf(int64(j.ID)); left != unknown {
		t.Errorf("schedule %d outlives its job", left)
	}
}

func TestSchedulesThatAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "nightly")
	other := r.job(0, "other")
	sc := r.schedule(j, "@daily", "UTC", holdfast.RunFull)
	_, set := r.backup(r.job(0, "source"), holdfast.CopyComplete)
	restore := must(r.svc.Restore(ctx, r.admin, service.NewRestore{
		Spec: holdfast.RestoreSpec{Set: set.ID, Directory: "/restores/a", Tablespaces: spaces()},
	}))(t)
	create := func(s holdfast.Schedule) error {
		_, err := r.svc.CreateSchedule(ctx, r.admin, s)
		return err
	}
	update := func(job holdfast.JobID, mutate func(*holdfast.Schedule)) error {
		_, err := r.svc.UpdateSchedule(ctx, r.admin, job, sc.ID, func(s *holdfast.Schedule) error {
			mutate(s)
			return nil
		})
		return err
	}
	reason := errors.New("the caller's own reason")
	for _, c := range []struct {
		name string
		err  error
		code holdfast.Code
		says string
	}{
		{"no expression", create(holdfast.Schedule{Job: j.ID, Active: true}), holdfast.CodeInvalid, "missing"},
		{"a bad expression", create(holdfast.Schedule{Job: j.ID, Expression: "@often", Active: true}), holdfast.CodeInvalid, "@often"},
		{"the last day and another", create(holdfast.Schedule{Job: j.ID, Expression: "0 0 15,L * *"}), holdfast.CodeInvalid, "L, the last day"},
		{"a bad zone", create(holdfast.Schedule{Job: j.ID, Expression: "@daily", TimeZone: "Mars"}), holdfast.CodeInvalid, "Mars"},
		{"a bad run type", create(holdfast.Schedule{Job: j.ID, Expression: "@daily", RunType: "HALF"}), holdfast.CodeInvalid, "HALF"},
		{"a time that has passed", create(holdfast.Schedule{Job: j.ID, Expression: "at(2026-03-01T01:59:59)", Active: true}), holdfast.CodeInvalid, "does not run"},
		{"a restore job", create(holdfast.Schedule{Job: restore.Job, Expression: "@daily"}), holdfast.CodeInvalid, "RESTORE"},
		{"an unknown job", create(holdfast.Schedule{Job: unknown, Expression: "@daily"}), holdfast.CodeNotFound, "job 999999"},
		{"another job's schedule", update(other.ID, func(*holdfast.Schedule) {}), holdfast.CodeNotFound, "schedule"},
		{"moved to another job", update(j.ID, func(s *holdfast.Schedule) { s.Job = other.ID }), holdfast.CodeInvalid, "can change"},
		{"changed to what cannot be read", update(j.ID, func(s *holdfast.Schedule) { s.Expression = "* * * *" }), holdfast.CodeInvalid, "4 fields"},
	} {
		wantCode(t, c.err, c.code)
		if !strings.Contains(c.err.Error(), c.says) {
			t.Errorf("%s: got %q, want %q in it", c.name, c.err, c.says)
		}
	}
	_, err := r.svc.UpdateSchedule(ctx, r.admin, j.ID, sc.ID, func(*holdfast.Schedule) error { return reason })
	if !errors.Is(err, reason) {
		t.Errorf("got error %v, want the one of mutate", err)
	}
	if got := must(r.svc.Schedule(ctx, r.admin, j.ID, sc.ID))(t); got != sc {
		t.Errorf("got %+v after refused changes, want %+v", got, sc)
	}
	for _, n := range []int{-1, 101} {
		_, err := r.svc.NextRuns(ctx, r.admin, j.ID, n)
		wantInvalid(t, err)
		_, err = r.svc.PreviewSchedule(ctx, r.admin, holdfast.Schedule{Job: j.ID, Expression: "@daily"}, n)
		wantInvalid(t, err)
	}
}

// A job may rest a schedule that has run out, but not wake it.
func TestAScheduleThatHasRunOutMayRest(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	sc := r.schedule(j, "at(2026-03-01T02:30:00)", "UTC", holdfast.RunFull)
	r.clock.add(time.Hour)
	rest := func(on bool) error {
		_, err := r.svc.UpdateSchedule(t.Context(), r.admin, j.ID, sc.ID, func(s *holdfast.Schedule) error {
			s.Active = on
			return nil
		})
		return err
	}
	noErr(t, rest(false))
	wantInvalid(t, rest(true))
}

func TestAJobHasAtMostAHundredSchedules(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	for range holdfast.MaxSchedules {
		r.schedule(j, "@daily", "UTC", holdfast.RunFull)
	}
	_, err := r.svc.CreateSchedule(t.Context(), r.admin, holdfast.Schedule{Job: j.ID, Expression: "@daily", Active: true})
	wantCode(t, err, holdfast.CodeConflict)
	noErr(t, r.svc.DeleteSchedule(t.Context(), r.admin, j.ID, r.scheduleOf(int64(j.ID))))
	r.schedule(j, "@daily", "UTC", holdfast.RunFull)
}

func TestPreviewSaysWhatItMeets(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	prioritised := func(site int, name string, p holdfast.Priority) holdfast.Job {
		return must(r.svc.CreateJob(ctx, r.admin, holdfast.Job{Site: r.sites[site].ID, Name: name, Active: true, Priority: p}))(t)
	}
	j := prioritised(0, "nightly", 3)
	equal, high, low := prioritised(0, "equal", 3), prioritised(0, "high", 1), prioritised(0, "low", 5)
	own := r.schedule(j, "0 4 * * *", "UTC", holdfast.RunDelta)
	both := r.schedule(equal, "0 4 * * MON", "UTC", holdfast.RunFull)
	wins := r.schedule(high, "0 4 2 * *", "UTC", holdfast.RunFull)
	loses := r.schedule(low, "0 5 1 3 *", "Europe/Berlin", holdfast.RunFull)
	r.schedule(prioritised(1, "elsewhere", 1), "0 4 * * *", "UTC", holdfast.RunFull)
	r.schedule(high, "1 4 * * *", "UTC", holdfast.RunFull)
	asleep := r.schedule(high, "0 4 * * *", "UTC", holdfast.RunFull)
	must(r.svc.UpdateSchedule(ctx, r.admin, high.ID, asleep.ID, func(s *holdfast.Schedule) error {
		s.Active = false
		return nil
	}))(t)

	asked := holdfast.Schedule{Job: j.ID, Expression: "0 4 * * *", RunType: holdfast.RunFull}
	got := must(r.svc.PreviewSchedule(ctx, r.admin, asked, 2))(t)
	first, second := time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC), time.Date(2026, 3, 2, 4, 0, 0, 0, time.UTC)
	if !slices.Equal(got.Next, []time.Time{first, second}) {
		t.Errorf("got runs %v", got.Next)
	}
	skipsDelta := "it is the same job, and this run goes first: the other one is skipped"
	want := []service.Conflict{
		{first, j.ID, "nightly", own.ID, holdfast.RunDelta, skipsDelta},
		{first, low.ID, "low", loses.ID, holdfast.RunFull, "this job has a higher priority: the other run is skipped"},
		{second, j.ID, "nightly", own.ID, holdfast.RunDelta, skipsDelta},
		{second, equal.ID, "equal", both.ID, holdfast.RunFull, "both run at once"},
		{second, high.ID, "high", wins.ID, holdfast.RunFull, "the other job has a higher priority: this run is skipped"},
	}
	if !slices.Equal(got.Conflicts, want) {
		t.Errorf("got conflicts\n%+v\nwant\n%+v", got.Conflicts, want)
	}

	asked.RunType = holdfast.RunDelta // as the older one
	if c := must(r.svc.PreviewSchedule(ctx, r.admin, asked, 1))(t).Conflicts[0]; c.Reason != "it is the same job, and the other run goes first: this one is skipped" {
		t.Errorf("got %q for the same run type", c.Reason)
	}
	asked.ID = own.ID
	if got := must(r.svc.PreviewSchedule(ctx, r.admin, asked, 1))(t).Conflicts; len(got) != 1 || got[0].Schedule != loses.ID {
		t.Errorf("got conflicts %+v of a schedule that exists, want none with itself", got)
	}
	if got := must(r.svc.PreviewSchedule(ctx, r.admin, holdfast.Schedule{Job: j.ID, Expression: "@daily"}, 0))(t); len(got.Next) != 10 || len(got.Conflicts) != 0 {
		t.Errorf("got %d runs and conflicts %+v, want 10 and none", len(got.Next), got.Conflicts)
	}
	_, err := r.svc.PreviewSchedule(ctx, r.admin, holdfast.Schedule{Job: j.ID, Expression: "never"}, 0)
	wantInvalid(t, err)
	if n := len(must(r.svc.Schedules(ctx, r.admin, j.ID))(t)); n != 1 {
		t.Errorf("got %d schedules after previews, want 1", n)
	}
}

// A minute that is full of others is answered with the first hundred.
func TestPreviewIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	for range 30 {
		r.schedule(j, "* * * * *", "UTC", holdfast.RunFull)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := must(r.svc.PreviewSchedule(ctx, r.admin, holdfast.Schedule{Job: j.ID, Expression: "@hourly"}, 100))(t)
	if len(got.Next) != 100 || len(got.Conflicts) != 100 {
		t.Errorf("got %d runs and %d conflicts, want 100 and 100", len(got.Next), len(got.Conflicts))
	}
}
