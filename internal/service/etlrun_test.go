package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func TestWhenAnETLIsScheduled(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	now := start.Add(20 * time.Minute)
	r.clock.add(20 * time.Minute)
	hourly := &holdfast.Recurrence{Start: start, Period: time.Hour}
	for _, c := range []struct {
		name   string
		stored *holdfast.Recurrence
		at     time.Time
		period time.Duration
		due    time.Time // zero: CodeInvalid
		then   *holdfast.Recurrence
	}{
		{"by the stored timing", hourly, time.Time{}, 0, start.Add(time.Hour), hourly},
		{"by a stored timing that is to come", &holdfast.Recurrence{Start: now.Add(72 * time.Hour), Period: time.Hour}, time.Time{}, 0, now.Add(72 * time.Hour), nil},
		{"by a new period", nil, time.Time{}, 5 * time.Minute, now.Add(5 * time.Minute), &holdfast.Recurrence{Start: now, Period: 5 * time.Minute}},
		{"by another period", hourly, time.Time{}, 15 * time.Minute, start.Add(30 * time.Minute), &holdfast.Recurrence{Start: start, Period: 15 * time.Minute}},
		{"by a period from a time", hourly, now.Add(time.Minute), 15 * time.Minute, now.Add(time.Minute), &holdfast.Recurrence{Start: now.Add(time.Minute), Period: 15 * time.Minute}},
		{"at a time", nil, now.Add(time.Second), 0, now.Add(time.Second), nil},
		{"at a time beside the stored timing", hourly, now.Add(time.Second), 0, now.Add(time.Second), hourly},
		{"a minute ago", hourly, now.Add(-time.Minute), 0, now, hourly},
		{"longer ago", hourly, now.Add(-time.Minute - 1), 0, time.Time{}, nil},
		{"in ten years", nil, now.AddDate(10, 0, 0), 0, now.AddDate(10, 0, 0), nil},
		{"later", nil, now.AddDate(10, 0, 0).Add(time.Second), 0, time.Time{}, nil},
		{"every part of a second", nil, time.Time{}, 1500 * time.Millisecond, time.Time{}, nil},
		{"backwards", nil, time.Time{}, -time.Second, time.Time{}, nil},
	} {
		j := must(r.svc.UpdateETL(t.Context(), r.admin, r.etl(newName(), berlinETL).ID, func(j *holdfast.Job) error {
			if c.stored != nil {
				rec := *c.stored
				j.ETL.Recurrence = &rec
			}
			return nil
		}))(t)
		zone := time.FixedZone("far", -5*3600)
		at := c.at
		if !at.IsZero() {
			at = at.In(zone)
		}
		a, err := r.svc.ScheduleETL(t.Context(), r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: j.ID}, At: at, Period: c.period})
		if c.due.IsZero() {
			if holdfast.ErrorCode(err) != holdfast.CodeInvalid || holdfast.ErrorMessage(err) == "" {
				t.Errorf("%s: got %+v and %v, want an invalid request", c.name, a, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: got %v", c.name, err)
			continue
		}
		st := must(r.svc.ETLStatus(t.Context(), r.admin, j.ID))(t)
		is := st.Planned
		if !c.due.After(now) {
			is = st.Current
		}
		if is == nil || is.ID != a.Execution || !is.Due.Equal(c.due) {
			t.Errorf("%s: got %+v, want an execution due at %s", c.name, is, c.due)
		}
		rec := st.Job.ETL.Recurrence
		if (c.stored != nil || c.period != 0) != (rec != nil && rec.Armed) || c.then != nil && (!rec.Start.Equal(c.then.Start) || rec.Period != c.then.Period) {
			t.Errorf("%s: got timing %+v, want %+v, armed", c.name, rec, c.then)
		}
	}
	_, err := r.svc.ScheduleETL(t.Context(), r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: r.etl("s", serviceETL).ID}, Period: time.Hour})
	wantInvalid(t, err)
}

func TestWhatAnETLIsRunWith(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: berlinETL, Properties: map[string]string{"a": "1", "b": "2"}}))(t)
	before := r.lastEvent().ID
	a := must(r.svc.RunETL(ctx, r.admin, service.RunETL{
		Job: j.ID, Properties: map[string]string{"a": "3", "db.Password": "planted", "api.key": "planted"}, Removed: []string{"b", "b"}, Simulate: true,
	}))(t)
	e := must(r.svc.Execution(ctx, r.admin, a.Execution))(t)
	properties := must(j.ETL.PropertiesOf(*e.ETL))(t)
	if properties["a"] != "3" || properties["db.Password"] != "planted" || len(properties) != 3 || !e.ETL.Simulate || e.State != holdfast.StateQueued {
		t.Errorf("got %+v with properties %v, want those of the request over the configuration's", e.ETL, properties)
	}
	if e.Actor != r.admin.Principal.Name || e.Host != r.hosts[0].ID || !e.Submitted.Equal(start) || !e.Due.Equal(start) {
		t.Errorf("got %+v, want an execution that is due now at its site's host", e)
	}
	events := r.events(before)
	if len(events) != 1 || events[0].Kind != "etl.run" || events[0].Subject != fmt.Sprintf("job %d", j.ID) || events[0].Site != j.Site ||
		strings.Contains(string(events[0].Data), "planted") || !strings.Contains(string(events[0].Data), `"db.Password":"********"`) ||
		!strings.Contains(string(events[0].Data), `"a":"3"`) {
		t.Errorf("got events %+v, want one without secrets", events)
	}
	for _, c := range []struct {
		name string
		in   service.RunETL
	}{
		{"too many properties", service.RunETL{Properties: manyProperties(65)}},
		{"a long value", service.RunETL{Properties: map[string]string{"a": strings.Repeat("v", holdfast.MaxPropertyValue+1)}}},
		{"no name", service.RunETL{Properties: map[string]string{"": "1"}}},
		{"one both given and removed", service.RunETL{Properties: map[string]string{"a": "1"}, Removed: []string{"a"}}},
		{"a key that is no text", service.RunETL{IdempotencyKey: "a\x00"}},
	} {
		c.in.Job = j.ID
		if _, err := r.svc.RunETL(ctx, r.admin, c.in); holdfast.ErrorCode(err) != holdfast.CodeInvalid {
			t.Errorf("%s: got %v, want an invalid request", c.name, err)
		}
		_, err := r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: c.in})
		wantInvalid(t, err)
	}
	if got := r.events(events[0].ID); len(got) != 0 {
		t.Errorf("got events %+v of what was refused", got)
	}
}

func TestARepeatedRequestGetsTheSameAnswer(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j, other := r.etl("orders", berlinETL), r.etl("other", berlinETL)
	in := service.RunETL{Job: j.ID, Properties: map[string]string{"password": "planted"}, IdempotencyKey: "once"}
	first := must(r.svc.RunETL(ctx, r.admin, in))(t)
	e := r.move(r.move(must(r.svc.Execution(ctx, r.admin, first.Execution))(t), holdfast.MoveStart), holdfast.MoveSucceed)
	before := r.lastEvent().ID
	if again := must(r.svc.RunETL(ctx, r.admin, in))(t); again != first || e.State != holdfast.StateEnded {
		t.Errorf("got %+v, want the first answer %+v, also after the execution has ended", again, first)
	}
	if got := r.events(before); len(got) != 0 {
		t.Errorf("got events %+v of a repeated request", got)
	}
	changed, elsewhere := in, in
	changed.Properties = nil
	elsewhere.Job = other.ID
	for _, in := range []service.RunETL{changed, elsewhere} {
		_, err := r.svc.RunETL(ctx, r.admin, in)
		wantCode(t, err, holdfast.CodeConflict)
	}
	_, err := r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: in})
	wantCode(t, err, holdfast.CodeConflict)
	err = r.store.View(ctx, func(rd store.Reader) error {
		sub, err := rd.SubmissionByKey(ctx, j.Account, fmt.Sprintf("etl %d once", r.admin.Principal.ID))
		if strings.Contains(string(sub.Request), "planted") || sub.Dialect != r.admin.Dialect {
			t.Errorf("got submission %+v, want it without properties", sub)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	joined := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	keyed := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, IdempotencyKey: "joins"}))(t)
	must(r.svc.StopETL(ctx, r.admin, j.ID))(t)
	again := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, IdempotencyKey: "joins"}))(t)
	if keyed != joined || again != joined {
		t.Errorf("got %+v and %+v, want the execution %+v that was joined", keyed, again, joined)
	}
	planned := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: j.ID, IdempotencyKey: "plan"}, Period: time.Hour}))(t)
	must(r.svc.KillETL(ctx, r.admin, j.ID))(t)
	if again := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: j.ID, IdempotencyKey: "plan"}, Period: time.Hour}))(t); again != planned {
		t.Errorf("got %+v, want the first answer %+v", again, planned)
	}
	ada := r.actor(holdfast.RoleOperator)
	ada.Principal.ID = r.admin.Principal.ID + 1
	another := must(r.svc.RunETL(ctx, ada, service.RunETL{Job: other.ID, IdempotencyKey: "once"}))(t)
	if another.Execution == 0 || another == first {
		t.Errorf("got %+v for another user's key, want an execution of its own", another)
	}
	must(r.svc.StopETL(ctx, r.admin, other.ID))(t)
	r.clock.add(24*time.Hour - time.Second)
	if again := must(r.svc.RunETL(ctx, r.admin, in))(t); again != first {
		t.Errorf("got %+v within a day, want %+v", again, first)
	}
	r.clock.add(time.Second)
	anew := must(r.svc.RunETL(ctx, r.admin, in))(t)
	if again := must(r.svc.RunETL(ctx, r.admin, in))(t); anew == first || again != anew {
		t.Errorf("got %+v and %+v after a day, want a new execution and the same again", anew, again)
	}
	var mu sync.Mutex
	answers := map[service.ETLAnswer]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			a, err := r.svc.RunETL(ctx, r.admin, service.RunETL{Job: other.ID, IdempotencyKey: "at once"})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers[a]++
		})
	}
	wg.Wait()
	if len(answers) != 1 {
		t.Errorf("got answers %v, want one", answers)
	}
}

func TestRequestsAboutETLsAreTold(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		given, call  string
		tells, rings int
	}{
		{"", "run", 0, 1},
		{"queued", "run", 0, 0},
		{"timed", "schedule", 0, 0},
		{"queued", "stop", 0, 1},
		{"current queued", "stop", 1, 1},
		{"current", "stop", 1, 0},
		{"current/stop", "stop", 0, 0},
		{"current/stop", "kill", 1, 0},
		{"planned", "kill", 0, 1},
	} {
		s := r.set(berlinETL, c.given)
		must(s.call(c.call))(t)
		if len(r.out.tells) != c.tells || len(r.out.rings) != c.rings {
			t.Errorf("%s when %s: got tells %v and rings %v, want %d and %d", c.call, c.given, r.out.tells, r.out.rings, c.tells, c.rings)
		}
	}
}

// conflictAlways loses the first races of each move of an execution.
type conflictAlways struct {
	conflictOnce
}

func (c conflictAlways) MoveETLRun(ctx context.Context, prev holdfast.Execution, next holdfast.ETLRun) error {
	if *c.left > 0 {
		*c.left--
		return holdfast.Errorf(holdfast.CodeConflict, "the execution has moved")
	}
	return c.Tx.MoveETLRun(ctx, prev, next)
}

func TestARequestThatLosesARaceBeginsAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, c := range []struct {
		given, call string
		lost        int
		want        holdfast.Code
	}{
		{"current", "stop", 1, ""},
		{"current queued", "kill", 4, ""},
		{"current", "stop", 5, holdfast.CodeConflict},
		{"planned", "schedule a=1", 2, ""},
		{"once", "schedule later", 2, ""},
	} {
		s := r.set(berlinETL, c.given)
		left := c.lost
		r.store.wrap = func(tx store.Tx) store.Tx { return conflictAlways{conflictOnce{tx, &left}} }
		_, err := s.call(c.call)
		r.store.wrap = nil
		wantCode(t, err, c.want)
	}
}

func TestAPlannedExecutionThatIsEndedByItselfIsFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	s := r.set(berlinETL, "planned")
	first := s.order[0]
	must(r.svc.Stop(ctx, r.admin, first))(t)
	st := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t)
	if st.Planned == nil || st.Planned.ID == first || !st.Planned.Due.Equal(start.Add(2*time.Hour)) {
		t.Errorf("got %+v planned, want the one after it", st.Planned)
	}
	if last := r.lastEvent(); last.Kind != "execution.planned" {
		t.Errorf("got event %s, want the new plan's", last.Kind)
	}
	s = r.set(berlinETL, "once")
	must(r.svc.Kill(ctx, r.admin, s.order[0]))(t)
	if st := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t); st.Planned != nil {
		t.Errorf("got %+v planned after what was planned once", st.Planned)
	}
}

func TestSecretsAreGivenByWhoMayWriteThem(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	j := r.etl("orders", berlinETL)
	for name, in := range map[string]service.RunETL{
		"given":      {Job: j.ID, Properties: map[string]string{"db.Password": "x", "day": "1"}},
		"taken away": {Job: j.ID, Removed: []string{"api_key"}},
	} {
		_, err := r.svc.RunETL(t.Context(), r.actor(holdfast.RoleOperator), in)
		if holdfast.ErrorCode(err) != holdfast.CodeForbidden {
			t.Errorf("%s for a run: got %v, want forbidden", name, err)
		}
		_, err = r.svc.ScheduleETL(t.Context(), r.actor(holdfast.RoleOperator), service.ScheduleETL{RunETL: in, Period: time.Hour})
		if holdfast.ErrorCode(err) != holdfast.CodeForbidden {
			t.Errorf("%s for a plan: got %v, want forbidden", name, err)
		}
		must(r.svc.RunETL(t.Context(), r.admin, in))(t)
	}
	must(r.svc.RunETL(t.Context(), r.actor(holdfast.RoleOperator), service.RunETL{Job: j.ID, Properties: map[string]string{"day": "2"}}))(t)
}

// A credential that is for some of an ETL's sites sees the ETL and may not write it.
func TestSecretsOfAnETLThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	two := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: definitionOf("two", "", "berlin", "paris"), Properties: map[string]string{"api_token": "s3cret", "x": "1"}}))(t)
	one := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: definitionOf("one", "", "paris", "paris"), Properties: map[string]string{"api_token": "s3cret", "x": "2"}}))(t)
	some := r.actor(holdfast.RoleAdmin, r.sites[1].ID)
	wantCode(t, service.MayWriteETL(some, two), holdfast.CodeForbidden)
	wantCode(t, service.MayWriteETL(r.actor(holdfast.RoleOperator), one), holdfast.CodeForbidden)
	for _, j := range []holdfast.Job{one, two} {
		if err := service.MayWriteETL(r.admin, j); err != nil {
			t.Error(err)
		}
	}
	for name, in := range map[string]service.RunETL{
		"given":      {Job: two.ID, Properties: map[string]string{"api_token": "mine"}},
		"taken away": {Job: two.ID, Removed: []string{"api_token"}},
	} {
		if _, err := r.svc.RunETL(ctx, some, in); holdfast.ErrorCode(err) != holdfast.CodeForbidden {
			t.Errorf("%s: got %v, want forbidden", name, err)
		}
	}
	must(r.svc.RunETL(ctx, some, service.RunETL{Job: one.ID, Properties: map[string]string{"api_token": "mine"}}))(t)
	for _, c := range []struct {
		name  string
		actor holdfast.Actor
		f     service.ETLFilter
		want  []holdfast.JobID
	}{
		{"who may write both", r.admin, service.ETLFilter{Properties: map[string]string{"api_token": "s3cret"}}, []holdfast.JobID{two.ID, one.ID}},
		{"who may write one", some, service.ETLFilter{Properties: map[string]string{"api_token": "s3cret"}}, []holdfast.JobID{one.ID}},
		{"any of", some, service.ETLFilter{Properties: map[string]string{"api_token": "s3cret", "x": "9"}, Any: true}, []holdfast.JobID{one.ID}},
		{"no secret", some, service.ETLFilter{Properties: map[string]string{"x": "1"}}, []holdfast.JobID{two.ID}},
	} {
		list, _, err := r.svc.ETLs(ctx, c.actor, c.f, store.Page{})
		var got []holdfast.JobID
		for _, j := range list {
			got = append(got, j.ID)
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v and %v, want %v", c.name, got, err, c.want)
		}
	}
}

// Whoever sends back what an export has shown changes no secret.
func TestTheMaskOfASecretStandsForTheStoredOne(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: berlinETL, Properties: map[string]string{"api_token": "s3cret"}}))(t)
	masked := map[string]string{"api_token": holdfast.MaskedProperty, "note": holdfast.MaskedProperty}
	for _, actor := range []holdfast.Actor{r.admin, r.actor(holdfast.RoleOperator)} {
		run := must(r.svc.RunETL(ctx, actor, service.RunETL{Job: j.ID, Properties: masked}))(t)
		plan := must(r.svc.ScheduleETL(ctx, actor, service.ScheduleETL{RunETL: service.RunETL{Job: j.ID, Properties: masked}, Period: time.Hour}))(t)
		for _, a := range []service.ETLAnswer{run, plan} {
			e := must(r.svc.Execution(ctx, r.admin, a.Execution))(t)
			got := must(j.ETL.PropertiesOf(*e.ETL))(t)
			if got["api_token"] != "s3cret" || got["note"] != holdfast.MaskedProperty {
				t.Errorf("got properties %v, want the stored secret", got)
			}
		}
	}
	_, err := r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, Properties: map[string]string{"other_token": holdfast.MaskedProperty}})
	wantInvalid(t, err)
}

// A time that somebody has named is not left out because another execution works.
func TestAnExecutionAtANamedTimeWaitsForItsTurn(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	s := r.set(berlinETL, "planned current")
	at := r.clock.Now().Add(10 * time.Minute)
	a := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}, At: at}))(t)
	e := must(r.svc.Execution(ctx, r.admin, a.Execution))(t)
	job := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t).Job
	if skip, next := job.DueETL(at, e, true); s.names[e.ID] != "planned" || skip != holdfast.SkipNone || !next.Equal(start.Add(time.Hour)) {
		t.Errorf("got %+v, skip %q and next %s, want it to wait and the regular one after it", e, skip, next)
	}
	if again := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}}))(t); again != a {
		t.Errorf("got %+v, want %+v", again, a)
	}
	if e := must(r.svc.Execution(ctx, r.admin, a.Execution))(t); !e.ETL.Timed {
		t.Errorf("got %+v after it was scheduled without a time, want it as it was", e.ETL)
	}
}

// A script that schedules for now and stops at once must not see it run.
func TestAnExecutionThatIsScheduledForNowWaitsAtOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	for _, words := range []string{"planned", "timed", "once"} {
		s := r.set(berlinETL, words)
		r.clock.add(time.Minute)
		now := r.clock.Now()
		a := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}, At: now}))(t)
		st := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t)
		if st.Current == nil || st.Current.ID != a.Execution || st.Current.State != holdfast.StateQueued || !st.Current.Due.Equal(now) {
			t.Errorf("%s: got current %+v, want execution %d in the queue", words, st.Current, a.Execution)
		}
		if words != "once" && (st.Planned == nil || !st.Planned.Due.Equal(st.Job.ETL.Recurrence.Next(now))) {
			t.Errorf("%s: got %+v planned, want the next one by the timing", words, st.Planned)
		}
		if got := must(r.svc.StopETL(ctx, r.admin, s.job.ID))(t); got.Execution != a.Execution || got.Effect != "" {
			t.Errorf("%s: got %+v of a stop, want it to end execution %d", words, got, a.Execution)
		}
		if e := must(r.svc.Execution(ctx, r.admin, a.Execution))(t); e.Outcome != holdfast.OutcomeCancelled {
			t.Errorf("%s: got %s, want it cancelled", words, e.Outcome)
		}
	}
}

func TestAServiceThatIsStoppedBeforeAWorkerHasItIsOff(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	for _, words := range []string{"", "ended/kill", "ended/fail", "ended/stop marked", "ended/stop"} {
		for what, on := range map[string]func(holdfast.JobID){
			"run":     func(id holdfast.JobID) { must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: id}))(t) },
			"execute": func(id holdfast.JobID) { must(r.svc.Execute(ctx, r.admin, service.Run{Job: id}))(t) },
		} {
			s := r.set(serviceETL, words)
			r.clock.add(time.Second)
			on(s.job.ID)
			r.clock.add(time.Second)
			must(r.svc.StopETL(ctx, r.admin, s.job.ID))(t)
			if got := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t).State(); got != service.ServiceOff {
				t.Errorf("%q, %s, stop: got %q, want it off", words, what, got)
			}
			if words != "" {
				continue
			}
			must(r.svc.KillETL(ctx, r.admin, s.job.ID))(t)
			if got := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t).State(); got != service.ServiceAborted {
				t.Errorf("%s, stop, kill: got %q, want it aborted", what, got)
			}
		}
	}
	s := r.set(serviceETL, "")
	must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}, At: r.clock.Now().Add(time.Hour)}))(t)
	must(r.svc.KillETL(ctx, r.admin, s.job.ID))(t)
	if got := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t).State(); got != service.ServiceNone {
		t.Errorf("got %q of a start that was only planned, want none", got)
	}
}

// What shows a start shows its seconds: who writes back what it was shown moves
// nothing.
func TestTheStartOfATimingIsWholeSeconds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	r.clock.add(1234567 * time.Microsecond)
	s := r.set(berlinETL, "")
	a := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}, Period: time.Hour}))(t)
	st := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t)
	if begin := st.Job.ETL.Recurrence.Start; !begin.Equal(begin.Truncate(time.Second)) || !st.Planned.Due.Equal(begin.Add(time.Hour)) {
		t.Errorf("got a start at %s and %s planned, want whole seconds", begin, st.Planned.Due)
	}
	s.update(func(e *holdfast.ETLSpec) { e.Recurrence.Start = e.Recurrence.Start.Add(500 * time.Millisecond) })
	if now := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t); now.Planned.ID != a.Execution || !now.Planned.Due.Equal(st.Planned.Due) {
		t.Errorf("got %s planned after a change of less than a second, want %s", now.Planned.Due, st.Planned.Due)
	}
	must(r.svc.Kill(ctx, r.admin, a.Execution))(t)
	if now := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t); !now.Planned.Due.After(st.Planned.Due.Add(time.Second)) {
		t.Errorf("got %s planned after the one at %s was killed, want the one after it", now.Planned.Due, st.Planned.Due)
	}
}

func TestExecuteKeepsTheBoundsOfAnETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	s := r.set(serviceETL, "current")
	if e := must(r.svc.Execute(ctx, r.admin, service.Run{Job: s.job.ID, IfBusy: service.Queue}))(t); s.names[e.ID] != "current" {
		t.Errorf("got execution %d, want the one that keeps the service on", e.ID)
	}
	_, _, err := r.svc.ExecuteAll(ctx, r.admin, service.Submit{Runs: []service.Run{{Job: s.job.ID, IfBusy: service.Queue}}})
	wantCode(t, err, holdfast.CodeConflict)
	s = r.set(serviceETL, "current/stop")
	if e := must(r.svc.Execute(ctx, r.admin, service.Run{Job: s.job.ID, IfBusy: service.Queue}))(t); s.names[e.ID] != "" || e.State != holdfast.StateQueued {
		t.Errorf("got %+v, want the start that follows", e)
	}
	s = r.set(berlinETL, "full")
	_, err = r.svc.Execute(ctx, r.admin, service.Run{Job: s.job.ID, IfBusy: service.Queue})
	wantCode(t, err, holdfast.CodeConflict)
}

// Properties that do not fit would be left by the rounds, and end the service at its
// next restart. What they are to fit is what it has started with.
func TestAServiceThatIsOnRefusesPropertiesThatDoNotFit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	text := func(kind string) string {
		return definitionOf(newName(), "service", "berlin", "berlin") + "parameters:\n  level: {type: " + kind + ", default: 1}\n"
	}
	for name, c := range map[string]struct {
		started bool
		changed string // the parameter's type in a definition that comes later
		level   string
		refused bool
	}{
		"a number":                    {started: true, level: "2"},
		"no number":                   {started: true, level: "planted", refused: true},
		"no number, not started yet":  {level: "planted", refused: true},
		"fits the new definition":     {started: true, changed: "text", level: "planted", refused: true},
		"fits the one it has started": {started: true, changed: "boolean", level: "2"},
	} {
		j := r.etl(newName(), text("integer"))
		on := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
		if c.started {
			start := must(j.ETL.StartOf(nil))(t)
			must(0, r.store.Update(ctx, func(tx store.Tx) error { return tx.KeepETLStart(ctx, on.Execution, start) }))(t)
			r.move(must(r.svc.Execution(ctx, r.admin, on.Execution))(t), holdfast.MoveStart)
		}
		if c.changed != "" {
			must(r.svc.UpdateETL(ctx, r.admin, j.ID, func(j *holdfast.Job) error {
				j.ETL.Definition = strings.Replace(j.ETL.Definition, "integer", c.changed, 1)
				j.ETL.Definition = strings.Replace(j.ETL.Definition, "default: 1", "default: true", 1)
				return nil
			}))(t)
		}
		got := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, Properties: map[string]string{"level": c.level}}))(t)
		is := must(r.svc.Execution(ctx, r.admin, on.Execution))(t)
		if (got.Refused != "") != c.refused || c.refused != (is.ETL.Properties["level"] == "") || strings.Contains(got.Refused, "planted") {
			t.Errorf("%s: got %+v and properties %v, want them refused: %t", name, got, is.ETL.Properties, c.refused)
		}
	}
}

// Rounds that have begun to load do not become a simulation, and nobody is told so.
func TestAServiceThatIsOnKeepsWhetherItSimulates(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	simulated := map[string]string{"simulation.mode": "true"}
	for _, c := range []struct {
		first, then map[string]string
		refused     bool
	}{
		{nil, simulated, true},
		{simulated, map[string]string{"simulation.mode": "false"}, true},
		{simulated, map[string]string{"simulation.mode": "true", "day": "2"}, false},
	} {
		j := r.etl(newName(), serviceETL)
		on := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, Properties: c.first}))(t)
		was := r.move(must(r.svc.Execution(ctx, r.admin, on.Execution))(t), holdfast.MoveStart)
		got := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, Properties: c.then}))(t)
		is := must(r.svc.Execution(ctx, r.admin, on.Execution))(t)
		if (got.Refused != "") != c.refused || is.ETL.Simulate != was.ETL.Simulate || c.refused != (is.ETL.Version == was.ETL.Version) {
			t.Errorf("%v, then %v: got %+v and %+v, want refused %t", c.first, c.then, got, is.ETL, c.refused)
		}
	}
	j := r.etl(newName(), serviceETL)
	on := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	if got := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID, Properties: simulated}))(t); got.Refused != "" || got.Execution != on.Execution {
		t.Errorf("got %+v for a service that has not begun, want it to take the property", got)
	}
}

// A time for the start of a service that is on was dropped without a word.
func TestAServiceThatIsOnRefusesATimeToStart(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := r.etl(newName(), serviceETL)
	schedule := func(at time.Time) service.ETLAnswer {
		return must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: j.ID}, At: at}))(t)
	}
	on := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t)
	for _, started := range []bool{false, true} {
		if started {
			r.move(must(r.svc.Execution(ctx, r.admin, on.Execution))(t), holdfast.MoveStart)
		}
		if got := schedule(r.clock.Now().Add(time.Hour)); !strings.Contains(got.Refused, "on already") || got.Execution != on.Execution || service.RefusalHint(got.Refused) == "" {
			t.Errorf("started %t: got %+v, want it refused", started, got)
		}
		for _, at := range []time.Time{{}, r.clock.Now()} {
			if got := schedule(at); got.Refused != "" || got.Effect != service.EffectNone {
				t.Errorf("started %t, at %s: got %+v, want no effect", started, at, got)
			}
		}
	}
	must(r.svc.StopETL(ctx, r.admin, j.ID))(t)
	if got := schedule(r.clock.Now().Add(time.Hour)); got.Refused != "" || got.Execution == on.Execution {
		t.Errorf("one that comes to rest: got %+v, want a planned start", got)
	}
}

func TestAKilledETLThatIsPlannedIsScheduledAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	s := r.set(berlinETL, "planned ended/kill")
	r.clock.add(time.Minute)
	if st := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t); !st.Job.ETL.Scheduled.IsZero() {
		t.Errorf("got scheduled again at %s, and nobody has", st.Job.ETL.Scheduled)
	}
	got := must(r.svc.ScheduleETL(ctx, r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}}))(t)
	st := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t)
	if s.names[got.Execution] != "planned" || !st.Job.ETL.Scheduled.After(st.Finished.Ended) {
		t.Errorf("got %+v, and scheduled again at %s after an end at %s, want it told", got, st.Job.ETL.Scheduled, st.Finished.Ended)
	}
	must(r.svc.UpdateETL(ctx, r.admin, s.job.ID, func(j *holdfast.Job) error { j.ETL.Scheduled = time.Time{}; return nil }))(t)
	if now := must(r.svc.ETLStatus(ctx, r.admin, s.job.ID))(t); !now.Job.ETL.Scheduled.Equal(st.Job.ETL.Scheduled) {
		t.Errorf("got %s after an update, want %s: who updates does not schedule", now.Job.ETL.Scheduled, st.Job.ETL.Scheduled)
	}
}

func TestExecuteOfAnETL(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx := t.Context()
	j := must(r.svc.CreateETL(ctx, r.admin, service.NewETL{Definition: berlinETL, Properties: map[string]string{"simulation.mode": "true"}}))(t)
	e := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID}))(t)
	if e.Type != holdfast.JobETL || e.ETL == nil || !e.ETL.Simulate || e.State != holdfast.StateQueued || e.Repository != 0 || e.RunType != "" {
		t.Errorf("got %+v, want a simulated execution of the ETL", e)
	}
	_, err := r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID})
	wantCode(t, err, holdfast.CodeConflict)
	if got := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Join}))(t); got.ID != e.ID {
		t.Errorf("got execution %d, want the one that waits", got.ID)
	}
	if got := must(r.svc.RunETL(ctx, r.admin, service.RunETL{Job: j.ID}))(t); got.Execution != e.ID {
		t.Errorf("got %+v, want the one that waits", got)
	}
	_, err = r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, Due: start.Add(time.Hour)})
	wantInvalid(t, err)
	held := must(r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Queue, Suspended: true}))(t)
	if held.State != holdfast.StateSuspended {
		t.Errorf("got %s, want an execution that waits for a resume", held.State)
	}
	must(r.svc.UpdateETL(ctx, r.admin, j.ID, func(j *holdfast.Job) error { j.ETL.Configurations[0].Active = false; return nil }))(t)
	_, err = r.svc.Execute(ctx, r.admin, service.Run{Job: j.ID, IfBusy: service.Queue})
	wantInvalid(t, err)
}

func TestETLStatus(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.set(berlinETL, "ended queued queued2 planned")
	must(r.svc.StopETL(t.Context(), r.admin, s.job.ID))(t)
	cancelled := s.order[2]
	_ = s.name("current", must(s.call("run"))(t))
	_ = s.name("next", must(s.call("run n=2"))(t))
	r.move(must(r.svc.Execution(t.Context(), r.admin, s.order[4]))(t), holdfast.MoveStart)
	st := must(r.svc.ETLStatus(t.Context(), r.admin, s.job.ID))(t)
	if s.names[st.Current.ID] != "current" || s.names[st.Planned.ID] != "planned" || st.Last.ID != cancelled || s.names[st.LastStarted.ID] != "current" ||
		s.names[st.Finished.ID] != "ended" || st.Waiting != 1 {
		t.Errorf("got %+v, want what works, is planned, was cancelled, started and ended last", st)
	}
	_, err := r.svc.ETLStatus(t.Context(), r.admin, r.job(0, "backup").ID)
	wantCode(t, err, holdfast.CodeNotFound)
}
