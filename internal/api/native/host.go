package native

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
)

// Host is a machine that sites stand on.
type Host struct {
	ID      holdfast.HostID `json:"id"`
	Name    string          `json:"name"`
	Address string          `json:"address,omitempty" doc:"For people; nothing connects to it"`
	Created time.Time       `json:"created"`
}

// NewHost asks for a host.
type NewHost struct {
	Name    string `json:"name" maxLength:"63"`
	Address string `json:"address,omitempty" maxLength:"255"`
	Remote  bool   `json:"remote,omitempty" doc:"A worker of its own will stand on it, not the one inside the server"`
}

func hostOf(h holdfast.Host) Host {
	return Host{ID: h.ID, Name: h.Name, Address: h.Address, Created: utc(h.Created)}
}

type hostPath struct {
	Host string `path:"host" doc:"Id or name"`
}

func (a *api) registerHosts() {
	register(a, operation{id: "list-hosts", method: http.MethodGet, path: "/hosts", tag: "hosts", summary: "List hosts"},
		func(ctx context.Context, actor holdfast.Actor, _ *none) (*listOutput[Host], error) {
			hosts, err := a.Service.Hosts(ctx, actor)
			if err != nil {
				return nil, err
			}
			return listOf(hosts, -1, hostOf), nil
		})
	register(a, operation{id: "create-host", method: http.MethodPost, path: "/hosts", tag: "hosts", summary: "Create a host", status: http.StatusCreated},
		func(ctx context.Context, actor holdfast.Actor, in *struct{ Body NewHost }) (*created[Host], error) {
			h, err := a.Service.CreateHost(ctx, actor, service.NewHost{Name: in.Body.Name, Address: in.Body.Address, Remote: in.Body.Remote})
			if err != nil {
				return nil, err
			}
			return &created[Host]{Location: fmt.Sprintf("%s/hosts/%d", Root, h.ID), Body: hostOf(h)}, nil
		})
	register(a, operation{id: "get-host", method: http.MethodGet, path: "/hosts/{host}", tag: "hosts", summary: "Get a host"},
		func(ctx context.Context, actor holdfast.Actor, in *hostPath) (*output[Host], error) {
			h, err := a.host(ctx, actor, in.Host)
			if err != nil {
				return nil, err
			}
			return &output[Host]{Body: hostOf(h)}, nil
		})
	register(a, operation{id: "delete-host", method: http.MethodDelete, path: "/hosts/{host}", tag: "hosts", summary: "Delete a host on which no site stands"},
		func(ctx context.Context, actor holdfast.Actor, in *hostPath) (*none, error) {
			h, err := a.host(ctx, actor, in.Host)
			if err != nil {
				return nil, err
			}
			return &none{}, a.Service.DeleteHost(ctx, actor, h.ID)
		})
}
