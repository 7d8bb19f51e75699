package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

const (
	lineEvery  = 10 * time.Second // between two plain lines of one phase
	rateWindow = 10 * time.Second // over which the rate is taken
	barWidth   = 78
)

// progress shows how far something has come: a bar on a terminal, plain lines
// elsewhere.
type progress interface {
	update(e native.Execution)
	close()
}

func (a *app) progress(name string) progress {
	if a.output == "json" || !term.IsTerminal(int(a.stderr.Fd())) {
		return &lines{name: name, w: a.stderr, now: time.Now}
	}
	b := &bar{name: name + " ", now: time.Now}
	b.pool = mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(barWidth))
	return b
}

// meter works out rate and time left from what was seen over the last seconds.
type meter struct {
	phase  string
	points []point
}

type point struct {
	at   time.Time
	done int64
}

func (m *meter) add(now time.Time, p holdfast.Progress) {
	if p.Phase != m.phase || len(m.points) > 0 && p.DoneBytes < m.points[len(m.points)-1].done {
		m.phase, m.points = p.Phase, nil // another phase, or another attempt
	}
	m.points = append(m.points, point{now, p.DoneBytes})
	for len(m.points) > 2 && now.Sub(m.points[1].at) >= rateWindow {
		m.points = m.points[1:]
	}
}

// metered is the progress that a meter is to see: an ETL goes through its phases
// once for each unit.
func metered(e native.Execution) holdfast.Progress {
	p := e.Progress
	if e.Type == holdfast.JobETL {
		p.Phase = ""
	}
	return p
}

// rowsDone says how far an ETL has come. Its total may be corrected, and is not
// shown: only what part of it is done.
func rowsDone(p holdfast.Progress) string {
	s := fmt.Sprintf("%d rows, %s", p.DoneFiles, size(p.DoneBytes))
	if p.TotalBytes > 0 {
		s = fmt.Sprintf("%d%%, ", percent(p)) + s
	}
	return s
}

// percent needs a total.
func percent(p holdfast.Progress) int64 { return min(p.DoneBytes*100/p.TotalBytes, 100) }

// rate is in bytes per second; zero while it is not known.
func (m *meter) rate() float64 {
	if len(m.points) < 2 {
		return 0
	}
	a, b := m.points[0], m.points[len(m.points)-1]
	if d := b.at.Sub(a.at).Seconds(); d > 0 {
		return float64(b.done-a.done) / d
	}
	return 0
}

// left is the time until the end at the present rate; false while it is not
// known.
func (m *meter) left(p holdfast.Progress) (time.Duration, bool) {
	r := m.rate()
	if r <= 0 || p.TotalBytes <= p.DoneBytes {
		return 0, false
	}
	return time.Duration(float64(p.TotalBytes-p.DoneBytes) / r * float64(time.Second)), true
}

// text is the rate and the time left, as far as they are known.
func (m *meter) text(p holdfast.Progress) string {
	r := m.rate()
	if r <= 0 {
		return ""
	}
	s := ", " + size(int64(r)) + "/s"
	if d, ok := m.left(p); ok {
		s += ", " + duration(d.Round(time.Second)) + " left"
	}
	return s
}

// lines writes a line when the phase changes, and every few seconds.
type lines struct {
	name  string
	w     io.Writer
	now   func() time.Time
	meter meter
	head  string
	last  time.Time
}

func (l *lines) update(e native.Execution) {
	now, p := l.now(), e.Progress
	l.meter.add(now, metered(e))
	head := l.name + ": " + outcome(e)
	if e.State == holdfast.StateRunning && p.Phase != "" {
		head += ", " + p.Phase
	}
	if head == l.head && now.Sub(l.last) < lineEvery {
		return
	}
	l.head, l.last = head, now
	line := head
	switch {
	case e.State == holdfast.StateQueued:
		line += waits(e, now)
	case e.State == holdfast.StateRunning && e.Type == holdfast.JobETL && (p.DoneBytes > 0 || p.TotalBytes > 0):
		line += " " + rowsDone(p) + l.meter.text(p)
	case e.State == holdfast.StateRunning && p.TotalBytes > 0:
		line += fmt.Sprintf(" %d%%, %s of %s%s", percent(p), size(p.DoneBytes), size(p.TotalBytes), l.meter.text(p))
	case e.State == holdfast.StateRunning && p.DoneBytes > 0:
		line += fmt.Sprintf(" %s%s", size(p.DoneBytes), l.meter.text(p))
	}
	_, _ = fmt.Fprintln(l.w, line)
}

// waits says why an execution that has run before is queued again, and for how
// long.
func waits(e native.Execution, now time.Time) string {
	if e.Detail == "" {
		return ""
	}
	s := ": " + cell(e.Detail)
	if left := e.Due.Sub(now); left > 0 {
		s += "; tries again in " + duration(left)
	}
	return s
}

func (*lines) close() {}

// bar draws a bar.
type bar struct {
	name string
	now  func() time.Time
	pool *mpb.Progress
	bar  *mpb.Bar

	mu     sync.Mutex // guards the fields below: the bar draws in its own goroutine
	meter  meter
	latest native.Execution
}

func (b *bar) update(e native.Execution) {
	b.mu.Lock()
	b.meter.add(b.now(), metered(e))
	b.latest = e
	b.mu.Unlock()
	if b.bar == nil {
		b.bar = b.pool.AddBar(0, mpb.PrependDecorators(decor.Name(b.name), decor.Any(b.left)), mpb.AppendDecorators(decor.Any(b.right)))
	}
	p := e.Progress
	if p.TotalBytes == 0 { // nobody knows how full it is
		b.bar.SetTotal(1, false)
		b.bar.SetCurrent(0)
		return
	}
	b.bar.SetTotal(max(p.TotalBytes, p.DoneBytes+1), false) // it is not full before the end
	b.bar.SetCurrent(p.DoneBytes)
}

func (b *bar) left(decor.Statistics) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest.State == holdfast.StateRunning && b.latest.Progress.Phase != "" {
		return b.latest.Progress.Phase + " "
	}
	return outcome(b.latest) + " "
}

func (b *bar) right(decor.Statistics) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.latest.State == holdfast.StateQueued {
		return waits(b.latest, b.now())
	}
	p := b.latest.Progress
	if b.latest.Type == holdfast.JobETL {
		return " " + rowsDone(p) + b.meter.text(p)
	}
	return " " + size(p.DoneBytes) + b.meter.text(p)
}

// close leaves the terminal to what is printed next.
func (b *bar) close() {
	if b.bar != nil {
		b.bar.Abort(true)
	}
	b.pool.Wait()
}
