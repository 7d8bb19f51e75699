package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// importer imports sets in one transaction.
type importer struct {
	s            *Service
	tx           store.Tx
	actor        holdfast.Actor
	now          time.Time
	repository   holdfast.Repository
	installation string
	host         holdfast.HostID
	sites        map[string]*importSite
}

// importSite is a site with its backup jobs. Its id is zero until it has been made.
type importSite struct {
	holdfast.Site
	jobs []*importJob
}

// importJob is a job with the sets that it has here. Its id is zero until it has been
// made.
type importJob struct {
	holdfast.Job
	sets []store.SetCopies
}

func (im *importer) begin(ctx context.Context, in Import) (err error) {
	if im.repository, err = findRepository(ctx, im.tx, im.actor, opImportSets, in.Repository); err != nil {
		return err
	}
	if im.installation, err = im.tx.Installation(ctx); err != nil {
		return err
	}
	if im.host != 0 {
		if _, err := findHost(ctx, im.tx, im.actor, opImportSets, im.host); err != nil {
			return err
		}
	}
	return im.tx.RaiseSequences(ctx, in.Seen)
}

// set imports one set. An error ends all of them: it is not the set's fault.
func (im *importer) set(ctx context.Context, f FoundSet) (Imported, error) {
	v := Imported{Snapshot: f.Snapshot, Set: f.Set.ID, Site: f.SiteSlug, Job: f.JobName}
	refuse := func(err error) (Imported, error) {
		if errors.Is(err, errNoHost) {
			return v, err
		}
		switch holdfast.ErrorCode(err) {
		case holdfast.CodeInvalid, holdfast.CodeConflict:
			v.State, v.Reason, v.Hint = ImportRefused, holdfast.ErrorMessage(err), holdfast.ErrorHint(err)
			return v, nil
		case holdfast.CodeInternal, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound, holdfast.CodeUnavailable, holdfast.CodeExhausted:
		}
		return v, err
	}
	if err := im.check(f); err != nil {
		return refuse(err)
	}
	if f.Origin == im.installation { // rows that an older catalogue does not have
		f.Origin = ""
	}
	known, err := im.tx.CopiesOfSnapshot(ctx, im.repository.ID, f.Snapshot)
	if err != nil {
		return v, err
	}
	if len(known) > 0 {
		v.State, v.Set = ImportKnown, known[0].Set
		v.Reason = fmt.Sprintf("it is %s", known[0].State)
		return v, nil
	}
	have, err := im.tx.Set(ctx, 0, f.Set.ID)
	if err == nil {
		if err := im.copy(ctx, have, f); err != nil {
			return refuse(err)
		}
		v.State = ImportCopy
		return v, nil
	}
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return v, err
	}
	if err := im.free(ctx, f); err != nil {
		return refuse(err)
	}
	site, err := im.site(ctx, f)
	if err != nil {
		return refuse(err)
	}
	job, err := im.job(ctx, site, f)
	if err != nil {
		return refuse(err)
	}
	if err := job.inOrder(f); err != nil {
		return refuse(err)
	}
	v.State, v.NewSite, v.NewJob, v.Job = ImportNew, site.ID == 0, !slices.Contains(site.jobs, job), job.Name
	if err := im.insert(ctx, site, job, f); err != nil {
		return v, fmt.Errorf("import snapshot %s as backup set %d: %w", f.Snapshot, f.Set.ID, err)
	}
	return v, nil
}

// hintTaken is for a set whose number, or whose execution's, is taken here.
const hintTaken = "import into an installation that has made no backups yet; or restore it with restore --offline"

// free checks that the execution is no other one here.
func (im *importer) free(ctx context.Context, f FoundSet) error {
	_, err := im.tx.Execution(ctx, 0, f.Set.Execution)
	switch {
	case err == nil:
		return errImport("execution %d is another one here", f.Set.Execution).WithHint("%s", hintTaken)
	case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
		return err
	}
	return nil
}

// site returns the site of the set, as it is here or as it will be made.
func (im *importer) site(ctx context.Context, f FoundSet) (*importSite, error) {
	if site, ok := im.sites[f.SiteSlug]; ok {
		return site, nil
	}
	a := im.repository.Account
	row, err := im.tx.SiteBySlug(ctx, a, f.SiteSlug)
	if err == nil {
		site := &importSite{Site: row}
		im.sites[f.SiteSlug] = site
		return site, im.readJobs(ctx, site)
	}
	if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return nil, err
	}
	host, err := im.hostForSites(ctx)
	if err != nil {
		return nil, err
	}
	row = siteDefaults(holdfast.Site{
		Account: a, Host: host, Slug: f.SiteSlug, DataDir: f.DataDir, Repository: im.repository.ID, Server: f.Server, Created: im.now,
	})
	if row.Validate() != nil { // of an older set, or made up: somebody has to say where the server is
		row.Server, row.DataDir = holdfast.Server{Host: unknownServer, Port: defaultPort, User: "postgres", Database: defaultDatabase}, ""
	}
	if err := row.Validate(); err != nil {
		return nil, err
	}
	if err := placeFree(ctx, im.tx, row); err != nil {
		if code := holdfast.ErrorCode(err); code != holdfast.CodeConflict && code != holdfast.CodeInvalid {
			return nil, err
		}
		row.DataDir = "" // something else stands there on this machine
	}
	site := &importSite{Site: row}
	im.sites[f.SiteSlug] = site
	return site, nil
}

// hostForSites is the host that new sites stand on.
func (im *importer) hostForSites(ctx context.Context) (holdfast.HostID, error) {
	if im.host != 0 {
		return im.host, nil
	}
	hosts, err := im.tx.Hosts(ctx, im.repository.Account)
	if err != nil {
		return 0, err
	}
	switch len(hosts) {
	case 0:
		return 0, holdfast.Wrap(holdfast.CodeConflict, errNoHost, "there is no host that the site of the sets could stand on").WithHint("make one: holdfast host add NAME")
	case 1:
		return hosts[0].ID, nil
	}
	return 0, holdfast.Wrap(holdfast.CodeConflict, errNoHost, "there are %d hosts that the site of the sets could stand on", len(hosts)).WithHint("name one with --host, or add the site first: holdfast site add")
}

func (im *importer) readJobs(ctx context.Context, site *importSite) error {
	jobs, _, err := im.tx.Jobs(ctx, site.Account, store.JobFilter{Sites: []holdfast.SiteID{site.ID}})
	if err != nil {
		return err
	}
	for _, j := range jobs {
		sets, err := im.tx.SetsOfJob(ctx, j.Account, j.ID)
		if err != nil {
			return err
		}
		site.jobs = append(site.jobs, &importJob{Job: j, sets: sets})
	}
	return nil
}

// importNote is the key of a job's annotation that says which job of which
// installation it stands for.
const importNote = "import"

type jobOrigin struct {
	Installation string         `json:"installation"`
	Job          holdfast.JobID `json:"job"`
}

// originOf is the job that the job stands for; the zero value when it was not imported.
func originOf(j holdfast.Job) (o jobOrigin) {
	if json.Unmarshal(j.Annotations[importNote], &o) != nil {
		return jobOrigin{}
	}
	return o
}

// importedJob is the job of a found set as it is made here: it runs nothing by itself,
// and drops nothing.
func importedJob(f FoundSet) holdfast.Job {
	note, _ := json.Marshal(jobOrigin{f.Origin, f.Set.Job}) // of a text and a number
	return jobDefaults(holdfast.Job{
		ID: f.Set.Job, Type: holdfast.JobBackup, Engine: f.Set.Engine, Name: f.JobName,
		Description: "imported with the backup sets of a repository", Retention: holdfast.Retention{Count: holdfast.MaxRetention},
		Annotations: map[string]json.RawMessage{importNote: note},
	})
}

// job returns the job of the set, as it is here or as it will be made. It is the one that
// was made for that job before, or the one of its name. A job that an installation has
// imported, and gone on with, has its number and its name in both.
func (im *importer) job(ctx context.Context, site *importSite, f FoundSet) (*importJob, error) {
	origin := jobOrigin{f.Origin, f.Set.Job}
	j := importedJob(f)
	for _, have := range site.jobs {
		if originOf(have.Job) == origin || f.Origin == "" && have.ID == f.Set.Job {
			return have, nil
		}
	}
	for _, have := range site.jobs {
		if have.Name != j.Name {
			continue
		}
		was := originOf(have.Job)
		same := have.Type == holdfast.JobBackup && have.Engine == f.Set.Engine
		if same && was == (jobOrigin{}) || same && was.Job == origin.Job && have.inOrder(f) == nil {
			return have, nil
		}
		j.Name = shorten(j.Name, holdfast.MaxJobName/2) + fmt.Sprintf(" (%s %d)", shorten(f.Origin, 8), f.Set.Job)
	}
	if slices.ContainsFunc(site.jobs, func(have *importJob) bool { return have.Name == j.Name }) {
		return nil, errImport("job %q is another one at site %q", f.JobName, site.Slug).WithHint("rename that one: holdfast job update")
	}
	j.Account, j.Site, j.Created = site.Account, site.ID, im.now
	if site.Repository != im.repository.ID { // its sets are here, and so shall the next be
		j.Repository = im.repository.ID
	}
	if _, err := im.tx.Job(ctx, 0, j.ID); err == nil {
		j.ID = 0 // the number is another job's here
	} else if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return nil, err
	}
	return &importJob{Job: j}, nil
}

// inOrder refuses a set whose number would put it into a wrong place among the sets that
// the job has made here: chains and retention go by the number.
func (j *importJob) inOrder(f FoundSet) error {
	for _, s := range j.sets {
		if slices.ContainsFunc(s.Copies, func(c holdfast.Copy) bool { return c.Origin == f.Origin }) {
			continue
		}
		if (s.Set.ID < f.Set.ID) != s.Set.Stopped.Before(f.Set.Stopped) {
			return errImport("job %q has made set %d here since, and the number %d would give this one a wrong place in its history", j.Name, s.Set.ID, f.Set.ID).
				WithHint("rename that job, so that this set comes into a job of its own: holdfast job update --name; or restore it with restore --offline")
		}
	}
	return nil
}

// insert makes the rows: site and job where they are not here, the execution that made the
// set, as far as the set tells, the set, and its copy.
func (im *importer) insert(ctx context.Context, site *importSite, job *importJob, f FoundSet) error {
	if site.ID == 0 {
		if err := im.insertSite(ctx, site, f); err != nil {
			return err
		}
	}
	if !slices.Contains(site.jobs, job) {
		job.Site = site.ID
		if err := im.tx.InsertJob(ctx, &job.Job); err != nil {
			return err
		}
		site.jobs = append(site.jobs, job)
		if err := record(ctx, im.tx, im.actor, im.now, jobWord(job.ID), "job.created", jobFacts(job.Job)); err != nil {
			return err
		}
	}
	set := f.Set
	set.Account, set.Site, set.Job, set.Added, set.Protected, set.Created = site.Account, site.ID, job.ID, 0, false, im.now
	e, err := im.execution(ctx, site, job, set, f)
	if err != nil {
		return err
	}
	if err := im.tx.InsertExecution(ctx, &e); err != nil {
		return err
	}
	if err := im.tx.InsertSet(ctx, &set); err != nil {
		return err
	}
	c := holdfast.Copy{
		Account: site.Account, Set: set.ID, Repository: im.repository.ID, Snapshot: f.Snapshot, State: holdfast.CopyUnconfirmed,
		Execution: set.Execution, Fence: f.Fence, Origin: f.Origin, Intended: im.now,
	}
	if err := im.tx.InsertCopy(ctx, &c); err != nil {
		return err
	}
	job.sets = append(job.sets, store.SetCopies{Set: set, Copies: []holdfast.Copy{c}})
	return record(ctx, im.tx, im.actor, im.now, setSubject(set.ID), "set.imported", facts{
		"site": site.ID, "job": job.ID, "repository": im.repository.ID, "snapshot": f.Snapshot, "installation": f.Origin,
	})
}

func (im *importer) insertSite(ctx context.Context, site *importSite, f FoundSet) error {
	site.ID = f.Set.Site
	if _, err := im.tx.Site(ctx, 0, site.ID); err == nil {
		site.ID = 0 // the number is another site's here
	} else if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
		return err
	}
	if err := serveLocal(ctx, im.tx, site.Host, site.Pool); err != nil {
		return err
	}
	if err := im.tx.InsertSite(ctx, &site.Site); err != nil {
		return err
	}
	return recordSite(ctx, im.tx, im.actor, im.now, site.ID, "site.created", siteFacts(site.Site))
}

// execution is the row of the execution that made the set.
func (im *importer) execution(ctx context.Context, site *importSite, job *importJob, set holdfast.BackupSet, f FoundSet) (holdfast.Execution, error) {
	e := holdfast.NewExecution(job.Job, site.Site, set.Started, set.Started, im.actor.String())
	e.ID, e.JobName, e.Repository, e.Set = set.Execution, f.JobName, im.repository.ID, set.ID
	e.RunAsked, e.RunType = set.RunType, set.RunType
	e.Status = holdfast.Status{State: holdfast.StateEnded, Outcome: holdfast.OutcomeSucceeded, Fence: f.Fence, Attempts: 1}
	e.Detail = "imported with its backup set from repository " + im.repository.Name
	if f.Warnings != "" || set.Damaged != "" {
		e.Outcome = holdfast.OutcomeWarning
		e.Detail += ": " + shorten(f.Warnings, maxTextBytes)
	}
	if set.Damaged != "" {
		e.Reason = holdfast.ReasonDamaged
	}
	e.Progress = holdfast.Progress{DoneBytes: set.Bytes, TotalBytes: set.Bytes, DoneFiles: f.Files, TotalFiles: f.Files}
	e.StoredSize = set.Bytes
	e.Started, e.Restarted, e.Ended = set.Started, set.Started, set.Stopped
	if set.Parent == 0 {
		return e, nil
	}
	parent, err := im.tx.Set(ctx, site.Account, set.Parent)
	switch {
	case err == nil:
		e.Parent = parent.Execution
	case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
		return e, err
	}
	return e, nil
}
