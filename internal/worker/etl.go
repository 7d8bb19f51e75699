package worker

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// maxCounterText is how much of a counter a result shows; the targets keep all of
// it.
const maxCounterText = 1024 // bytes

// properties hands a running service those that it has from its next round on.
type properties struct {
	version int
	changed chan map[string]string // the newest that were not taken yet
}

// etl runs the order's ETL. A wish to rest closes the stop channel, and the engine
// ends when its unit of work is committed; only a stronger wish ends its context.
func (r *run) etl(secrets wire.Secrets) (engine.Result, error) {
	p, err := r.w.pipeline(r.order.Engine)
	if err != nil {
		return engine.Result{}, err
	}
	req := etlOf(r.order.ETL, secrets)
	req.Installation, req.Job, req.JobName = r.order.Installation, r.order.Job, r.order.JobName
	req.Execution, req.Fence = r.order.Execution, r.order.Fence
	req.Roots = r.w.cfg.ETLRoots
	req.Stop, req.Changed, req.Round = r.soft.Done(), r.properties.changed, func() { r.rounds.Add(1) }
	req.Report, req.Log = &r.progress, r.log
	return p.Run(r.hard, req)
}

// etlOf is what a message says of an ETL, for an engine.
func etlOf(e *wire.ETL, secrets wire.Secrets) engine.ETL {
	sites := make(map[string]engine.Site, len(e.Sites))
	for _, s := range e.Sites {
		sites[s.Slug] = siteOf(s, secrets.Sites[s.ID])
	}
	return engine.ETL{Identity: e.Identity, Definition: e.Definition, Properties: secrets.Properties, Simulate: e.Simulate, Sites: sites}
}

// pipeline returns an engine for ETLs; CodeUnavailable when this worker has none,
// for another one may.
func (w *Worker) pipeline(name holdfast.Engine) (engine.Pipeline, error) {
	p, ok := w.cfg.Pipelines[name]
	if !ok {
		return nil, holdfast.Errorf(holdfast.CodeUnavailable, "worker %s has no engine %q", w.cfg.Name, name).WithHint("upgrade the worker")
	}
	return p, nil
}

// give hands the engine newer properties. Those that it has not taken yet are
// outdated.
func (p *properties) give(version int, values map[string]string) {
	p.version = version
	if values == nil {
		values = map[string]string{}
	}
	select {
	case <-p.changed:
	default:
	}
	p.changed <- values // only this goroutine sends: there is room
}

// reportETL turns the end of an ETL into what the control plane is told. What was
// committed stands in the result, however it ended.
func (r *run) reportETL(res engine.Result, err error) *wire.Finish {
	f := &wire.Finish{Fence: r.order.Fence, Progress: r.snapshotProgress()}
	cause := context.Cause(r.soft)
	switch interrupted := r.interrupted(cause, err); {
	case interrupted && (errors.Is(cause, engine.ErrStale) || errors.Is(cause, errAlone) || errors.Is(cause, errEnding)):
		r.w.log.WarnContext(r.link, "order given up", "execution", int64(r.order.Execution), "fence", uint64(r.order.Fence), "error", errors.Join(err, cause))
		return nil
	case interrupted && errors.Is(cause, errHandBack):
		f.Move, f.Detail = holdfast.MoveHandBack, errHandBack.Error()
		r.log.InfoContext(r.link, "execution handed back")
	case interrupted:
		f.Move = holdfast.MoveRest
		r.log.InfoContext(r.link, "execution rests", "reason", cause)
	case err == nil:
		f.Move = holdfast.MoveSucceed
		if len(res.Warnings) > 0 {
			f.Move, f.Detail = holdfast.MoveWarn, warningText(res)
		}
	case errors.Is(err, engine.ErrStale):
		// The target says so and nobody else does. If it is right, this is refused.
		f.Move, f.Detail = holdfast.MoveFail, "a newer execution than this one has loaded into the target: look at who else loads there, and run the ETL again"
		r.log.ErrorContext(r.link, "execution failed", "error", err)
	case r.transient(err):
		f.Move, f.Detail = holdfast.MoveRetry, detailOf(err)
		r.log.WarnContext(r.link, "execution failed in a way that may pass", "error", err)
	default:
		f.Move, f.Detail = holdfast.MoveFail, detailOf(err)
		r.log.ErrorContext(r.link, "execution failed", "error", err)
	}
	for _, line := range res.Warnings {
		r.log.WarnContext(r.link, "warning", "text", line)
	}
	f.Result = r.etlResult(res)
	return f
}

// interrupted reports whether the work ended because it was to end, and not for
// what the engine met with on its way to the end of its unit. A batch that returns
// no error is complete all the same; a service never is by itself.
func (r *run) interrupted(cause, err error) bool {
	switch {
	case cause == nil:
		return false
	case err == nil:
		return r.order.ETL.Service
	}
	return r.hard.Err() != nil || errors.Is(err, engine.ErrWish)
}

// etlResult encodes what the engine did, cut to what a message holds: without the
// counters, and then without the flows, when they are too many.
func (r *run) etlResult(res engine.Result) json.RawMessage {
	res.Warnings = clipWarnings(res.Warnings)
	flows := make([]engine.FlowResult, len(res.Flows))
	for i, f := range res.Flows {
		counters := make([]engine.Counter, len(f.Counters))
		for j, c := range f.Counters {
			c.Before, c.After = wire.Clip(c.Before, maxCounterText), wire.Clip(c.After, maxCounterText)
			counters[j] = c
		}
		f.Counters = counters
		flows[i] = f
	}
	res.Flows = flows
	for _, cut := range []func(){
		func() {},
		func() {
			for i := range flows {
				flows[i].Counters = nil
			}
		},
		func() { res.Flows, res.Warnings, res.Ignored = nil, nil, nil },
	} {
		cut()
		b, err := json.Marshal(res)
		if err == nil && len(b) <= wire.MaxResult {
			return b
		}
		r.log.WarnContext(r.link, "the result is too long to be kept whole", "bytes", len(b), "error", err)
	}
	return nil
}
