package expire

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Kinds of the events that tell of sets that go.
const (
	KindExpired = "set.expired" // by a plan
	KindDeleted = "set.deleted" // by a person
)

// Cause is what the events of sets that go say of who lets them go.
type Cause struct {
	Kind      string
	Time      time.Time
	Actor     string
	Dialect   string
	Execution holdfast.ExecutionID // whose good end called for the plan; zero: none
}

// dropped is what the event of a set says.
type dropped struct {
	Site      int64         `json:"site"`
	Job       int64         `json:"job,omitempty"`
	Code      Code          `json:"code,omitempty"`
	Reason    string        `json:"reason,omitempty"`
	Execution int64         `json:"execution,omitempty"`
	Copies    []droppedCopy `json:"copies"`
}

type droppedCopy struct {
	Copy       int64              `json:"copy"`
	Repository int64              `json:"repository"`
	Snapshot   string             `json:"snapshot"`
	State      holdfast.CopyState `json:"state"` // as it was
}

// Read reads what a plan for the job is made of.
func Read(ctx context.Context, r store.Reader, j holdfast.Job) (Input, error) {
	in := Input{Job: j}
	var err error
	if in.Sets, err = r.SetsOfJob(ctx, j.Account, j.ID); err != nil {
		return in, fmt.Errorf("read backup sets of job %d: %w", j.ID, err)
	}
	if in.Schedules, err = r.Schedules(ctx, j.Account, j.ID); err != nil {
		return in, fmt.Errorf("read schedules of job %d: %w", j.ID, err)
	}
	if in.Restores, err = r.LiveRestores(ctx, j.Account); err != nil {
		return in, fmt.Errorf("read restores that have not ended: %w", err)
	}
	return in, nil
}

// Execute drops the sets that the plan drops, and no other. tx must be the
// transaction that read the plan's input.
func (p Plan) Execute(ctx context.Context, tx store.Tx, c Cause) error {
	for _, v := range p.Drops() {
		if err := drop(ctx, tx, c, v); err != nil {
			return err
		}
	}
	return nil
}

// Drop drops one set, whatever a plan says of it.
func Drop(ctx context.Context, tx store.Tx, c Cause, s store.SetCopies) error {
	return drop(ctx, tx, c, Verdict{SetCopies: s})
}

func drop(ctx context.Context, tx store.Tx, c Cause, v Verdict) error {
	says := dropped{
		Site: int64(v.Set.Site), Job: int64(v.Set.Job), Code: v.Code, Reason: v.Reason, Execution: int64(c.Execution), Copies: []droppedCopy{},
	}
	for _, was := range v.Copies {
		if !was.Readable() {
			continue
		}
		next := was
		next.State = holdfast.CopyExpired
		if err := tx.MoveCopy(ctx, was, next); err != nil {
			return fmt.Errorf("drop backup set %d: %w", v.Set.ID, err)
		}
		says.Copies = append(says.Copies, droppedCopy{int64(was.ID), int64(was.Repository), was.Snapshot, was.State})
	}
	data, err := json.Marshal(says)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	return tx.InsertEvent(ctx, &holdfast.Event{
		Account: v.Set.Account, Time: c.Time, Actor: c.Actor, Dialect: c.Dialect,
		Subject: fmt.Sprintf("backup_set %d", v.Set.ID), Site: v.Set.Site, Kind: c.Kind, Data: data,
	})
}
