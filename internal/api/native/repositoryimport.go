package native

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// FoundSet is what a snapshot of a repository says of the backup set in it.
type FoundSet struct {
	Snapshot     string               `json:"snapshot" doc:"Id of the snapshot in the repository"`
	Installation string               `json:"installation" doc:"That wrote it"`
	Fence        holdfast.Fence       `json:"fence"`
	Set          holdfast.SetID       `json:"set" doc:"This id and the others are those that the things had there"`
	Site         holdfast.SiteID      `json:"site"`
	SiteSlug     string               `json:"site_slug"`
	Job          holdfast.JobID       `json:"job"`
	JobName      string               `json:"job_name"`
	Execution    holdfast.ExecutionID `json:"execution"`
	Parent       holdfast.SetID       `json:"parent,omitempty"`
	Engine       holdfast.Engine      `json:"engine"`
	RunType      holdfast.RunType     `json:"run_type"`
	Started      time.Time            `json:"started"`
	Stopped      time.Time            `json:"stopped"`
	Bytes        int64                `json:"bytes"`
	Files        int64                `json:"files"`
	Damaged      string               `json:"damaged,omitempty"`
	Warnings     string               `json:"warnings,omitempty"`
	Physical     *FoundPhysical       `json:"physical,omitempty"`
	Server       *FoundServer         `json:"server,omitempty" doc:"Of the site; left out: the set does not say"`
	DataDir      string               `json:"data_dir,omitempty"`
}

// FoundServer is how the site's server was reached.
type FoundServer struct {
	Host     string `json:"host"`
	Port     uint16 `json:"port"`
	User     string `json:"user"`
	Database string `json:"database,omitempty"`
	SSLMode  string `json:"sslmode,omitempty"`
}

// FoundPhysical is what a set says of its cluster.
type FoundPhysical struct {
	SystemIdentifier string                `json:"system_identifier" doc:"Decimal; text, as it does not fit a JSON number, and so are the LSNs"`
	Version          int                   `json:"version"`
	Timeline         uint32                `json:"timeline"`
	StartLSN         string                `json:"start_lsn"`
	StopLSN          string                `json:"stop_lsn"`
	Tablespaces      []holdfast.Tablespace `json:"tablespaces,omitempty"`
}

// Sequences are the highest ids that a repository names.
type Sequences struct {
	Site      holdfast.SiteID      `json:"site,omitempty"`
	Job       holdfast.JobID       `json:"job,omitempty"`
	Execution holdfast.ExecutionID `json:"execution,omitempty"`
	Set       holdfast.SetID       `json:"set,omitempty"`
}

// ImportSets asks for found sets to be known here.
type ImportSets struct {
	Host   string     `json:"host,omitempty" maxLength:"63" doc:"Id or name of the host for sites that are not here; left out: the only one"`
	DryRun bool       `json:"dry_run,omitempty" doc:"Say what would be done, and do nothing"`
	Seen   Sequences  `json:"seen" doc:"The highest ids in the repository: none up to them is given out from now on"`
	Sets   []FoundSet `json:"sets" maxItems:"200"`
}

// ImportedSet is what became of a found set.
type ImportedSet struct {
	Snapshot string              `json:"snapshot"`
	SetID    holdfast.SetID      `json:"set_id"`
	State    service.ImportState `json:"state" enum:"new,copy,known,refused" doc:"copy: the set was known from another repository, and has one copy more"`
	Reason   string              `json:"reason,omitempty"`
	Hint     string              `json:"hint,omitempty"`
	Site     string              `json:"site"`
	Job      string              `json:"job"`
	NewSite  bool                `json:"new_site,omitempty"`
	NewJob   bool                `json:"new_job,omitempty"`
}

func (a *api) registerImport() {
	register(a, operation{
		id: "import-sets", method: http.MethodPost, path: "/repositories/{repository}/import", tag: "repositories",
		summary: "Make sets known that were found in a repository; they are UNCONFIRMED",
	}, a.importSets)
}

func (a *api) importSets(ctx context.Context, actor holdfast.Actor, in *struct {
	RepositoryPath
	Body ImportSets
},
) (*output[List[ImportedSet]], error) {
	r, err := a.repository(ctx, actor, in.Repository)
	if err != nil {
		return nil, err
	}
	ask := service.Import{Repository: r.ID, DryRun: in.Body.DryRun, Seen: store.Sequences(in.Body.Seen)}
	if in.Body.Host != "" {
		h, err := a.host(ctx, actor, in.Body.Host)
		if err != nil {
			return nil, err
		}
		ask.Host = h.ID
	}
	for _, s := range in.Body.Sets {
		f, err := s.domain()
		if err != nil {
			return nil, err
		}
		ask.Sets = append(ask.Sets, f)
	}
	all, err := a.Service.ImportSets(ctx, actor, ask)
	if err != nil {
		return nil, err
	}
	out := List[ImportedSet]{Items: []ImportedSet{}, Total: len(all)}
	for _, v := range all {
		out.Items = append(out.Items, ImportedSet{
			Snapshot: v.Snapshot, SetID: v.Set, State: v.State, Reason: v.Reason, Hint: v.Hint, Site: v.Site, Job: v.Job, NewSite: v.NewSite, NewJob: v.NewJob,
		})
	}
	return &output[List[ImportedSet]]{Body: out}, nil
}

// domain is the set for the service, which checks it.
func (f FoundSet) domain() (service.FoundSet, error) {
	out := service.FoundSet{
		Snapshot: f.Snapshot, Origin: f.Installation, Fence: f.Fence, SiteSlug: f.SiteSlug, JobName: f.JobName, DataDir: f.DataDir, Files: f.Files, Warnings: f.Warnings,
		Set: holdfast.BackupSet{
			ID: f.Set, Site: f.Site, Job: f.Job, Execution: f.Execution, Parent: f.Parent, Engine: f.Engine, RunType: f.RunType,
			Started: utc(f.Started), Stopped: utc(f.Stopped), Bytes: f.Bytes, Damaged: f.Damaged,
		},
	}
	if f.Server != nil {
		out.Server = holdfast.Server(*f.Server)
	}
	if p := f.Physical; p != nil {
		to := &out.Set.Physical
		to.Version, to.Timeline, to.Tablespaces = p.Version, p.Timeline, p.Tablespaces
		for text, n := range map[*string]*uint64{&p.SystemIdentifier: &to.SystemIdentifier, &p.StartLSN: &to.StartLSN, &p.StopLSN: &to.StopLSN} {
			var err error
			if *n, err = strconv.ParseUint(*text, 10, 64); err != nil {
				return out, holdfast.Errorf(holdfast.CodeInvalid, "a number of snapshot %s is none", f.Snapshot)
			}
		}
	}
	return out, nil
}
