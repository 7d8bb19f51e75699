package baas

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Service is what the shared routes need of the use cases. Every method decides
// whether the actor may do it; CodeNotFound for what the actor may not see.
type Service interface {
	Sites(ctx context.Context, actor holdfast.Actor) ([]holdfast.Site, error)
	Site(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) (holdfast.Site, error)
	SiteBySlug(ctx context.Context, actor holdfast.Actor, slug string) (holdfast.Site, error)
	Hosts(ctx context.Context, actor holdfast.Actor) ([]holdfast.Host, error)
	Repositories(ctx context.Context, actor holdfast.Actor) ([]holdfast.Repository, error)

	CreateJob(ctx context.Context, actor holdfast.Actor, j holdfast.Job) (holdfast.Job, error)
	UpdateJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, change func(*holdfast.Job) error) (holdfast.Job, error)
	DeleteJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error
	DeleteJobAndSets(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error
	DeleteJobAndLastSets(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error
	Job(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.JobView, error)
	Jobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]service.JobView, int, error)

	CreateSchedule(ctx context.Context, actor holdfast.Actor, in holdfast.Schedule) (holdfast.Schedule, error)
	UpdateSchedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID, change func(*holdfast.Schedule) error) (holdfast.Schedule, error)
	DeleteSchedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID) error
	Schedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID) (holdfast.Schedule, error)
	Schedules(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) ([]holdfast.Schedule, error)
	PreviewSchedule(ctx context.Context, actor holdfast.Actor, in holdfast.Schedule, n int) (service.Preview, error)
	NextRuns(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, n int) ([]service.NextRun, error)

	Execute(ctx context.Context, actor holdfast.Actor, in service.Run) (holdfast.Execution, error)
	Restore(ctx context.Context, actor holdfast.Actor, in service.NewRestore) (holdfast.Execution, error)
	Kill(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Executions(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter) ([]holdfast.Execution, int, error)
	SiteEvents(ctx context.Context, actor holdfast.Actor, site holdfast.SiteID, p store.Page) ([]holdfast.Event, error)
	Protect(ctx context.Context, actor holdfast.Actor, id holdfast.SetID, in service.Protection) (service.SetView, error)
	Sets(ctx context.Context, actor holdfast.Actor, f store.SetFilter) ([]service.SetView, int, error)
}
