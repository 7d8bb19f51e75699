package service_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// scene is an ETL as a row of a table sets it up: executions with names.
type scene struct {
	r     *rig
	job   holdfast.Job
	names map[holdfast.ExecutionID]string
	order []holdfast.ExecutionID
}

// set builds a scene from words: an outcome of an execution that has ended, or what
// is true now.
func (r *rig) set(text, words string) *scene {
	r.t.Helper()
	s := &scene{r: r, job: r.etl(newName(), text), names: map[holdfast.ExecutionID]string{}}
	for w := range strings.FieldsSeq(words) {
		what, wish, _ := strings.Cut(w, "/")
		switch what {
		case "timed": // a stored timing that is not armed
			s.update(func(e *holdfast.ETLSpec) { e.Recurrence = &holdfast.Recurrence{Start: start, Period: time.Hour} })
		case "later": // a stored start that is to come
			s.update(func(e *holdfast.ETLSpec) {
				e.Recurrence = &holdfast.Recurrence{Start: start.Add(time.Hour), Period: time.Hour}
			})
		case "unconfigured":
			s.update(func(e *holdfast.ETLSpec) { e.Configurations[0].Active = false })
		case "inactive":
			must(r.svc.UpdateETL(r.t.Context(), r.admin, s.job.ID, func(j *holdfast.Job) error { j.Active = false; return nil }))(r.t)
		case "planned":
			s.name("planned", must(r.svc.ScheduleETL(r.t.Context(), r.admin, service.ScheduleETL{RunETL: service.RunETL{Job: s.job.ID}, Period: time.Hour}))(r.t))
		case "once": // planned for a time, without a timing
			s.name("planned", must(r.svc.ScheduleETL(r.t.Context(), r.admin, service.ScheduleETL{
				RunETL: service.RunETL{Job: s.job.ID}, At: r.clock.Now().Add(time.Hour),
			}))(r.t))
		case "queued", "queued2":
			p := map[string]string{}
			if what == "queued2" {
				p["n"] = "2"
			}
			s.name(what, must(r.svc.RunETL(r.t.Context(), r.admin, service.RunETL{Job: s.job.ID, Properties: p}))(r.t))
		case "full": // as many wait as may
			for i := range holdfast.MaxFollowUps {
				s.name(fmt.Sprint("q", i), must(r.svc.RunETL(r.t.Context(), r.admin, service.RunETL{Job: s.job.ID, Properties: map[string]string{"n": fmt.Sprint(i)}}))(r.t))
			}
		case "current", "suspended", "retry", "ended":
			s.begin(what, wish)
		case "marked":
			must(r.svc.KillETL(r.t.Context(), r.admin, s.job.ID))(r.t)
		default:
			r.t.Fatalf("a scene knows no %q", w)
		}
	}
	r.out.forget()
	return s
}

func (s *scene) update(change func(*holdfast.ETLSpec)) {
	s.r.t.Helper()
	s.job = must(s.r.svc.UpdateETL(s.r.t.Context(), s.r.admin, s.job.ID, func(j *holdfast.Job) error { change(j.ETL); return nil }))(s.r.t)
}

func (s *scene) name(name string, a service.ETLAnswer) holdfast.ExecutionID {
	s.r.t.Helper()
	if a.Execution == 0 || a.Refused != "" {
		s.r.t.Fatalf("got answer %+v for %s", a, name)
	}
	s.names[a.Execution] = name
	s.order = append(s.order, a.Execution)
	return a.Execution
}

// begin starts an execution and brings it to where the word says.
func (s *scene) begin(what, wish string) {
	r := s.r
	r.t.Helper()
	id := s.name(what, must(r.svc.RunETL(r.t.Context(), r.admin, service.RunETL{Job: s.job.ID}))(r.t))
	e := r.move(must(r.svc.Execution(r.t.Context(), r.admin, id))(r.t), holdfast.MoveStart)
	moves := map[string][]holdfast.Move{
		"current": nil, "current/stop": {holdfast.MoveStop}, "current/kill": {holdfast.MoveKill}, "current/abort": {holdfast.MoveAbort},
		"current/suspend": {holdfast.MoveSuspend}, "suspended": {holdfast.MoveSuspend, holdfast.MoveRest}, "retry": {holdfast.MoveRetry},
		"ended": {holdfast.MoveSucceed}, "ended/stop": {holdfast.MoveStop, holdfast.MoveRest}, "ended/kill": {holdfast.MoveKill, holdfast.MoveRest},
		"ended/fail": {holdfast.MoveFail}, "ended/abort": {holdfast.MoveAbort, holdfast.MoveRest},
	}
	key := what
	if wish != "" {
		key += "/" + wish
	}
	list, ok := moves[key]
	if !ok {
		r.t.Fatalf("a scene knows no %q", key)
	}
	for _, m := range list {
		e = r.move(e, m)
	}
}

// String says how things stand, in the order in which they came to be.
func (s *scene) String() string {
	r := s.r
	list, _, err := r.svc.Executions(r.t.Context(), r.admin, storeFilter(s.job.ID))
	if err != nil {
		r.t.Fatal(err)
	}
	var parts []string
	for _, e := range slices.Backward(list) {
		if s.names[e.ID] == "" {
			s.names[e.ID] = "new"
		}
		part := s.names[e.ID] + "=" + string(e.State)
		if e.State == holdfast.StateEnded {
			part = s.names[e.ID] + "=" + string(e.Outcome)
		} else if e.Wanted > holdfast.WantSuspend {
			part += "/" + e.Wanted.String()
		}
		if len(e.ETL.Properties) > 0 {
			part += fmt.Sprint(e.ETL.Properties)
		}
		parts = append(parts, part)
	}
	st := must(r.svc.ETLStatus(r.t.Context(), r.admin, s.job.ID))(r.t)
	if rec := st.Job.ETL.Recurrence; rec != nil && rec.Armed {
		parts = append(parts, "armed")
	}
	if st.Job.ETL.Service {
		parts = append(parts, "face="+string(st.State()))
	}
	return strings.Join(parts, " ")
}

// answer is an answer in the scene's words.
func (s *scene) answer(a service.ETLAnswer) string {
	out := "0"
	if a.Execution != 0 {
		if out = s.names[a.Execution]; out == "" {
			out = "new"
		}
	}
	if a.Refused != "" {
		return "refused: " + a.Refused
	}
	if a.Effect != "" {
		out += ", " + a.Effect
	}
	return out
}

// call makes a call: its name, and with a blank a property.
func (s *scene) call(name string) (service.ETLAnswer, error) {
	ctx, svc, id := s.r.t.Context(), s.r.svc, s.job.ID
	verb, property, given := strings.Cut(name, " ")
	run := service.RunETL{Job: id}
	at := time.Time{}
	switch {
	case property == "now":
		at = s.r.clock.Now().Add(-time.Minute)
	case property == "later":
		at = s.r.clock.Now().Add(30 * time.Minute)
	case given:
		k, v, _ := strings.Cut(property, "=")
		run.Properties = map[string]string{k: v}
	}
	switch verb {
	case "run":
		return svc.RunETL(ctx, s.r.admin, run)
	case "schedule":
		return svc.ScheduleETL(ctx, s.r.admin, service.ScheduleETL{RunETL: run, At: at})
	case "stop":
		return svc.StopETL(ctx, s.r.admin, id)
	default:
		return svc.KillETL(ctx, s.r.admin, id)
	}
}

// cell is a row of a table of transitions.
type cell struct {
	given  string
	call   string
	answer string
	then   string
	event  string // kind of the one event; empty: none
}

func (r *rig) checkCells(text string, cells []cell) {
	r.t.Helper()
	for _, c := range cells {
		r.t.Run(c.call+" when "+c.given, func(t *testing.T) {
			s := r.set(text, c.given)
			_ = s.String() // names what a scene has made on its way
			before := r.lastEvent().ID
			answer, err := s.call(c.call)
			if err != nil {
				t.Fatalf("got %v", err)
			}
			if got := s.answer(answer); got != c.answer {
				t.Errorf("got the answer %q, want %q", got, c.answer)
			}
			if answer.Service != s.job.ETL.Service {
				t.Errorf("got service %v, want %v", answer.Service, s.job.ETL.Service)
			}
			if got := s.String(); got != c.then {
				t.Errorf("got  %s\nwant %s", got, c.then)
			}
			kind := ""
			for _, e := range r.events(before) {
				kind += e.Kind
			}
			if kind != c.event {
				t.Errorf("got events %q, want %q", kind, c.event)
			}
			for _, told := range r.out.tells {
				if told.worker != r.worker.ID || told.fence != 1 {
					t.Errorf("told %+v, want the worker that holds the order", told)
				}
			}
		})
	}
}

// TestBatchTransitions is the table for batch ETLs of bmc-etl.md 6.7, with its two
// kinds of schedule calls.
func TestBatchTransitions(t *testing.T) {
	t.Parallel()
	newRig(t).checkCells(berlinETL, []cell{
		// IDLE
		{"", "run", "new", "new=QUEUED", "etl.run"},
		{"ended", "run", "new", "ended=SUCCEEDED new=QUEUED", "etl.run"},
		{"", "schedule", "new", "new=QUEUED", "etl.run"},
		{"timed", "schedule", "new", "new=PLANNED armed", "etl.scheduled"},
		{"ended timed", "schedule", "new", "ended=SUCCEEDED new=PLANNED armed", "etl.scheduled"},
		{"", "schedule now", "new", "new=QUEUED", "etl.run"},
		{"", "schedule later", "new", "new=PLANNED", "etl.scheduled"},
		{"timed", "schedule now", "new", "new=QUEUED new=PLANNED armed", "etl.scheduled"},
		{"", "stop", "0, none", "", ""},
		{"ended", "stop", "ended, none", "ended=SUCCEEDED", ""},
		{"", "kill", "0, none", "", ""},
		{"ended/kill", "kill", "ended, none", "ended=KILLED", ""},
		{"unconfigured", "run", "refused: no active run configuration", "", ""},
		{"unconfigured", "schedule", "refused: no active run configuration", "", ""},
		{"unconfigured timed", "schedule", "refused: no active run configuration", "", ""},
		{"inactive timed", "schedule", "refused: the ETL is not active", "", ""},
		{"inactive", "run", "new", "new=QUEUED", "etl.run"},
		// ARMED
		{"planned", "run", "new", "planned=PLANNED new=QUEUED armed", "etl.run"},
		{"once", "run", "new", "planned=PLANNED new=QUEUED", "etl.run"},
		{"planned", "schedule", "planned", "planned=PLANNED armed", ""},
		{"once", "schedule", "planned", "planned=PLANNED", ""},
		{"planned", "schedule a=1", "planned", "planned=PLANNEDmap[a:1] armed", "etl.scheduled"},
		{"planned", "schedule later", "planned", "planned=PLANNED armed", "etl.scheduled"},
		{"once", "schedule later", "planned", "planned=PLANNED", "etl.scheduled"},
		{"once", "schedule now", "planned", "planned=QUEUED", "etl.scheduled"},
		{"planned", "schedule now", "planned", "planned=QUEUED new=PLANNED armed", "etl.scheduled"},
		{"planned", "stop", "0, none", "planned=PLANNED armed", ""},
		{"ended planned", "stop", "ended, none", "ended=SUCCEEDED planned=PLANNED armed", ""},
		{"planned", "kill", "planned", "planned=CANCELLED", "etl.disarmed"},
		{"ended/kill planned", "kill", "planned", "ended=KILLED planned=CANCELLED", "etl.disarmed"},
		{"once", "kill", "planned", "planned=CANCELLED", "etl.disarmed"},
		// QUEUED
		{"queued", "run", "queued", "queued=QUEUED", ""},
		{"queued", "run a=1", "new", "queued=QUEUED new=QUEUEDmap[a:1]", "etl.run"},
		{"queued queued2", "run n=2", "queued2", "queued=QUEUED queued2=QUEUEDmap[n:2]", ""},
		{"queued timed", "schedule", "new", "queued=QUEUED new=PLANNED armed", "etl.scheduled"},
		{"queued", "schedule", "queued", "queued=QUEUED", ""},
		{"queued", "stop", "queued", "queued=CANCELLED", "etl.stopped"},
		{"queued queued2 planned", "stop", "queued", "queued=CANCELLED queued2=CANCELLEDmap[n:2] planned=PLANNED armed", "etl.stopped"},
		{"queued", "kill", "queued", "queued=CANCELLED", "etl.killed"},
		{"queued queued2 planned", "kill", "queued", "queued=CANCELLED queued2=CANCELLEDmap[n:2] planned=PLANNED armed", "etl.killed"},
		// RUNNING
		{"current", "run", "new", "current=RUNNING new=QUEUED", "etl.run"},
		{"current queued", "run", "queued", "current=RUNNING queued=QUEUED", ""},
		{"current queued", "run a=1", "new", "current=RUNNING queued=QUEUED new=QUEUEDmap[a:1]", "etl.run"},
		{"current planned", "run", "new", "current=RUNNING planned=PLANNED new=QUEUED armed", "etl.run"},
		{"current timed", "schedule", "new", "current=RUNNING new=PLANNED armed", "etl.scheduled"},
		{"current planned", "schedule", "planned", "current=RUNNING planned=PLANNED armed", ""},
		{"current", "schedule", "new", "current=RUNNING new=QUEUED", "etl.run"},
		{"current", "stop", "current", "current=RUNNING/stop", "etl.stopped"},
		{"current queued planned", "stop", "current", "current=RUNNING/stop queued=CANCELLED planned=PLANNED armed", "etl.stopped"},
		{"current", "kill", "current", "current=RUNNING/kill", "etl.killed"},
		{"current queued queued2 planned", "kill", "current", "current=RUNNING/kill queued=CANCELLED queued2=CANCELLEDmap[n:2] planned=PLANNED armed", "etl.killed"},
		{"retry", "run", "new", "retry=QUEUED new=QUEUED", "etl.run"},
		{"retry", "stop", "retry", "retry=STOPPED", "etl.stopped"},
		{"retry queued", "kill", "retry", "retry=KILLED queued=CANCELLED", "etl.killed"},
		// SUSPENDED counts as RUNNING
		{"suspended", "run", "new", "suspended=SUSPENDED new=QUEUED", "etl.run"},
		{"suspended timed", "schedule", "new", "suspended=SUSPENDED new=PLANNED armed", "etl.scheduled"},
		{"suspended queued", "stop", "suspended", "suspended=STOPPED queued=CANCELLED", "etl.stopped"},
		{"suspended", "kill", "suspended", "suspended=KILLED", "etl.killed"},
		{"current/suspend", "stop", "current", "current=RUNNING/stop", "etl.stopped"},
		// STOPPING, KILLING
		{"current/stop", "run", "new", "current=RUNNING/stop new=QUEUED", "etl.run"},
		{"current/kill", "run", "new", "current=RUNNING/kill new=QUEUED", "etl.run"},
		{"current/stop queued", "run", "queued", "current=RUNNING/stop queued=QUEUED", ""},
		{"current/stop timed", "schedule", "new", "current=RUNNING/stop new=PLANNED armed", "etl.scheduled"},
		{"current/kill planned", "schedule", "planned", "current=RUNNING/kill planned=PLANNED armed", ""},
		{"current/stop", "stop", "current", "current=RUNNING/stop", ""},
		{"current/kill", "stop", "current", "current=RUNNING/kill", ""},
		{"current/abort", "stop", "current", "current=RUNNING/abort", ""},
		{"current/stop queued", "stop", "current", "current=RUNNING/stop queued=CANCELLED", "etl.stopped"},
		{"current/kill queued", "stop", "current", "current=RUNNING/kill queued=CANCELLED", "etl.stopped"},
		{"current/stop", "kill", "current", "current=RUNNING/kill", "etl.killed"},
		{"current/abort", "kill", "current", "current=RUNNING/kill", "etl.killed"},
		{"current/kill", "kill", "current", "current=RUNNING/kill", ""},
		{"current/kill planned", "kill", "current", "current=RUNNING/kill planned=PLANNED armed", ""},
		{"current/stop queued", "kill", "current", "current=RUNNING/kill queued=CANCELLED", "etl.killed"},
	})
}

// TestServiceTransitions is the table for service ETLs of bmc-etl.md 6.7.
func TestServiceTransitions(t *testing.T) {
	t.Parallel()
	newRig(t).checkCells(serviceETL, []cell{
		// none, ABORTED
		{"", "run", "new", "new=QUEUED face=ON", "etl.run"},
		{"ended/kill", "run", "new", "ended=KILLED new=QUEUED face=ON", "etl.run"},
		{"ended/fail", "run", "new", "ended=FAILED new=QUEUED face=ON", "etl.run"},
		{"ended/stop marked", "run", "new", "ended=STOPPED new=QUEUED face=ON", "etl.run"},
		{"", "schedule", "new", "new=QUEUED face=ON", "etl.run"},
		{"timed", "schedule", "new", "new=QUEUED face=ON", "etl.run"},
		{"later", "schedule", "new", "new=PLANNED face=", "etl.scheduled"},
		{"", "schedule later", "new", "new=PLANNED face=", "etl.scheduled"},
		{"ended/kill", "schedule", "new", "ended=KILLED new=QUEUED face=ON", "etl.run"},
		{"ended/stop marked later", "schedule", "new", "ended=STOPPED new=PLANNED face=OFF", "etl.scheduled"},
		{"", "stop", "0, none", "face=", ""},
		{"ended/kill", "stop", "ended, none", "ended=KILLED face=ABORTED", ""},
		{"ended/stop marked", "stop", "ended, none", "ended=STOPPED face=ABORTED", ""},
		{"", "kill", "0, none", "face=", ""},
		{"ended/kill", "kill", "ended, none", "ended=KILLED face=ABORTED", ""},
		{"ended/abort", "kill", "ended, none", "ended=ABORTED face=ABORTED", ""},
		{"ended/stop marked", "kill", "ended, none", "ended=STOPPED face=ABORTED", ""},
		{"unconfigured", "run", "refused: no active run configuration", "face=", ""},
		{"unconfigured later", "schedule", "refused: no active run configuration", "face=", ""},
		{"inactive", "schedule", "refused: the ETL is not active", "face=", ""},
		// SERVICE_OFF
		{"ended/stop", "run", "new", "ended=STOPPED new=QUEUED face=ON", "etl.run"},
		{"ended", "run", "new", "ended=SUCCEEDED new=QUEUED face=ON", "etl.run"},
		{"ended/stop", "schedule", "new", "ended=STOPPED new=QUEUED face=ON", "etl.run"},
		{"ended/stop once", "run", "new", "ended=STOPPED planned=PLANNED new=QUEUED face=ON", "etl.run"},
		{"ended/stop", "stop", "ended, none", "ended=STOPPED face=OFF", ""},
		{"ended/stop", "kill", "ended", "ended=STOPPED face=ABORTED", "etl.killed"},
		{"ended/stop once", "kill", "ended", "ended=STOPPED planned=CANCELLED face=ABORTED", "etl.killed"},
		{"once", "kill", "0", "planned=CANCELLED face=", "etl.killed"},
		{"once", "schedule later", "planned", "planned=PLANNED face=", "etl.scheduled"},
		// SERVICE_ON
		{"current", "run", "current, none", "current=RUNNING face=ON", ""},
		{"current", "run a=1", "current", "current=RUNNINGmap[a:1] face=ON", "etl.run"},
		{"queued", "run", "queued, none", "queued=QUEUED face=ON", ""},
		{"queued", "run a=1", "queued", "queued=QUEUEDmap[a:1] face=ON", "etl.run"},
		{"retry", "run", "retry, none", "retry=QUEUED face=ON", ""},
		{"suspended", "run a=1", "suspended", "suspended=SUSPENDEDmap[a:1] face=ON", "etl.run"},
		{"current", "schedule", "current, none", "current=RUNNING face=ON", ""},
		{"current", "schedule a=1", "current, none", "current=RUNNING face=ON", ""},
		{"current later", "schedule", "current, none", "current=RUNNING face=ON", ""},
		{"current", "stop", "current", "current=RUNNING/stop face=ON", "etl.stopped"},
		{"queued", "stop", "queued", "queued=CANCELLED face=OFF", "etl.stopped"},
		{"retry", "stop", "retry", "retry=STOPPED face=OFF", "etl.stopped"},
		{"suspended", "stop", "suspended", "suspended=STOPPED face=OFF", "etl.stopped"},
		{"current", "kill", "current", "current=RUNNING/kill face=ON", "etl.killed"},
		{"retry", "kill", "retry", "retry=KILLED face=ABORTED", "etl.killed"},
		{"queued", "kill", "queued", "queued=CANCELLED face=ABORTED", "etl.killed"},
		{"ended/stop queued", "kill", "queued", "ended=STOPPED queued=CANCELLED face=ABORTED", "etl.killed"},
		// stopping, being killed
		{"current/stop", "run", "new", "current=RUNNING/stop new=QUEUED face=ON", "etl.run"},
		{"current/kill", "run", "new", "current=RUNNING/kill new=QUEUED face=ON", "etl.run"},
		{"current/stop queued", "run", "queued, none", "current=RUNNING/stop queued=QUEUED face=ON", ""},
		{"current/stop queued", "run a=1", "queued", "current=RUNNING/stop queued=QUEUEDmap[a:1] face=ON", "etl.run"},
		{"current/stop", "schedule", "new", "current=RUNNING/stop new=QUEUED face=ON", "etl.run"},
		{"current/kill later", "schedule", "new", "current=RUNNING/kill new=PLANNED face=ON", "etl.scheduled"},
		{"current/stop", "stop", "current, none", "current=RUNNING/stop face=ON", ""},
		{"current/kill", "stop", "current, none", "current=RUNNING/kill face=ON", ""},
		{"current/stop queued", "stop", "current", "current=RUNNING/stop queued=CANCELLED face=ON", "etl.stopped"},
		{"current/stop", "kill", "current", "current=RUNNING/kill face=ON", "etl.killed"},
		{"current/kill", "kill", "current, none", "current=RUNNING/kill face=ON", ""},
		{"current/stop queued", "kill", "current", "current=RUNNING/kill queued=CANCELLED face=ON", "etl.killed"},
	})
}

func TestTheQueueOfAnETLIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	s := r.set(berlinETL, "current full")
	for _, c := range []struct{ call, want string }{
		{"run", "refused: queue full"},
		{"schedule", "refused: queue full"},
		{"run n=3", "q3"},
	} {
		before := s.String()
		answer, err := s.call(c.call)
		if err != nil || s.answer(answer) != c.want || s.String() != before {
			t.Errorf("%s: got %q, error %v and %s, want %q and no change", c.call, s.answer(answer), err, s, c.want)
		}
	}
	for _, words := range []string{"timed full", "planned full"} {
		s := r.set(berlinETL, words)
		before := s.String()
		if got := must(s.call("schedule now"))(t); s.answer(got) != "refused: queue full" || s.String() != before {
			t.Errorf("%s: got %q and %s, want it refused and no change", words, s.answer(got), s)
		}
	}
	must(s.call("stop"))(t)
	if got := must(s.call("run"))(t); s.answer(got) != "new" {
		t.Errorf("got %q after a stop, want a new execution", s.answer(got))
	}
}
