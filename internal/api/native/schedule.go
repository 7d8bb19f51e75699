package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Schedule says when a job runs, and with which run type.
type Schedule struct {
	ID         holdfast.ScheduleID `json:"id"`
	JobID      holdfast.JobID      `json:"job_id"`
	Expression string              `json:"expression"`
	TimeZone   string              `json:"time_zone"`
	RunType    holdfast.RunType    `json:"run_type,omitempty" doc:"Left out of an ETL's"`
	Active     bool                `json:"active"`
	NextRun    time.Time           `json:"next_run,omitzero" doc:"Left out while the schedule or its job is not active, and after the last run"`
	Created    time.Time           `json:"created"`
	Changed    time.Time           `json:"changed"`
}

// NewSchedule asks for a schedule. What is left out gets its default.
type NewSchedule struct {
	Expression string           `json:"expression" doc:"Five cron fields, a macro such as @daily, cron(…), rate(6 hours) or at(2026-12-01T02:00:00)"`
	TimeZone   string           `json:"time_zone,omitempty" doc:"IANA name; default: UTC"`
	RunType    holdfast.RunType `json:"run_type,omitempty" enum:"FULL,DELTA,CUMULATIVE" doc:"Default: FULL; nothing of an ETL's"`
	Active     *bool            `json:"active,omitempty" doc:"Default: true"`
}

// ScheduleChange changes what it names and leaves the rest.
type ScheduleChange struct {
	Expression *string           `json:"expression,omitempty"`
	TimeZone   *string           `json:"time_zone,omitempty"`
	RunType    *holdfast.RunType `json:"run_type,omitempty" enum:"FULL,DELTA,CUMULATIVE"`
	Active     *bool             `json:"active,omitempty"`
}

// AskedPreview asks what a schedule would do.
type AskedPreview struct {
	ID         holdfast.ScheduleID `json:"id,omitempty" doc:"Schedule that would be changed; left out: it would be a new one"`
	Expression string              `json:"expression"`
	TimeZone   string              `json:"time_zone,omitempty" doc:"IANA name; default: UTC"`
	RunType    holdfast.RunType    `json:"run_type,omitempty" enum:"FULL,DELTA,CUMULATIVE" doc:"Default: FULL"`
	Runs       int                 `json:"runs,omitempty" minimum:"1" maximum:"100" doc:"How many runs to show; default: 10"`
}

// Preview is what a schedule would do.
type Preview struct {
	NextRuns  []time.Time `json:"next_runs"`
	Conflicts []Conflict  `json:"conflicts" doc:"Warnings: other schedules of the site that are due in the same minutes"`
}

// Conflict is a run of another schedule of the site in the same minute.
type Conflict struct {
	At         time.Time           `json:"at"`
	JobID      holdfast.JobID      `json:"job_id"`
	Job        string              `json:"job"`
	ScheduleID holdfast.ScheduleID `json:"schedule_id"`
	RunType    holdfast.RunType    `json:"run_type,omitempty" doc:"Left out of an ETL's"`
	Reason     string              `json:"reason" doc:"What becomes of the two"`
}

// NextRun is one run that schedules will make.
type NextRun struct {
	At         time.Time           `json:"at"`
	ScheduleID holdfast.ScheduleID `json:"schedule_id"`
	RunType    holdfast.RunType    `json:"run_type,omitempty" doc:"Left out of an ETL's"`
}

func newSchedule(s holdfast.Schedule) Schedule {
	return Schedule{
		ID: s.ID, JobID: s.Job, Expression: s.Expression, TimeZone: s.TimeZone, RunType: s.RunType, Active: s.Active,
		NextRun: utc(s.NextRun), Created: utc(s.Created), Changed: utc(s.Changed),
	}
}

func newConflict(c service.Conflict) Conflict {
	return Conflict{At: utc(c.At), JobID: c.Job, Job: c.JobName, ScheduleID: c.Schedule, RunType: c.RunType, Reason: c.Reason}
}

func newNextRun(n service.NextRun) NextRun {
	return NextRun{At: utc(n.At), ScheduleID: n.Schedule, RunType: n.RunType}
}

// SchedulePath names a schedule of a job in a path.
type SchedulePath struct {
	JobPath
	Schedule holdfast.ScheduleID `path:"schedule" minimum:"1"`
}

func (a *api) registerSchedules() {
	const tag, root = "schedules", "/jobs/{job}/schedules"
	register(a, operation{id: "list-schedules", method: http.MethodGet, path: root, tag: tag, summary: "List the schedules of a job"},
		func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*listOutput[Schedule], error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			all, err := a.Service.Schedules(ctx, actor, job)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, newSchedule), nil
		})
	register(a, operation{
		id: "create-schedule", method: http.MethodPost, path: root, tag: tag, summary: "Create a schedule of a backup job or a batch ETL", status: http.StatusCreated,
	}, a.createSchedule)
	register(a, operation{id: "preview-schedule", method: http.MethodPost, path: root + "/preview", tag: tag, summary: "See what a schedule would do"}, a.previewSchedule)
	register(a, operation{id: "get-schedule", method: http.MethodGet, path: root + "/{schedule}", tag: tag, summary: "Get a schedule"},
		func(ctx context.Context, actor holdfast.Actor, in *SchedulePath) (*output[Schedule], error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			s, err := a.Service.Schedule(ctx, actor, job, in.Schedule)
			if err != nil {
				return nil, err
			}
			return &output[Schedule]{Body: newSchedule(s)}, nil
		})
	register(a, operation{id: "update-schedule", method: http.MethodPatch, path: root + "/{schedule}", tag: tag, summary: "Change a schedule"}, a.updateSchedule)
	register(a, operation{id: "delete-schedule", method: http.MethodDelete, path: root + "/{schedule}", tag: tag, summary: "Delete a schedule; what it made stays"},
		func(ctx context.Context, actor holdfast.Actor, in *SchedulePath) (*none, error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.DeleteSchedule(ctx, actor, job, in.Schedule)
		})
	register(a, operation{id: "list-next-runs", method: http.MethodGet, path: "/jobs/{job}/next-runs", tag: tag, summary: "List the next runs that a job's schedules will make"},
		func(ctx context.Context, actor holdfast.Actor, in *struct {
			JobPath
			Limit int `query:"limit" minimum:"1" maximum:"100" default:"10" doc:"How many to return at most"`
		},
		) (*listOutput[NextRun], error) {
			job, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			runs, err := a.Service.NextRuns(ctx, actor, job, in.Limit)
			if err != nil {
				return nil, err
			}
			return listOf(runs, -1, newNextRun), nil
		})
}

func (a *api) createSchedule(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body NewSchedule
},
) (*created[Schedule], error) {
	job, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	b := in.Body
	s, err := a.Service.CreateSchedule(ctx, actor, holdfast.Schedule{
		Job: job, Expression: b.Expression, TimeZone: b.TimeZone, RunType: b.RunType, Active: b.Active == nil || *b.Active,
	})
	if err != nil {
		return nil, err
	}
	return &created[Schedule]{Location: fmt.Sprintf("%s/jobs/%d/schedules/%d", Root, job, s.ID), Body: newSchedule(s)}, nil
}

func (a *api) updateSchedule(ctx context.Context, actor holdfast.Actor, in *struct {
	SchedulePath
	Body ScheduleChange
},
) (*output[Schedule], error) {
	job, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	s, err := a.Service.UpdateSchedule(ctx, actor, job, in.Schedule, func(s *holdfast.Schedule) error {
		set(&s.Expression, in.Body.Expression)
		set(&s.TimeZone, in.Body.TimeZone)
		set(&s.RunType, in.Body.RunType)
		set(&s.Active, in.Body.Active)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &output[Schedule]{Body: newSchedule(s)}, nil
}

func (a *api) previewSchedule(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body AskedPreview
},
) (*output[Preview], error) {
	job, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	b := in.Body
	p, err := a.Service.PreviewSchedule(ctx, actor, holdfast.Schedule{
		ID: b.ID, Job: job, Expression: b.Expression, TimeZone: b.TimeZone, RunType: b.RunType,
	}, b.Runs)
	if err != nil {
		return nil, err
	}
	out := Preview{NextRuns: make([]time.Time, 0, len(p.Next)), Conflicts: listOf(p.Conflicts, -1, newConflict).Body.Items}
	for _, at := range p.Next {
		out.NextRuns = append(out.NextRuns, utc(at))
	}
	return &output[Preview]{Body: out}, nil
}
