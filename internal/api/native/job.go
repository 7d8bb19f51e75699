package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Job says what to do with a site.
type Job struct {
	ID           holdfast.JobID        `json:"id"`
	SiteID       holdfast.SiteID       `json:"site_id"`
	Site         string                `json:"site,omitempty" doc:"Slug of the site"`
	Type         holdfast.JobType      `json:"type"`
	Engine       holdfast.Engine       `json:"engine"`
	Name         string                `json:"name"`
	Description  string                `json:"description,omitempty"`
	Active       bool                  `json:"active"`
	Priority     holdfast.Priority     `json:"priority" doc:"1 runs first, 5 last"`
	RepositoryID holdfast.RepositoryID `json:"repository_id,omitempty" doc:"Left out: the site's default"`
	Repository   string                `json:"repository,omitempty"`
	Retention    *Retention            `json:"retention,omitempty"`
	AutoAbort    AutoAbort             `json:"auto_abort"`
	Restore      *RestoreSpec          `json:"restore,omitempty"`
	ETL          *ETL                  `json:"etl,omitempty"`
	Created      time.Time             `json:"created"`
	NextRun      time.Time             `json:"next_run,omitzero"`
	Last         *Execution            `json:"last_execution,omitempty"`
	LastRestore  *Execution            `json:"last_restore,omitempty"`
}

// Retention says how many good backup sets of a job stay.
type Retention struct {
	Unit  holdfast.RetentionUnit `json:"unit,omitempty" enum:"SETS,GENERATIONS" doc:"Left out: decided by the job's schedules"`
	Count int                    `json:"count" minimum:"1" maximum:"10000"`
}

// AutoAbort ends an execution that has been running for too long.
type AutoAbort struct {
	Active  bool `json:"active"`
	Minutes int  `json:"minutes" minimum:"0" maximum:"10080"`
}

// NewJob asks for a job. What is left out gets its default.
type NewJob struct {
	Site        string             `json:"site" doc:"Id or slug"`
	Name        string             `json:"name"`
	Description string             `json:"description,omitempty"`
	Engine      holdfast.Engine    `json:"engine,omitempty" doc:"Default: pgphysical"`
	Active      *bool              `json:"active,omitempty" doc:"Default: true"`
	Priority    *holdfast.Priority `json:"priority,omitempty" doc:"1 runs first, 5 last; default 5"`
	Repository  string             `json:"repository,omitempty" doc:"Id or name; left out: the site's default"`
	Retention   *Retention         `json:"retention,omitempty"`
	AutoAbort   *AutoAbort         `json:"auto_abort,omitempty"`
}

// JobChange changes what it names and leaves the rest.
type JobChange struct {
	Name        *string            `json:"name,omitempty"`
	Description *string            `json:"description,omitempty"`
	Active      *bool              `json:"active,omitempty"`
	Priority    *holdfast.Priority `json:"priority,omitempty"`
	Repository  *string            `json:"repository,omitempty" doc:"Id or name; empty: the site's default"`
	Retention   *Retention         `json:"retention,omitempty"`
	AutoAbort   *AutoAbort         `json:"auto_abort,omitempty"`
}

func (n names) job(v service.JobView) Job {
	j := Job{
		ID: v.ID, SiteID: v.Site, Site: n.slugOf(v.Site), Type: v.Type, Engine: v.Engine, Name: v.Name, Description: v.Description,
		Active: v.Active, Priority: v.Priority, RepositoryID: v.Repository, Repository: n.repositoryOf(v.Repository),
		AutoAbort: AutoAbort{Active: v.AutoAbort.Active, Minutes: int(v.AutoAbort.After / time.Minute)},
		Created:   utc(v.Created), NextRun: utc(v.NextRun),
	}
	if v.Type == holdfast.JobBackup {
		j.Retention = &Retention{Unit: v.Retention.Unit, Count: v.Retention.Count}
	}
	if v.Restore != nil {
		j.Restore = n.restore(*v.Restore)
	}
	j.ETL = n.etl(v.ETL)
	if v.Last != nil {
		e := n.execution(*v.Last)
		j.Last = &e
	}
	if v.LastRestore != nil {
		e := n.execution(*v.LastRestore)
		j.LastRestore = &e
	}
	return j
}

// JobPath names a job in a path.
type JobPath struct {
	Job string `path:"job" doc:"Id, site/name (with the slash escaped), or a name that only one job has"`
}

type listJobs struct {
	Page
	Site   []string         `query:"site,explode" doc:"Id or slug; several are allowed"`
	Type   holdfast.JobType `query:"type" enum:"BACKUP,RESTORE,ETL"`
	Active bool             `query:"active" doc:"Only those that are active"`
	Name   string           `query:"name"`
}

type deleteJob struct {
	JobPath
	Sets bool `query:"sets" doc:"Delete every backup set that it made, too; default: they stay"`

	ConfirmLast bool `query:"confirm_last" doc:"With sets: although the last good set of its site is among them"`
}

func (a *api) registerJobs() {
	register(a, operation{id: "list-jobs", method: http.MethodGet, path: "/jobs", tag: "jobs", summary: "List jobs"}, a.listJobs)
	register(a, operation{id: "create-job", method: http.MethodPost, path: "/jobs", tag: "jobs", summary: "Create a backup job", status: http.StatusCreated}, a.createJob)
	register(a, operation{id: "get-job", method: http.MethodGet, path: "/jobs/{job}", tag: "jobs", summary: "Get a job"},
		func(ctx context.Context, actor holdfast.Actor, in *JobPath) (*output[Job], error) {
			id, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			return a.oneJob(ctx, actor, id)
		})
	register(a, operation{id: "update-job", method: http.MethodPatch, path: "/jobs/{job}", tag: "jobs", summary: "Change a job"}, a.updateJob)
	register(a, operation{id: "delete-job", method: http.MethodDelete, path: "/jobs/{job}", tag: "jobs", summary: "Delete a job; its history stays"},
		func(ctx context.Context, actor holdfast.Actor, in *deleteJob) (*none, error) {
			id, err := a.job(ctx, actor, in.Job)
			if err != nil {
				return nil, err
			}
			switch {
			case in.Sets && in.ConfirmLast:
				return &none{}, a.Service.DeleteJobAndLastSets(ctx, actor, id)
			case in.Sets:
				return &none{}, a.Service.DeleteJobAndSets(ctx, actor, id)
			}
			return &none{}, a.Service.DeleteJob(ctx, actor, id)
		})
}

func (a *api) listJobs(ctx context.Context, actor holdfast.Actor, in *listJobs) (*listOutput[Job], error) {
	sites, err := a.sites(ctx, actor, in.Site)
	if err != nil {
		return nil, err
	}
	jobs, total, err := a.Service.Jobs(ctx, actor, store.JobFilter{
		Sites: sites, Types: one(in.Type), ActiveOnly: in.Active, Name: in.Name, Page: in.store(),
	})
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return listOf(jobs, total, n.job), nil
}

func (a *api) createJob(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewJob }) (*created[Job], error) {
	b := in.Body
	s, err := a.site(ctx, actor, b.Site)
	if err != nil {
		return nil, err
	}
	j := holdfast.Job{
		Site: s.ID, Type: holdfast.JobBackup, Engine: b.Engine, Name: b.Name, Description: b.Description,
		Active: b.Active == nil || *b.Active, Priority: holdfast.DefaultPriority,
		Retention: holdfast.Retention{Count: holdfast.DefaultRetention},
	}
	if j.Engine == "" {
		j.Engine = holdfast.EnginePhysical
	}
	change := JobChange{Priority: b.Priority, Retention: b.Retention, AutoAbort: b.AutoAbort}
	if b.Repository != "" {
		change.Repository = &b.Repository
	}
	apply, err := a.change(ctx, actor, change)
	if err != nil {
		return nil, err
	}
	if err := apply(&j); err != nil {
		return nil, err
	}
	j, err = a.Service.CreateJob(ctx, actor, j)
	if err != nil {
		return nil, err
	}
	return a.createdJob(ctx, actor, j.ID)
}

// createdJob is the answer that shows a new job.
func (a *api) createdJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (*created[Job], error) {
	one, err := a.oneJob(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	return &created[Job]{Location: fmt.Sprintf("%s/jobs/%d", Root, id), Body: one.Body}, nil
}

func (a *api) updateJob(ctx context.Context, actor holdfast.Actor, in *struct {
	JobPath
	Body JobChange
},
) (*output[Job], error) {
	id, err := a.job(ctx, actor, in.Job)
	if err != nil {
		return nil, err
	}
	apply, err := a.change(ctx, actor, in.Body)
	if err != nil {
		return nil, err
	}
	j, err := a.Service.Job(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	update := a.Service.UpdateJob
	if j.Type == holdfast.JobETL {
		if in.Body.Repository != nil || in.Body.Retention != nil {
			return nil, holdfast.Errorf(holdfast.CodeInvalid, "an ETL keeps no backup sets").WithHint("leave repository and retention out")
		}
		update = a.Service.UpdateETL
	}
	if _, err := update(ctx, actor, id, apply); err != nil {
		return nil, err
	}
	return a.oneJob(ctx, actor, id)
}

// change looks the names up first, because it runs inside a transaction.
func (a *api) change(ctx context.Context, actor holdfast.Actor, c JobChange) (func(*holdfast.Job) error, error) {
	var repository holdfast.RepositoryID
	if c.Repository != nil && *c.Repository != "" {
		r, err := a.repository(ctx, actor, *c.Repository)
		if err != nil {
			return nil, err
		}
		repository = r.ID
	}
	return func(j *holdfast.Job) error {
		set(&j.Name, c.Name)
		set(&j.Description, c.Description)
		set(&j.Active, c.Active)
		set(&j.Priority, c.Priority)
		if c.Repository != nil {
			j.Repository = repository
		}
		if c.Retention != nil {
			j.Retention = holdfast.Retention{Unit: c.Retention.Unit, Count: c.Retention.Count}
		}
		if c.AutoAbort != nil {
			j.AutoAbort = holdfast.AutoAbort{Active: c.AutoAbort.Active, After: time.Duration(c.AutoAbort.Minutes) * time.Minute}
		}
		return nil
	}, nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

func (a *api) oneJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (*output[Job], error) {
	v, err := a.Service.Job(ctx, actor, id)
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	j := n.job(v)
	if j.ETL != nil {
		j.ETL.Definition = v.ETL.Definition
	}
	return &output[Job]{Body: j}, nil
}

// one is a filter for one type, or for every type.
func one(t holdfast.JobType) []holdfast.JobType {
	if t == "" {
		return nil
	}
	return []holdfast.JobType{t}
}
