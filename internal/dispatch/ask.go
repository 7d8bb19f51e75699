package dispatch

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// maxPassed is how many executions that cannot run one ask may end on its way.
const maxPassed = 32

// handleAsk answers a worker's question for work.
func (d *Dispatcher) handleAsk(ctx context.Context, m *nats.Msg) {
	w, pool, err := wire.ParseAsk(m.Subject)
	if err != nil {
		d.log.InfoContext(ctx, "ask dropped", "error", err)
		return
	}
	ask, err := wire.Decode[wire.Ask](m.Data)
	if err != nil {
		d.reply(ctx, m, wire.InboxPrefix(w), &wire.AskReply{Failure: wire.NewFailure(err)})
		return
	}
	d.saw(w, ask.Version)
	g, err := d.give(ctx, w, pool, ask)
	if err != nil {
		d.reply(ctx, m, wire.InboxPrefix(w), &wire.AskReply{Failure: d.fail(ctx, wire.KindAsk, err, "worker_id", int64(w))})
		return
	}
	if g.order != nil {
		d.cfg.Step("ask.committed")
		d.watch(g.execution)
	}
	d.reply(ctx, m, wire.InboxPrefix(w), &wire.AskReply{Order: g.order, Pools: g.pools})
}

// given is what an ask got.
type given struct {
	order     *wire.Order // nil: nothing to do
	execution holdfast.Execution
	pools     []string // that the worker serves now; nil: it cannot have others
}

// give takes the next execution that may run, and makes its order.
func (d *Dispatcher) give(ctx context.Context, from holdfast.WorkerID, pool string, ask wire.Ask) (given, error) {
	d.cfg.Step("ask.received")
	var (
		e      holdfast.Execution
		worker holdfast.Worker
		parts  orderParts
		found  bool
	)
	err := d.update(ctx, func(tx store.Tx) (err error) {
		found = false
		worker, err = tx.Worker(ctx, from)
		if err != nil {
			return err
		}
		if err := mayAsk(worker, pool); err != nil {
			return err
		}
		e, parts, found, err = d.next(ctx, tx, worker, pool, ask)
		return err
	})
	if err != nil {
		return given{}, err
	}
	g := given{pools: changeable(worker)}
	if !found {
		return g, nil
	}
	order, err := d.order(worker, e, parts)
	if err != nil {
		// Nobody will ever be able to run it: the secrets cannot be opened.
		return g, d.failStart(ctx, e, err)
	}
	g.order, g.execution = order, e
	return g, nil
}

// changeable returns the pools of a worker inside the process, which may serve
// others from now on: its connection may say everything.
func changeable(w holdfast.Worker) []string {
	if w.Key != "" {
		return nil
	}
	return w.Pools
}

func mayAsk(w holdfast.Worker, pool string) error {
	if !w.Removed.IsZero() {
		return holdfast.Errorf(holdfast.CodeForbidden, "worker %s has been removed", w.Name)
	}
	if !nkeys.IsValidPublicCurveKey(w.SealKey) {
		return holdfast.Errorf(holdfast.CodeForbidden, "worker %s has no key to which secrets could be sealed", w.Name).
			WithHint("remove the worker, and join it again with a new token")
	}
	if !slices.Contains(w.Pools, pool) {
		return holdfast.Errorf(holdfast.CodeForbidden, "worker %s does not belong to pool %s", w.Name, pool)
	}
	return nil
}

// next returns the execution that this ask has got before, or starts the next
// one. Those that cannot run are ended on the way.
func (d *Dispatcher) next(ctx context.Context, tx store.Tx, w holdfast.Worker, pool string, ask wire.Ask) (holdfast.Execution, orderParts, bool, error) {
	e, err := tx.ExecutionByRequest(ctx, w.ID, ask.Request)
	switch {
	case err == nil:
		parts, err := d.orderParts(ctx, tx, e)
		return e, parts, err == nil, err
	case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
		return e, orderParts{}, false, err
	}
	for range maxPassed {
		e, err := tx.NextQueued(ctx, store.Ask{
			Pool: pool, Hosts: w.Hosts, Now: d.cfg.Now(), Batch: ask.Free > 0, Service: ask.Services > 0,
		})
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			return e, orderParts{}, false, nil
		}
		if err != nil {
			return e, orderParts{}, false, err
		}
		started, parts, err := d.start(ctx, tx, w, e, ask.Request)
		if err != nil {
			return e, orderParts{}, false, err
		}
		if started.State == holdfast.StateRunning {
			return started, parts, true, nil
		}
	}
	return holdfast.Execution{}, orderParts{}, false, nil
}

// start moves a queued execution to RUNNING, or ends it when it cannot run.
func (d *Dispatcher) start(ctx context.Context, tx store.Tx, w holdfast.Worker, e holdfast.Execution, request string) (holdfast.Execution, orderParts, error) {
	now, actor := d.cfg.Now(), actorWorker(w.Name)
	if e.AbortAfter > 0 && !service(e) && !e.Started.IsZero() && now.Sub(e.Started) >= e.AbortAfter {
		ended, err := d.settle(ctx, tx, actorDispatch, holdfast.MoveAbort, e, func(e *holdfast.Execution) {
			e.Detail = also(fmt.Sprintf("its time limit of %s has passed", e.AbortAfter), keptBefore(*e, e.Fence))
		})
		return ended, orderParts{}, err
	}
	set, c := e.Set, chain{}
	if e.Type == holdfast.JobBackup {
		var err error
		if c, err = chainOf(ctx, tx, e); err != nil {
			return e, orderParts{}, err
		}
		if set, err = setOf(ctx, tx, e); err != nil {
			return e, orderParts{}, err
		}
	}
	e, err := keepStart(ctx, tx, e)
	if err != nil {
		return e, orderParts{}, err
	}
	started, err := d.settle(ctx, tx, actor, holdfast.MoveStart, e, func(e *holdfast.Execution) {
		e.Worker, e.Request, e.Set = w.ID, request, set
		e.Beat, e.Progress, e.Detail = 0, holdfast.Progress{}, ""
		e.Restarted = now
		if e.Started.IsZero() {
			e.Started = now
		}
		if e.Type == holdfast.JobBackup {
			c.apply(e)
		}
	})
	if err != nil {
		return e, orderParts{}, err
	}
	parts, cause := d.orderParts(ctx, tx, started)
	if cause == nil {
		return started, parts, nil
	}
	if code := holdfast.ErrorCode(cause); code != holdfast.CodeNotFound && code != holdfast.CodeInvalid {
		return e, orderParts{}, cause
	}
	ended, err := d.settle(ctx, tx, actorDispatch, holdfast.MoveFail, started, func(e *holdfast.Execution) {
		e.Detail = also(detailOf(cause), keptBefore(*e, e.Fence-1))
	})
	return ended, orderParts{}, err
}

// service reports whether the execution is one of a service ETL, which has no time
// limit.
func service(e holdfast.Execution) bool { return e.ETL != nil && e.ETL.Service }

// setOf returns the id of the set that a backup is to make. An earlier start has
// reserved one; it is given up when another backup of the job has ended since: the
// set that is made last has the highest number, by which retention and chains tell
// what is newest.
func setOf(ctx context.Context, tx store.Tx, e holdfast.Execution) (holdfast.SetID, error) {
	if e.Set != 0 {
		newest, _, err := tx.Sets(ctx, e.Account, store.SetFilter{Job: e.Job, Gone: true, Page: store.Page{Limit: 1}})
		if err != nil {
			return 0, fmt.Errorf("read the newest backup set of job %d: %w", e.Job, err)
		}
		if len(newest) == 0 || newest[0].ID <= e.Set {
			return e.Set, nil
		}
	}
	return tx.ReserveSetID(ctx)
}

// failStart ends an execution whose order cannot be made.
func (d *Dispatcher) failStart(ctx context.Context, e holdfast.Execution, cause error) error {
	d.log.ErrorContext(ctx, "order cannot be made", "execution", int64(e.ID), "error", cause)
	err := d.update(ctx, func(tx store.Tx) error {
		_, err := d.settle(ctx, tx, actorDispatch, holdfast.MoveFail, e, func(e *holdfast.Execution) {
			e.Detail = also(detailOf(cause), keptBefore(*e, e.Fence-1))
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("end execution %d: %w", e.ID, err)
	}
	d.Ring(e.Pool)
	return nil
}

// detailOf says to people what went wrong, and what to do.
func detailOf(err error) string {
	s := holdfast.ErrorMessage(err)
	if h := holdfast.ErrorHint(err); h != "" {
		s += ": " + h
	}
	return wire.Clip(s, wire.MaxDetail)
}
