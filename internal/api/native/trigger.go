package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
)

// Trigger runs a job each time that an execution of another one has ended well.
type Trigger struct {
	ID       holdfast.TriggerID `json:"id"`
	JobID    holdfast.JobID     `json:"job_id" doc:"The job that it waits for"`
	RunJobID holdfast.JobID     `json:"run_job_id" doc:"The job that it runs"`
	On       holdfast.TriggerOn `json:"on" enum:"SUCCEEDED,DONE" doc:"DONE: also when the execution ended with a warning"`
	RunType  holdfast.RunType   `json:"run_type,omitempty" doc:"Of a backup"`
	Active   bool               `json:"active"`
	Created  time.Time          `json:"created"`
}

// NewTrigger asks for a trigger. What is left out gets its default.
type NewTrigger struct {
	Run     string             `json:"run" doc:"The job to run: a backup or a batch ETL; id, site/name, or a name that only one job has"`
	On      holdfast.TriggerOn `json:"on,omitempty" enum:"SUCCEEDED,DONE" doc:"DONE: also when the execution ended with a warning; default: SUCCEEDED"`
	RunType holdfast.RunType   `json:"run_type,omitempty" enum:"FULL,DELTA,CUMULATIVE" doc:"Of a backup; default: DELTA"`
	Active  *bool              `json:"active,omitempty" doc:"Default: true"`
}

// TriggerChange lets a trigger rest, or fire again.
type TriggerChange struct {
	Active bool `json:"active"`
}

// TriggerPath names a trigger of a job in a path.
type TriggerPath struct {
	JobPath
	Trigger holdfast.TriggerID `path:"trigger" minimum:"1"`
}

func newTrigger(t holdfast.Trigger) Trigger {
	return Trigger{ID: t.ID, JobID: t.Job, RunJobID: t.Run, On: t.On, RunType: t.RunType, Active: t.Active, Created: utc(t.Created)}
}

func (a *api) registerTriggers() {
	const tag, root = "triggers", "/jobs/{job}/triggers"
	register(a, operation{id: "list-triggers", method: http.MethodGet, path: root, tag: tag, summary: "List the triggers that wait for a job"},
		func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*listOutput[Trigger], error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			all, err := a.Service.Triggers(ctx, actor, job)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, newTrigger), nil
		})
	register(a, operation{
		id: "create-trigger", method: http.MethodPost, path: root, tag: tag, status: http.StatusCreated,
		summary: "Run another job each time that an execution of this one has ended well",
	}, a.createTrigger)
	register(a, operation{id: "update-trigger", method: http.MethodPatch, path: root + "/{trigger}", tag: tag, summary: "Let a trigger rest, or fire again"},
		func(ctx context.Context, actor holdfast.Actor, in *struct {
			TriggerPath
			Body TriggerChange
		},
		) (*output[Trigger], error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			t, err := a.Service.SetTriggerActive(ctx, actor, job, in.Trigger, in.Body.Active)
			if err != nil {
				return nil, err
			}
			return &output[Trigger]{Body: newTrigger(t)}, nil
		})
	register(a, operation{id: "delete-trigger", method: http.MethodDelete, path: root + "/{trigger}", tag: tag, summary: "Delete a trigger; what it made stays"},
		func(ctx context.Context, actor holdfast.Actor, in *TriggerPath) (*none, error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.DeleteTrigger(ctx, actor, job, in.Trigger)
		})
}

func (a *api) createTrigger(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body NewTrigger
},
) (*created[Trigger], error) {
	job, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	b := in.Body
	run, err := a.job(ctx, actor, b.Run)
	if err != nil {
		return nil, err
	}
	t, err := a.Service.CreateTrigger(ctx, actor, holdfast.Trigger{
		Job: job, Run: run, On: b.On, RunType: b.RunType, Active: b.Active == nil || *b.Active,
	})
	if err != nil {
		return nil, err
	}
	return &created[Trigger]{Location: fmt.Sprintf("%s/jobs/%d/triggers/%d", Root, job, t.ID), Body: newTrigger(t)}, nil
}
