package native

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
)

// RepositoryCopies are copies that are recorded in a repository.
type RepositoryCopies struct {
	Installation string           `json:"installation" doc:"Id of this one"`
	Items        []RepositoryCopy `json:"items"`
}

// RepositoryCopy is a copy in any state, also one that no reader sees.
type RepositoryCopy struct {
	ID       holdfast.CopyID    `json:"id"`
	SetID    holdfast.SetID     `json:"set_id"`
	Snapshot string             `json:"snapshot"`
	State    holdfast.CopyState `json:"state"`
}

type listCopies struct {
	RepositoryPath
	After holdfast.CopyID `query:"after" minimum:"0" doc:"The copies behind this one"`
	Limit int             `query:"limit" minimum:"1" maximum:"1000" default:"1000" doc:"How many to return at most"`
}

func (a *api) registerCopies() {
	register(a, operation{
		id: "list-copies", method: http.MethodGet, path: "/repositories/{repository}/copies", tag: "repositories",
		summary: "List the copies that are recorded in a repository, in every state",
	}, a.listCopies)
}

func (a *api) listCopies(ctx context.Context, actor holdfast.Actor, in *listCopies) (*output[RepositoryCopies], error) {
	r, err := a.repository(ctx, actor, in.Repository)
	if err != nil {
		return nil, err
	}
	installation, all, err := a.Service.RepositoryCopies(ctx, actor, r.ID, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	out := RepositoryCopies{Installation: installation, Items: []RepositoryCopy{}}
	for _, c := range all {
		out.Items = append(out.Items, RepositoryCopy{ID: c.ID, SetID: c.Set, Snapshot: c.Snapshot, State: c.State})
	}
	return &output[RepositoryCopies]{Body: out}, nil
}
