package bmcetl

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Service is what this dialect needs of the use cases. Every method with an actor
// decides whether that may do it; CodeNotFound for what the actor may not see.
type Service interface {
	Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error)
	LocalActor(ctx context.Context, dialect, account string) (holdfast.Actor, error)
	LoginAccessKey(ctx context.Context, in service.AccessLogin, dialect string) (service.AccessSession, error)
	RenewAccess(ctx context.Context, refresh holdfast.Secret, dialect string) (service.AccessSession, error)
	AuthenticateAccess(ctx context.Context, a holdfast.AccountID, id holdfast.CredentialID, dialect string) (holdfast.Actor, error)
	AccessKeys(ctx context.Context, actor holdfast.Actor) ([]service.UserKey, error)

	ETLs(ctx context.Context, actor holdfast.Actor, f service.ETLFilter, p store.Page) ([]holdfast.Job, int, error)
	ETLStatus(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.ETLStatus, error)
	UpdateETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, mutate func(*holdfast.Job) error) (holdfast.Job, error)

	RunETL(ctx context.Context, actor holdfast.Actor, in service.RunETL) (service.ETLAnswer, error)
	ScheduleETL(ctx context.Context, actor holdfast.Actor, in service.ScheduleETL) (service.ETLAnswer, error)
	StopETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.ETLAnswer, error)
	KillETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.ETLAnswer, error)
	Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
}
