package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

func (c *clock) set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// look runs what is due.
func (r *rig) look() time.Time {
	r.t.Helper()
	return must(r.svc.RunDue(r.t.Context()))(r.t)
}

// walk moves the clock on in steps and looks at each, to the end. What runs has
// ended by the next step.
func (r *rig) walk(to time.Time, step time.Duration) {
	r.t.Helper()
	for r.clock.Now().Before(to) {
		r.clock.add(step)
		r.look()
		r.endAll()
	}
}

// endAll ends everything that is queued.
func (r *rig) endAll() {
	r.t.Helper()
	var live []holdfast.Execution
	noErr(r.t, r.store.View(r.t.Context(), func(rd store.Reader) (err error) {
		live, err = rd.LiveExecutions(r.t.Context(), holdfast.StateQueued)
		return err
	}))
	for _, e := range live {
		r.move(r.move(e, holdfast.MoveStart), holdfast.MoveSucceed)
	}
}

// executions lists the executions of a job, the oldest first.
func (r *rig) executions(j holdfast.Job) []holdfast.Execution {
	r.t.Helper()
	list, _, err := r.svc.Executions(r.t.Context(), r.admin, store.ExecutionFilter{Job: j.ID})
	noErr(r.t, err)
	slices.Reverse(list)
	return list
}

// dues says when the executions of a job were due, in a zone.
func (r *rig) dues(j holdfast.Job, zone string) []string {
	r.t.Helper()
	loc, err := time.LoadLocation(zone)
	noErr(r.t, err)
	var out []string
	for _, e := range r.executions(j) {
		out = append(out, e.Due.In(loc).Format("01-02T15:04Z07:00"))
	}
	return out
}

// kinds lists the events of one kind, as what they say.
func (r *rig) kinds(kind string) []map[string]any {
	r.t.Helper()
	var out []map[string]any
	after := holdfast.EventID(0)
	for {
		page := r.events(after)
		if len(page) == 0 {
			return out
		}
		for _, e := range page {
			if after = e.ID; e.Kind == kind {
				out = append(out, data(r.t, e))
			}
		}
	}
}

// wantSkips checks the reasons of everything that was skipped.
func (r *rig) wantSkips(want ...holdfast.SkipReason) {
	r.t.Helper()
	var got []holdfast.SkipReason
	for _, d := range r.kinds("schedule.skipped") {
		got = append(got, holdfast.SkipReason(d["reason"].(string)))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("got skipped runs %q, want %q", got, want)
	}
}

func utcTime(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	noErr(t, err)
	return at.UTC()
}

func TestADueScheduleMakesAnExecution(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	sc := r.schedule(j, "30 2 * * *", "UTC", holdfast.RunDelta)
	if again := r.look(); !again.Equal(start.Add(time.Second)) {
		t.Errorf("got to look again at %s, want in a second", again)
	}
	r.clock.set(sc.NextRun.Add(-300 * time.Millisecond))
	if again := r.look(); !again.Equal(sc.NextRun) {
		t.Errorf("got to look again at %s, want %s", again, sc.NextRun)
	}
	if n := len(r.executions(j)); n != 0 {
		t.Fatalf("got %d executions before the time, want none", n)
	}
	r.out.forget()
	r.clock.set(sc.NextRun)
	r.look()
	r.look()
	list := r.executions(j)
	if len(list) != 1 {
		t.Fatalf("got %d executions, want 1", len(list))
	}
	e := list[0]
	if e.Schedule != sc.ID || e.Actor != "scheduler" || e.RunAsked != holdfast.RunDelta || e.State != holdfast.StateQueued || !e.Due.Equal(sc.NextRun) {
		t.Errorf("got %+v", e)
	}
	sub, _, err := r.svc.Submission(t.Context(), r.admin, e.Submission)
	noErr(t, err)
	if sub.Dialect != "" || sub.Principal != 0 {
		t.Errorf("got submission %+v, want one of nobody", sub)
	}
	if got := r.out.rung(); !slices.Equal(got, []string{e.Pool}) {
		t.Errorf("got bells %q, want one of the pool", got)
	}
	ev := r.lastEvent()
	if ev.Kind != "execution.queued" || ev.Actor != "scheduler" || ev.Dialect != "" || data(t, ev)["schedule"] != float64(sc.ID) {
		t.Errorf("got event %+v: %s", ev, ev.Data)
	}
	if got := must(r.svc.Schedule(t.Context(), r.admin, j.ID, sc.ID))(t); !got.NextRun.Equal(sc.NextRun.AddDate(0, 0, 1)) || !got.Changed.Equal(sc.Changed) {
		t.Errorf("got %+v afterwards", got)
	}
}

func TestRunsOverTheChangesOfTheClock(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, expression, zone, from, to string
		want                             []string
	}{
		{
			"spring, daily", "30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-30T06:00:00Z",
			[]string{"03-28T02:30+01:00", "03-29T03:00+02:00", "03-30T02:30+02:00"},
		},
		{
			"autumn, daily", "30 2 * * *", "Europe/Berlin", "2026-10-24T00:00:00Z", "2026-10-26T06:00:00Z",
			[]string{"10-24T02:30+02:00", "10-25T02:30+02:00", "10-26T02:30+01:00"},
		},
		{
			"spring, each half hour", "*/30 * * * *", "America/New_York", "2026-03-08T06:15:00Z", "2026-03-08T08:15:00Z",
			[]string{"03-08T01:30-05:00", "03-08T03:00-04:00", "03-08T03:30-04:00", "03-08T04:00-04:00"},
		},
		{
			"autumn, each half hour", "*/30 * * * *", "America/New_York", "2026-11-01T05:15:00Z", "2026-11-01T07:15:00Z",
			[]string{"11-01T01:30-04:00", "11-01T01:00-05:00", "11-01T01:30-05:00", "11-01T02:00-05:00"},
		},
		{
			"autumn, half an hour", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", "2026-04-05T20:00:00Z",
			[]string{"04-05T01:45+11:00", "04-06T01:45+10:30"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.clock.set(utcTime(t, c.from))
			j := r.job(0, "nightly")
			r.schedule(j, c.expression, c.zone, holdfast.RunFull)
			r.walk(utcTime(t, c.to), 15*time.Minute)
			if got := r.dues(j, c.zone); !slices.Equal(got, c.want) {
				t.Errorf("got runs %q, want %q", got, c.want)
			}
			r.wantSkips()
			if n := len(r.kinds("schedule.late")); n != 0 {
				t.Errorf("got %d late runs, want none", n)
			}
		})
	}
}

// While the server is down nothing runs; then it runs once, or says what was
// missed.
func TestAfterTheServerWasDown(t *testing.T) {
	t.Parallel()
	const minutely, hourly, nightly = "* * * * *", "0 * * * *", "0 3 * * *"
	for _, c := range []struct {
		name, expression string
		down             time.Duration // from 02:55
		runs             []string
		late             []map[string]any
		skipped          []map[string]any
	}{
		{
			"ten minutes, nightly", nightly, 10 * time.Minute,
			[]string{"03-01T03:00Z"},
			[]map[string]any{{"late_seconds": 300.0, "missed": 0.0}},
			nil,
		},
		{"ten minutes, and nothing was due", "0 5 * * *", 10 * time.Minute, nil, nil, nil},
		{
			"ten minutes, minutely", minutely, 10 * time.Minute,
			[]string{"03-01T03:05Z"},
			[]map[string]any{{"late_seconds": 0.0, "missed": 9.0}},
			nil,
		},
		{
			"three days, nightly", nightly, 72*time.Hour + 2*time.Hour,
			nil, nil,
			[]map[string]any{{"reason": "missed", "missed": 4.0, "due": "2026-03-04T03:00:00Z", "run_type": "FULL"}},
		},
		{
			"three days, hourly", hourly, 72*time.Hour + 10*time.Minute,
			[]string{"03-04T03:00Z"},
			[]map[string]any{{"late_seconds": 300.0, "missed": 72.0}},
			nil,
		},
		{
			"nine days, minutely", minutely, 9*24*time.Hour + 30*time.Second,
			[]string{"03-10T02:55Z"},
			[]map[string]any{{"late_seconds": 30.0, "missed": 10000.0}},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.clock.add(55 * time.Minute)
			j := r.job(0, "nightly")
			sc := r.schedule(j, c.expression, "UTC", holdfast.RunFull)
			r.clock.add(c.down)
			r.look()
			r.look()
			if got := r.dues(j, "UTC"); !slices.Equal(got, c.runs) {
				t.Errorf("got runs %q, want %q", got, c.runs)
			}
			for kind, want := range map[string][]map[string]any{"schedule.late": c.late, "schedule.skipped": c.skipped} {
				got := r.kinds(kind)
				if len(got) != len(want) {
					t.Fatalf("got %s events %v, want %v", kind, got, want)
				}
				for i := range want {
					for k, v := range want[i] {
						if got[i][k] != v {
							t.Errorf("%s event: got %s %v, want %v", kind, k, got[i][k], v)
						}
					}
					if got[i]["schedule"] != float64(sc.ID) || got[i]["job"] != float64(j.ID) {
						t.Errorf("%s event: got %v, want it to name schedule and job", kind, got[i])
					}
				}
			}
			if next := must(r.svc.Job(t.Context(), r.admin, j.ID))(t).NextRun; !next.After(r.clock.Now()) {
				t.Errorf("got next run %s, want one to come", next)
			}
		})
	}
}

// A clock that is set by two hours has nothing run twice, nor all at once.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	for _, by := range []time.Duration{-2 * time.Hour, 2 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			nightly, often := r.job(0, "nightly"), r.job(1, "often")
			r.schedule(nightly, "30 2 * * *", "UTC", holdfast.RunFull)
			r.schedule(often, "*/5 * * * *", "UTC", holdfast.RunFull)
			r.walk(start.Add(40*time.Minute), time.Minute)
			r.clock.add(by)
			noErr(t, r.svc.RepairSchedules(t.Context()))
			r.walk(start.Add(6*time.Hour), time.Minute)
			seen := map[string]bool{}
			for _, j := range []holdfast.Job{nightly, often} {
				for _, e := range r.executions(j) {
					key := fmt.Sprint(e.Schedule, e.Due)
					if seen[key] {
						t.Errorf("schedule %d ran twice for %s", e.Schedule, e.Due)
					}
					seen[key] = true
				}
			}
			if got := r.dues(nightly, "UTC"); !slices.Equal(got, []string{"03-01T02:30Z"}) {
				t.Errorf("got runs %q, want one", got)
			}
			want := 72 // each five minutes for six hours
			if by > 0 {
				want -= int(by/(5*time.Minute)) - 1 // one of those that were left out runs late
			}
			if n := len(r.executions(often)); n != want {
				t.Errorf("got %d runs, want %d", n, want)
			}
		})
	}
}

// A clock that was days ahead has not put the next run off for good.
func TestNextRunsThatAreTooFarAwayAreFoundAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "nightly")
	daily := r.schedule(j, "0 4 * * *", "UTC", holdfast.RunFull)
	often := r.schedule(r.job(0, "often"), "*/5 * * * *", "UTC", holdfast.RunFull)
	once := r.schedule(r.job(0, "once"), "at(2026-12-01T02:00:00)", "UTC", holdfast.RunFull)
	yearly := r.schedule(r.job(0, "yearly"), "@yearly", "UTC", holdfast.RunFull)
	next := func(sc holdfast.Schedule) string {
		return must(r.svc.Schedule(ctx, r.admin, sc.Job, sc.ID))(t).NextRun.Format(time.RFC3339)
	}
	noErr(t, r.svc.RepairSchedules(ctx))
	if got := next(yearly); got != "2027-01-01T00:00:00Z" {
		t.Errorf("got next run %s of a yearly schedule, want it untouched", got)
	}
	r.clock.set(start.AddDate(10, 0, 0))
	r.look()
	r.endAll()
	for _, c := range []struct {
		name  string
		clock time.Time
		want  []string
	}{
		{"it stays ahead", start.AddDate(10, 0, 0), []string{"2036-03-01T04:00:00Z", "2036-03-01T02:05:00Z", "0001-01-01T00:00:00Z", "2037-01-01T00:00:00Z"}},
		{"it was two hours ahead", start.AddDate(10, 0, 0).Add(-2 * time.Hour), []string{"2036-03-01T04:00:00Z", "2036-03-01T02:05:00Z", "0001-01-01T00:00:00Z", "2037-01-01T00:00:00Z"}},
		{"it was ten years ahead", start.Add(time.Hour), []string{"2026-03-01T04:00:00Z", "2026-03-01T03:05:00Z", "0001-01-01T00:00:00Z", "2027-01-01T00:00:00Z"}},
	} {
		r.clock.set(c.clock)
		noErr(t, r.svc.RepairSchedules(ctx))
		if got := []string{next(daily), next(often), next(once), next(yearly)}; !slices.Equal(got, c.want) {
			t.Errorf("%s: got next runs %q, want %q", c.name, got, c.want)
		}
	}
}

func TestOverlapIsSkipped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	r.schedule(j, "0 3 * * *", "UTC", holdfast.RunFull)
	e := r.move(r.run(j), holdfast.MoveStart)
	r.clock.add(time.Hour)
	r.look()
	r.wantSkips(holdfast.SkipBusy)
	if d := r.kinds("schedule.skipped")[0]; d["for_execution"] != float64(e.ID) || d["missed"] != 1.0 {
		t.Errorf("got %v, want the execution that runs", d)
	}
	r.move(e, holdfast.MoveSucceed)
	r.clock.add(23 * time.Hour)
	r.look()
	r.clock.add(time.Hour)
	r.look()
	if n := len(r.executions(j)); n != 2 {
		t.Errorf("got %d executions, want 2: the next night is another one", n)
	}
	r.wantSkips(holdfast.SkipBusy)
}

func TestSchedulesOfOneJobAtOneTime(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	delta := r.schedule(j, "0 3 * * *", "UTC", holdfast.RunDelta)
	full := r.schedule(j, "0 3 * * SUN", "UTC", holdfast.RunFull)
	r.clock.set(utcTime(t, "2026-03-01T03:00:00Z")) // a Sunday
	r.look()
	list := r.executions(j)
	if len(list) != 1 || list[0].Schedule != full.ID || list[0].RunAsked != holdfast.RunFull {
		t.Fatalf("got %+v, want the full run", list)
	}
	r.wantSkips(holdfast.SkipSame)
	if d := r.kinds("schedule.skipped")[0]; d["schedule"] != float64(delta.ID) || d["for_schedule"] != float64(full.ID) {
		t.Errorf("got %v", d)
	}
	r.endAll()
	r.walk(utcTime(t, "2026-03-02T03:00:00Z"), time.Hour)
	if list := r.executions(j); len(list) != 2 || list[1].Schedule != delta.ID {
		t.Errorf("got %+v, want the delta on Monday", list)
	}
}

func TestPrioritiesOfASite(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		wait  bool
		skips []holdfast.SkipReason
		low   int
	}{
		{"skip", false, []holdfast.SkipReason{holdfast.SkipPriority}, 0},
		{"defer", true, nil, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRigWith(t, holdfast.SchedulePolicy{DeferLower: c.wait})
			jobs := map[string]holdfast.Job{}
			for name, p := range map[string]holdfast.Priority{"low": 5, "high": 1, "peer": 1} {
				jobs[name] = must(r.svc.CreateJob(t.Context(), r.admin, holdfast.Job{Site: r.sites[0].ID, Name: name, Active: true, Priority: p}))(t)
				r.schedule(jobs[name], "0 3 * * *", "UTC", holdfast.RunFull)
			}
			elsewhere := r.job(1, "low")
			r.schedule(elsewhere, "0 3 * * *", "UTC", holdfast.RunFull)
			r.clock.add(time.Hour)
			r.look()
			r.wantSkips(c.skips...)
			if n := len(r.executions(jobs["low"])); n != c.low {
				t.Errorf("got %d runs of the lower priority, want %d", n, c.low)
			}
			for _, j := range []holdfast.Job{jobs["high"], jobs["peer"], elsewhere} {
				if n := len(r.executions(j)); n != 1 {
					t.Errorf("got %d runs of %q, want 1", n, j.Name)
				}
			}
			// A run that somebody asks for gives way to nothing.
			must(r.svc.Execute(t.Context(), r.admin, service.Run{Job: jobs["low"].ID, IfBusy: service.Queue}))(t)
		})
	}
}

// What cannot run says why each time, and the schedule goes on.
func TestARunThatIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	r.schedule(j, "@hourly", "UTC", holdfast.RunFull)
	must(r.svc.UpdateSite(t.Context(), r.admin, service.NewSite{Site: withoutRepository(r.sites[0]), Password: holdfast.NewSecret(sitePassword)}))(t)
	r.walk(start.Add(2*time.Hour), time.Hour)
	r.wantSkips(holdfast.SkipRefused, holdfast.SkipRefused)
	d := r.kinds("schedule.skipped")[0]
	if want := fmt.Sprintf("neither job %d nor site %q names a repository", j.ID, r.sites[0].Slug); d["error"] != want || d["hint"] == "" {
		t.Errorf("got %v, want the error's words", d)
	}
	must(r.svc.UpdateSite(t.Context(), r.admin, service.NewSite{Site: r.sites[0], Password: holdfast.NewSecret(sitePassword)}))(t)
	r.walk(start.Add(3*time.Hour), time.Hour)
	if n := len(r.executions(j)); n != 1 {
		t.Errorf("got %d executions once it can run, want 1", n)
	}
}

func withoutRepository(s holdfast.Site) holdfast.Site {
	s.Repository = 0
	return s
}

func TestOnceRunsOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	sc := r.schedule(j, "at(2026-03-01T04:30:00)", "Europe/Berlin", holdfast.RunFull)
	r.walk(start.Add(48*time.Hour), 30*time.Minute)
	if got := r.dues(j, "Europe/Berlin"); !slices.Equal(got, []string{"03-01T04:30+01:00"}) {
		t.Errorf("got runs %q, want one", got)
	}
	if got := must(r.svc.Schedule(t.Context(), r.admin, j.ID, sc.ID))(t); !got.NextRun.IsZero() || !got.Active {
		t.Errorf("got %+v afterwards, want no next run", got)
	}
}

// Whatever a row says, what is inactive or deleted never runs.
func TestWhatIsInactiveOrDeletedNeverRuns(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	resting, deleted, halted := r.job(0, "resting"), r.job(0, "deleted"), r.job(0, "halted")
	for _, j := range []holdfast.Job{resting, deleted, halted} {
		r.schedule(j, "@hourly", "UTC", holdfast.RunFull)
	}
	must(r.svc.UpdateJob(ctx, r.admin, resting.ID, func(j *holdfast.Job) error {
		j.Active = false
		return nil
	}))(t)
	must(r.svc.UpdateSchedule(ctx, r.admin, halted.ID, r.scheduleOf(int64(halted.ID)), func(s *holdfast.Schedule) error {
		s.Active = false
		return nil
	}))(t)
	noErr(t, r.svc.DeleteJob(ctx, r.admin, deleted.ID))
	// As an older program may have left it: rows that are due all the same.
	left := []holdfast.Schedule{
		{Account: resting.Account, Job: resting.ID, Expression: "@hourly", TimeZone: "UTC", RunType: holdfast.RunFull, Active: true, NextRun: start},
		{Account: deleted.Account, Job: deleted.ID, Expression: "@hourly", TimeZone: "UTC", RunType: holdfast.RunFull, Active: true, NextRun: start},
	}
	r.update(func(tx store.Tx) error {
		return errors.Join(tx.InsertSchedule(ctx, &left[0]), tx.InsertSchedule(ctx, &left[1]))
	})
	r.walk(start.Add(3*time.Hour), time.Hour)
	for _, j := range []holdfast.Job{resting, deleted, halted} {
		if n := len(r.executions(j)); n != 0 {
			t.Errorf("%s: got %d executions, want none", j.Name, n)
		}
	}
	r.wantSkips()
	noErr(t, r.store.View(ctx, func(rd store.Reader) error {
		due, err := rd.DueSchedules(ctx, r.clock.Now(), 10)
		if len(due) != 0 {
			t.Errorf("got schedules %+v due, want none", due)
		}
		return err
	}))
}

// A schedule that cannot be read any more is stopped, and others go on.
func TestAScheduleThatCannotBeReadIsStopped(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.job(0, "nightly")
	bad := holdfast.Schedule{
		Account: j.Account, Job: j.ID, Expression: "every full moon", TimeZone: "UTC", RunType: holdfast.RunFull, Active: true, NextRun: start.Add(time.Hour),
	}
	r.update(func(tx store.Tx) error {
		bad.ID = 0
		return tx.InsertSchedule(ctx, &bad)
	})
	good := r.schedule(j, "@hourly", "UTC", holdfast.RunFull)
	if got := must(r.svc.NextRuns(ctx, r.admin, j.ID, 1))(t); len(got) != 1 || got[0].Schedule != good.ID {
		t.Errorf("got next runs %v", got)
	}
	r.walk(start.Add(2*time.Hour), time.Hour)
	if got := must(r.svc.Schedule(ctx, r.admin, j.ID, bad.ID))(t); got.Active || !got.NextRun.IsZero() {
		t.Errorf("got %+v, want it stopped", got)
	}
	stopped := r.kinds("schedule.stopped")
	if len(stopped) != 1 || stopped[0]["error"] == "" || stopped[0]["hint"] == "" {
		t.Errorf("got events %v, want one that says why", stopped)
	}
	if n := len(r.executions(j)); n != 2 {
		t.Errorf("got %d executions of the other schedule, want 2", n)
	}
}

// failingTx fails when an execution is inserted.
type failingTx struct {
	store.Tx
	fail *bool
}

func (f failingTx) InsertExecution(ctx context.Context, e *holdfast.Execution) error {
	if *f.fail {
		return holdfast.Errorf(holdfast.CodeExhausted, "the disk is full")
	}
	return f.Tx.InsertExecution(ctx, e)
}

// Nothing is lost when the store fails: the run is late, and there is one.
func TestAFailingStoreLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first, second := r.job(0, "first"), r.job(1, "second")
	r.schedule(first, "0 3 * * *", "UTC", holdfast.RunFull)
	r.schedule(second, "0 3 * * *", "UTC", holdfast.RunFull)
	fail := true
	r.store.wrap = func(tx store.Tx) store.Tx { return failingTx{tx, &fail} }
	r.clock.add(time.Hour)
	for range 3 {
		_, err := r.svc.RunDue(t.Context())
		wantCode(t, err, holdfast.CodeExhausted)
		r.clock.add(time.Second)
	}
	if n := len(r.executions(first)) + len(r.executions(second)) + len(r.kinds("schedule.skipped")); n != 0 {
		t.Errorf("got %d traces of what was rolled back, want none", n)
	}
	fail = false
	r.look()
	for _, j := range []holdfast.Job{first, second} {
		if got := r.dues(j, "UTC"); !slices.Equal(got, []string{"03-01T03:00Z"}) {
			t.Errorf("got runs %q of %q, want one", got, j.Name)
		}
	}
}

// staleTx reads schedules as they were before another scheduler ran them, as a
// database with weaker snapshots may.
type staleTx struct {
	store.Tx
	rows map[holdfast.JobID][]holdfast.Schedule
	next map[holdfast.JobID]time.Time
}

func (s staleTx) Schedules(_ context.Context, _ holdfast.AccountID, j holdfast.JobID) ([]holdfast.Schedule, error) {
	return s.rows[j], nil
}

func (s staleTx) NextRuns(context.Context, holdfast.AccountID, []holdfast.JobID) (map[holdfast.JobID]time.Time, error) {
	return s.next, nil
}

func TestASchedulerThatComesSecondMakesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.job(0, "nightly")
	sc := r.schedule(j, "0 3 * * *", "UTC", holdfast.RunFull)
	r.clock.add(time.Hour)
	second := false
	r.store.wrap = func(tx store.Tx) store.Tx {
		if second {
			return tx
		}
		// Between its look and its transaction, another one has run it all.
		second = true
		next := sc
		next.NextRun = sc.NextRun.AddDate(0, 0, 1)
		noErr(t, tx.MoveSchedule(t.Context(), sc, next))
		return staleTx{tx, map[holdfast.JobID][]holdfast.Schedule{j.ID: {sc}}, map[holdfast.JobID]time.Time{j.ID: sc.NextRun}}
	}
	r.look()
	if !second {
		t.Fatal("nothing came between")
	}
	if n := len(r.executions(j)); n != 0 {
		t.Errorf("got %d executions by the scheduler that came second, want none", n)
	}
	r.wantSkips()
}

// Two schedulers on one store, with a clock that a third turns: each time of each
// schedule has one execution or one event.
func TestTwoSchedulersNeverRunOneTimeTwice(t *testing.T) {
	t.Parallel()
	const jobs, minutes = 8, 15
	r := newRig(t)
	all := make([]holdfast.Job, jobs)
	for i := range all {
		all[i] = r.job(i%2, fmt.Sprintf("job-%d", i))
		r.schedule(all[i], "* * * * *", "UTC", holdfast.RunFull)
	}
	other := service.New(service.Config{
		Store: r.store, Sealer: r.master, Dispatcher: r.out, Logs: r.out, Repositories: r.out,
		Engines: []holdfast.Engine{holdfast.EnginePhysical}, Now: r.clock.Now, Log: testkit.Logger(t),
	})
	t.Cleanup(func() { noErr(t, other.Close()) })
	for range minutes {
		r.clock.add(time.Minute)
		var wg sync.WaitGroup
		for _, svc := range []*service.Service{r.svc, other, r.svc, other} {
			wg.Go(func() {
				if _, err := svc.RunDue(t.Context()); err != nil {
					t.Errorf("got error %v, want none", err)
				}
			})
		}
		wg.Wait()
		r.endAll()
	}
	for _, j := range all {
		list := r.executions(j)
		if len(list) != minutes {
			t.Errorf("%s: got %d executions in %d minutes, want as many", j.Name, len(list), minutes)
		}
		for i := 1; i < len(list); i++ {
			if got := list[i].Due.Sub(list[i-1].Due); got != time.Minute {
				t.Errorf("%s: got %s between two runs, want a minute", j.Name, got)
			}
		}
	}
	r.wantSkips()
}

// More schedules than one look takes are run by the next, at once.
func TestManyAreDueAtOnce(t *testing.T) {
	t.Parallel()
	const jobs = 210
	r := newRig(t)
	site := func(i int) holdfast.Site {
		return must(r.svc.CreateSite(t.Context(), r.admin, service.NewSite{
			Site: holdfast.Site{
				Host: r.hosts[0].ID, Slug: fmt.Sprintf("site-%d", i), DataDir: fmt.Sprintf("/pg/%d", i), Repository: r.repo.ID,
				Server: holdfast.Server{Host: "/run/postgresql", User: "backup"},
			},
			Password: holdfast.NewSecret(sitePassword),
		}))(t)
	}
	for i := range jobs {
		j := must(r.svc.CreateJob(t.Context(), r.admin, holdfast.Job{Site: site(i).ID, Name: "nightly", Active: true}))(t)
		r.schedule(j, "0 3 * * *", "UTC", holdfast.RunFull)
	}
	r.clock.add(time.Hour)
	looks := 1
	for ; !r.look().After(r.clock.Now()); looks++ {
		if looks > 5 {
			t.Fatal("it never has enough")
		}
	}
	_, n, err := r.svc.Executions(t.Context(), r.admin, store.ExecutionFilter{Page: store.Page{Limit: 1}})
	noErr(t, err)
	if n != jobs || looks != 2 {
		t.Errorf("got %d executions in %d looks, want %d in 2", n, looks, jobs)
	}
}
