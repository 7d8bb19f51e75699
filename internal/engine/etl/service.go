package etl

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
)

// Limits of a service's comeback from failures.
const (
	maxFailures  = 5 // in a row that will not pass by themselves, after which it gives up
	firstBackoff = time.Second
	maxBackoff   = time.Minute
)

// serve works in rounds until it is stopped, or has failed too often in a row. What
// passes by itself, as a server's restart does, is waited for as long as it takes.
func (e *execution) serve(ctx context.Context) error {
	e.logStart(ctx)
	s := e.plan.Definition.Service
	interval := time.Duration(s.Interval)
	idle := max(time.Duration(s.IdleBackoff), interval)
	pause := interval
	failed, lasting := 0, 0 // rounds in a row; and those of them that failed for what will not pass by itself
	for {
		read, err := e.round(ctx)
		switch {
		case err == nil:
			if failed > 0 {
				e.log.InfoContext(ctx, "a round was good again", "failed_before", failed)
			}
			failed, lasting = 0, 0
			e.tally.fail("")
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
			failed++
			if holdfast.ErrorCode(err) != holdfast.CodeUnavailable {
				lasting++
			}
			if lasting >= maxFailures {
				return giveUp(err)
			}
			pause = e.p.backOff(failed)
			e.roundFailed(ctx, err, failed, pause)
		}
		if failed == 0 {
			e.req.Report.Phase("wait")
		}
		if stop, err := e.pause(ctx, pause); stop || err != nil {
			return err
		}
	}
}

// backOff is how long a service waits after so many failed rounds in a row.
func (p *Pipeline) backOff(failed int) time.Duration {
	pause := p.backoff
	for range failed - 1 {
		pause = min(2*pause, maxBackoff)
	}
	return pause
}

// roundFailed leaves nothing of a failed round, and says that there was one: a
// service that fails is RUNNING all the same.
func (e *execution) roundFailed(ctx context.Context, err error, failed int, pause time.Duration) {
	level := slog.LevelInfo
	if failed == 1 {
		level = slog.LevelWarn
	}
	e.log.Log(ctx, level, "round failed, and is tried again", "error", err, "failures", failed, "pause", pause)
	rounds := "a failed round"
	if failed > 1 {
		rounds = strconv.Itoa(failed) + " failed rounds"
	}
	const maxText = 150 // bytes; a beat holds 200
	text := clip(strings.Join(strings.Fields(e.mask.text(holdfast.ErrorMessage(err))), " "), maxText-len(rounds))
	e.tally.fail("after " + rounds + ": " + text)
	e.tally.takeBack()
	e.req.Report.Phase("retry in " + pause.String())
	e.leave(ctx)
	e.claimed = false // the target may be another one by now, or have been restored
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
	return holdfast.Wrap(holdfast.ErrorCode(err), err, "the service has given up after %d failed rounds in a row; the last: %s", maxFailures, holdfast.ErrorMessage(err)).
		WithHint("%s", holdfast.ErrorHint(err))
}

// pause waits for the next round. stop is true when the service is wanted to rest.
func (e *execution) pause(ctx context.Context, d time.Duration) (stop bool, err error) {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return true, context.Cause(ctx)
		case <-e.req.Stop: // which a kill closes, too
			return true, context.Cause(ctx)
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
		if e.stopping() { // asked before a flow, not behind it: a round that is through counts
			return read, errStopped()
		}
		before := f.result.Read
		if err := f.run(ctx); err != nil {
			return read, err
		}
		read += f.result.Read - before
	}
	return read, nil
}
