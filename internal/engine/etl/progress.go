package etl

import (
	"math"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/holdfast-backup/holdfast/internal/engine"
)

// tally is the [engine.Report] of an execution. What was done for a unit that is not
// committed can be taken back, and each phase says that rounds fail.
type tally struct {
	engine.Report

	mu          sync.Mutex // guards the fields below
	rows, bytes int64      // done since the newest commit
	failing     string     // empty: the newest round was good
}

// Phase names what the execution is doing now.
func (t *tally) Phase(name string) {
	t.mu.Lock()
	if t.failing != "" {
		name += ", " + t.failing
	}
	t.mu.Unlock()
	t.Report.Phase(name)
}

// Done adds to what is done.
func (t *tally) Done(rows, bytes int64) {
	t.mu.Lock()
	t.rows, t.bytes = t.rows+rows, t.bytes+bytes
	t.mu.Unlock()
	t.Report.Done(rows, bytes)
}

// keep notes that everything that is done is committed.
func (t *tally) keep() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows, t.bytes = 0, 0
}

// takeBack takes back what is not: it is done again, or not at all.
func (t *tally) takeBack() {
	t.mu.Lock()
	rows, bytes := t.rows, t.bytes
	t.rows, t.bytes = 0, 0
	t.mu.Unlock()
	t.Report.Done(-rows, -bytes)
}

// fail says why rounds fail; empty: they do not.
func (t *tally) fail(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failing = text
}

// begun is where the rows of a flow that counts by a column began: what the
// position of later units is taken from.
type begun struct {
	position float64
	bytes    int64 // that the execution had read there
}

// totalKnown reports whether a total can be told: of a service there is none, and
// what later flows are to read is not known.
func (f *flow) totalKnown() bool {
	return !f.e.service() && f == f.e.flows[len(f.e.flows)-1]
}

// expectFiles tells how much there is to read, when all of it is files.
func (f *flow) expectFiles(w *work) {
	if !f.totalKnown() {
		return
	}
	total := f.e.bytes.Load()
	for _, r := range w.readings {
		if r.in.Extract.File == nil {
			return
		}
		for _, file := range r.files {
			total += file.seen.Size
		}
	}
	f.e.req.Report.Total(0, total)
}

// expectMore tells how much there is to read, when a unit is done: as much as the
// counter's position between its first and the snapshot's last row says. Each unit
// corrects it, and the last one makes it what was read.
func (f *flow) expectMore(before, after map[string]string) {
	if !f.totalKnown() || f.unitRows() == 0 {
		return
	}
	for extract, t := range f.trackers { // one: see unitRows
		value, ok := after[extract]
		if !ok || t.end == nil {
			return
		}
		at, ok := t.position(parseMark(value).Column)
		if !ok {
			return
		}
		now := f.e.bytes.Load()
		if f.begun == nil {
			f.begun = &begun{at, now}
			counter, ok := before[extract]
			last := t.last(counter, ok)
			if last == nil {
				return
			}
			from, ok := t.position(last.Column)
			if !ok {
				return
			}
			f.begun = &begun{from, f.startBytes}
		}
		end, ok := t.position(t.end.Column)
		if !ok {
			return
		}
		if total, ok := extrapolate(*f.begun, at, end, now); ok {
			f.e.req.Report.Total(0, total)
		}
	}
}

// extrapolate returns how many bytes there are until a position, from what was
// read up to another one.
func extrapolate(from begun, at, end float64, now int64) (int64, bool) {
	part := (at - from.position) / (end - from.position)
	if !(part > 0 && part <= 1) { // NaN is neither
		return 0, false
	}
	rest := float64(now-from.bytes) * (1 - part) / part
	if rest > math.MaxInt64/2 {
		return 0, false
	}
	return now + int64(rest), true
}

// Times as servers write them, and as people write them into counters.
var timeLayouts = []string{"2006-01-02 15:04:05Z07", "2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", time.RFC3339, time.DateOnly}

// position is where a value of the counting column stands: a number, or the seconds
// of a time. False for columns and values that have no distances.
func (t *tracker) position(value string) (float64, bool) {
	switch t.column.oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.NumericOID, pgtype.Float4OID, pgtype.Float8OID:
		n, err := strconv.ParseFloat(value, 64)
		return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		for _, layout := range timeLayouts {
			if at, err := time.Parse(layout, value); err == nil {
				return float64(at.Unix()) + float64(at.Nanosecond())/1e9, true
			}
		}
	}
	return 0, false
}
