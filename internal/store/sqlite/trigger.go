package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

const (
	triggerColumns  = "id, account, job, run, created, " + triggerChanging
	triggerChanging = "outcome, run_type, active"
	triggerKept     = 5 // how many columns stay
)

func triggerFields(t *holdfast.Trigger) []any {
	return []any{idOf(&t.ID), &t.Account, &t.Job, &t.Run, micros{&t.Created}, &t.On, &t.RunType, &t.Active}
}

// Triggers lists the triggers that wait for a job, by id.
func (r reader) Triggers(ctx context.Context, a holdfast.AccountID, job holdfast.JobID) ([]holdfast.Trigger, error) {
	return many(ctx, r.s, triggerFields, "SELECT "+triggerColumns+" FROM triggers WHERE job = ? AND "+mine+" ORDER BY id", job, a, a)
}

// TriggersThatRun lists the triggers that run a job, by id.
func (r reader) TriggersThatRun(ctx context.Context, a holdfast.AccountID, run holdfast.JobID) ([]holdfast.Trigger, error) {
	return many(ctx, r.s, triggerFields, "SELECT "+triggerColumns+" FROM triggers WHERE run = ? AND "+mine+" ORDER BY id", run, a, a)
}

// InsertTrigger makes a trigger.
func (t tx) InsertTrigger(ctx context.Context, tr *holdfast.Trigger) error {
	n, err := t.s.insert(ctx, "INSERT INTO triggers ("+triggerColumns+") VALUES (?,?,?,?,?,?,?,?)", triggerFields(tr)...)
	if err != nil {
		return taken(err, "trigger %d", tr.ID)
	}
	tr.ID = holdfast.TriggerID(n)
	return nil
}

// UpdateTrigger writes everything but id, account, jobs and time.
func (t tx) UpdateTrigger(ctx context.Context, tr holdfast.Trigger) error {
	args := append(triggerFields(&tr)[triggerKept:], tr.ID, tr.Account)
	n, err := t.s.exec(ctx, "UPDATE triggers SET ("+triggerChanging+") = (?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, err, "trigger %d", tr.ID)
}

// DeleteTrigger deletes a trigger.
func (t tx) DeleteTrigger(ctx context.Context, a holdfast.AccountID, id holdfast.TriggerID) error {
	n, err := t.s.exec(ctx, "DELETE FROM triggers WHERE id = ? AND account = ?", id, a)
	return changed(n, err, "trigger %d", id)
}
