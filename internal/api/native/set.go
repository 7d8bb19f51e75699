package native

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Set is a backup set: the unit of restore.
type Set struct {
	ID          holdfast.SetID       `json:"id"`
	SiteID      holdfast.SiteID      `json:"site_id"`
	Site        string               `json:"site,omitempty" doc:"Slug of the site"`
	JobID       holdfast.JobID       `json:"job_id"`
	ExecutionID holdfast.ExecutionID `json:"execution_id"`
	ParentID    holdfast.SetID       `json:"parent_id,omitempty" doc:"The set before it in its chain; it restores without it"`
	Engine      holdfast.Engine      `json:"engine"`
	RunType     holdfast.RunType     `json:"run_type"`
	Started     time.Time            `json:"started" doc:"By the database server's clock"`
	Stopped     time.Time            `json:"stopped" doc:"By the database server's clock"`
	Bytes       int64                `json:"bytes" doc:"Size of what it restores to"`
	AddedBytes  int64                `json:"added_bytes" doc:"What it added to the repository"`
	Damaged     string               `json:"damaged,omitempty" doc:"What is known to be damaged in it"`
	Protected   bool                 `json:"protected" doc:"Retention leaves it alone"`
	Physical    *Physical            `json:"physical,omitempty"`
	Copies      []Copy               `json:"copies"`
	Created     time.Time            `json:"created"`
}

// Physical is what a physical set says of its cluster.
type Physical struct {
	SystemIdentifier string                `json:"system_identifier" doc:"Text: it does not fit a JSON number"`
	ServerVersion    int                   `json:"server_version_num"`
	Timeline         uint32                `json:"timeline"`
	StartLSN         string                `json:"start_lsn"`
	StopLSN          string                `json:"stop_lsn"`
	Tablespaces      []holdfast.Tablespace `json:"tablespaces"`
}

// Copy is a set in one repository.
type Copy struct {
	ID           holdfast.CopyID       `json:"id"`
	RepositoryID holdfast.RepositoryID `json:"repository_id"`
	Repository   string                `json:"repository,omitempty"`
	Snapshot     string                `json:"snapshot" doc:"Id of the snapshot in the repository"`
	State        holdfast.CopyState    `json:"state"`
	Verified     time.Time             `json:"verified,omitzero"`
}

func (n names) set(v service.SetView) Set {
	s := Set{
		ID: v.ID, SiteID: v.Site, Site: n.slugOf(v.Site), JobID: v.Job, ExecutionID: v.Execution, ParentID: v.Parent,
		Engine: v.Engine, RunType: v.RunType, Started: utc(v.Started), Stopped: utc(v.Stopped), Bytes: v.Bytes, AddedBytes: v.Added,
		Damaged: v.Damaged, Protected: v.Protected, Copies: []Copy{}, Created: utc(v.Created),
	}
	if v.Engine == holdfast.EnginePhysical {
		p := v.Physical
		s.Physical = &Physical{
			SystemIdentifier: strconv.FormatUint(p.SystemIdentifier, 10), ServerVersion: p.Version, Timeline: p.Timeline,
			StartLSN: lsn(p.StartLSN), StopLSN: lsn(p.StopLSN),
			Tablespaces: append([]holdfast.Tablespace{}, p.Tablespaces...),
		}
	}
	for _, c := range v.Copies {
		s.Copies = append(s.Copies, Copy{
			ID: c.ID, RepositoryID: c.Repository, Repository: n.repositoryOf(c.Repository), Snapshot: c.Snapshot,
			State: c.State, Verified: utc(c.Verified),
		})
	}
	return s
}

// lsn writes a position in the WAL as PostgreSQL does.
func lsn(n uint64) string { return fmt.Sprintf("%X/%X", n>>32, n&0xffffffff) }

// SetPath names a backup set in a path.
type SetPath struct {
	Set holdfast.SetID `path:"set" minimum:"1"`
}

type listSets struct {
	Page
	Site []string `query:"site,explode" doc:"Id or slug; several are allowed"`
	Job  string   `query:"job" doc:"Id, site/name, or a name that only one job has"`
}

func (a *api) registerSets() {
	register(a, operation{id: "list-sets", method: http.MethodGet, path: "/sets", tag: "backup sets", summary: "List backup sets, the newest first"}, a.listSets)
	register(a, operation{id: "get-set", method: http.MethodGet, path: "/sets/{set}", tag: "backup sets", summary: "Get a backup set"},
		func(ctx context.Context, actor holdfast.Actor, in *SetPath) (*output[Set], error) {
			v, err := a.Service.Set(ctx, actor, in.Set)
			return a.answerSet(ctx, actor, v, err)
		})
}

// answerSet answers with a set, or with why there is none.
func (a *api) answerSet(ctx context.Context, actor holdfast.Actor, v service.SetView, err error) (*output[Set], error) {
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &output[Set]{Body: n.set(v)}, nil
}

func (a *api) listSets(ctx context.Context, actor holdfast.Actor, in *listSets) (*listOutput[Set], error) {
	sites, err := a.sites(ctx, actor, in.Site)
	if err != nil {
		return nil, err
	}
	f := store.SetFilter{Sites: sites, Page: in.store()}
	if in.Job != "" {
		if f.Job, err = a.job(ctx, actor, in.Job); err != nil {
			return nil, err
		}
	}
	all, total, err := a.Service.Sets(ctx, actor, f)
	if err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return listOf(all, total, n.set), nil
}
