package native

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/expire"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Service is what this API needs of the use cases. Every method decides whether
// the actor may do it.
type Service interface {
	Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error)
	LocalActor(ctx context.Context, dialect, account string) (holdfast.Actor, error)

	CreateToken(ctx context.Context, actor holdfast.Actor, in service.NewToken) (holdfast.Credential, holdfast.Secret, error)
	Tokens(ctx context.Context, actor holdfast.Actor) ([]holdfast.Credential, error)
	RevokeToken(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error

	Accounts(ctx context.Context, actor holdfast.Actor) ([]service.AccountView, error)
	CreateAccount(ctx context.Context, actor holdfast.Actor, in service.NewAccount) (service.AccountView, error)
	SetAliases(ctx context.Context, actor holdfast.Actor, id holdfast.AccountID, change func([]string) []string) (service.AccountView, error)

	CreateUser(ctx context.Context, actor holdfast.Actor, in service.NewUser) (service.User, error)
	Users(ctx context.Context, actor holdfast.Actor) ([]service.User, error)
	SetPassword(ctx context.Context, actor holdfast.Actor, id holdfast.PrincipalID, password holdfast.Secret) error
	DisableUser(ctx context.Context, actor holdfast.Actor, id holdfast.PrincipalID) (service.User, error)
	EnableUser(ctx context.Context, actor holdfast.Actor, id holdfast.PrincipalID) (service.User, error)

	AddKey(ctx context.Context, actor holdfast.Actor, in service.NewKey) (service.UserKey, error)
	Keys(ctx context.Context, actor holdfast.Actor) ([]service.UserKey, error)
	RevokeKey(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error
	CreatePAT(ctx context.Context, actor holdfast.Actor, in service.NewPAT) (service.UserKey, holdfast.Secret, error)
	PATs(ctx context.Context, actor holdfast.Actor) ([]service.UserKey, error)
	RevokePAT(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error
	CreateAccessKey(ctx context.Context, actor holdfast.Actor, in service.NewAccessKey) (service.UserKey, holdfast.Secret, error)
	AccessKeys(ctx context.Context, actor holdfast.Actor) ([]service.UserKey, error)
	RevokeAccessKey(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error

	Directory(ctx context.Context, actor holdfast.Actor) (service.Directory, error)
	CreateHost(ctx context.Context, actor holdfast.Actor, in service.NewHost) (holdfast.Host, error)
	Hosts(ctx context.Context, actor holdfast.Actor) ([]holdfast.Host, error)
	Host(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) (holdfast.Host, error)
	DeleteHost(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) error

	CreateSite(ctx context.Context, actor holdfast.Actor, in service.NewSite) (holdfast.Site, error)
	UpdateSite(ctx context.Context, actor holdfast.Actor, in service.NewSite) (holdfast.Site, error)
	Sites(ctx context.Context, actor holdfast.Actor) ([]holdfast.Site, error)
	Site(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) (holdfast.Site, error)
	SiteBySlug(ctx context.Context, actor holdfast.Actor, slug string) (holdfast.Site, error)
	DeleteSite(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) error
	TestSite(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID, jobs holdfast.JobType) ([]engine.Finding, error)

	CreateRepository(ctx context.Context, actor holdfast.Actor, in service.NewRepository) (holdfast.Repository, service.KitFacts, error)
	Repositories(ctx context.Context, actor holdfast.Actor) ([]holdfast.Repository, error)
	Repository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (holdfast.Repository, error)
	RepositoryAccess(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (holdfast.ObjectAccess, bool, error)
	RekeyRepository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) error
	SetRepositoryAccess(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID, change holdfast.ObjectAccessChange) (holdfast.ObjectAccess, bool, error)
	ConnectRepository(ctx context.Context, actor holdfast.Actor, in service.ConnectRepository) (holdfast.Repository, error)
	RepositoryCopies(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID, after holdfast.CopyID, limit int) (string, []holdfast.Copy, error)
	ImportSets(ctx context.Context, actor holdfast.Actor, in service.Import) ([]service.Imported, error)
	DeleteRepository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) error

	CreateJob(ctx context.Context, actor holdfast.Actor, j holdfast.Job) (holdfast.Job, error)
	UpdateJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, change func(*holdfast.Job) error) (holdfast.Job, error)
	DeleteJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error
	Job(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.JobView, error)
	Jobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]service.JobView, int, error)

	CreateETL(ctx context.Context, actor holdfast.Actor, in service.NewETL) (holdfast.Job, error)
	UpdateETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, mutate func(*holdfast.Job) error) (holdfast.Job, error)
	RunETL(ctx context.Context, actor holdfast.Actor, in service.RunETL) (service.ETLAnswer, error)
	ScheduleETL(ctx context.Context, actor holdfast.Actor, in service.ScheduleETL) (service.ETLAnswer, error)
	StopETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.ETLAnswer, error)
	KillETL(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.ETLAnswer, error)
	ETLStatus(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (service.ETLStatus, error)
	ETLCounters(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) ([]engine.FlowCounter, error)
	SetETLCounter(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, flow, extract, value string) error
	PreviewETL(ctx context.Context, actor holdfast.Actor, in service.PreviewETL) ([]engine.Relation, error)

	CreateSchedule(ctx context.Context, actor holdfast.Actor, s holdfast.Schedule) (holdfast.Schedule, error)
	UpdateSchedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID, mutate func(*holdfast.Schedule) error) (holdfast.Schedule, error)
	DeleteSchedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID) error
	Schedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID) (holdfast.Schedule, error)
	Schedules(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) ([]holdfast.Schedule, error)
	PreviewSchedule(ctx context.Context, actor holdfast.Actor, s holdfast.Schedule, n int) (service.Preview, error)
	NextRuns(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, n int) ([]service.NextRun, error)

	CreateTrigger(ctx context.Context, actor holdfast.Actor, t holdfast.Trigger) (holdfast.Trigger, error)
	Triggers(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) ([]holdfast.Trigger, error)
	SetTriggerActive(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.TriggerID, active bool) (holdfast.Trigger, error)
	DeleteTrigger(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.TriggerID) error

	Execute(ctx context.Context, actor holdfast.Actor, in service.Run) (holdfast.Execution, error)
	Restore(ctx context.Context, actor holdfast.Actor, in service.NewRestore) (holdfast.Execution, error)
	Executions(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter) ([]holdfast.Execution, int, error)
	Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Suspend(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Resume(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Stop(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Kill(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error)
	Log(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID, offset int64, limit int) ([]byte, int64, error)

	Sets(ctx context.Context, actor holdfast.Actor, f store.SetFilter) ([]service.SetView, int, error)
	Set(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) (service.SetView, error)
	RetentionPlan(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) (expire.Plan, error)
	Protect(ctx context.Context, actor holdfast.Actor, id holdfast.SetID, in service.Protection) (service.SetView, error)
	ConfirmSet(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) (service.SetView, error)
	DeleteSet(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) error
	DeleteLastSet(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) error
	DeleteJobAndSets(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error
	DeleteJobAndLastSets(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error

	Workers(ctx context.Context, actor holdfast.Actor) ([]holdfast.Worker, error)
	InviteWorker(ctx context.Context, actor holdfast.Actor, in service.Invite) (holdfast.Secret, error)
	SetMaintenance(ctx context.Context, actor holdfast.Actor, id holdfast.WorkerID, on bool) (holdfast.Worker, error)
	RemoveWorker(ctx context.Context, actor holdfast.Actor, id holdfast.WorkerID) error

	Events(ctx context.Context, actor holdfast.Actor, after holdfast.EventID, limit int) ([]holdfast.Event, error)
	SiteEvents(ctx context.Context, actor holdfast.Actor, site holdfast.SiteID, p store.Page) ([]holdfast.Event, error)
}
