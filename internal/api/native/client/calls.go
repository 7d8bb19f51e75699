package client

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/api/native"
)

func id[T ~int64](n T) string { return strconv.FormatInt(int64(n), 10) }

// Hosts lists hosts.
func (c *Client) Hosts(ctx context.Context) ([]native.Host, error) {
	return items[native.Host](ctx, c, get("hosts"))
}

// CreateHost makes a host.
func (c *Client) CreateHost(ctx context.Context, in native.NewHost) (native.Host, error) {
	return call[native.Host](ctx, c, post(in, "hosts"))
}

// DeleteHost deletes the host with this id or name.
func (c *Client) DeleteHost(ctx context.Context, ref string) error {
	return drop(ctx, c, del("hosts", ref))
}

// Sites lists sites.
func (c *Client) Sites(ctx context.Context) ([]native.Site, error) {
	return items[native.Site](ctx, c, get("sites"))
}

// Site returns the site with this id or slug.
func (c *Client) Site(ctx context.Context, ref string) (native.Site, error) {
	return call[native.Site](ctx, c, get("sites", ref))
}

// CreateSite makes a site.
func (c *Client) CreateSite(ctx context.Context, in native.NewSite) (native.Site, error) {
	return call[native.Site](ctx, c, post(newSite{in, in.Password.Reveal()}, "sites"))
}

// UpdateSite changes a site.
func (c *Client) UpdateSite(ctx context.Context, ref string, in native.SiteChange) (native.Site, error) {
	return call[native.Site](ctx, c, request{method: http.MethodPatch, path: []string{"sites", ref}, body: siteChange{in, in.Password.Reveal()}})
}

// The bodies that hold a password: a Secret itself prints as [redacted].
type (
	newSite struct {
		native.NewSite
		Password string `json:"password,omitempty"`
	}
	siteChange struct {
		native.SiteChange
		Password string `json:"password,omitempty"`
	}
)

// DeleteSite deletes the site with this id or slug.
func (c *Client) DeleteSite(ctx context.Context, ref string) error {
	return drop(ctx, c, del("sites", ref))
}

// TestSite says what jobs of a type would miss: backups, or ETLs. Empty means
// backups, and ETLs for a site without a data directory.
func (c *Client) TestSite(ctx context.Context, ref string, jobs holdfast.JobType) (native.SiteTest, error) {
	return call[native.SiteTest](ctx, c, post(native.SiteTestOf{For: jobs}, "sites", ref, "test"))
}

// Repositories lists repositories.
func (c *Client) Repositories(ctx context.Context) ([]native.Repository, error) {
	return items[native.Repository](ctx, c, get("repositories"))
}

// Repository returns the repository with this id or name.
func (c *Client) Repository(ctx context.Context, ref string) (native.Repository, error) {
	return call[native.Repository](ctx, c, get("repositories", ref))
}

// CreateRepository makes a repository. Its recovery kit comes this once.
func (c *Client) CreateRepository(ctx context.Context, in native.NewRepository) (native.CreatedRepository, error) {
	return call[native.CreatedRepository](ctx, c, post(revealed(in), "repositories"))
}

// revealed is a repository to be made or connected, with its secrets.
func revealed(in native.NewRepository) newRepository {
	out := newRepository{NewRepository: in}
	if in.Access != nil {
		out.Access = &newObjectAccess{*in.Access, in.Access.SecretKey.Reveal(), in.Access.SessionToken.Reveal()}
	}
	return out
}

// RepositoryAccess returns how the object store of the repository with this id or
// name is reached.
func (c *Client) RepositoryAccess(ctx context.Context, ref string) (native.ObjectAccess, error) {
	return call[native.ObjectAccess](ctx, c, get("repositories", ref, "access"))
}

// UpdateRepositoryAccess changes it.
func (c *Client) UpdateRepositoryAccess(ctx context.Context, ref string, in native.ObjectAccessChange) (native.ObjectAccess, error) {
	return call[native.ObjectAccess](ctx, c, request{
		method: http.MethodPatch, path: []string{"repositories", ref, "access"},
		body: objectAccessChange{in, in.SecretKey.Reveal(), in.SessionToken.Reveal()},
	})
}

// RekeyRepository gives the service another password for the repository.
func (c *Client) RekeyRepository(ctx context.Context, ref string) error {
	return drop(ctx, c, post(nil, "repositories", ref, "password"))
}

// The bodies that hold an access to an object store.
type (
	newRepository struct {
		native.NewRepository
		Access *newObjectAccess `json:"access,omitempty"`
	}
	newObjectAccess struct {
		native.NewObjectAccess
		SecretKey    string `json:"secret_key"`
		SessionToken string `json:"session_token,omitempty"`
	}
	objectAccessChange struct {
		native.ObjectAccessChange
		SecretKey    string `json:"secret_key,omitempty"`
		SessionToken string `json:"session_token,omitempty"`
	}
)

// DeleteRepository forgets the repository with this id or name.
func (c *Client) DeleteRepository(ctx context.Context, ref string) error {
	return drop(ctx, c, del("repositories", ref))
}

// Jobs lists jobs.
func (c *Client) Jobs(ctx context.Context, q url.Values) (native.List[native.Job], error) {
	r := get("jobs")
	r.query = q
	return call[native.List[native.Job]](ctx, c, r)
}

// Job returns the job with this id, site/name, or name.
func (c *Client) Job(ctx context.Context, ref string) (native.Job, error) {
	return call[native.Job](ctx, c, get("jobs", ref))
}

// CreateJob makes a job.
func (c *Client) CreateJob(ctx context.Context, in native.NewJob) (native.Job, error) {
	return call[native.Job](ctx, c, post(in, "jobs"))
}

// UpdateJob changes a job.
func (c *Client) UpdateJob(ctx context.Context, ref string, in native.JobChange) (native.Job, error) {
	return call[native.Job](ctx, c, request{method: http.MethodPatch, path: []string{"jobs", ref}, body: in})
}

// DeleteJob deletes a job.
func (c *Client) DeleteJob(ctx context.Context, ref string) error {
	return drop(ctx, c, del("jobs", ref))
}

// Schedules lists the schedules of a job.
func (c *Client) Schedules(ctx context.Context, job string) ([]native.Schedule, error) {
	return items[native.Schedule](ctx, c, get("jobs", job, "schedules"))
}

// CreateSchedule makes a schedule of a job.
func (c *Client) CreateSchedule(ctx context.Context, job string, in native.NewSchedule) (native.Schedule, error) {
	return call[native.Schedule](ctx, c, post(in, "jobs", job, "schedules"))
}

// UpdateSchedule changes a schedule of a job.
func (c *Client) UpdateSchedule(ctx context.Context, job string, s holdfast.ScheduleID, in native.ScheduleChange) (native.Schedule, error) {
	return call[native.Schedule](ctx, c, request{method: http.MethodPatch, path: []string{"jobs", job, "schedules", id(s)}, body: in})
}

// DeleteSchedule deletes a schedule of a job.
func (c *Client) DeleteSchedule(ctx context.Context, job string, s holdfast.ScheduleID) error {
	return drop(ctx, c, del("jobs", job, "schedules", id(s)))
}

// PreviewSchedule says what a schedule of a job would do.
func (c *Client) PreviewSchedule(ctx context.Context, job string, in native.AskedPreview) (native.Preview, error) {
	return call[native.Preview](ctx, c, post(in, "jobs", job, "schedules", "preview"))
}

// Execute asks for one run of a job. The same key gives the same execution.
func (c *Client) Execute(ctx context.Context, key string, in native.NewExecution) (native.Execution, error) {
	r := post(in, "executions")
	r.key = key
	return call[native.Execution](ctx, c, r)
}

// Restore asks for a backup set to be restored. The same key gives the same
// execution.
func (c *Client) Restore(ctx context.Context, key string, in native.NewRestore) (native.Execution, error) {
	r := post(in, "restores")
	r.key = key
	return call[native.Execution](ctx, c, r)
}

// Executions lists executions, the newest first.
func (c *Client) Executions(ctx context.Context, q url.Values) (native.List[native.Execution], error) {
	r := get("executions")
	r.query = q
	return call[native.List[native.Execution]](ctx, c, r)
}

// Execution returns an execution.
func (c *Client) Execution(ctx context.Context, e holdfast.ExecutionID) (native.Execution, error) {
	return call[native.Execution](ctx, c, get("executions", id(e)))
}

// Move suspends, resumes, stops or kills an execution.
func (c *Client) Move(ctx context.Context, e holdfast.ExecutionID, verb string) (native.Execution, error) {
	return call[native.Execution](ctx, c, post(nil, "executions", id(e), verb))
}

// Log returns what an execution has logged from the offset on, in JSON lines, at
// most a mebibyte, which may end within a line; nothing at the end.
func (c *Client) Log(ctx context.Context, e holdfast.ExecutionID, offset int64) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, callTimeout, errCallTimeout)
	defer cancel()
	r := get("executions", id(e), "log")
	r.accept = native.LinesType
	r.query = url.Values{"offset": {id(offset)}}
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return data, nil
}

// Sets lists backup sets, the newest first.
func (c *Client) Sets(ctx context.Context, q url.Values) (native.List[native.Set], error) {
	r := get("sets")
	r.query = q
	return call[native.List[native.Set]](ctx, c, r)
}

// Set returns a backup set.
func (c *Client) Set(ctx context.Context, s holdfast.SetID) (native.Set, error) {
	return call[native.Set](ctx, c, get("sets", id(s)))
}

// SiteEvents lists the history of the site with this id or slug, the newest
// first.
func (c *Client) SiteEvents(ctx context.Context, site string, q url.Values) (native.Events, error) {
	r := get("sites", site, "events")
	r.query = q
	return call[native.Events](ctx, c, r)
}

// Tokens lists tokens.
func (c *Client) Tokens(ctx context.Context) ([]native.Token, error) {
	return items[native.Token](ctx, c, get("tokens"))
}

// CreateToken makes a token. Its secret comes this once.
func (c *Client) CreateToken(ctx context.Context, in native.NewToken) (native.CreatedToken, error) {
	return call[native.CreatedToken](ctx, c, post(in, "tokens"))
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, t holdfast.CredentialID) error {
	return drop(ctx, c, del("tokens", id(t)))
}

// Workers lists workers.
func (c *Client) Workers(ctx context.Context) ([]native.Worker, error) {
	return items[native.Worker](ctx, c, get("workers"))
}

// InviteWorker makes a token with which one worker joins.
func (c *Client) InviteWorker(ctx context.Context, in native.NewInvitation) (native.Invitation, error) {
	return call[native.Invitation](ctx, c, post(in, "workers", "invitations"))
}

// SetMaintenance marks the worker with this id or name for maintenance, or not any more.
func (c *Client) SetMaintenance(ctx context.Context, ref string, on bool) (native.Worker, error) {
	return call[native.Worker](ctx, c, request{method: http.MethodPut, path: []string{"workers", ref, "maintenance"}, body: native.Maintenance{On: on}})
}

// RemoveWorker removes the worker with this id or name.
func (c *Client) RemoveWorker(ctx context.Context, ref string) error {
	return drop(ctx, c, del("workers", ref))
}

func items[T any](ctx context.Context, c *Client, r request) ([]T, error) {
	l, err := call[native.List[T]](ctx, c, r)
	return l.Items, err
}

func drop(ctx context.Context, c *Client, r request) error {
	_, err := call[struct{}](ctx, c, r)
	return err
}
