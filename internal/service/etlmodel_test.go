package service_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// modelled is an execution in the model.
type modelled struct {
	holdfast.Status

	property        string // value of the one property; empty: none is given
	timed           bool   // its time was named
	due, ended      time.Time
	started, ending int // which of all starts and ends of the ETL it was, from 1; 0: none yet
}

// etlModel is the two tables of bmc-etl.md 6.7, written out over a list of
// executions in memory.
type etlModel struct {
	service bool
	now     time.Time
	rec     *holdfast.Recurrence
	marked  bool
	all     []modelled
	turns   int // starts and ends so far
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
	m.all = append(m.all, modelled{Status: holdfast.Status{State: s}, property: property, due: due})
	m.marked = false
	return fmt.Sprint(len(m.all) - 1)
}

func (m *etlModel) move(i int, move holdfast.Move) {
	next, err := m.all[i].Next(move)
	if err != nil {
		return
	}
	e := &m.all[i]
	e.Status = next
	m.turns++
	if next.State == holdfast.StateRunning && e.started == 0 {
		e.started = m.turns
	}
	if next.State == holdfast.StateEnded {
		e.ended, e.ending = m.now, m.turns
	}
}

// newest returns the one of those that have ended whose turn came last, whatever the
// clock said; -1: none has one.
func (m *etlModel) newest(turn func(modelled) int) int {
	best, last := -1, 0
	for i, e := range m.all {
		if e.State == holdfast.StateEnded && turn(e) > last {
			best, last = i, turn(e)
		}
	}
	return best
}

func (m *etlModel) lastEnded() int { return m.newest(func(e modelled) int { return e.ending }) }

func (m *etlModel) lastFinished() int { return m.newest(func(e modelled) int { return e.started }) }

// last is the answer when there is nothing to end.
func (m *etlModel) last() string { return fmt.Sprint(max(m.lastEnded(), 0)) + ", none" }

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
		now := !due.After(m.now)
		i, id := p, fmt.Sprint(p)
		if p < 0 {
			id = m.add(holdfast.StatePlanned, property, due)
			i = len(m.all) - 1
		} else if property != "" {
			m.all[p].property = property
		}
		m.all[i].due, m.all[i].timed = due, m.all[i].timed || !at.IsZero()
		m.marked = false
		if now {
			m.move(i, holdfast.MoveDue)
			if m.rec != nil && m.rec.Armed {
				m.add(holdfast.StatePlanned, "", m.next())
			}
		}
		return id
	}
	if m.service {
		switch isOn := m.current() >= 0 && !m.stopping() || m.current() < 0 && len(m.waiting()) > 0; {
		case isOn && at.After(m.now):
			return "refused"
		case isOn:
			return fmt.Sprint(m.on()) + ", none"
		case at.After(m.now):
			return plan(at)
		}
		return m.run(property)
	}
	switch {
	case m.rec == nil && period == 0 && !at.After(m.now) && p < 0:
		return m.run(property)
	case !at.IsZero() && !at.After(m.now) && len(m.waiting()) >= holdfast.MaxFollowUps:
		return "refused"
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
	i := m.lastFinished()
	if last := m.lastEnded(); last >= 0 && last != i {
		e := m.all[last]
		if e.Outcome == holdfast.OutcomeCancelled && e.Reason == holdfast.ReasonWish && !e.due.After(e.ended) {
			return service.ServiceOff
		}
	}
	if i >= 0 {
		if o := m.all[i].Outcome; o == holdfast.OutcomeStopped || o == holdfast.OutcomeSucceeded || o == holdfast.OutcomeWarning {
			return service.ServiceOff
		}
		return service.ServiceAborted
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
	armed := m.rec != nil && m.rec.Armed && !m.service
	recurs := armed && !m.all[p].timed
	late := recurs && m.now.Sub(m.all[p].due) > m.rec.Period
	if late || (recurs || m.service) && !m.idle() {
		m.move(p, holdfast.MoveSkip)
	} else {
		m.move(p, holdfast.MoveDue)
	}
	if armed {
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
