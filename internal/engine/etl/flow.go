package etl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/etl/definition"
	"github.com/holdfast-backup/holdfast/internal/engine/pgsession"
)

// flow is one load at work, with all that it reads.
type flow struct {
	e        *execution
	plan     *definition.Flow
	result   engine.FlowResult
	phases   phases
	rejected rejectsSeen
	toldOf   map[string]bool // extracts of which the log says that their query has changed

	sources  map[place]*source
	trackers map[string]*tracker // by extract
	conn     *pgx.Conn           // the target's; nil for files
	dry      pgx.Tx              // the one transaction of a simulation

	roundStart *state // of a service: what it had done before the round; nil: not known yet

	startBytes int64  // that the execution had read when the flow began
	work       *work  // of the unit in hand
	begun      *begun // nil: no unit is done, or its counter has no position
}

func newFlow(e *execution, plan *definition.Flow) *flow {
	c := e.plan.Definition.Connections[plan.Load.Connection]
	to := "site " + c.Site + ", table " + plan.Load.Table
	if plan.Load.Output != nil {
		to = strings.TrimSuffix(c.Directory, "/") + "/" + plan.Load.Output.Path
		if c.Bucket != nil {
			to = shownIn(*c.Bucket, plan.Load.Output.Path)
		}
	}
	return &flow{e: e, plan: plan, toldOf: map[string]bool{}, result: engine.FlowResult{Flow: plan.Load.Name, Target: to}}
}

// run does the units of the flow, one after the other.
func (f *flow) run(ctx context.Context) error {
	start := time.Now()
	f.sources, f.trackers = map[place]*source{}, map[string]*tracker{}
	f.startBytes, f.roundStart, f.phases = f.e.bytes.Load(), nil, phases{}
	defer f.closeSources(ctx)
	err := f.units(ctx)
	f.logResult(ctx, time.Since(start), err)
	return err
}

func (f *flow) closeSources(ctx context.Context) {
	for _, s := range f.sources {
		s.close(ctx)
	}
}

func (f *flow) logResult(ctx context.Context, took time.Duration, err error) {
	f.logPhases(ctx)
	r := f.result
	if p := f.phases; f.e.service() { // what the round did, which may be nothing, many times a minute
		if err == nil && p.units == 0 {
			return
		}
		r.Read, r.Loaded, r.Rejected, r.Deleted, r.Units = p.load.read, p.load.loaded, p.load.rejected, p.load.deleted, p.units
	}
	attrs := []any{
		"flow", r.Flow, "target", r.Target, "read", r.Read, "loaded", r.Loaded, "rejected", r.Rejected, "deleted", r.Deleted,
		"units", r.Units, "elapsed", took.Round(time.Millisecond),
	}
	for _, c := range r.Counters {
		attrs = append(attrs, "counter_"+c.Extract+"_before", c.Before, "counter_"+c.Extract+"_after", c.After)
	}
	log := f.e.log.With(attrs...)
	if err != nil {
		log.InfoContext(ctx, "flow ended early", "error", err)
		return
	}
	log.InfoContext(ctx, "flow ended")
}

func (f *flow) units(ctx context.Context) error {
	if f.plan.Load.Output != nil {
		return f.writeFiles(ctx)
	}
	conn, err := f.e.connect(ctx, placeOf(f.e.plan.Definition.Connections[f.plan.Load.Connection]))
	if err != nil {
		return err
	}
	defer pgsession.Close(ctx, conn)
	f.conn, f.dry = conn, nil
	t, err := f.openTarget(ctx, conn)
	if err != nil {
		return err
	}
	for {
		more, err := f.unit(ctx, conn, t)
		if err != nil || !more {
			return err
		}
		if f.e.stopping() {
			return errStopped()
		}
	}
}

// errStopped is the answer of an execution that came to rest before it was
// complete.
func errStopped() error { return fmt.Errorf("stopped between two units: %w", engine.ErrWish) }

// begin begins the transaction of a unit. A simulation has one for all units.
func (f *flow) begin(ctx context.Context, conn *pgx.Conn) (pgx.Tx, error) {
	if f.dry != nil {
		return f.dry, nil
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return nil, queryError(err, "begin a transaction")
	}
	if err = setLockLimit(ctx, tx); err == nil && f.e.req.Simulate {
		f.dry = tx
		if err = ensureSchema(ctx, tx); err == nil {
			err = f.e.claimIn(ctx, tx, []string{f.plan.Load.Name})
		}
	}
	if err != nil {
		rollback(ctx, tx)
		return nil, err
	}
	return tx, nil
}

// unit does one unit, and reports whether there is more to do.
func (f *flow) unit(ctx context.Context, conn *pgx.Conn, t *target) (more bool, err error) {
	tx, err := f.begin(ctx, conn)
	if err != nil {
		return false, err
	}
	if !f.e.req.Simulate {
		defer rollback(ctx, tx)
	}
	told := f.e.tellBlockers(ctx, placeOf(f.e.plan.Definition.Connections[f.plan.Load.Connection]), conn, "extract")
	s, err := f.lock(ctx, tx)
	told()
	if err != nil {
		return false, err
	}
	f.adopt(s)
	if f.e.service() && f.roundStart == nil {
		start := s
		f.roundStart = &start
	}
	if s.done && !f.e.service() {
		f.e.log.InfoContext(ctx, "flow was complete before", "flow", f.plan.Load.Name, "units", s.units)
		return false, nil
	}
	f.e.p.step("locked")
	before, err := f.counters(ctx, tx, t)
	if err != nil {
		return false, err
	}
	w, err := f.look(ctx, before)
	defer func() { err = errors.Join(err, w.close()) }()
	if err != nil {
		return false, err
	}
	f.work = w
	if err := f.readsTarget(ctx, tx, t); err != nil {
		return false, err
	}
	var c counts
	had := false
	if !w.nothing {
		f.e.req.Report.Phase("load")
		if had, err = f.had(ctx, tx, t); err != nil {
			return false, err
		}
		if c, err = f.load(ctx, tx, t, w.feed); err != nil {
			return false, err
		}
		if err := w.feeding.wait(); err != nil {
			return false, err
		}
		w.sum(&c)
		if err := w.storeRejects(ctx, tx); err != nil {
			return false, err
		}
	}
	if w.nothing && f.e.service() {
		return false, nil
	}
	if err := f.checkRead(ctx, c); err != nil {
		return false, err
	}
	if err := f.checkEmptied(c, had); err != nil {
		return false, err
	}
	f.e.p.step("loaded")
	if !w.nothing {
		s.units++
	}
	s.read, s.loaded, s.rejected, s.deleted = s.read+c.read, s.loaded+c.loaded, s.rejected+c.rejected, s.deleted+c.deleted
	s.done = w.last && !f.e.service()
	if err := f.book(ctx, tx, t, s, w.after); err != nil {
		return false, err
	}
	f.e.p.step("booked")
	if f.e.req.Simulate {
		err = checkDeferred(ctx, tx)
	} else if err = tx.Commit(ctx); err != nil {
		err = queryError(err, "commit the unit")
	}
	if err != nil {
		return false, err
	}
	f.e.p.step("committed")
	f.adopt(s)
	f.phases.add(w, c)
	f.moved(before, w.after)
	f.expectMore(before, w.after)
	if c.duplicates > 0 {
		text := "rows had the same key within a unit: the last one was loaded"
		if len(f.plan.Engine) > 0 {
			text += "; which one comes last behind a join or an aggregation in the engine, ORDER BY has to say"
		}
		f.e.warn(ctx, text, "flow", f.plan.Load.Name, "rows", c.duplicates)
	}
	f.e.log.InfoContext(ctx, "unit committed", "flow", f.plan.Load.Name, "unit", s.units, "read", c.read, "loaded", c.loaded,
		"rejected", c.rejected, "deleted", c.deleted, "simulated", f.e.req.Simulate)
	return !w.last, nil
}

// checkDeferred checks what a commit would: constraints that are deferred until then.
// They stay deferred for the units that follow.
func checkDeferred(ctx context.Context, tx pgx.Tx) error {
	inner, err := tx.Begin(ctx) // a savepoint
	if err != nil {
		return queryError(err, "check deferred constraints")
	}
	if _, err := inner.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return queryError(err, "check what the commit of the unit would check")
	}
	rollback(ctx, inner)
	return nil
}

// adopt takes what the execution has committed so far, with earlier fences, too.
func (f *flow) adopt(s state) {
	f.e.tally.keep()
	f.result.Read, f.result.Loaded, f.result.Rejected, f.result.Deleted = s.read, s.loaded, s.rejected, s.deleted
	if f.result.Units = s.units; f.e.req.Simulate {
		f.result.Units = 0
	}
}

// moved notes how far the counters came.
func (f *flow) moved(before, after map[string]string) {
	for extract, value := range after {
		at := -1
		for i, c := range f.result.Counters {
			if c.Extract == extract {
				at = i
			}
		}
		if at < 0 {
			f.result.Counters = append(f.result.Counters, engine.Counter{Extract: extract, Before: before[extract]})
			at = len(f.result.Counters) - 1
		}
		f.result.Counters[at].After = value
	}
}

// empties reports whether a load of nothing leaves readers nothing: it empties a table,
// or writes a version without rows, with which good ones may go.
func (f *flow) empties() bool {
	return f.plan.Load.Output != nil || f.plan.Load.Mode == definition.LoadReplace || f.plan.Load.Mode == definition.LoadMerge
}

// checkEmpty keeps an empty extract from emptying the target where that counts as an
// error.
func (f *flow) checkEmpty(c counts) error {
	if c.read > c.rejected || f.e.plan.Definition.Empty != definition.SeverityError || !f.empties() {
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "flow %s has read nothing that was not rejected, and its load would have emptied its target", f.plan.Load.Name).
		WithHint("look at the source; or let the definition say empty: warning")
}

// work is what a unit is to do.
type work struct {
	feed     feed
	nothing  bool              // there is nothing new
	last     bool              // there is no more behind it
	after    map[string]string // counters, when it is committed
	readings []*reading
	feeding  *feeding // of the engine
}

// close gives back what the unit holds open.
func (w *work) close() error {
	w.feeding.stop()
	var err error
	for _, r := range w.readings {
		closeFiles(r.files)
		err = errors.Join(err, r.rejects.close())
	}
	return err
}

// sum counts what went by way of the engine, which knows rows of its result only.
func (w *work) sum(c *counts) {
	if w.feeding == nil {
		return
	}
	c.read, c.rejected = 0, 0
	for _, r := range w.readings {
		c.read += r.read
		if r.rejects != nil {
			c.rejected += r.rejects.count
		}
	}
}

// rejected is how many rows were, when all has been read.
func (w *work) rejected() (int64, error) {
	if err := w.feeding.wait(); err != nil {
		return 0, err
	}
	var n int64
	for _, r := range w.readings {
		if r.rejects != nil {
			n += r.rejects.count
		}
	}
	return n, nil
}

// storeRejects writes what was rejected, in the unit's transaction.
func (w *work) storeRejects(ctx context.Context, tx pgx.Tx) error {
	for _, r := range w.readings {
		if err := r.rejects.store(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// look finds what the next unit is to do.
func (f *flow) look(ctx context.Context, counters map[string]string) (*work, error) {
	w := &work{last: true, after: map[string]string{}}
	counting, news := 0, 0
	for i := range f.plan.Inputs {
		r, err := f.read(ctx, i, counters)
		if r != nil {
			w.readings = append(w.readings, r)
		}
		if err != nil {
			return w, err
		}
		if r.in.Extract.Incremental != nil {
			counting++
		}
		if !r.nothing {
			news++
		}
		w.last = w.last && r.last
		if r.after != "" {
			w.after[r.in.Extract.Name] = r.after
		}
	}
	quiet := len(f.plan.Inputs) - news
	if w.nothing = counting > 0 && quiet == counting; w.nothing {
		return w, nil
	}
	f.expectFiles(w)
	var err error
	if f.needsEngine() {
		w.feed, err = f.engineFeed(ctx, w)
	} else {
		w.feed, err = w.readings[0].feed()
	}
	return w, err
}

// unitRows is how many rows a unit may have; 0: all. What replaces, or deletes
// what did not arrive, has to be one unit, and so is the version of an output.
func (f *flow) unitRows() int64 {
	if m := f.plan.Load.Mode; m == definition.LoadReplace || m == definition.LoadMerge || f.plan.Load.Output != nil {
		return 0
	}
	tracked := 0
	for _, in := range f.plan.Inputs {
		if i := in.Extract.Incremental; i != nil && i.Strategy == definition.StrategyColumn {
			tracked++
		}
	}
	if tracked != 1 {
		return 0
	}
	return f.e.plan.Definition.Batch.Rows
}

func (f *flow) byKey() bool {
	return f.plan.Load.Mode == definition.LoadUpsert || f.plan.Load.Mode == definition.LoadMerge
}

// source returns the flow's transaction on a connection's database. It has locked all
// that the flow reads there.
func (f *flow) source(ctx context.Context, connection string) (*source, error) {
	p := placeOf(f.e.plan.Definition.Connections[connection])
	if s := f.sources[p]; s != nil {
		return s, nil
	}
	s, err := f.e.openSource(ctx, p)
	if err != nil {
		return nil, err
	}
	f.sources[p] = s
	return s, f.hold(ctx, s, p)
}
