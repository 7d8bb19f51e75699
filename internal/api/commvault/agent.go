package commvault

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
)

func (h *handler) agentRoutes(add, _ adder) {
	add(http.MethodGet, "Agent", h.agents)
}

// agent is the entity of the PostgreSQL agent of a host.
func (v *view) agent(id holdfast.HostID) entity {
	e := v.client(id)
	e.HostName = ""
	e.ApplicationID, e.AppName, e.Type = applicationID, appName, typeAgent
	return e
}

type agentShape struct {
	Entity   entity `json:"idaEntity"`
	Activity struct {
		Options []activity `json:"activityControlOptions"`
	} `json:"idaActivityControl"`
	Properties struct {
		Description string `json:"userDescription"`
	} `json:"AgentProperties"`
}

// agents lists the agents: one for each client that has an instance. The key is
// there also when the list is empty.
func (h *handler) agents(ctx context.Context, c call) (any, error) {
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	page, err := readPage(c, 0)
	if err != nil {
		return nil, err
	}
	v, err := h.viewFor(ctx, c.actor, f)
	if err != nil {
		return nil, err
	}
	with := map[holdfast.HostID]bool{}
	for _, site := range v.instances(f) {
		with[site.Host] = true
	}
	list := []agentShape{}
	for _, host := range v.hostList {
		if !with[host.ID] {
			continue
		}
		var s agentShape
		s.Entity = v.agent(host.ID)
		s.Activity.Options = activities()
		list = append(list, s)
	}
	return map[string][]agentShape{"agentProperties": part(list, page)}, nil
}
