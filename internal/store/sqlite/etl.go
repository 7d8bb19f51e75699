package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// LiveOfJob returns the executions of a job that have not ended, by id.
func (r reader) LiveOfJob(ctx context.Context, job holdfast.JobID) ([]holdfast.Execution, error) {
	return many(ctx, r.s, executionFields,
		"SELECT "+executionColumns+" FROM executions INDEXED BY executions_busy WHERE job = ? AND state <> 'ENDED' ORDER BY id", job)
}

// EndedSoAgain reports whether a newer execution of e's job has ended with e's
// outcome.
func (r reader) EndedSoAgain(ctx context.Context, e holdfast.Execution) (bool, error) {
	return one(ctx, r.s, "newer execution", func(found *bool) []any { return []any{found} }, `SELECT EXISTS (SELECT 1 FROM executions INDEXED BY executions_job
		WHERE account = ? AND job = ? AND site = ? AND type = ? AND id > ? AND outcome = ?)`, e.Account, e.Job, e.Site, e.Type, e.ID, e.Outcome)
}

// ETLHistory returns what the history of an ETL job ends with.
func (r reader) ETLHistory(ctx context.Context, job holdfast.JobID) (store.ETLHistory, error) {
	var h store.ETLHistory
	newest := func(event, only string) (*holdfast.Execution, error) {
		list, err := many(ctx, r.s, executionFields, "SELECT "+executionColumns+` FROM executions WHERE id =
			(SELECT execution FROM etl_turns WHERE etl_turns.job = ? AND event = `+event+only+" ORDER BY turn DESC LIMIT 1)", job)
		if err != nil || len(list) == 0 {
			return nil, err
		}
		return &list[0], nil
	}
	var err error
	if h.Ended, err = newest("'ended'", ""); err != nil {
		return h, err
	}
	h.Started, err = newest("'started'", "")
	if err != nil || h.Started == nil {
		return h, err
	}
	if h.Started.State == holdfast.StateEnded {
		h.Finished = h.Started
		return h, nil
	}
	h.Finished, err = newest("'started'", " AND (SELECT state FROM executions WHERE id = etl_turns.execution) = 'ENDED'")
	return h, err
}

// ReserveRunConfigurationID takes an id that is never given out again.
func (t tx) ReserveRunConfigurationID(ctx context.Context) (holdfast.RunConfigurationID, error) {
	return one(ctx, t.s, "sequence of run configurations", func(id *holdfast.RunConfigurationID) []any { return []any{id} },
		"UPDATE installation SET run_configuration = run_configuration + 1 RETURNING run_configuration")
}

// MoveETLRun gives an execution of an ETL next when the row still has prev's
// state, wish, fence and version.
func (t tx) MoveETLRun(ctx context.Context, prev holdfast.Execution, next holdfast.ETLRun) error {
	if prev.ETL == nil || next.Service != prev.ETL.Service || next.Identity != prev.ETL.Identity || next.Version <= prev.ETL.Version {
		return holdfast.Errorf(holdfast.CodeInternal, "execution %d cannot get these properties", prev.ID)
	}
	run := &next
	n, err := t.s.exec(ctx, `UPDATE executions SET etl = ? WHERE id = ? AND account = ? AND state = ? AND wanted = ? AND fence = ?
		AND coalesce(json_extract(etl, '$.version'), 0) = ? AND state <> 'ENDED'`,
		optionalOf(&run), prev.ID, prev.Account, prev.State, prev.Wanted, bitsOf(&prev.Fence), prev.ETL.Version)
	if err != nil || n > 0 {
		return err
	}
	now, err := t.Execution(ctx, prev.Account, prev.ID)
	if err != nil {
		return err
	}
	if now.ETL != nil && now.Status == prev.Status {
		return holdfast.Errorf(holdfast.CodeConflict, "execution %d has got other properties meanwhile", prev.ID)
	}
	return errChanged(now, prev.Status)
}

// etlStart is a row of what an execution has started with.
type etlStart struct {
	spec    *holdfast.ETLSpec
	servers map[holdfast.SiteID]holdfast.Server
}

func etlStartFields(s *etlStart) []any {
	return []any{spec{&s.spec}, definition{&s.spec}, documentOf(&s.servers)}
}

// ETLStart returns what an execution has started with.
func (r reader) ETLStart(ctx context.Context, e holdfast.ExecutionID) (holdfast.ETLStart, error) {
	row, err := one(ctx, r.s, named("start of execution", e), etlStartFields, "SELECT etl, definition, servers FROM etl_starts WHERE execution = ?", e)
	if err != nil {
		return holdfast.ETLStart{}, err
	}
	return holdfast.ETLStart{Spec: *row.spec, Servers: row.servers}, nil
}

// KeepETLStart keeps what an execution starts with; a trigger forgets it at its end.
func (t tx) KeepETLStart(ctx context.Context, e holdfast.ExecutionID, start holdfast.ETLStart) error {
	row := etlStart{&start.Spec, start.Servers}
	_, err := t.s.exec(ctx, "INSERT INTO etl_starts (execution, etl, definition, servers) VALUES (?,?,?,?)", append([]any{e}, etlStartFields(&row)...)...)
	return taken(err, "start of execution %d", e)
}
