package commvault

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Service is what this dialect needs of the use cases. Every method decides
// whether the actor may do it; CodeNotFound for what the actor may not see.
type Service interface {
	Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error)
	LocalActor(ctx context.Context, dialect, account string) (holdfast.Actor, error)
	Login(ctx context.Context, in service.Login, dialect string) (service.Session, error)
	AuthenticateSession(ctx context.Context, secret holdfast.Secret, dialect string) (holdfast.Actor, error)
	RenewSession(ctx context.Context, old holdfast.Secret, device, dialect string) (service.Session, error)
	Logout(ctx context.Context, secret holdfast.Secret) error

	Host(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) (holdfast.Host, error)
	Hosts(ctx context.Context, actor holdfast.Actor) ([]holdfast.Host, error)
	Site(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) (holdfast.Site, error)
	Sites(ctx context.Context, actor holdfast.Actor) ([]holdfast.Site, error)
	Repository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (holdfast.Repository, error)
	Repositories(ctx context.Context, actor holdfast.Actor) ([]holdfast.Repository, error)

	Job(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.JobView, error)
	Jobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]service.JobView, int, error)

	PlainJobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]holdfast.Job, int, error)
	Schedules(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) ([]holdfast.Schedule, error)
	SiteSchedules(ctx context.Context, actor holdfast.Actor, sites []holdfast.SiteID, p store.Page) ([]service.JobSchedule, error)

	MayRun(ctx context.Context, actor holdfast.Actor, site holdfast.SiteID) error
	ExecuteAll(ctx context.Context, actor holdfast.Actor, in service.Submit) (holdfast.Submission, []holdfast.Execution, error)
	Restore(ctx context.Context, actor holdfast.Actor, in service.NewRestore) (holdfast.Execution, error)
	Suspend(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Resume(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Kill(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)

	Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Executions(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter) ([]holdfast.Execution, int, error)
	Sets(ctx context.Context, actor holdfast.Actor, f store.SetFilter) ([]service.SetView, int, error)
	Submission(ctx context.Context, actor holdfast.Actor, id holdfast.SubmissionID) (holdfast.Submission, []holdfast.Execution, error)
}
