package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/store"
)

var errLater = holdfast.Errorf(holdfast.CodeUnavailable, "not built yet")

// Authenticate returns who a bearer token is; CodeUnauthenticated for one that is not valid.
func (s *Service) Authenticate(ctx context.Context, bearer, dialect string) (holdfast.Actor, error) {
	return holdfast.Actor{}, errLater
}

// LocalActor returns the owner of the Unix socket: an admin of the default account.
func (s *Service) LocalActor(ctx context.Context, dialect string) (holdfast.Actor, error) {
	return holdfast.Actor{}, errLater
}

// CreateToken makes a token and returns its secret, once.
func (s *Service) CreateToken(ctx context.Context, actor holdfast.Actor, in NewToken) (holdfast.Credential, holdfast.Secret, error) {
	return holdfast.Credential{}, holdfast.Secret{}, errLater
}

// Tokens lists the tokens, revoked ones too.
func (s *Service) Tokens(ctx context.Context, actor holdfast.Actor) ([]holdfast.Credential, error) {
	return nil, errLater
}

// RevokeToken ends a token at once.
func (s *Service) RevokeToken(ctx context.Context, actor holdfast.Actor, id holdfast.CredentialID) error {
	return errLater
}

// CreateHost makes a host.
func (s *Service) CreateHost(ctx context.Context, actor holdfast.Actor, in NewHost) (holdfast.Host, error) {
	return holdfast.Host{}, errLater
}

// Hosts lists the hosts that the actor may see.
func (s *Service) Hosts(ctx context.Context, actor holdfast.Actor) ([]holdfast.Host, error) {
	return nil, errLater
}

// Host returns a host.
func (s *Service) Host(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) (holdfast.Host, error) {
	return holdfast.Host{}, errLater
}

// DeleteHost deletes a host without sites.
func (s *Service) DeleteHost(ctx context.Context, actor holdfast.Actor, id holdfast.HostID) error {
	return errLater
}

// CreateSite makes a site.
func (s *Service) CreateSite(ctx context.Context, actor holdfast.Actor, in NewSite) (holdfast.Site, error) {
	return holdfast.Site{}, errLater
}

// Sites lists the sites that the actor may see.
func (s *Service) Sites(ctx context.Context, actor holdfast.Actor) ([]holdfast.Site, error) {
	return nil, errLater
}

// Site returns a site.
func (s *Service) Site(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) (holdfast.Site, error) {
	return holdfast.Site{}, errLater
}

// SiteBySlug returns a site by its text id.
func (s *Service) SiteBySlug(ctx context.Context, actor holdfast.Actor, slug string) (holdfast.Site, error) {
	return holdfast.Site{}, errLater
}

// UpdateSite changes the site with the id in.Site.ID.
func (s *Service) UpdateSite(ctx context.Context, actor holdfast.Actor, in NewSite) (holdfast.Site, error) {
	return holdfast.Site{}, errLater
}

// DeleteSite deletes a site without jobs and backup sets.
func (s *Service) DeleteSite(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) error {
	return errLater
}

// TestSite looks at a site and says what a backup of it would miss.
func (s *Service) TestSite(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID) ([]engine.Finding, error) {
	return nil, errLater
}

// CreateRepository makes a repository at a location that is empty or missing.
func (s *Service) CreateRepository(ctx context.Context, actor holdfast.Actor, in NewRepository) (holdfast.Repository, KitFacts, error) {
	return holdfast.Repository{}, KitFacts{}, errLater
}

// Repositories lists the repositories that the actor may see.
func (s *Service) Repositories(ctx context.Context, actor holdfast.Actor) ([]holdfast.Repository, error) {
	return nil, errLater
}

// Repository returns a repository.
func (s *Service) Repository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (holdfast.Repository, error) {
	return holdfast.Repository{}, errLater
}

// DeleteRepository forgets a repository that nothing names; its files stay.
func (s *Service) DeleteRepository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) error {
	return errLater
}

// CreateJob makes a job.
func (s *Service) CreateJob(ctx context.Context, actor holdfast.Actor, in holdfast.Job) (holdfast.Job, error) {
	return holdfast.Job{}, errLater
}

// UpdateJob changes a job by mutate, which may run more than once.
func (s *Service) UpdateJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, mutate func(*holdfast.Job) error) (holdfast.Job, error) {
	return holdfast.Job{}, errLater
}

// DeleteJob deletes a job that is not busy; its history and its sets stay.
func (s *Service) DeleteJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error {
	return errLater
}

// Job returns a job that is not deleted.
func (s *Service) Job(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (JobView, error) {
	return JobView{}, errLater
}

// Jobs lists jobs by id, and says how many there are without the page.
func (s *Service) Jobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]JobView, int, error) {
	return nil, 0, errLater
}

// Execute asks for one execution of a job.
func (s *Service) Execute(ctx context.Context, actor holdfast.Actor, in Run) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Restore makes a RESTORE job and its first execution.
func (s *Service) Restore(ctx context.Context, actor holdfast.Actor, in NewRestore) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Executions lists executions, the newest first, and says how many there are without the page.
func (s *Service) Executions(ctx context.Context, actor holdfast.Actor, f store.ExecutionFilter) ([]holdfast.Execution, int, error) {
	return nil, 0, errLater
}

// Execution returns an execution.
func (s *Service) Execution(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Suspend wants an execution to rest.
func (s *Service) Suspend(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Resume wants an execution to go on.
func (s *Service) Resume(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Stop wants an execution to end at the next good point.
func (s *Service) Stop(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Kill wants an execution to end at once.
func (s *Service) Kill(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID) (holdfast.Execution, error) {
	return holdfast.Execution{}, errLater
}

// Log returns up to limit bytes of an execution's log from the offset, and the log's size so far.
func (s *Service) Log(ctx context.Context, actor holdfast.Actor, id holdfast.ExecutionID, offset int64, limit int) ([]byte, int64, error) {
	return nil, 0, errLater
}

// Sets lists backup sets, the newest first, and says how many there are without the page.
func (s *Service) Sets(ctx context.Context, actor holdfast.Actor, f store.SetFilter) ([]SetView, int, error) {
	return nil, 0, errLater
}

// Set returns a backup set.
func (s *Service) Set(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) (SetView, error) {
	return SetView{}, errLater
}

// Workers lists the workers that are not removed.
func (s *Service) Workers(ctx context.Context, actor holdfast.Actor) ([]holdfast.Worker, error) {
	return nil, errLater
}

// InviteWorker returns a one-time token with which a worker joins within 24 hours.
func (s *Service) InviteWorker(ctx context.Context, actor holdfast.Actor, in Invite) (holdfast.Secret, error) {
	return holdfast.Secret{}, errLater
}

// RemoveWorker removes a worker and cuts it off.
func (s *Service) RemoveWorker(ctx context.Context, actor holdfast.Actor, id holdfast.WorkerID) error {
	return errLater
}

// LocalWorker returns the worker inside serve, and makes it when it is missing.
func (s *Service) LocalWorker(ctx context.Context, sealKey string, slots int, version string) (holdfast.Worker, error) {
	return holdfast.Worker{}, errLater
}

// Events lists events after the given one, the oldest first.
func (s *Service) Events(ctx context.Context, actor holdfast.Actor, after holdfast.EventID, limit int) ([]holdfast.Event, error) {
	return nil, errLater
}

// Ready reports whether the metadata database answers.
func (s *Service) Ready(ctx context.Context) error { return errLater }

// Close waits for what the service does in the background.
func (s *Service) Close() error { return nil }
