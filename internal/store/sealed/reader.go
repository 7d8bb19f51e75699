package sealed

import (
	"context"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// opening opens what it reads. The list of ETLs is not among it: it is shared, and
// its secrets stay sealed.
type opening struct {
	r   store.Reader
	box box
}

// reader is a reader whose methods are those of opening, where it has them: the
// others are one level below.
type reader struct {
	opening
	rest
}

type rest struct{ store.Reader }

func (o opening) Job(ctx context.Context, a holdfast.AccountID, id holdfast.JobID) (holdfast.Job, error) {
	j, err := o.r.Job(ctx, a, id)
	o.box.openJob(ctx, &j)
	return j, err
}

func (o opening) Jobs(ctx context.Context, a holdfast.AccountID, f store.JobFilter) ([]holdfast.Job, int, error) {
	all, n, err := o.r.Jobs(ctx, a, f)
	for i := range all {
		o.box.openJob(ctx, &all[i])
	}
	return all, n, err
}

func (o opening) one(ctx context.Context, e holdfast.Execution, err error) (holdfast.Execution, error) {
	o.box.openExecution(ctx, &e)
	return e, err
}

func (o opening) many(ctx context.Context, all []holdfast.Execution, err error) ([]holdfast.Execution, error) {
	for i := range all {
		o.box.openExecution(ctx, &all[i])
	}
	return all, err
}

func (o opening) Execution(ctx context.Context, a holdfast.AccountID, id holdfast.ExecutionID) (holdfast.Execution, error) {
	e, err := o.r.Execution(ctx, a, id)
	return o.one(ctx, e, err)
}

func (o opening) Executions(ctx context.Context, a holdfast.AccountID, f store.ExecutionFilter) ([]holdfast.Execution, int, error) {
	all, n, err := o.r.Executions(ctx, a, f)
	all, err = o.many(ctx, all, err)
	return all, n, err
}

func (o opening) LastExecutions(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]*holdfast.Execution, error) {
	all, err := o.r.LastExecutions(ctx, a, jobs)
	for _, e := range all {
		o.box.openExecution(ctx, e)
	}
	return all, err
}

func (o opening) BusyExecution(ctx context.Context, job holdfast.JobID) (holdfast.Execution, error) {
	e, err := o.r.BusyExecution(ctx, job)
	return o.one(ctx, e, err)
}

func (o opening) LiveOfJob(ctx context.Context, job holdfast.JobID) ([]holdfast.Execution, error) {
	all, err := o.r.LiveOfJob(ctx, job)
	return o.many(ctx, all, err)
}

func (o opening) ETLHistory(ctx context.Context, job holdfast.JobID) (store.ETLHistory, error) {
	h, err := o.r.ETLHistory(ctx, job)
	o.box.openExecution(ctx, h.Ended)
	o.box.openExecution(ctx, h.Started) // which may be the same one: then nothing is left to open
	o.box.openExecution(ctx, h.Finished)
	return h, err
}

func (o opening) ETLStart(ctx context.Context, e holdfast.ExecutionID) (holdfast.ETLStart, error) {
	s, err := o.r.ETLStart(ctx, e)
	o.box.openSpec(ctx, &s.Spec)
	return s, err
}

func (o opening) LiveExecutions(ctx context.Context, states ...holdfast.State) ([]holdfast.Execution, error) {
	all, err := o.r.LiveExecutions(ctx, states...)
	return o.many(ctx, all, err)
}

func (o opening) NextQueued(ctx context.Context, ask store.Ask) (holdfast.Execution, error) {
	e, err := o.r.NextQueued(ctx, ask)
	return o.one(ctx, e, err)
}

func (o opening) ExecutionByRequest(ctx context.Context, w holdfast.WorkerID, request string) (holdfast.Execution, error) {
	e, err := o.r.ExecutionByRequest(ctx, w, request)
	return o.one(ctx, e, err)
}

func (o opening) DuePlanned(ctx context.Context, now time.Time, limit int) ([]holdfast.Execution, error) {
	all, err := o.r.DuePlanned(ctx, now, limit)
	return o.many(ctx, all, err)
}

func (o opening) ExecutionsOfSubmission(ctx context.Context, s holdfast.SubmissionID) ([]holdfast.Execution, error) {
	all, err := o.r.ExecutionsOfSubmission(ctx, s)
	return o.many(ctx, all, err)
}
