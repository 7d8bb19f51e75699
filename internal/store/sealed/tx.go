package sealed

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// tx reads as a reader does, and seals what it writes.
type tx struct {
	opening
	writes
}

type writes struct{ store.Tx }

func (t tx) InsertJob(ctx context.Context, j *holdfast.Job) (err error) {
	spec := j.ETL
	if j.ETL, err = t.box.sealSpec(spec); err == nil {
		err = t.Tx.InsertJob(ctx, j)
	}
	j.ETL = spec
	return err
}

func (t tx) UpdateJob(ctx context.Context, j holdfast.Job) (err error) {
	if j.ETL, err = t.box.sealSpec(j.ETL); err != nil {
		return err
	}
	return t.Tx.UpdateJob(ctx, j)
}

func (t tx) InsertExecution(ctx context.Context, e *holdfast.Execution) (err error) {
	run := e.ETL
	if e.ETL, err = t.box.sealRun(run); err == nil {
		err = t.Tx.InsertExecution(ctx, e)
	}
	e.ETL = run
	return err
}

func (t tx) MoveETLRun(ctx context.Context, prev holdfast.Execution, next holdfast.ETLRun) error {
	run, err := t.box.sealRun(&next)
	if err != nil {
		return err
	}
	return t.Tx.MoveETLRun(ctx, prev, *run)
}

func (t tx) KeepETLStart(ctx context.Context, e holdfast.ExecutionID, start holdfast.ETLStart) error {
	spec, err := t.box.sealSpec(&start.Spec)
	if err != nil {
		return err
	}
	start.Spec = *spec
	return t.Tx.KeepETLStart(ctx, e, start)
}
