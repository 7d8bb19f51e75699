package native

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Execution is one run of a job.
type Execution struct {
	ID            holdfast.ExecutionID  `json:"id"`
	JobID         holdfast.JobID        `json:"job_id"`
	Job           string                `json:"job" doc:"Name of the job when the run was asked for"`
	SiteID        holdfast.SiteID       `json:"site_id"`
	Site          string                `json:"site,omitempty" doc:"Slug of the site"`
	Type          holdfast.JobType      `json:"type"`
	Engine        holdfast.Engine       `json:"engine"`
	State         holdfast.State        `json:"state"`
	Wanted        holdfast.Wanted       `json:"wanted" enum:"run,suspend,stop,abort,kill"`
	Outcome       holdfast.Outcome      `json:"outcome,omitempty" doc:"Only when it has ended"`
	Reason        holdfast.Reason       `json:"reason,omitempty"`
	Detail        string                `json:"detail,omitempty" doc:"For people: why, what was left out, what to do"`
	RunAsked      holdfast.RunType      `json:"run_asked,omitempty"`
	RunType       holdfast.RunType      `json:"run_type,omitempty" doc:"What runs; differs from run_asked when there was no base"`
	RunTypeReason string                `json:"run_type_reason,omitempty"`
	Priority      holdfast.Priority     `json:"priority"`
	Pool          string                `json:"pool"`
	HostID        holdfast.HostID       `json:"host_id,omitempty"`
	Host          string                `json:"host,omitempty"`
	RepositoryID  holdfast.RepositoryID `json:"repository_id,omitempty"`
	Repository    string                `json:"repository,omitempty"`
	Restore       *RestoreSpec          `json:"restore,omitempty"`
	SetID         holdfast.SetID        `json:"set_id,omitempty" doc:"The backup set that it has made, or restores"`
	ParentID      holdfast.ExecutionID  `json:"parent_id,omitempty"`
	ScheduleID    holdfast.ScheduleID   `json:"schedule_id,omitempty" doc:"The schedule that made it"`
	CauseID       holdfast.ExecutionID  `json:"cause_id,omitempty" doc:"The execution whose good end made it, by a trigger"`
	Asked         string                `json:"asked,omitempty" doc:"The call that asked for the run of an ETL: its API, and run or schedule; left out: a timing, a schedule or a trigger made it"`
	Properties    map[string]string     `json:"properties,omitempty" doc:"Of the request for the run of an ETL; secrets, by their names, have ******** as their value"`
	Removed       []string              `json:"removed_properties,omitempty" doc:"Names that the request takes away from this run"`
	Simulated     bool                  `json:"simulated,omitempty" doc:"An ETL that did everything but the commit"`
	WorkerID      holdfast.WorkerID     `json:"worker_id,omitempty"`
	Fence         holdfast.Fence        `json:"fence" doc:"How often it was started"`
	Attempts      int                   `json:"attempts" doc:"Starts lost to silence"`
	Retries       int                   `json:"retries" doc:"Failures that may pass"`
	HandBacks     int                   `json:"hand_backs" doc:"Starts that a draining worker gave back"`
	AbortAfter    int64                 `json:"abort_after_seconds,omitempty"`
	Progress      holdfast.Progress     `json:"progress"`
	Result        json.RawMessage       `json:"result,omitempty" doc:"What the engine reported at its end"`
	StoredBytes   int64                 `json:"stored_bytes,omitempty" doc:"Bytes of its backup set"`
	Due           time.Time             `json:"due,omitzero"`
	Submitted     time.Time             `json:"submitted"`
	Started       time.Time             `json:"started,omitzero"`
	Restarted     time.Time             `json:"restarted,omitzero" doc:"Newest start"`
	Ended         time.Time             `json:"ended,omitzero"`
}

// RestoreSpec says what a restore writes, and where.
type RestoreSpec struct {
	SetID         holdfast.SetID    `json:"set_id"`
	HostID        holdfast.HostID   `json:"host_id"`
	Host          string            `json:"host,omitempty"`
	Directory     string            `json:"directory"`
	SiteID        holdfast.SiteID   `json:"site_id,omitempty" doc:"Site in whose place it is restored: the directory is its data directory"`
	Site          string            `json:"site,omitempty" doc:"Slug of that site"`
	Tablespaces   map[string]string `json:"tablespaces,omitempty" doc:"Directory by the tablespace's OID"`
	Configuration bool              `json:"configuration,omitempty"`
	Delta         bool              `json:"delta,omitempty" doc:"It writes over a stopped copy of the same cluster"`

	RepositoryID holdfast.RepositoryID `json:"repository_id,omitempty" doc:"Whose copy was asked for; left out: the best one"`
}

func (n names) restore(r holdfast.RestoreSpec) *RestoreSpec {
	out := &RestoreSpec{SetID: r.Set, HostID: r.Host, Host: n.hostOf(r.Host), Directory: r.Directory, Configuration: r.Configuration, Delta: r.Delta, RepositoryID: r.Repository}
	if r.Site != 0 {
		out.SiteID, out.Site = r.Site, n.slugOf(r.Site)
	}
	for oid, dir := range r.Tablespaces {
		if out.Tablespaces == nil {
			out.Tablespaces = map[string]string{}
		}
		out.Tablespaces[fmt.Sprint(oid)] = dir
	}
	return out
}

func (n names) execution(e holdfast.Execution) Execution {
	out := Execution{
		ID: e.ID, JobID: e.Job, Job: e.JobName, SiteID: e.Site, Site: n.slugOf(e.Site), Type: e.Type, Engine: e.Engine,
		State: e.State, Wanted: e.Wanted, Outcome: e.Outcome, Reason: e.Reason, Detail: e.Detail,
		RunAsked: e.RunAsked, RunType: e.RunType, RunTypeReason: e.RunTypeReason, Priority: e.Priority, Pool: e.Pool,
		HostID: e.Host, Host: n.hostOf(e.Host), RepositoryID: e.Repository, Repository: n.repositoryOf(e.Repository),
		SetID: e.Set, ParentID: e.Parent, ScheduleID: e.Schedule, CauseID: e.Cause, WorkerID: e.Worker, Fence: e.Fence, Attempts: e.Attempts, Retries: e.Retries, HandBacks: e.HandBacks,
		AbortAfter: int64(e.AbortAfter / time.Second), Progress: e.Progress, Result: e.Result, StoredBytes: e.StoredSize,
		Due: utc(e.Due), Submitted: utc(e.Submitted), Started: utc(e.Started), Restarted: utc(e.Restarted), Ended: utc(e.Ended),
	}
	if e.Restore != nil {
		out.Restore = n.restore(*e.Restore)
	}
	if e.ETL != nil {
		out.Simulated, out.Asked = e.ETL.Simulate, e.ETL.Asked
		out.Properties, out.Removed = masked(e.ETL.Properties), e.ETL.Removed
	}
	if e.Type == holdfast.JobBackup && e.Outcome != holdfast.OutcomeSucceeded && e.Outcome != holdfast.OutcomeWarning {
		out.SetID = 0 // it is reserved only
	}
	return out
}

// NewExecution asks for one run of a job.
type NewExecution struct {
	Job     string     `json:"job" doc:"Id, site/name, or a name that only one job has"`
	RunType string     `json:"run_type,omitempty" enum:"FULL,DELTA,CUMULATIVE" doc:"Default: FULL"`
	IfBusy  string     `json:"if_busy,omitempty" enum:"refuse,join,queue" doc:"What to do when the job is busy; default: refuse, with 409 and the execution's id"`
	Due     *time.Time `json:"due,omitempty" doc:"Not before, up to ten years ahead; left out: now"`
}

// ExecutionPath names an execution in a path.
type ExecutionPath struct {
	Execution holdfast.ExecutionID `path:"execution" minimum:"1"`
}

type listExecutions struct {
	Page
	Site   []string             `query:"site,explode" doc:"Id or slug; several are allowed"`
	Job    string               `query:"job" doc:"Id, site/name, or a name that only one job has"`
	Type   holdfast.JobType     `query:"type" enum:"BACKUP,RESTORE,ETL"`
	State  []holdfast.State     `query:"state,explode" enum:"PLANNED,QUEUED,RUNNING,SUSPENDED,ENDED" doc:"Several are allowed"`
	Parent holdfast.ExecutionID `query:"parent" doc:"Executions that build on this one"`
}

func (a *api) registerExecutions() {
	register(a, operation{id: "list-executions", method: http.MethodGet, path: "/executions", tag: "executions", summary: "List executions, the newest first"}, a.listExecutions)
	register(a, operation{id: "create-execution", method: http.MethodPost, path: "/executions", tag: "executions", summary: "Run a job", status: http.StatusAccepted}, a.execute)
	register(a, operation{id: "create-restore", method: http.MethodPost, path: "/restores", tag: "restores", summary: "Restore a backup set", status: http.StatusAccepted}, a.restore)
	register(a, operation{id: "get-execution", method: http.MethodGet, path: "/executions/{execution}", tag: "executions", summary: "Get an execution"},
		a.move(a.Service.Execution))
	for _, m := range []struct {
		verb, summary string
		call          func(context.Context, holdfast.Actor, holdfast.ExecutionID) (holdfast.Execution, error)
	}{
		{"suspend", "Let an execution rest; it holds its job, but no slot", a.Service.Suspend},
		{"resume", "Let a suspended execution go on", a.Service.Resume},
		{"stop", "End an execution at its next good point", a.Service.Stop},
		{"kill", "End an execution at once", a.Service.Kill},
	} {
		register(a, operation{
			id: m.verb + "-execution", method: http.MethodPost, path: "/executions/{execution}/" + m.verb, tag: "executions", summary: m.summary,
		}, a.move(m.call))
	}
}

func (a *api) listExecutions(ctx context.Context, actor holdfast.Actor, in *listExecutions) (*listOutput[Execution], error) {
	sites, err := a.sites(ctx, actor, in.Site)
	if err != nil {
		return nil, err
	}
	f := store.ExecutionFilter{Sites: sites, Types: one(in.Type), States: in.State, Parent: in.Parent, Page: in.store()}
	if in.Job != "" {
		if f.Job, err = a.job(ctx, actor, in.Job); err != nil {
			return nil, err
		}
	}
	all, total, err := a.Service.Executions(ctx, actor, f)
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return listOf(all, total, n.execution), nil
}

// move answers with the execution that a call returned.
func (a *api) move(call func(context.Context, holdfast.Actor, holdfast.ExecutionID) (holdfast.Execution, error)) func(
	context.Context, holdfast.Actor, *ExecutionPath) (*output[Execution], error) {
	return func(ctx context.Context, actor holdfast.Actor, in *ExecutionPath) (*output[Execution], error) {
		e, err := call(ctx, actor, in.Execution)
		if err != nil {
			return nil, err
		}
		n, err := a.names(ctx, actor)
		if err != nil {
			return nil, err
		}
		return &output[Execution]{Body: n.execution(e)}, nil
	}
}

// asked is a time of a request; zero when it has none. The zero time, which clients
// send that have none either, is as long over as the moment behind it.
func asked(t *time.Time) time.Time {
	switch {
	case t == nil:
		return time.Time{}
	case t.IsZero():
		return t.Add(1)
	}
	return *t
}

type executeInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"The same key gives the same execution"`
	Body NewExecution
}

func (a *api) execute(ctx context.Context, actor holdfast.Actor, in *executeInput) (*created[Execution], error) {
	job, err := a.job(ctx, actor, in.Body.Job)
	if err != nil {
		return nil, err
	}
	run := service.Run{Job: job, RunType: holdfast.RunFull, IdempotencyKey: in.Key, Due: asked(in.Body.Due)}
	if in.Body.RunType != "" {
		if run.RunType, err = holdfast.ParseRunType(in.Body.RunType); err != nil {
			return nil, err
		}
	}
	switch in.Body.IfBusy {
	case "join":
		run.IfBusy = service.Join
	case "queue":
		run.IfBusy = service.Queue
	default:
		run.IfBusy = service.Refuse
	}
	e, err := a.Service.Execute(ctx, actor, run)
	if err != nil {
		return nil, err
	}
	return a.accepted(ctx, actor, e)
}

func (a *api) accepted(ctx context.Context, actor holdfast.Actor, e holdfast.Execution) (*created[Execution], error) {
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &created[Execution]{Location: fmt.Sprintf("%s/executions/%d", Root, e.ID), Body: n.execution(e)}, nil
}
