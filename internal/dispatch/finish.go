package dispatch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/wire"
)

// handleFinish takes the end of an order.
func (d *Dispatcher) handleFinish(ctx context.Context, m *nats.Msg) {
	w, id, err := wire.ParseExecution(wire.KindFinish, m.Subject)
	if err != nil {
		d.log.InfoContext(ctx, "finish dropped", "error", err)
		return
	}
	var wanted holdfast.Wanted
	f, err := wire.Decode[wire.Finish](m.Data)
	if err == nil {
		d.saw(w, "")
		wanted, err = d.finish(ctx, w, id, f)
	}
	r := wire.Reply{Wanted: wanted}
	if err != nil {
		r.Failure = d.fail(ctx, wire.KindFinish, err, "worker_id", int64(w), "execution", int64(id), "fence", uint64(f.Fence))
	}
	d.reply(ctx, m, wire.InboxPrefix(w), &r)
}

var errRepeated = errors.New("the same finish was taken before")

// finish ends the order in one transaction with the set and the copy that it
// completes, what expires for it, and what runs after it. The same finish again is success; anything else of a closed fence
// is CodeConflict.
func (d *Dispatcher) finish(ctx context.Context, from holdfast.WorkerID, id holdfast.ExecutionID, f wire.Finish) (holdfast.Wanted, error) {
	d.cfg.Step("finish.received")
	var prev, next holdfast.Execution
	var plan expire.Plan
	var after []holdfast.Execution
	err := d.update(ctx, func(tx store.Tx) (err error) {
		prev, err = current(ctx, tx, from, id, f.Fence)
		if holdfast.ErrorCode(err) == holdfast.CodeConflict {
			if sameFinish(prev, from, f) {
				return errRepeated
			}
			return err
		}
		if err != nil {
			return err
		}
		if next, err = d.finishCurrent(ctx, tx, prev, f); err != nil {
			return err
		}
		if plan, err = d.expire(ctx, tx, next); err != nil {
			return err
		}
		if after, err = d.trigger(ctx, tx, next); err != nil {
			return err
		}
		d.cfg.Step("finish.decided")
		return nil
	})
	switch {
	case errors.Is(err, errRepeated):
		return prev.Wanted, nil
	case holdfast.ErrorCode(err) == holdfast.CodeConflict && prev.Fence != 0:
		d.lateSnapshot(ctx, prev, f)
		return wantedOf(prev, from), err
	case err != nil:
		return wantedOf(prev, from), err
	}
	d.cfg.Step("finish.committed")
	d.forget(id, f.Fence)
	d.log.InfoContext(ctx, "execution finished", "execution", int64(id), "fence", uint64(f.Fence), "move", string(f.Move),
		"state", string(next.State), "outcome", string(next.Outcome))
	d.logExpired(ctx, plan)
	d.Ring(next.Pool)
	d.ringFor(ctx, after)
	d.kickReaper()
	return next.Wanted, nil
}

func (d *Dispatcher) finishCurrent(ctx context.Context, tx store.Tx, e holdfast.Execution, f wire.Finish) (holdfast.Execution, error) {
	w, err := tx.Worker(ctx, e.Worker)
	if err != nil {
		return e, err
	}
	actor := actorWorker(w.Name)
	done := e.Type == holdfast.JobBackup && (f.Move == holdfast.MoveSucceed || f.Move == holdfast.MoveWarn)
	var c chain
	if done {
		if _, err := e.Next(f.Move); err != nil {
			return e, err
		}
		if c, err = d.complete(ctx, tx, actor, e, f); err != nil {
			return e, err
		}
	}
	if f.Bad != "" || f.Good != "" {
		if err := d.judge(ctx, tx, actor, e, f); err != nil {
			return e, err
		}
	}
	return d.settle(ctx, tx, actor, f.Move, e, func(n *holdfast.Execution) {
		if len(f.Result) > 0 || e.Type != holdfast.JobETL {
			n.Result = f.Result // what an earlier order of an ETL has committed stays known
		}
		n.Detail = also(n.Detail, f.Detail) // why it ends at once is there already
		if n.Outcome == holdfast.OutcomeFailed && n.Reason == holdfast.ReasonHandedBack {
			n.Detail = fmt.Sprintf("its workers were shut down %d times while it ran, and handed it back", n.HandBacks)
		}
		if e.Fence > 1 && f.Move != holdfast.MoveSucceed && f.Move != holdfast.MoveWarn {
			n.Detail = also(n.Detail, keptBy(*n))
		}
		n.Progress = f.Progress
		n.StoredSize = f.StoredBytes
		if done {
			c.apply(n)
		}
	})
}

// judge marks the copy that a restore read: one that its repository does not have, or not
// whole, must not count as good any more, and one that was read whole counts again, unless
// its set was damaged when it was taken. What was dropped while the restore ran stays as it
// is, and so does what nobody has confirmed: it does not count in any case.
func (d *Dispatcher) judge(ctx context.Context, tx store.Tx, actor string, e holdfast.Execution, f wire.Finish) error {
	if e.Type != holdfast.JobRestore {
		return holdfast.Errorf(holdfast.CodeInvalid, "a %s reads no snapshot", e.Type)
	}
	snapshot, from, to := f.Bad, []holdfast.CopyState{holdfast.CopyComplete, holdfast.CopyVerified}, holdfast.CopyDamaged
	if f.Good != "" {
		set, err := tx.Set(ctx, e.Account, e.Set)
		if err != nil {
			return fmt.Errorf("read backup set %d: %w", e.Set, err)
		}
		if set.Damaged != "" {
			return nil
		}
		snapshot, from, to = f.Good, []holdfast.CopyState{holdfast.CopyDamaged}, holdfast.CopyComplete
	}
	copies, err := tx.Copies(ctx, e.Account, e.Set)
	if err != nil {
		return fmt.Errorf("read copies of backup set %d: %w", e.Set, err)
	}
	for _, c := range copies {
		if c.Snapshot != snapshot || !slices.Contains(from, c.State) {
			continue
		}
		if err := d.moveCopy(ctx, tx, actor, c, to); err != nil {
			return err
		}
	}
	return nil
}

// complete makes the set that the fence intended a set that readers see, and
// returns its place in the chain.
func (d *Dispatcher) complete(ctx context.Context, tx store.Tx, actor string, e holdfast.Execution, f wire.Finish) (chain, error) {
	c, err := tx.CopyByFence(ctx, e.ID, f.Fence)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return chain{}, holdfast.Errorf(holdfast.CodeInvalid, "a backup cannot succeed without a snapshot that was intended")
	}
	if err != nil {
		return chain{}, err
	}
	var r engine.Result
	if len(f.Result) > 0 {
		if err := json.Unmarshal(f.Result, &r); err != nil {
			return chain{}, holdfast.Wrap(holdfast.CodeInvalid, err, "the engine's result is not valid")
		}
	}
	set, err := tx.Set(ctx, e.Account, c.Set)
	if err != nil {
		return chain{}, fmt.Errorf("read backup set %d: %w", c.Set, err)
	}
	set.Started, set.Stopped, set.Bytes, set.Damaged = r.Started, r.Stopped, r.Bytes, r.Damaged
	set.Added = f.Progress.AddedBytes
	if r.Physical != nil {
		set.Physical = *r.Physical
	}
	place, err := chainAtEnd(ctx, tx, e, set.Physical)
	if err != nil {
		return chain{}, err
	}
	set.RunType, set.Parent = place.runType, place.base.ID
	if err := tx.UpdateSet(ctx, set); err != nil {
		return chain{}, fmt.Errorf("write backup set %d: %w", set.ID, err)
	}
	state := holdfast.CopyComplete
	if r.Damaged != "" {
		state = holdfast.CopyDamaged
	}
	return place, d.moveCopy(ctx, tx, actor, c, state)
}

// sameFinish reports whether the execution is where this very finish has put it.
func sameFinish(e holdfast.Execution, from holdfast.WorkerID, f wire.Finish) bool {
	if e.Fence != f.Fence || e.Worker != from {
		return false
	}
	same := map[holdfast.Move]bool{
		holdfast.MoveSucceed: e.Outcome == holdfast.OutcomeSucceeded && sameJSON(e.Result, f.Result),
		holdfast.MoveWarn:    e.Outcome == holdfast.OutcomeWarning && sameJSON(e.Result, f.Result),
		holdfast.MoveFail:    failedAlike(e, f),
		// The wish decides where these lead.
		holdfast.MoveRest:     rested(e),
		holdfast.MoveHandBack: rested(e) || e.Outcome == holdfast.OutcomeFailed && e.Reason == holdfast.ReasonHandedBack,
		holdfast.MoveRetry:    rested(e) || failedAlike(e, f),
	}
	return same[f.Move]
}

func failedAlike(e holdfast.Execution, f wire.Finish) bool {
	return e.Outcome == holdfast.OutcomeFailed && e.Reason == holdfast.ReasonError && strings.HasPrefix(e.Detail, f.Detail)
}

// rested reports whether a worker has let go of the execution: whatever it says
// of its rest a second time changes nothing.
func rested(e holdfast.Execution) bool {
	switch e.State {
	case holdfast.StateSuspended, holdfast.StateQueued:
		return e.Reason != holdfast.ReasonLost
	case holdfast.StateEnded:
		return e.Outcome == holdfast.OutcomeStopped || e.Outcome == holdfast.OutcomeAborted || e.Outcome == holdfast.OutcomeKilled
	case holdfast.StatePlanned, holdfast.StateRunning:
	}
	return false
}

func sameJSON(a, b []byte) bool {
	var x, y bytes.Buffer
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	if json.Compact(&x, a) != nil || json.Compact(&y, b) != nil {
		return false
	}
	return bytes.Equal(x.Bytes(), y.Bytes())
}
