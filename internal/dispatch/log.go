package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/execlog"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

const expireEvery = 6 * time.Hour

// handleLog takes a piece of an execution's log, and acknowledges it.
func (d *Dispatcher) handleLog(ctx context.Context, m *nats.Msg) {
	w, id, err := wire.ParseExecution(wire.KindLog, m.Subject)
	if err != nil {
		d.log.InfoContext(ctx, "log dropped", "error", err)
		return
	}
	var next int64
	c, err := wire.Decode[wire.Chunk](m.Data)
	if err == nil {
		next, err = d.appendLog(ctx, w, id, c)
	}
	r := wire.ChunkReply{Next: next}
	if err != nil {
		r.Failure = d.fail(ctx, wire.KindLog, err, "worker_id", int64(w), "execution", int64(id))
	}
	d.reply(ctx, m, wire.InboxPrefix(w), &r)
}

// appendLog takes the log of the newest fence only, also when it has ended: its
// last lines come after its finish.
func (d *Dispatcher) appendLog(ctx context.Context, from holdfast.WorkerID, id holdfast.ExecutionID, c wire.Chunk) (int64, error) {
	d.mu.Lock()
	w := d.watches[id]
	known := w != nil && w.worker == from && w.fence == c.Fence
	d.mu.Unlock()
	if !known {
		var e holdfast.Execution
		err := d.view(ctx, func(r store.Reader) (err error) {
			e, err = r.Execution(ctx, 0, id)
			return err
		})
		if err != nil {
			return 0, err
		}
		if e.Worker != from || e.Fence != c.Fence {
			return 0, holdfast.Errorf(holdfast.CodeConflict, "the order with fence %d is outdated", c.Fence)
		}
	}
	return d.cfg.Logs.Append(ctx, id, c.Fence, func() ([]byte, error) { return d.logHeader(ctx, id, c.Fence) }, c.Offset, c.Data, c.Lost)
}

// logHeader is the first line of each start: which worker, and who asked for the
// execution by which call.
func (d *Dispatcher) logHeader(ctx context.Context, id holdfast.ExecutionID, fence holdfast.Fence) ([]byte, error) {
	var e holdfast.Execution
	err := d.view(ctx, func(r store.Reader) (err error) {
		e, err = r.Execution(ctx, 0, id)
		return err
	})
	if err != nil {
		return nil, err
	}
	attrs := []any{"worker", int64(e.Worker), "actor", e.Actor, "call", callOf(e), "submitted", e.Submitted}
	return execlog.Line(ctx, d.cfg.Now(), execlog.Run{Type: e.Type, Job: e.Job, Execution: id, Fence: fence}, slog.LevelInfo, "execution starts", attrs...), nil
}

// callOf says what made an execution.
func callOf(e holdfast.Execution) string {
	switch {
	case e.Cause != 0:
		return fmt.Sprintf("trigger after execution %d", e.Cause)
	case e.Schedule != 0:
		return fmt.Sprintf("schedule %d", e.Schedule)
	case e.ETL == nil:
		return "run"
	case e.ETL.Asked == "":
		return "the ETL's timing"
	}
	return e.ETL.Asked
}

// expireLogs deletes old logs, now and then.
func (d *Dispatcher) expireLogs(ctx context.Context) error {
	t := time.NewTicker(expireEvery)
	defer t.Stop()
	for {
		if err := d.cfg.Logs.Expire(ctx, d.keepLog); err != nil && ctx.Err() == nil {
			d.log.InfoContext(ctx, "old logs not deleted", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// keepLog keeps the log of the last execution of a job that ended as it did, however
// old it is: what went wrong last can be read, and what a good run looks like.
func (d *Dispatcher) keepLog(ctx context.Context, id holdfast.ExecutionID) (bool, error) {
	again := false
	err := d.view(ctx, func(r store.Reader) error {
		e, err := r.Execution(ctx, 0, id)
		if err == nil && e.Outcome != holdfast.OutcomeNone {
			again, err = r.EndedSoAgain(ctx, e)
		}
		return err
	})
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return false, nil
	}
	return !again, err
}
