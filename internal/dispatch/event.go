package dispatch

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// actorDispatch is who moves executions that no worker and no person moved.
const actorDispatch = "dispatch"

func actorWorker(name string) string { return "worker " + name }

// moved is what an event of an execution's move says.
type moved struct {
	Move      holdfast.Move    `json:"move"`
	State     holdfast.State   `json:"state"`
	Wanted    holdfast.Wanted  `json:"wanted"`
	Outcome   holdfast.Outcome `json:"outcome,omitempty"`
	Reason    holdfast.Reason  `json:"reason,omitempty"`
	Fence     holdfast.Fence   `json:"fence"`
	Attempts  int              `json:"attempts,omitempty"`
	Retries   int              `json:"retries,omitempty"`
	HandBacks int              `json:"hand_backs,omitempty"`
	Worker    int64            `json:"worker,omitempty"`
	Detail    string           `json:"detail,omitempty"`
}

// eventKinds names the event of an execution that has come to a state.
var eventKinds = map[holdfast.State]string{
	holdfast.StatePlanned:   "execution.planned",
	holdfast.StateQueued:    "execution.queued",
	holdfast.StateRunning:   "execution.started",
	holdfast.StateSuspended: "execution.suspended",
	holdfast.StateEnded:     "execution.ended",
}

// move writes next over prev, together with its event.
func move(ctx context.Context, tx store.Tx, now time.Time, actor string, m holdfast.Move, prev, next holdfast.Execution) error {
	if err := tx.MoveExecution(ctx, prev, next); err != nil {
		return err
	}
	kind := eventKinds[next.State]
	if prev.State == next.State {
		kind = "execution.wanted"
	}
	data := moved{
		Move: m, State: next.State, Wanted: next.Wanted, Outcome: next.Outcome, Reason: next.Reason, Fence: next.Fence,
		Attempts: next.Attempts, Retries: next.Retries, HandBacks: next.HandBacks, Worker: int64(next.Worker), Detail: next.Detail,
	}
	return insertEvent(ctx, tx, holdfast.Event{
		Account: next.Account, Time: now, Actor: actor, Subject: subjectOf(next.ID), Site: next.Site, Kind: kind,
	}, data)
}

func event(ctx context.Context, tx store.Tx, now time.Time, actor string, a holdfast.AccountID, kind, subject string, data any) error {
	return insertEvent(ctx, tx, holdfast.Event{Account: a, Time: now, Actor: actor, Subject: subject, Kind: kind}, data)
}

func insertEvent(ctx context.Context, tx store.Tx, e holdfast.Event, data any) error {
	b, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	e.Data = b
	return tx.InsertEvent(ctx, &e)
}

func subjectOf(e holdfast.ExecutionID) string { return fmt.Sprintf("execution %d", e) }

func subjectOfSet(s holdfast.SetID) string { return fmt.Sprintf("backup_set %d", s) }

// copyMoved is what an event of a copy's move says.
type copyMoved struct {
	Copy       int64              `json:"copy"`
	Repository int64              `json:"repository"`
	Snapshot   string             `json:"snapshot"`
	State      holdfast.CopyState `json:"state"`
	Execution  int64              `json:"execution"`
	Fence      holdfast.Fence     `json:"fence"`
}

// copyEvents names the event of a copy that has come to a state.
var copyEvents = map[holdfast.CopyState]string{
	holdfast.CopyWriting:     "copy.intended",
	holdfast.CopyComplete:    "copy.complete",
	holdfast.CopyVerified:    "copy.verified",
	holdfast.CopyDamaged:     "copy.damaged",
	holdfast.CopyUnconfirmed: "copy.unconfirmed",
	holdfast.CopyDeleted:     "copy.deleted",
	holdfast.CopyOrphaned:    "copy.orphaned",
}

// kindRetained is the event of a copy whose snapshot the store may not delete yet.
const kindRetained = "copy.retained"

type copyRetained struct {
	Copy       int64     `json:"copy"`
	Repository int64     `json:"repository"`
	Snapshot   string    `json:"snapshot"`
	Until      time.Time `json:"until,omitzero"` // zero: the store does not say
}

func subjectOfWorker(w holdfast.WorkerID) string { return fmt.Sprintf("worker %d", w) }
