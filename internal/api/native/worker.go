package native

import (
	"context"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Worker is a node that runs executions.
type Worker struct {
	ID          holdfast.WorkerID `json:"id"`
	Name        string            `json:"name"`
	Pools       []string          `json:"pools"`
	HostIDs     []holdfast.HostID `json:"host_ids"`
	Hosts       []string          `json:"hosts,omitempty" doc:"Where it stands: only their directories may it touch"`
	Slots       int               `json:"slots" doc:"Executions at once"`
	Maintenance bool              `json:"maintenance" doc:"May delete objects"`
	Version     string            `json:"version,omitempty"`
	Created     time.Time         `json:"created"`
	Seen        time.Time         `json:"seen,omitzero" doc:"Last message"`
}

// NewInvitation asks for a token with which a worker joins.
type NewInvitation struct {
	Name  string   `json:"name" maxLength:"63" doc:"Of the worker to come"`
	Hosts []string `json:"hosts" minItems:"1" doc:"Ids or names of the hosts it will stand on"`
	Pools []string `json:"pools,omitempty" doc:"Left out: the default pool"`
}

// Invitation lets one worker join.
type Invitation struct {
	Token string `json:"token" doc:"For holdfast worker --join; works once, shown this once"`
}

func (n names) worker(w holdfast.Worker) Worker {
	out := Worker{
		ID: w.ID, Name: w.Name, Pools: append([]string{}, w.Pools...), HostIDs: append([]holdfast.HostID{}, w.Hosts...),
		Slots: w.Slots, Maintenance: w.Maintenance, Version: w.Version,
		Created: utc(w.Created), Seen: utc(w.Seen),
	}
	for _, id := range w.Hosts {
		if h, ok := n.Host(id); ok {
			out.Hosts = append(out.Hosts, h.Name)
		}
	}
	return out
}

// WorkerPath names a worker in a path.
type WorkerPath struct {
	Worker string `path:"worker" doc:"Id or name"`
}

func (a *api) registerWorkers() {
	register(a, operation{id: "list-workers", method: http.MethodGet, path: "/workers", tag: "workers", summary: "List workers"},
		func(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[Worker], error) {
			all, err := a.Service.Workers(ctx, actor)
			if err != nil {
				return nil, err
			}
			n, err := a.names(ctx, actor)
			if err != nil {
				return nil, err
			}
			return listOf(all, -1, n.worker), nil
		})
	register(a, operation{
		id: "invite-worker", method: http.MethodPost, path: "/workers/invitations", tag: "workers", status: http.StatusCreated,
		summary: "Create a token with which one worker joins",
	}, a.invite)
	register(a, operation{
		id: "set-maintenance", method: http.MethodPut, path: "/workers/{worker}/maintenance", tag: "workers",
		summary: "Mark a worker for maintenance, or not any more: only such a worker deletes in repositories",
	}, a.maintenance)
	register(a, operation{id: "remove-worker", method: http.MethodDelete, path: "/workers/{worker}", tag: "workers", summary: "Remove a worker and cut it off"},
		func(ctx context.Context, actor holdfast.Actor, in *WorkerPath) (*none, error) {
			w, err := a.worker(ctx, actor, in.Worker)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.RemoveWorker(ctx, actor, w.ID)
		})
}

// Maintenance says whether a worker may delete in repositories.
type Maintenance struct {
	On bool `json:"on"`
}

func (a *api) maintenance(ctx context.Context, actor holdfast.Actor, in *struct {
	WorkerPath
	Body Maintenance
},
) (*output[Worker], error) {
	w, err := a.worker(ctx, actor, in.Worker)
	if err != nil {
		return nil, err
	}
	if w, err = a.Service.SetMaintenance(ctx, actor, w.ID, in.Body.On); err != nil {
		return nil, err
	}
	n, err := a.names(ctx, actor)
	if err != nil {
		return nil, err
	}
	return &output[Worker]{Body: n.worker(w)}, nil
}

func (a *api) invite(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewInvitation }) (*output[Invitation], error) {
	ask := service.Invite{Name: in.Body.Name, Pools: in.Body.Pools}
	for _, ref := range in.Body.Hosts {
		h, err := a.host(ctx, actor, ref)
		if err != nil {
			return nil, err
		}
		ask.Hosts = append(ask.Hosts, h.ID)
	}
	token, err := a.Service.InviteWorker(ctx, actor, ask)
	if err != nil {
		return nil, err
	}
	return &output[Invitation]{Body: Invitation{Token: token.Reveal()}}, nil
}
