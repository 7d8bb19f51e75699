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

	Hosts(ctx context.Context, actor holdfast.Actor) ([]holdfast.Host, error)
	Sites(ctx context.Context, actor holdfast.Actor) ([]holdfast.Site, error)
	Repositories(ctx context.Context, actor holdfast.Actor) ([]holdfast.Repository, error)

	Job(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.JobView, error)
	Jobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]service.JobView, int, error)

	Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Executions(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter) ([]holdfast.Execution, int, error)
	Sets(ctx context.Context, actor holdfast.Actor, f store.SetFilter) ([]service.SetView, int, error)
	Submission(ctx context.Context, actor holdfast.Actor, id holdfast.SubmissionID) (holdfast.Submission, []holdfast.Execution, error)
}
