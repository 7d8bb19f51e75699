package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

const (
	executionColumns = "id, account, site, job, job_name, submission, type, engine, name, submitted, schedule, cause, actor, etl, service, " + executionChanging
	// executionChanging is what a move writes. The columns before are what the
	// execution is, and stay; etl has a move of its own.
	executionChanging = "state, wanted, outcome, reason, fence, attempts, retries, hand_backs, detail, run_asked, run_type, run_type_reason, " +
		"priority, pool, host, repository, restore, due, abort_after, worker, request, beat, progress, backup_set, parent, result, " +
		"started, restarted, wanted_at, ended, stored_size"
	executionKept = 15 // how many columns stay
)

func executionFields(e *holdfast.Execution) []any {
	return []any{
		idOf(&e.ID), &e.Account, &e.Site, &e.Job, &e.JobName, idOf(&e.Submission), &e.Type, &e.Engine, &e.Name,
		micros{&e.Submitted},
		idOf(&e.Schedule), idOf(&e.Cause), &e.Actor, optionalOf(&e.ETL),
		service{&e.ETL},
		&e.State, &e.Wanted, &e.Outcome, &e.Reason, bitsOf(&e.Fence), &e.Attempts, &e.Retries, &e.HandBacks, &e.Detail,
		&e.RunAsked, &e.RunType, &e.RunTypeReason, &e.Priority, &e.Pool, &e.Host, &e.Repository, optionalOf(&e.Restore),
		comparableMicros{&e.Due},
		span{&e.AbortAfter},
		idOf(&e.Worker), &e.Request, bitsOf(&e.Beat),
		progress{&e.Progress},
		idOf(&e.Set), idOf(&e.Parent),
		raw{&e.Result},
		micros{&e.Started},
		micros{&e.Restarted},
		micros{&e.WantedAt},
		micros{&e.Ended},
		&e.StoredSize,
	}
}

// Execution returns one execution.
func (r reader) Execution(ctx context.Context, a holdfast.AccountID, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return one(ctx, r.s, named("execution", id), executionFields, "SELECT "+executionColumns+" FROM executions WHERE id = ? AND "+mine, id, a, a)
}

// LastExecutions returns the newest execution of each job that has one.
func (r reader) LastExecutions(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]*holdfast.Execution, error) {
	last := make(map[holdfast.JobID]*holdfast.Execution, len(jobs))
	if len(jobs) == 0 {
		return last, nil
	}
	ids, err := selected(jobs)
	if err != nil {
		return nil, err
	}
	var w where
	w.account(a)
	w.add("job IN (SELECT value FROM json_each(?)) AND job <> 0", ids)
	rows, err := about(ctx, r.s, len(jobs), executionFields, "SELECT "+executionColumns+
		" FROM executions WHERE id IN (SELECT max(last) FROM execution_totals"+w.String()+" GROUP BY job)", w.args...)
	for i := range rows {
		last[rows[i].Job] = &rows[i]
	}
	return last, err
}

// LastRestores returns the newest restore of what each job made.
func (r reader) LastRestores(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]*holdfast.Execution, error) {
	last := map[holdfast.JobID]*holdfast.Execution{}
	if len(jobs) == 0 {
		return last, nil
	}
	ids, err := selected(jobs)
	if err != nil {
		return nil, err
	}
	type restore struct {
		of holdfast.JobID
		id int64
	}
	newest, err := many(ctx, r.s, func(v *restore) []any { return []any{&v.of, idOf(&v.id)} },
		"SELECT j.value, (SELECT max(r.id) FROM restores r WHERE r.job = j.value) FROM json_each(?) j", ids)
	if err != nil {
		return nil, err
	}
	var found []int64
	for _, v := range newest {
		if v.id != 0 {
			found = append(found, v.id)
		}
	}
	if len(found) == 0 {
		return last, nil
	}
	if ids, err = selected(found); err != nil {
		return nil, err
	}
	rows, err := about(ctx, r.s, len(found), executionFields,
		"SELECT "+executionColumns+" FROM executions WHERE id IN (SELECT value FROM json_each(?)) AND "+mine, ids, a, a)
	byID := make(map[int64]*holdfast.Execution, len(rows))
	for i := range rows {
		byID[int64(rows[i].ID)] = &rows[i]
	}
	for _, v := range newest {
		if e, ok := byID[v.id]; ok {
			last[v.of] = e
		}
	}
	return last, err
}

// ExecutionsOfSubmission lists what one request made, by id.
func (r reader) ExecutionsOfSubmission(ctx context.Context, s holdfast.SubmissionID) ([]holdfast.Execution, error) {
	return many(ctx, r.s, executionFields, "SELECT "+executionColumns+" FROM executions WHERE submission = ? ORDER BY id", s)
}

// InsertExecution makes an execution.
func (t tx) InsertExecution(ctx context.Context, e *holdfast.Execution) error {
	if err := e.Check(); err != nil {
		return holdfast.Wrap(holdfast.CodeInternal, err, "an execution cannot begin like this")
	}
	n, err := t.s.insert(ctx, "INSERT INTO executions ("+executionColumns+
		") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", executionFields(e)...)
	if err != nil {
		return taken(err, "execution %d", e.ID)
	}
	e.ID = holdfast.ExecutionID(n)
	return nil
}

// MoveExecution writes next over prev when the row still has prev's state, wish
// and fence.
func (t tx) MoveExecution(ctx context.Context, prev, next holdfast.Execution) error {
	if prev.ID != next.ID || prev.Account != next.Account || prev.Site != next.Site || prev.Job != next.Job || prev.Type != next.Type {
		return holdfast.Errorf(holdfast.CodeInternal, "a move would make execution %d another", prev.ID)
	}
	if err := next.Check(); err != nil {
		return holdfast.Wrap(holdfast.CodeInternal, err, "execution %d cannot become this", prev.ID)
	}
	args := append(executionFields(&next)[executionKept:], prev.ID, prev.Account, prev.State, prev.Wanted, bitsOf(&prev.Fence))
	n, err := t.s.exec(ctx, "UPDATE executions SET ("+executionChanging+
		") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) "+
		"WHERE id = ? AND account = ? AND state = ? AND wanted = ? AND fence = ? AND state <> 'ENDED'", args...)
	if err != nil || n > 0 {
		return err
	}
	now, err := t.Execution(ctx, prev.Account, prev.ID)
	if err != nil {
		return err
	}
	return errChanged(now, prev.Status)
}

// errChanged says why a compare-and-set lost.
func errChanged(now holdfast.Execution, prev holdfast.Status) error {
	var err *holdfast.Error
	switch {
	case now.State == holdfast.StateEnded:
		err = holdfast.Errorf(holdfast.CodeConflict, "execution %d has already ended (%s)", now.ID, now.Outcome)
	case now.Fence != prev.Fence:
		err = holdfast.Errorf(holdfast.CodeConflict, "execution %d was started again: its fence is %d, and no longer %d", now.ID, now.Fence, prev.Fence)
	default:
		err = holdfast.Errorf(holdfast.CodeConflict, "execution %d is now %s (wanted: %s)", now.ID, now.State, now.Wanted)
	}
	return err
}

// BeatExecution writes how far a running execution has come.
func (t tx) BeatExecution(ctx context.Context, id holdfast.ExecutionID, f holdfast.Fence, beat uint64, p holdfast.Progress) error {
	n, err := t.s.exec(ctx, "UPDATE executions SET beat = ?, progress = ? WHERE id = ? AND state = 'RUNNING' AND fence = ?",
		bitsOf(&beat), progress{&p}, id, bitsOf(&f))
	if err != nil || n > 0 {
		return err
	}
	now, err := t.Execution(ctx, 0, id)
	if err != nil {
		return err
	}
	return errChanged(now, holdfast.Status{Fence: f})
}
