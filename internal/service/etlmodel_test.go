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

// modelled is an execution in the model.
type modelled struct {
	holdfast.Status

	property string // value of the one property; empty: none is given
	due      time.Time
}

// etlModel is the two tables of bmc-etl.md 6.7, written out over a list of
// executions in memory.
type etlModel struct {
	service bool
	now     time.Time
	rec     *holdfast.Recurrence
	marked  bool
	all     []modelled
}

func (m *etlModel) clone() *etlModel {
	c := *m
	c.all = slices.Clone(m.all)
	if m.rec != nil {
		rec := *m.rec
		c.rec = &rec
	}
	return &c
}

// first returns the first execution that is so; -1: none is.
func (m *etlModel) first(is func(modelled) bool) int { return slices.IndexFunc(m.all, is) }

func (m *etlModel) current() int {
	if i := m.first(func(e modelled) bool { return e.State == holdfast.StateRunning }); i >= 0 {
		return i
	}
	return m.first(func(e modelled) bool { return e.State == holdfast.StateQueued && e.Fence > 0 })
}

func (m *etlModel) waiting() (list []int) {
	for i, e := range m.all {
		if e.State == holdfast.StateQueued && i != m.current() {
			list = append(list, i)
		}
	}
	return list
}

func (m *etlModel) planned() int {
	return m.first(func(e modelled) bool { return e.State == holdfast.StatePlanned })
}

func (m *etlModel) stopping() bool {
	c := m.current()
	return c >= 0 && m.all[c].Wanted >= holdfast.WantStop
}

func (m *etlModel) add(s holdfast.State, property string, due time.Time) string {
	m.all = append(m.all, modelled{holdfast.Status{State: s}, property, due})
	m.marked = false
	return fmt.Sprint(len(m.all) - 1)
}

func (m *etlModel) move(i int, move holdfast.Move) {
	if next, err := m.all[i].Next(move); err == nil {
		m.all[i].Status = next
	}
}

// last is the answer when there is nothing to end.
func (m *etlModel) last() string {
	for i := len(m.all) - 1; i >= 0; i-- {
		if m.all[i].State == holdfast.StateEnded {
			return fmt.Sprint(i) + ", none"
		}
	}
	return "0, none"
}

// on is the execution that keeps a service on, or will.
func (m *etlModel) on() int {
	if c := m.current(); c >= 0 && !m.stopping() {
		return c
	}
	if w := m.waiting(); len(w) > 0 {
		return w[0]
	}
	return -1
}

func (m *etlModel) run(property string) string {
	if m.service {
		on := m.on()
		switch {
		case on < 0:
			return m.add(holdfast.StateQueued, property, m.now)
		case property == "" || m.all[on].property == property:
			return fmt.Sprint(on) + ", none"
		}
		m.all[on].property = property
		return fmt.Sprint(on)
	}
	for _, i := range m.waiting() {
		if m.all[i].property == property {
			return fmt.Sprint(i)
		}
	}
	if len(m.waiting()) >= holdfast.MaxFollowUps {
		return "refused"
	}
	return m.add(holdfast.StateQueued, property, m.now)
}

// next is the first time of the stored timing after now.
func (m *etlModel) next() time.Time {
	at := m.rec.Start
	for !at.After(m.now) {
		at = at.Add(m.rec.Period)
	}
	return at
}

func (m *etlModel) schedule(property string, at time.Time, period time.Duration) string {
	p := m.planned()
	plan := func(due time.Time) string {
		if p < 0 {
			return m.add(holdfast.StatePlanned, property, due)
		}
		if property != "" {
			m.all[p].property = property
		}
		m.all[p].due = due
		m.marked = false
		return fmt.Sprint(p)
	}
	if m.service {
		switch {
		case m.current() >= 0 && !m.stopping(), m.current() < 0 && len(m.waiting()) > 0:
			return fmt.Sprint(m.on()) + ", none"
		case at.After(m.now):
			return plan(at)
		}
		return m.run(property)
	}
	switch {
	case m.rec == nil && period == 0 && !at.After(m.now) && p < 0:
		return m.run(property)
	case m.rec == nil && period == 0 && at.IsZero():
		return plan(m.all[p].due)
	case m.rec == nil && period == 0:
		return plan(at)
	}
	kept := m.rec != nil && (period == 0 || period == m.rec.Period)
	if m.rec == nil {
		m.rec = &holdfast.Recurrence{Start: m.now}
	}
	if !kept {
		m.rec.Period = period
		if !at.IsZero() {
			m.rec.Start = at
		}
	}
	m.rec.Armed = true
	switch {
	case !at.IsZero():
		return plan(at)
	case kept && p >= 0:
		return plan(m.all[p].due)
	}
	return plan(m.next())
}

// end makes a move of all that works or waits.
func (m *etlModel) end(move holdfast.Move) string {
	c, w := m.current(), m.waiting()
	answer := c
	if c < 0 {
		answer = w[0]
	}
	before := slices.Clone(m.all)
	if c >= 0 {
		m.move(c, move)
	}
	for _, i := range w {
		m.move(i, move)
	}
	if m.service && slices.Equal(before, m.all) {
		return fmt.Sprint(answer) + ", none"
	}
	return fmt.Sprint(answer)
}

func (m *etlModel) idle() bool { return m.current() < 0 && len(m.waiting()) == 0 }

func (m *etlModel) stop() string {
	if m.idle() {
		return m.last()
	}
	return m.end(holdfast.MoveStop)
}

func (m *etlModel) kill() string {
	p := m.planned()
	switch {
	case !m.idle():
		if m.service && m.current() < 0 {
			m.marked = true
		}
		return m.end(holdfast.MoveKill)
	case m.service && (m.face() == service.ServiceOff || p >= 0):
		answer := strings.TrimSuffix(m.last(), ", none")
		m.marked = m.marked || m.face() == service.ServiceOff
		if p >= 0 {
			m.move(p, holdfast.MoveKill)
		}
		return answer
	case !m.service && p >= 0:
		m.move(p, holdfast.MoveKill)
		if m.rec != nil {
			m.rec.Armed = false
		}
		return fmt.Sprint(p)
	}
	return m.last()
}

func (m *etlModel) face() service.ServiceState {
	switch {
	case !m.service:
		return ""
	case !m.idle():
		return service.ServiceOn
	case m.marked:
		return service.ServiceAborted
	}
	for i := len(m.all) - 1; i >= 0; i-- {
		if e := m.all[i]; e.State == holdfast.StateEnded && e.Fence > 0 {
			if e.Outcome == holdfast.OutcomeStopped || e.Outcome == holdfast.OutcomeSucceeded || e.Outcome == holdfast.OutcomeWarning {
				return service.ServiceOff
			}
			return service.ServiceAborted
		}
	}
	return service.ServiceNone
}

// start gives a worker the execution that has waited for the longest.
func (m *etlModel) start() string {
	best := -1
	for i, e := range m.all {
		if e.State == holdfast.StateRunning {
			return ""
		}
		if e.State == holdfast.StateQueued && (best < 0 || e.due.Before(m.all[best].due)) {
			best = i
		}
	}
	if best >= 0 {
		m.move(best, holdfast.MoveStart)
	}
	return ""
}

// finish is what a worker says of what it runs.
func (m *etlModel) finish(move holdfast.Move) string {
	if c := m.current(); c >= 0 && m.all[c].State == holdfast.StateRunning {
		m.move(c, move)
	}
	return ""
}

// pass lets time pass, and what is planned become due.
func (m *etlModel) pass(d time.Duration) string {
	m.now = m.now.Add(d)
	p := m.planned()
	if p < 0 || m.all[p].due.After(m.now) {
		return ""
	}
	recurs := m.rec != nil && m.rec.Armed && !m.service
	late := recurs && m.now.Sub(m.all[p].due) > m.rec.Period
	if late || (recurs || m.service) && !m.idle() {
		m.move(p, holdfast.MoveSkip)
	} else {
		m.move(p, holdfast.MoveDue)
	}
	if recurs {
		marked := m.marked
		m.add(holdfast.StatePlanned, "", m.next())
		m.marked = marked
	}
	return ""
}

// String is all that can be seen of the model.
func (m *etlModel) String() string {
	var b strings.Builder
	for i, e := range m.all {
		fmt.Fprintf(&b, "%d %s %s %s %q", i, e.State, e.Wanted, e.Outcome, e.property)
		if e.State == holdfast.StatePlanned {
			fmt.Fprintf(&b, " due %s", e.due.Sub(start))
		}
		b.WriteString("; ")
	}
	if m.rec != nil {
		fmt.Fprintf(&b, "every %s from %s, armed %v", m.rec.Period, m.rec.Start.Sub(start), m.rec.Armed)
	}
	return b.String() + " " + string(m.face())
}

// real does on a service what the model does.
type real struct {
	r   *rig
	job holdfast.JobID
}

func (s *real) all() []holdfast.Execution {
	list, _, err := s.r.svc.Executions(s.r.t.Context(), s.r.admin, store.ExecutionFilter{Job: s.job})
	if err != nil {
		s.r.t.Fatal(err)
	}
	slices.Reverse(list)
	return list
}

func (s *real) String() string {
	st := must(s.r.svc.ETLStatus(s.r.t.Context(), s.r.admin, s.job))(s.r.t)
	m := etlModel{rec: st.Job.ETL.Recurrence}
	for _, e := range s.all() {
		m.all = append(m.all, modelled{e.Status, e.ETL.Properties["p"], e.Due})
	}
	text := m.String()
	if st.Job.ETL.Service {
		text += string(st.State())
	}
	return text
}

// answer is an answer with the position of its execution in place of its id.
func (s *real) answer(a service.ETLAnswer, err error) string {
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

func (s *real) asked(property string) service.RunETL {
	in := service.RunETL{Job: s.job}
	if property != "" {
		in.Properties = map[string]string{"p": property}
	}
	return in
}

// start is an ask of a worker.
func (s *real) start() error {
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
		next.Worker, next.Started = s.r.worker.ID, s.r.clock.Now()
		return tx.MoveExecution(ctx, e, next)
	})
}

// finish is what a worker says at the end of its order.
func (s *real) finish(move holdfast.Move) error {
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
			return tx.MoveExecution(ctx, e, next)
		}
		return nil
	})
}

// due does what dispatch does with what is due.
func (s *real) due() error {
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
			skip, at := j.DueETL(now, e.Due, busy)
			move := holdfast.MoveDue
			if skip != holdfast.SkipNone {
				move = holdfast.MoveSkip
			}
			next := e
			if next.Status, err = e.Next(move); err != nil {
				return err
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
	real  func(*real) (service.ETLAnswer, error)
	quiet bool // it has no answer
}

func quiet(name string, model func(*etlModel) string, do func(*real) error) step {
	return step{name, model, func(s *real) (service.ETLAnswer, error) { return service.ETLAnswer{}, do(s) }, true}
}

// drawCall draws a call of the API.
func drawCall(rt *rapid.T, now time.Time) step {
	p := rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(rt, "property")
	switch kind := rapid.SampledFrom([]string{"run", "run", "schedule", "at", "period", "stop", "kill"}).Draw(rt, "call"); kind {
	case "run":
		return step{name: "run " + p, model: func(m *etlModel) string { return m.run(p) }, real: func(s *real) (service.ETLAnswer, error) {
			return s.r.svc.RunETL(s.r.t.Context(), s.r.admin, s.asked(p))
		}}
	case "stop":
		return step{name: "stop", model: (*etlModel).stop, real: func(s *real) (service.ETLAnswer, error) {
			return s.r.svc.StopETL(s.r.t.Context(), s.r.admin, s.job)
		}}
	case "kill":
		return step{name: "kill", model: (*etlModel).kill, real: func(s *real) (service.ETLAnswer, error) {
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
			real: func(s *real) (service.ETLAnswer, error) {
				in := service.ScheduleETL{RunETL: s.asked(p), At: at, Period: period}
				return s.r.svc.ScheduleETL(s.r.t.Context(), s.r.admin, in)
			},
		}
	}
}

// drawWork draws what a worker does.
func drawWork(rt *rapid.T) step {
	if rapid.Bool().Draw(rt, "start") {
		return quiet("start", (*etlModel).start, (*real).start)
	}
	move := rapid.SampledFrom([]holdfast.Move{
		holdfast.MoveSucceed, holdfast.MoveWarn, holdfast.MoveFail, holdfast.MoveRest, holdfast.MoveRetry, holdfast.MoveSilence,
	}).Draw(rt, "finish")
	return quiet(string(move), func(m *etlModel) string { return m.finish(move) }, func(s *real) error { return s.finish(move) })
}

// newModelled makes an ETL and its model.
func newModelled(rt *rapid.T, r *rig) (*real, *etlModel) {
	isService := rapid.Bool().Draw(rt, "service")
	text := berlinETL
	if isService {
		text = serviceETL
	}
	j, err := r.svc.CreateETL(r.t.Context(), r.admin, service.NewETL{Name: newName(), Definition: text})
	if err != nil {
		rt.Fatal(err)
	}
	return &real{r, j.ID}, &etlModel{service: isService, now: r.clock.Now()}
}

// do does a step on both, one after the other, and compares.
func do(rt *rapid.T, s *real, m *etlModel, st step) {
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
func (s *real) clear(rt *rapid.T) {
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
				do(rt, s, m, quiet("pass "+d.String(), func(m *etlModel) string { return m.pass(d) }, func(s *real) error {
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
