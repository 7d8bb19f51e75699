package etl

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Limits of a service's comeback from failures.
const (
	maxFailures  = 5 // in a row, after which it gives up
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// serve works in rounds until it is stopped, or has failed too often in a row.
func (e *execution) serve(ctx context.Context) error {
	e.logStart(ctx)
	s := e.plan.Definition.Service
	interval := time.Duration(s.Interval)
	idle := max(time.Duration(s.IdleBackoff), interval)
	pause, failures := interval, 0
	for {
		read, err := e.round(ctx)
		switch {
		case err == nil:
			failures = 0
			e.rounds++
			if e.req.Round != nil {
				e.req.Round()
			}
			if read > 0 {
				pause = interval
			} else {
				pause = min(max(pause*2, time.Millisecond), idle)
			}
		case errors.Is(err, engine.ErrWish), errors.Is(err, engine.ErrStale), ctx.Err() != nil:
			return restful(ctx, err)
		default:
			if failures++; failures >= maxFailures {
				return giveUp(err)
			}
			pause = min(firstBackoff<<(failures-1), maxBackoff)
			e.log.InfoContext(ctx, "round failed, and is tried again", "error", err, "failures", failures, "pause", pause)
			e.leave(ctx)
			e.claimed = false // the target may be another one by now, or have been restored
		}
		if stop, err := e.pause(ctx, pause); stop || err != nil {
			return err
		}
	}
}

// restful turns a stop between units into a good end.
func restful(ctx context.Context, err error) error {
	if ctx.Err() == nil && errors.Is(err, engine.ErrWish) {
		return nil
	}
	return err
}

// giveUp is the answer of a service that has failed too often in a row. It is
// final: the service has tried again by itself.
func giveUp(err error) error {
	code := holdfast.ErrorCode(err)
	if code == holdfast.CodeUnavailable {
		code = holdfast.CodeExhausted
	}
	return holdfast.Wrap(code, err, "the service has given up after %d failed rounds in a row; the last: %s", maxFailures, holdfast.ErrorMessage(err)).
		WithHint("%s", holdfast.ErrorHint(err))
}

// pause waits for the next round. stop is true when the service is wanted to rest.
func (e *execution) pause(ctx context.Context, d time.Duration) (stop bool, err error) {
	e.req.Report.Phase("wait")
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case <-e.req.Stop:
			return true, nil
		case <-t.C:
			return false, nil
		case properties := <-e.req.Changed:
			e.change(ctx, properties)
		}
	}
}

// change gives the service other properties; those that do not fit are left, and
// the service goes on with what it has.
func (e *execution) change(ctx context.Context, properties map[string]string) {
	if err := e.replan(properties); err != nil {
		e.warn(ctx, "the changed properties do not fit the definition, and were not taken", "error", holdfast.ErrorMessage(err))
		return
	}
	e.req.Properties = properties
	e.logStart(ctx)
}

// round does each flow once, and returns how many rows it read.
func (e *execution) round(ctx context.Context) (read int64, err error) {
	if !e.claimed {
		if err := e.claim(ctx); err != nil {
			return 0, err
		}
		e.claimed = true
	}
	for _, f := range e.flows {
		before := f.result.Read
		if err := f.run(ctx); err != nil {
			return read, err
		}
		read += f.result.Read - before
		if e.stopping() {
			return read, errStopped()
		}
	}
	return read, nil
}
