package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/execlog"
	"github.com/holdfast-backup/holdfast/internal/objstore/limit"
	"github.com/holdfast-backup/holdfast/internal/repository"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// Causes for which an execution ends, besides engine.ErrWish and
// engine.ErrStale.
var (
	errHandBack = errors.New("the worker is shutting down, and hands the execution back")
	errAlone    = errors.New("the control plane was not heard of for too long")
	errEnding   = errors.New("the worker has ended")
)

// run is one order that is being worked on.
//
// It has three contexts, each made of the one before. link lasts while there is
// somebody to talk to: it ends when the order is outdated, or the worker alone
// for too long. hard ends, too, when somebody wants the execution to end at
// once: nothing more is written then. soft ends, too, when somebody wants it to
// rest: the engine ends then, but a set that is complete is still committed.
type run struct {
	w        *Worker
	order    *wire.Order
	log      *slog.Logger // the execution's own
	ship     *shipper
	progress progress
	kept     string // what a restore in place that did not succeed says of what it moved aside

	link, hard, soft                   context.Context //nolint:containedctx // they are the run's life, and end with it
	cancelLink, cancelHard, cancelSoft context.CancelCauseFunc

	rate       *limit.Limiter // of what passes between here and the repository
	rateNow    int64          // the beats' alone
	rounds     atomic.Int64   // of a service that were good
	properties properties     // of an ETL; the beats' alone

	heard atomic.Int64 // nanoseconds since began of the newest answer to anything
	began time.Time

	mu     sync.Mutex // guards the field below
	writer Writer     // whose counters stand in the beats; may be nil
}

// execute works on an order to its end, and finishes it.
func (w *Worker) execute(o *wire.Order) {
	r := w.newRun(o)
	if r == nil {
		return
	}
	defer w.removeRun(r)
	var beats sync.WaitGroup
	beats.Go(r.beats)
	f := r.work()
	if f != nil {
		r.log.InfoContext(r.link, "execution ends", "exit", string(f.Move), "detail", f.Detail)
	}
	r.ship.flush(r.link, flushLimit)
	if f != nil {
		r.finish(f)
	}
	r.cancelLink(errEnding)
	beats.Wait()
	r.ship.close()
}

func (w *Worker) newRun(o *wire.Order) *run {
	r := &run{w: w, order: o, began: time.Now(), rate: limit.New(o.Site.BytesPerSec), rateNow: o.Site.BytesPerSec}
	r.link, r.cancelLink = context.WithCancelCause(w.life)
	r.hard, r.cancelHard = context.WithCancelCause(r.link)
	r.soft, r.cancelSoft = context.WithCancelCause(r.hard)
	r.properties.changed = make(chan map[string]string, 1)
	if o.ETL != nil {
		r.properties.version = o.ETL.Version
	}
	r.ship = newShipper(w.life, w.line, wire.ExecutionSubject(wire.KindLog, w.cfg.ID, o.Execution), o.Fence)
	r.log = execlog.New(r.ship, execlog.Run{Type: o.Type, Job: o.Job, Execution: o.Execution, Fence: o.Fence}, func() string { return r.progress.get().Phase })
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running[r.key()] != nil {
		// A repeated ask brought an order that is being worked on already.
		r.cancelLink(errEnding)
		go r.ship.close()
		return nil
	}
	for k, old := range w.running {
		if k.execution == o.Execution && k.fence < o.Fence {
			old.cancelLink(engine.ErrStale)
		}
	}
	w.running[r.key()] = r
	if w.draining {
		r.cancelHard(errHandBack)
	}
	return r
}

func (r *run) key() runKey { return runKey{r.order.Execution, r.order.Fence} }

func (w *Worker) removeRun(r *run) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, r.key())
}

// work does what the order says, and returns what is to be reported; nil when
// nothing more may be said.
func (r *run) work() *wire.Finish {
	r.w.cfg.Step("order.received")
	if r.hard.Err() != nil {
		return r.report(engine.Result{}, context.Cause(r.hard))
	}
	secrets, err := r.w.secrets(r.order.Sealed)
	if err != nil {
		return r.report(engine.Result{}, err)
	}
	if r.order.Type == holdfast.JobETL {
		return r.report(r.etl(secrets))
	}
	e, ok := r.w.cfg.Engines[r.order.Engine]
	if !ok {
		err := holdfast.Errorf(holdfast.CodeInvalid, "worker %s has no engine %q", r.w.cfg.Name, r.order.Engine).
			WithHint("upgrade the worker")
		return r.report(engine.Result{}, err)
	}
	var res engine.Result
	switch r.order.Type {
	case holdfast.JobBackup:
		res, err = r.backup(e, secrets)
	case holdfast.JobRestore:
		res, err = r.restore(e, secrets)
	case holdfast.JobETL: // above
	}
	return r.report(res, err)
}

// secrets opens what was sealed to this worker; nothing holds none.
func (w *Worker) secrets(sealed []byte) (wire.Secrets, error) {
	if len(sealed) == 0 {
		return wire.Secrets{}, nil
	}
	packed, err := w.cfg.Opener.Open(sealed)
	if err != nil {
		return wire.Secrets{}, fmt.Errorf("open the secrets: %w", err)
	}
	return wire.UnpackSecrets(packed)
}

// report turns the end of the work into what the control plane is told.
func (r *run) report(res engine.Result, err error) *wire.Finish {
	if r.order.Type == holdfast.JobETL {
		return r.reportETL(res, err)
	}
	f := &wire.Finish{Fence: r.order.Fence, Progress: r.snapshotProgress()}
	r.kept = withKept("", res.Kept, r.order.Execution, false)
	if err == nil {
		return r.reportDone(f, res)
	}
	cause := context.Cause(r.soft)
	is := func(target error) bool { return errors.Is(cause, target) || errors.Is(err, target) }
	switch {
	case is(engine.ErrStale), is(errAlone), is(errEnding):
		r.w.log.WarnContext(r.link, "order given up", "execution", int64(r.order.Execution), "fence", uint64(r.order.Fence), "error", errors.Join(err, cause))
		return nil
	case is(engine.ErrWish):
		f.Move = holdfast.MoveRest
		r.log.InfoContext(r.link, "execution rests", "reason", cause)
	case is(errHandBack):
		f.Move = holdfast.MoveHandBack
		f.Detail = errHandBack.Error()
		r.log.InfoContext(r.link, "execution handed back")
	case r.transient(err):
		f.Move, f.Detail = holdfast.MoveRetry, detailOf(err)
		r.log.WarnContext(r.link, "execution failed in a way that may pass", "error", err)
	default:
		f.Move, f.Detail = holdfast.MoveFail, detailOf(err)
		if r.order.Type == holdfast.JobRestore && (errors.Is(err, repository.ErrNoSnapshot) || errors.Is(err, repository.ErrDamaged)) {
			f.Bad = r.order.Snapshot
		}
		r.log.ErrorContext(r.link, "execution failed", "error", err)
	}
	f.Detail = withKept(f.Detail, res.Kept, r.order.Execution, false)
	return f
}

// transient reports whether the same order may succeed later. A conflict in a
// backup is a lock on the repository: somebody else's, or ours that was lost.
func (r *run) transient(err error) bool {
	code := holdfast.ErrorCode(err)
	if r.order.ETL != nil && r.order.ETL.Service {
		return false // it has tried again by itself, and given up
	}
	return code == holdfast.CodeUnavailable || code == holdfast.CodeConflict && r.order.Type == holdfast.JobBackup
}

const keptWarnings = 100

func (r *run) reportDone(f *wire.Finish, res engine.Result) *wire.Finish {
	f.Move = holdfast.MoveSucceed
	if len(res.Warnings) > 0 || res.Damaged != "" {
		f.Move = holdfast.MoveWarn
		for _, line := range res.Warnings {
			r.log.WarnContext(r.link, "left out or damaged", "text", line)
		}
		f.Detail = warningText(res)
	}
	f.Detail = withKept(withNotes(f.Detail, r.order.Restore, res), res.Kept, r.order.Execution, true)
	res.Warnings = clipWarnings(res.Warnings)
	res.Damaged = wire.Clip(res.Damaged, wire.MaxDetail)
	b, err := json.Marshal(res)
	if err != nil {
		return r.report(engine.Result{}, fmt.Errorf("encode the engine's result: %w", err))
	}
	f.Result = b
	switch spec := r.order.Restore; {
	case r.order.Type == holdfast.JobBackup:
		f.StoredBytes = res.Bytes
	case spec != nil && !spec.Delta: // a delta reads what differs only
		f.Good = r.order.Snapshot
	}
	return f
}

// clipWarnings bounds what a result says of warnings; the execution's log has all.
func clipWarnings(lines []string) []string {
	if n := len(lines); n > keptWarnings {
		lines = append(lines[:keptWarnings:keptWarnings], fmt.Sprintf("and %d more, in the execution's log", n-keptWarnings))
	}
	for i, line := range lines {
		lines[i] = wire.Clip(line, 2048)
	}
	return lines
}

func warningText(res engine.Result) string {
	text := res.Damaged
	if len(res.Warnings) > 0 {
		if text != "" {
			text += "; "
		}
		text += res.Warnings[0]
	}
	if n := len(res.Warnings); n > 1 {
		text += fmt.Sprintf("; and %d more warnings", n-1)
	}
	return wire.Clip(text, wire.MaxDetail)
}

// detailOf says to people what went wrong, and what to do.
func detailOf(err error) string {
	s := holdfast.ErrorMessage(err)
	if holdfast.ErrorCode(err) == holdfast.CodeInternal {
		s = "internal error: the execution's log says more"
	}
	if h := holdfast.ErrorHint(err); h != "" {
		s += ": " + h
	}
	return wire.Clip(s, wire.MaxDetail)
}

// wish takes in what people want now.
func (r *run) wish(wanted holdfast.Wanted) {
	cause := fmt.Errorf("%w: %s", engine.ErrWish, wanted)
	switch wanted {
	case holdfast.WantRun:
	case holdfast.WantSuspend, holdfast.WantStop:
		r.cancelSoft(cause)
	case holdfast.WantAbort, holdfast.WantKill:
		r.cancelHard(cause)
	}
}
