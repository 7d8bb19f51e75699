package service_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// actual does on a service what the model does.
type actual struct {
	r   *rig
	job holdfast.JobID
}

func (s *actual) all() []holdfast.Execution {
	list, _, err := s.r.svc.Executions(s.r.t.Context(), s.r.admin, store.ExecutionFilter{Job: s.job})
	if err != nil {
		s.r.t.Fatal(err)
	}
	slices.Reverse(list)
	return list
}

func (s *actual) String() string {
	st := must(s.r.svc.ETLStatus(s.r.t.Context(), s.r.admin, s.job))(s.r.t)
	m := etlModel{rec: st.Job.ETL.Recurrence}
	for _, e := range s.all() {
		m.all = append(m.all, modelled{Status: e.Status, property: e.ETL.Properties["p"], due: e.Due})
	}
	text := m.String()
	if st.Job.ETL.Service {
		text += string(st.State())
	}
	return text
}

// answer is an answer with the position of its execution in place of its id.
func (s *actual) answer(a service.ETLAnswer, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case a.Refused != "":
		return "refused"
	}
	out := "0"
	if i := slices.IndexFunc(s.all(), func(e holdfast.Execution) bool { return e.ID == a.Execution }); i >= 0 {
		out = fmt.Sprint(i)
	}
	if a.Effect != "" {
		out += ", " + a.Effect
	}
	return out
}

func (s *actual) asked(property string) service.RunETL {
	in := service.RunETL{Job: s.job}
	if property != "" {
		in.Properties = map[string]string{"p": property}
	}
	return in
}

// start is an ask of a worker.
func (s *actual) start() error {
	ctx := s.r.t.Context()
	return s.r.store.Update(ctx, func(tx store.Tx) error {
		site := s.r.sites[0]
		e, err := tx.NextQueued(ctx, store.Ask{Pool: site.Pool, Hosts: []holdfast.HostID{site.Host}, Now: s.r.clock.Now(), Batch: true, Service: true})
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		next := e
		if next.Status, err = e.Next(holdfast.MoveStart); err != nil {
			return err
		}
		next.Worker = s.r.worker.ID
		if next.Started.IsZero() {
			next.Started = s.r.clock.Now()
		}
		return tx.MoveExecution(ctx, e, next)
	})
}

// finish is what a worker says at the end of its order.
func (s *actual) finish(move holdfast.Move) error {
	ctx := s.r.t.Context()
	return s.r.store.Update(ctx, func(tx store.Tx) error {
		live, err := tx.LiveOfJob(ctx, s.job)
		if err != nil {
			return err
		}
		for _, e := range live {
			if e.State != holdfast.StateRunning {
				continue
			}
			next := e
			if next.Status, err = e.Next(move); err != nil {
				return nil //nolint:nilerr // a move that the table lacks: the worker is told so
			}
			if next.State == holdfast.StateEnded {
				next.Ended = s.r.clock.Now()
			}
			return tx.MoveExecution(ctx, e, next)
		}
		return nil
	})
}

// due does what dispatch does with what is due.
func (s *actual) due() error {
	ctx, now := s.r.t.Context(), s.r.clock.Now()
	return s.r.store.Update(ctx, func(tx store.Tx) error {
		j, err := tx.Job(ctx, 0, s.job)
		if err != nil {
			return err
		}
		live, err := tx.LiveOfJob(ctx, s.job)
		if err != nil {
			return err
		}
		busy := slices.ContainsFunc(live, func(e holdfast.Execution) bool { return e.Busy() })
		for _, e := range live {
			if e.State != holdfast.StatePlanned || e.Due.After(now) {
				continue
			}
			skip, at := j.DueETL(now, e, busy)
			move := holdfast.MoveDue
			if skip != holdfast.SkipNone {
				move = holdfast.MoveSkip
			}
			next := e
			if next.Status, err = e.Next(move); err != nil {
				return err
			}
			if next.State == holdfast.StateEnded {
				next.Ended = now
			}
			if err := tx.MoveExecution(ctx, e, next); err != nil {
				return err
			}
			if at.IsZero() {
				return nil
			}
			planned := holdfast.NewETLExecution(j, s.r.sites[0], j.ETL.RunOf(nil, nil, false), at, now, e.Actor)
			return tx.InsertExecution(ctx, &planned)
		}
		return nil
	})
}

// step is one thing that happens, in the model and in reality. It is drawn before
// it is done, so that it can be done in several orders.
type step struct {
	name  string
	model func(*etlModel) string
	real  func(*actual) (service.ETLAnswer, error)
	quiet bool // it has no answer
}

func quiet(name string, model func(*etlModel) string, do func(*actual) error) step {
	return step{name, model, func(s *actual) (service.ETLAnswer, error) { return service.ETLAnswer{}, do(s) }, true}
}

// drawCall draws a call of the API.
func drawCall(rt *rapid.T, now time.Time) step {
	p := rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(rt, "property")
	switch kind := rapid.SampledFrom([]string{"run", "run", "schedule", "at", "period", "stop", "kill"}).Draw(rt, "call"); kind {
	case "run":
		return step{name: "run " + p, model: func(m *etlModel) string { return m.run(p) }, real: func(s *actual) (service.ETLAnswer, error) {
			return s.r.svc.RunETL(s.r.t.Context(), s.r.admin, s.asked(p))
		}}
	case "stop":
		return step{name: "stop", model: (*etlModel).stop, real: func(s *actual) (service.ETLAnswer, error) {
			return s.r.svc.StopETL(s.r.t.Context(), s.r.admin, s.job)
		}}
	case "kill":
		return step{name: "kill", model: (*etlModel).kill, real: func(s *actual) (service.ETLAnswer, error) {
			return s.r.svc.KillETL(s.r.t.Context(), s.r.admin, s.job)
		}}
	default:
		var at time.Time
		var period time.Duration
		switch kind {
		case "at":
			at = now.Add(time.Duration(rapid.IntRange(0, 3).Draw(rt, "at")) * 10 * time.Minute)
		case "period":
			period = time.Duration(rapid.IntRange(1, 2).Draw(rt, "period")) * 15 * time.Minute
		}
		return step{
			name:  fmt.Sprintf("schedule %s at %s every %s", p, at.Sub(start), period),
			model: func(m *etlModel) string { return m.schedule(p, at, period) },
			real: func(s *actual) (service.ETLAnswer, error) {
				in := service.ScheduleETL{RunETL: s.asked(p), At: at, Period: period}
				return s.r.svc.ScheduleETL(s.r.t.Context(), s.r.admin, in)
			},
		}
	}
}

// drawWork draws what a worker does.
func drawWork(rt *rapid.T) step {
	if rapid.Bool().Draw(rt, "start") {
		return quiet("start", (*etlModel).start, (*actual).start)
	}
	move := rapid.SampledFrom([]holdfast.Move{
		holdfast.MoveSucceed, holdfast.MoveWarn, holdfast.MoveFail, holdfast.MoveRest, holdfast.MoveRetry, holdfast.MoveSilence,
	}).Draw(rt, "finish")
	return quiet(string(move), func(m *etlModel) string { return m.finish(move) }, func(s *actual) error { return s.finish(move) })
}

// newModelled makes an ETL and its model.
func newModelled(rt *rapid.T, r *rig) (*actual, *etlModel) {
	isService := rapid.Bool().Draw(rt, "service")
	text := berlinETL
	if isService {
		text = serviceETL
	}
	j, err := r.svc.CreateETL(r.t.Context(), r.admin, service.NewETL{Name: newName(), Definition: text})
	if err != nil {
		rt.Fatal(err)
	}
	return &actual{r, j.ID}, &etlModel{service: isService, now: r.clock.Now()}
}

// do does a step on both, one after the other, and compares.
func do(rt *rapid.T, s *actual, m *etlModel, st step) {
	if m.service && strings.Contains(st.name, "every") && !strings.HasSuffix(st.name, "every 0s") {
		return // a service has no period
	}
	want := st.model(m)
	a, err := st.real(s)
	got := s.answer(a, err)
	if st.quiet && err == nil {
		got = ""
	}
	if got != want || s.String() != m.String() {
		rt.Fatalf("%s: got the answer %q, want %q;\n got %s\nwant %s", st.name, got, want, s, m)
	}
}

// clear ends what lives, so that the next round has the worker for itself.
func (s *actual) clear(rt *rapid.T) {
	for range 3 {
		if _, err := s.r.svc.KillETL(s.r.t.Context(), s.r.admin, s.job); err != nil {
			rt.Fatal(err)
		}
		if err := s.finish(holdfast.MoveRest); err != nil {
			rt.Fatal(err)
		}
	}
}

func TestETLRequestsAreAsTheirModel(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rapid.Check(t, func(rt *rapid.T) {
		s, m := newModelled(rt, r)
		defer s.clear(rt)
		for range rapid.IntRange(1, 20).Draw(rt, "steps") {
			switch rapid.IntRange(0, 5).Draw(rt, "kind") {
			case 0, 1:
				do(rt, s, m, drawWork(rt))
			case 2:
				d := time.Duration(rapid.IntRange(1, 40).Draw(rt, "minutes")) * time.Minute
				do(rt, s, m, quiet("pass "+d.String(), func(m *etlModel) string { return m.pass(d) }, func(s *actual) error {
					s.r.clock.add(d)
					return s.due()
				}))
			default:
				do(rt, s, m, drawCall(rt, m.now))
			}
		}
	})
}

// orders lists the orders in which so many things can happen.
func orders(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, rest := range orders(n - 1) {
		for at := 0; at <= len(rest); at++ {
			out = append(out, slices.Insert(slices.Clone(rest), at, n-1))
		}
	}
	return out
}

func TestETLRequestsAtOnceComeInSomeOrder(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	rapid.Check(t, func(rt *rapid.T) {
		s, m := newModelled(rt, r)
		defer s.clear(rt)
		for range rapid.IntRange(0, 6).Draw(rt, "steps before") {
			if rapid.Bool().Draw(rt, "work") {
				do(rt, s, m, drawWork(rt))
			} else {
				do(rt, s, m, drawCall(rt, m.now))
			}
		}
		var steps []step
		for range rapid.IntRange(2, 4).Draw(rt, "at once") {
			st := drawCall(rt, m.now)
			if rapid.IntRange(0, 2).Draw(rt, "work") == 0 {
				st = drawWork(rt)
			}
			if !m.service || !strings.Contains(st.name, "every") || strings.HasSuffix(st.name, "every 0s") {
				steps = append(steps, st)
			}
		}
		answers := make([]service.ETLAnswer, len(steps))
		errs := make([]error, len(steps))
		var wg sync.WaitGroup
		for i, st := range steps {
			wg.Go(func() { answers[i], errs[i] = st.real(s) })
		}
		wg.Wait()
		got := s.String()
		for i := range steps {
			a := s.answer(answers[i], errs[i])
			if steps[i].quiet && errs[i] == nil {
				a = ""
			}
			got += fmt.Sprintf("\n%s: %s", steps[i].name, a)
		}
		var wants []string
		for _, order := range orders(len(steps)) {
			c, said := m.clone(), make([]string, len(steps))
			for _, i := range order {
				said[i] = steps[i].model(c)
			}
			want := c.String()
			for i := range steps {
				want += fmt.Sprintf("\n%s: %s", steps[i].name, said[i])
			}
			wants = append(wants, want)
		}
		if !slices.Contains(wants, got) {
			rt.Fatalf("from %s\ngot\n%s\nwhich no order gives:\n%s", m, got, strings.Join(wants, "\n---\n"))
		}
	})
}
