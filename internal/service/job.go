package service

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// JobView is a job with what is known of its runs.
type JobView struct {
	holdfast.Job
	Last        *holdfast.Execution // newest; nil: never run
	LastRestore *holdfast.Execution // newest restore of a set that this job made; nil: none
	NextRun     time.Time           // earliest of its schedules; zero: none
}

func jobWord(id holdfast.JobID) string { return fmt.Sprintf("job %d", id) }

// findJob returns the job, also a deleted one, when the actor may do op to it. What
// is more than reading takes a credential for every site of an ETL: it works on the
// others as on the job's own.
func findJob(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.JobID) (holdfast.Job, error) {
	j, err := r.Job(ctx, actor.Principal.Account, id)
	if err != nil {
		return holdfast.Job{}, found(err, jobWord(id))
	}
	if err := allow(actor, op, target{what: jobWord(id), sites: []holdfast.SiteID{j.Site}}); err != nil {
		return j, err
	}
	return j, coversAll(actor, op, j)
}

// liveJob is findJob for a job that is not deleted.
func liveJob(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.JobID) (holdfast.Job, error) {
	j, err := findJob(ctx, r, actor, op, id)
	if err == nil && !j.Deleted.IsZero() {
		err = notFound(jobWord(id))
	}
	return j, err
}

// jobDefaults fills what a request may leave out.
func jobDefaults(j holdfast.Job) holdfast.Job {
	if j.Type == "" {
		j.Type = holdfast.JobBackup
	}
	if j.Engine == "" {
		j.Engine = holdfast.EnginePhysical
	}
	if j.Priority == 0 {
		j.Priority = holdfast.DefaultPriority
	}
	if j.Retention.Count == 0 {
		j.Retention.Count = holdfast.DefaultRetention
	}
	return j
}

// checkJob checks everything about a job but its name.
func (s *Service) checkJob(j holdfast.Job) error {
	if err := j.Validate(); err != nil {
		return err
	}
	if j.Type == holdfast.JobETL {
		return holdfast.Errorf(holdfast.CodeInvalid, "an ETL is made and changed with its definition").WithHint("use the calls for ETLs")
	}
	if !slices.Contains(s.cfg.Engines, j.Engine) {
		return errUnknownEngine(j.Engine, s.cfg.Engines)
	}
	return nil
}

func errUnknownEngine(e holdfast.Engine, engines []holdfast.Engine) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "engine %q is unknown", e).WithHint("use one of %v", engines)
}

// jobNameFree checks that no other job of the site has the name.
func jobNameFree(ctx context.Context, r store.Reader, j holdfast.Job) error {
	same, _, err := r.Jobs(ctx, j.Account, store.JobFilter{Sites: []holdfast.SiteID{j.Site}, Name: j.Name})
	if err != nil {
		return err
	}
	for _, other := range same {
		if other.ID != j.ID {
			return free(nil, "job", j.Name)
		}
	}
	return nil
}

// cloneJob copies a job with everything it points at.
func cloneJob(j holdfast.Job) holdfast.Job {
	if j.Annotations != nil {
		c := make(map[string]json.RawMessage, len(j.Annotations))
		for k, v := range j.Annotations {
			c[k] = slices.Clone(v)
		}
		j.Annotations = c
	}
	j.Restore = cloneSpec(j.Restore)
	j.ETL = cloneETL(j.ETL)
	return j
}

func cloneETL(e *holdfast.ETLSpec) *holdfast.ETLSpec {
	if e == nil {
		return nil
	}
	c := *e
	c.Sites = slices.Clone(e.Sites)
	c.Configurations = slices.Clone(e.Configurations)
	for i := range c.Configurations {
		c.Configurations[i].Properties = maps.Clone(e.Configurations[i].Properties)
	}
	if e.Recurrence != nil {
		r := *e.Recurrence
		c.Recurrence = &r
	}
	return &c
}

func cloneSpec(r *holdfast.RestoreSpec) *holdfast.RestoreSpec {
	if r == nil {
		return nil
	}
	c := *r
	c.Tablespaces = maps.Clone(r.Tablespaces)
	return &c
}

// CreateJob makes a job. Left out, its type is BACKUP, its engine pgphysical, its
// priority 5 and its retention 7. CodeNotFound for a site, repository, backup
// set or host that does not exist, CodeConflict for a name that another job of
// the site has.
func (s *Service) CreateJob(ctx context.Context, actor holdfast.Actor, in holdfast.Job) (holdfast.Job, error) {
	now := s.now()
	asked := jobDefaults(in)
	asked.ID, asked.Account, asked.Created, asked.Deleted = 0, actor.Principal.Account, now, time.Time{}
	var j holdfast.Job
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		site, err := findSite(ctx, tx, actor, opCreateJob, asked.Site)
		if err != nil {
			return err
		}
		j = cloneJob(asked)
		return s.insertJob(ctx, tx, actor, opCreateJob, site, &j)
	})
	if err != nil {
		return holdfast.Job{}, err
	}
	s.cfg.Log.InfoContext(ctx, "job created", "job", j.ID, "site", j.Site, "actor", actor.String())
	return j, nil
}

// insertJob checks a new job of the site and inserts it.
func (s *Service) insertJob(ctx context.Context, tx store.Tx, actor holdfast.Actor, op Operation, site holdfast.Site, j *holdfast.Job) error {
	if j.Type == holdfast.JobRestore && j.Restore != nil {
		if _, err := s.checkRestore(ctx, tx, actor, op, site, j.Restore); err != nil {
			return err
		}
	}
	if err := s.checkJob(*j); err != nil {
		return err
	}
	if j.Type == holdfast.JobBackup && site.DataDir == "" {
		return errNoDataDir(site)
	}
	if err := jobParts(ctx, tx, actor, op, *j); err != nil {
		return err
	}
	if err := tx.InsertJob(ctx, j); err != nil {
		return err
	}
	return record(ctx, tx, actor, j.Created, jobWord(j.ID), "job.created", jobFacts(*j))
}

// jobParts checks what a job names.
func jobParts(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, j holdfast.Job) error {
	if j.Repository != 0 {
		if _, err := findRepository(ctx, r, actor, op, j.Repository); err != nil {
			return err
		}
	}
	return jobNameFree(ctx, r, j)
}

func jobFacts(j holdfast.Job) facts {
	return facts{
		"site": j.Site, "type": j.Type, "engine": j.Engine, "name": j.Name, "active": j.Active, "priority": j.Priority,
		"repository": j.Repository, "retention": j.Retention.Count,
	}
}

// UpdateJob changes a job by mutate, which gets the job as it is and may run
// more than once. Id, account, site, type, engine and times cannot change:
// CodeInvalid. An error of mutate's is returned as it is, and nothing changes.
func (s *Service) UpdateJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID, mutate func(*holdfast.Job) error) (holdfast.Job, error) {
	now := s.now()
	var j holdfast.Job
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		old, err := liveJob(ctx, tx, actor, opUpdateJob, id)
		if err != nil {
			return err
		}
		j = cloneJob(old)
		if err := mutate(&j); err != nil {
			return err
		}
		if err := sameJob(old, j); err != nil {
			return err
		}
		j = jobDefaults(j)
		// What stays as it was is not looked at: its set may be gone by now.
		if j.Type == holdfast.JobRestore && j.Restore != nil && !reflect.DeepEqual(j.Restore, old.Restore) {
			site, err := findSite(ctx, tx, actor, opUpdateJob, j.Site)
			if err != nil {
				return err
			}
			if _, err := s.checkRestore(ctx, tx, actor, opUpdateJob, site, j.Restore); err != nil {
				return err
			}
		}
		if err := s.checkJob(j); err != nil {
			return err
		}
		if err := jobParts(ctx, tx, actor, opUpdateJob, j); err != nil {
			return err
		}
		if err := tx.UpdateJob(ctx, j); err != nil {
			return err
		}
		if j.Active != old.Active {
			if err := replanSchedules(ctx, tx, actor, j, now); err != nil {
				return err
			}
		}
		return record(ctx, tx, actor, now, jobWord(id), "job.updated", jobFacts(j))
	})
	if err != nil {
		return holdfast.Job{}, err
	}
	s.cfg.Log.InfoContext(ctx, "job updated", "job", j.ID, "site", j.Site, "actor", actor.String())
	return j, nil
}

// sameJob refuses a change of what a job's history rests on.
func sameJob(old, j holdfast.Job) error {
	field := ""
	switch {
	case j.ID != old.ID:
		field = "id"
	case j.Account != old.Account:
		field = "account"
	case j.Site != old.Site:
		field = "site"
	case j.Type != old.Type:
		field = "type"
	case j.Engine != old.Engine:
		field = "engine"
	case !j.Created.Equal(old.Created), !j.Deleted.Equal(old.Deleted):
		field = "time"
	default:
		return nil
	}
	return holdfast.Errorf(holdfast.CodeInvalid, "the %s of job %d cannot change", field, old.ID).WithHint("make another job")
}

// DeleteJob deletes a job with its schedules and the triggers that wait for it or
// run it: planned runs are cancelled, history and backup sets stay. CodeConflict, with Error.Execution, while it is busy.
func (s *Service) DeleteJob(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		return deleteJob(ctx, tx, actor, opDeleteJob, id, now)
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "job deleted", "job", id, "actor", actor.String())
	}
	return err
}

func deleteJob(ctx context.Context, tx store.Tx, actor holdfast.Actor, op Operation, id holdfast.JobID, now time.Time) error {
	j, err := liveJob(ctx, tx, actor, op, id)
	if err != nil {
		return err
	}
	if _, err := notBusy(ctx, tx, id); err != nil {
		return err
	}
	planned, _, err := tx.Executions(ctx, actor.Principal.Account,
		store.ExecutionFilter{Job: id, States: []holdfast.State{holdfast.StatePlanned}})
	if err != nil {
		return err
	}
	for _, e := range planned {
		if _, err := moveByWish(ctx, tx, actor, e, holdfast.MoveStop, now); err != nil {
			return err
		}
	}
	if err := dropSchedules(ctx, tx, actor, j, now); err != nil {
		return err
	}
	if err := dropTriggers(ctx, tx, actor, j, now); err != nil {
		return err
	}
	j.Deleted = now
	if j.ETL != nil && j.ETL.Recurrence != nil {
		j.ETL.Recurrence.Armed = false
	}
	if err := tx.UpdateJob(ctx, j); err != nil {
		return err
	}
	return record(ctx, tx, actor, now, jobWord(id), "job.deleted", facts{"site": j.Site, "name": j.Name})
}

// notBusy returns the execution that keeps the job busy together with the
// conflict that it is, or neither.
func notBusy(ctx context.Context, r store.Reader, id holdfast.JobID) (holdfast.Execution, error) {
	busy, err := r.BusyExecution(ctx, id)
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
		return holdfast.Execution{}, nil
	case err != nil:
		return holdfast.Execution{}, err
	}
	return busy, errBusy(busy)
}

func errBusy(e holdfast.Execution) error {
	conflict := holdfast.Errorf(holdfast.CodeConflict, "job %d is busy: execution %d is %s", e.Job, e.ID, e.State).
		WithHint("wait until it has ended, or stop it")
	conflict.Execution = e.ID
	return conflict
}

// Job returns a job that is not deleted.
func (s *Service) Job(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (JobView, error) {
	var v JobView
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := liveJob(ctx, r, actor, opJob, id)
		if err != nil {
			return err
		}
		views, err := jobViews(ctx, r, j.Account, []holdfast.Job{j})
		if err != nil {
			return err
		}
		v = views[0]
		return nil
	})
	return v, err
}

// Jobs lists the jobs of the sites that the credential covers, by id, and says
// how many there are without the page.
func (s *Service) Jobs(ctx context.Context, actor holdfast.Actor, f store.JobFilter) ([]JobView, int, error) {
	if err := allow(actor, opJobs, account()); err != nil {
		return nil, 0, err
	}
	if err := checkPage(f.Page); err != nil {
		return nil, 0, err
	}
	var ok bool
	if f.Sites, ok = inScope(actor, f.Sites); !ok {
		return nil, 0, nil
	}
	var views []JobView
	var total int
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		jobs, n, err := r.Jobs(ctx, actor.Principal.Account, f)
		if err != nil {
			return err
		}
		total = n
		views, err = jobViews(ctx, r, actor.Principal.Account, jobs)
		return err
	})
	return views, total, err
}

func jobViews(ctx context.Context, r store.Reader, a holdfast.AccountID, jobs []holdfast.Job) ([]JobView, error) {
	if len(jobs) == 0 {
		return nil, nil
	}
	ids := make([]holdfast.JobID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	last, err := r.LastExecutions(ctx, a, ids)
	if err != nil {
		return nil, err
	}
	restores, err := lastRestores(ctx, r, a, jobs)
	if err != nil {
		return nil, err
	}
	next, err := r.NextRuns(ctx, a, ids)
	if err != nil {
		return nil, err
	}
	views := make([]JobView, len(jobs))
	for i, j := range jobs {
		views[i].Job, views[i].NextRun = j, next[j.ID]
		views[i].Last, views[i].LastRestore = last[j.ID], restores[j.ID]
	}
	return views, nil
}

// lastRestores returns the newest restore of what each backup job made.
func lastRestores(ctx context.Context, r store.Reader, a holdfast.AccountID, jobs []holdfast.Job) (map[holdfast.JobID]*holdfast.Execution, error) {
	var backups []holdfast.JobID
	for _, j := range jobs {
		if j.Type == holdfast.JobBackup {
			backups = append(backups, j.ID)
		}
	}
	return r.LastRestores(ctx, a, backups)
}
