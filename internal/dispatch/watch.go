package dispatch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// watch is what is known of a running execution between two writes. Times are
// those of Dispatcher.clock.
type watch struct {
	id       holdfast.ExecutionID
	worker   holdfast.WorkerID
	fence    holdfast.Fence
	wanted   holdfast.Wanted
	progress holdfast.Progress
	number   uint64 // of the newest beat
	written  uint64 // of the newest beat in the database
	dirty    bool   // progress or number are newer than the database
	rate     *int64 // bytes a second of its site; nil: not read yet, or an ETL
	version  int    // of the properties of an ETL
	failed   bool   // failures before this fence are counted
	good     bool   // a round of a service was good since: they are counted anew

	made     time.Duration
	since    time.Duration // when number last changed, or watching began anew
	wantedAt time.Duration // when abort or kill was first heard of; 0: neither was
	abortAt  time.Duration // when its time limit passes; 0: it has none
	acting   bool          // it is being moved on
}

// load begins to watch what is running. No silence is older than this moment: we
// have heard nobody yet.
func (d *Dispatcher) load(ctx context.Context) error {
	err := d.view(ctx, func(r store.Reader) (err error) {
		d.installation, err = r.Installation(ctx)
		return err
	})
	if err != nil {
		return fmt.Errorf("read installation: %w", err)
	}
	return d.reload(ctx)
}

// reload reads the running executions again: their wishes may have risen without
// our being told, another control plane may have started or ended some, and the
// limits of their sites may be others.
func (d *Dispatcher) reload(ctx context.Context) error {
	began := d.clock()
	var running []holdfast.Execution
	var rates map[holdfast.SiteID]int64
	err := d.view(ctx, func(r store.Reader) (err error) {
		if running, err = r.LiveExecutions(ctx, holdfast.StateRunning); err != nil {
			return err
		}
		rates, err = ratesOf(ctx, r, running)
		return err
	})
	if err != nil {
		return fmt.Errorf("read running executions: %w", err)
	}
	found := make(map[holdfast.ExecutionID]bool, len(running))
	for _, e := range running {
		found[e.ID] = true
		d.watch(e)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, w := range d.watches {
		if !found[id] && w.made < began {
			delete(d.watches, id)
		}
	}
	for _, e := range running {
		if w := d.watches[e.ID]; w != nil && e.Type != holdfast.JobETL {
			rate := rates[e.Site]
			w.rate = &rate
		}
	}
	return nil
}

// ratesOf reads the limits of the sites of executions that use a repository.
func ratesOf(ctx context.Context, r store.Reader, running []holdfast.Execution) (map[holdfast.SiteID]int64, error) {
	rates := map[holdfast.SiteID]int64{}
	for _, e := range running {
		if _, ok := rates[e.Site]; ok || e.Type == holdfast.JobETL {
			continue
		}
		site, err := r.Site(ctx, e.Account, e.Site)
		if err != nil && holdfast.ErrorCode(err) != holdfast.CodeNotFound {
			return nil, fmt.Errorf("read site %d: %w", e.Site, err)
		}
		rates[e.Site] = site.BytesPerSec
	}
	return rates, nil
}

// watch begins or goes on to watch a running execution.
func (d *Dispatcher) watch(e holdfast.Execution) {
	now, wall := d.clock(), d.cfg.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.watches[e.ID]
	switch {
	case w != nil && w.fence > e.Fence:
		return // what was read is old
	case w == nil || w.fence < e.Fence:
		w = &watch{
			id: e.ID, worker: e.Worker, fence: e.Fence, progress: e.Progress,
			number: e.Beat, written: e.Beat, made: now, since: now,
		}
		if e.AbortAfter > 0 && !service(e) {
			// The wall clock says how much is left, once; from here on it may jump.
			left := e.AbortAfter - min(max(wall.Sub(e.Started), 0), e.AbortAfter)
			w.abortAt = max(now+left, 1)
		}
		d.watches[e.ID] = w
	case e.Beat > w.number: // another control plane heard it
		w.number, w.written, w.since = e.Beat, e.Beat, now
	}
	if e.ETL != nil {
		w.version, w.failed = max(w.version, e.ETL.Version), failedBefore(e)
	}
	w.want(e.Wanted, now)
}

// want takes a wish in: it only rises, except that resume takes suspend back.
func (w *watch) want(wanted holdfast.Wanted, now time.Duration) {
	if wanted > w.wanted || (wanted == holdfast.WantRun && w.wanted == holdfast.WantSuspend) {
		w.wanted = wanted
	}
	if w.wanted >= holdfast.WantAbort && w.wantedAt == 0 {
		w.wantedAt = max(now, 1)
	}
}

// forget ends the watch of a fence.
func (d *Dispatcher) forget(id holdfast.ExecutionID, f holdfast.Fence) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.watches[id]; w != nil && w.fence <= f {
		delete(d.watches, id)
	}
}

// act is what watching an execution calls for.
type act struct {
	watch watch // as it was
	move  holdfast.Move
}

// watchLoop looks at every watch, four times a second.
func (d *Dispatcher) watchLoop(ctx context.Context) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	last, reloaded := d.clock(), d.clock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		now := d.clock()
		if now-last > frozenAfter {
			d.restartSilence(now)
			d.log.InfoContext(ctx, "this process stood still: silence is measured anew", "elapsed", now-last)
		}
		last = now
		for _, a := range d.due(now) {
			d.handlers.Go(func() { d.act(context.WithoutCancel(ctx), a) })
		}
		if now-reloaded >= reloadEvery {
			reloaded = now
			d.handlers.Go(func() {
				if err := d.reload(context.WithoutCancel(ctx)); err != nil {
					d.log.InfoContext(ctx, "running executions not read", "error", err)
				}
			})
		}
	}
}

// restartSilence lets every silence begin anew: beats may be waiting that we
// could not hear.
func (d *Dispatcher) restartSilence(now time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.watches {
		w.since = now
		if w.wantedAt != 0 {
			w.wantedAt = now
		}
	}
}

// due says what is to be done at now.
func (d *Dispatcher) due(now time.Duration) []act {
	if !d.conn.IsConnected() {
		return nil // we hear nobody: that is not their silence
	}
	heard := time.Duration(d.heardAt.Load())
	d.mu.Lock()
	defer d.mu.Unlock()
	var acts []act
	for _, w := range d.watches {
		if w.acting {
			continue
		}
		m := w.due(now, heard, d.cfg.SilenceLimit, d.cfg.KillLimit)
		if m == "" {
			continue
		}
		w.acting = true
		acts = append(acts, act{watch: *w, move: m})
	}
	return acts
}

// due says which move the watch calls for; empty: none.
func (w *watch) due(now, heard, silence, kill time.Duration) holdfast.Move {
	switch {
	case w.wantedAt != 0 && now-max(w.wantedAt, heard) >= kill:
		return holdfast.MoveDecide
	case now-max(w.since, heard) >= silence:
		return holdfast.MoveSilence
	case w.abortAt != 0 && now >= w.abortAt && w.wanted < holdfast.WantAbort:
		return holdfast.MoveAbort
	}
	return ""
}

var errNotSilent = errors.New("somebody else heard it")

// act moves an execution on, by compare-and-set on its fence and beat.
func (d *Dispatcher) act(ctx context.Context, a act) {
	var prev, next holdfast.Execution
	var left *etlParts
	err := d.update(ctx, func(tx store.Tx) (err error) {
		prev, err = tx.Execution(ctx, 0, a.watch.id)
		if err != nil {
			return err
		}
		if prev.State != holdfast.StateRunning || prev.Fence != a.watch.fence {
			return holdfast.Errorf(holdfast.CodeConflict, "the execution has moved on")
		}
		if a.move == holdfast.MoveSilence && (prev.Beat != a.watch.written && prev.Beat != a.watch.number || d.heardSince(a.watch)) {
			return errNotSilent
		}
		if left, err = d.leftBy(ctx, tx, prev); err != nil {
			return err
		}
		next, err = d.settle(ctx, tx, actorDispatch, a.move, prev, func(e *holdfast.Execution) { d.explain(a, e) })
		return err
	})
	switch {
	case errors.Is(err, errNotSilent):
		d.watch(prev)
		d.acted(a.watch)
	case holdfast.ErrorCode(err) == holdfast.CodeConflict, holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		d.forget(a.watch.id, a.watch.fence) // the next reload says what is true
	case err != nil:
		d.log.WarnContext(ctx, "execution not moved on; it is tried again", "execution", int64(a.watch.id), "move", string(a.move), "error", err)
		d.acted(a.watch)
	case a.move == holdfast.MoveAbort:
		d.acted(a.watch)
		d.Tell(a.watch.worker, a.watch.id, a.watch.fence, holdfast.WantAbort)
	default:
		d.log.InfoContext(ctx, "execution moved on", "execution", int64(next.ID), "move", string(a.move),
			"state", string(next.State), "outcome", string(next.Outcome), "fence", uint64(a.watch.fence))
		d.cfg.Step("silence.committed")
		d.closed(prev, next, left)
	}
}

// heardSince reports whether a beat has come since the watch was looked at: the
// database may have let us wait.
func (d *Dispatcher) heardSince(old watch) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	w := d.watches[old.id]
	return w != nil && w.fence == old.fence && w.number != old.number
}

// acted lets the watch call for the next act.
func (d *Dispatcher) acted(old watch) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if w := d.watches[old.id]; w != nil && w.fence == old.fence {
		w.acting = false
	}
}

// explain says in the execution why it was moved on.
func (d *Dispatcher) explain(a act, e *holdfast.Execution) {
	if a.move == holdfast.MoveSilence {
		e.Detail = fmt.Sprintf("worker %d was not heard of for %s", e.Worker, d.cfg.SilenceLimit)
		if e.State == holdfast.StateEnded && e.Outcome == holdfast.OutcomeFailed {
			e.Detail += fmt.Sprintf("; this was attempt %d, and the last", e.Attempts)
		}
	}
	if a.move == holdfast.MoveDecide {
		e.Detail = fmt.Sprintf("worker %d did not confirm the wish to %s within %s", e.Worker, e.Wanted, d.cfg.KillLimit)
	}
	if a.move == holdfast.MoveAbort {
		e.Detail = fmt.Sprintf("its time limit of %s has passed", e.AbortAfter)
		return // its worker will say what it leaves
	}
	e.Detail = also(e.Detail, keptBy(*e))
}

// also joins two sentences of a detail, of which each may be empty.
func also(detail, more string) string {
	if detail == "" || more == "" {
		return detail + more
	}
	return detail + "; " + more
}

// keptBy says of a restore in place whose worker has not said it where the old
// content is: the worker is gone, or has not come that far in this attempt.
func keptBy(e holdfast.Execution) string {
	if e.Restore == nil || e.Restore.Site == 0 {
		return ""
	}
	at := engine.KeptAt(e.Restore.Directory, e.ID)
	if strings.Contains(e.Detail, at) {
		return ""
	}
	text := fmt.Sprintf("if it had begun to write, what was in %s is kept in %s (when %s is a symbolic link: beside what it leads to)",
		e.Restore.Directory, at, e.Restore.Directory)
	if len(e.Restore.Tablespaces) > 0 {
		text += ", and what was in its tablespaces likewise"
	}
	return text
}

// keptBefore is keptBy for an execution of which orders have been given up to a
// fence; without any, nothing can have been moved.
func keptBefore(e holdfast.Execution, last holdfast.Fence) string {
	if last < 1 {
		return ""
	}
	return keptBy(e)
}

// closed follows a fence that we have closed without its worker.
func (d *Dispatcher) closed(prev, next holdfast.Execution, left *etlParts) {
	d.forget(prev.ID, prev.Fence)
	// The worker may be alive after all: it should hear that it is outdated, or
	// dead to us, before its next beat.
	if next.State == holdfast.StateEnded {
		d.push(prev.Worker, wire.Command{Kind: wire.CommandWish, Execution: prev.ID, Fence: prev.Fence, Wanted: holdfast.WantKill})
	}
	d.release(release{execution: next, fence: prev.Fence, etl: left})
	d.Ring(next.Pool)
	d.kickReaper()
}
