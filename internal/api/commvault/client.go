package commvault

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
)

// Versions that this server answers with: those of the client code whose needs
// it was tested against. Clients decide by them which calls they use.
const (
	servicePack   = 40
	versionInfo   = "11 SP40"
	releaseName   = "11.0"
	releaseString = "11"
	clientVersion = "ServicePack:40.0"
	cvdPort       = 8400 // Commvault's own; nothing listens there
)

// Everything here counts time in UTC. The SDK takes timeZone from its first
// parenthesis on.
const (
	timeZoneName = "UTC"
	timeZoneText = "0:0:(UTC) Coordinated Universal Time"
)

func (h *handler) clientRoutes(add, _ adder) {
	add(http.MethodGet, "CommServ", h.commServ)
	add(http.MethodGet, "Client", h.clients)
	add(http.MethodGet, "Client/byName()", h.clientByName)
	add(http.MethodGet, "Client/{id}", h.client)
	add(http.MethodGet, "VSAClientAndClientGroupList", h.virtualClients)
	add(http.MethodGet, "GetId", h.getID)
}

type commServReply struct {
	CommCell struct {
		Name string `json:"commCellName"`
		ID   int64  `json:"commCellId"`
		GUID string `json:"csGUID"`
	} `json:"commcell"`
	HostName      string       `json:"hostName"`
	TimeZone      string       `json:"timeZone"`
	CSTimeZone    zoneName     `json:"csTimeZone"`
	SP            int          `json:"currentSPVersion"`
	Version       string       `json:"csVersionInfo"`
	Release       string       `json:"releaseName"`
	CommServ      entity       `json:"commserv"`
	Account       accountShape `json:"provider"`
	TimeZoneShort string       `json:"timeZoneName"`
}

// accountShape names the account that the CommCell stands for.
type accountShape struct {
	ID int64 `json:"providerId"`
}

type zoneName struct {
	Name string `json:"TimeZoneName"`
}

// commServ tells about the CommCell.
func (h *handler) commServ(ctx context.Context, c call) (any, error) {
	v, err := h.clientView(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	r := commServReply{
		HostName: v.commServe.HostName, TimeZone: timeZoneText, CSTimeZone: zoneName{timeZoneName},
		SP: servicePack, Version: versionInfo, Release: releaseName, CommServ: v.commServe,
		Account: accountShape{int64(c.actor.Principal.Account)}, TimeZoneShort: timeZoneName,
	}
	r.CommCell.Name, r.CommCell.ID = v.commServe.ClientName, commCellID
	r.CommCell.GUID = guid(typeCommCell, int64(c.actor.Principal.Account))
	return r, nil
}

// clientItem is a client in a list.
type clientItem struct {
	Client struct {
		Entity entity `json:"clientEntity"`
	} `json:"client"`
}

// clients lists the clients, the CommServe first. Pseudo clients are machines of
// virtualisation: there are none.
func (h *handler) clients(ctx context.Context, c call) (any, error) {
	if kind := c.query.get("PseudoClientType"); kind != "" {
		return map[string][]entity{"VSPseudoClientsList": {}}, nil
	}
	page, err := readPage(c, 0)
	if err != nil {
		return nil, err
	}
	v, err := h.clientView(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	list := make([]clientItem, 0, len(v.hostList)+1)
	for _, e := range v.clientEntities() {
		var item clientItem
		item.Client.Entity = e
		list = append(list, item)
	}
	return map[string][]clientItem{"clientProperties": part(list, page)}, nil
}

func (h *handler) virtualClients(context.Context, call) (any, error) {
	return map[string][]entity{"clients": {}}, nil
}

// clientEntities lists every client.
func (v *view) clientEntities() []entity {
	list := []entity{v.commServe}
	for _, host := range v.hostList {
		list = append(list, v.client(host.ID))
	}
	return list
}

func (h *handler) client(ctx context.Context, c call) (any, error) {
	id, err := c.id("client")
	if err != nil {
		return nil, err
	}
	if id == commCellID {
		v, err := h.clientView(ctx, c.actor)
		if err != nil {
			return nil, err
		}
		return clientReply(v.commServe), nil
	}
	host, err := h.Service.Host(ctx, c.actor, holdfast.HostID(id))
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return nil, unknown("client", id)
	}
	if err != nil {
		return nil, err
	}
	v := h.emptyView(c.actor)
	v.addHosts(host)
	return clientReply(v.client(host.ID)), nil
}

func (h *handler) clientByName(ctx context.Context, c call) (any, error) {
	v, err := h.clientView(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	if e, ok := v.clientNamed(c.path["clientname"]); ok {
		return clientReply(e), nil
	}
	return nil, holdfast.Errorf(holdfast.CodeNotFound, "no client has this name")
}

// clientNamed finds a client by its name, the CommServe too.
func (v *view) clientNamed(name string) (entity, bool) {
	f := filter{names: map[level]string{levelClient: name}}
	list := fits(f, levelClient, v.clientEntities(), func(e entity) (int64, string) { return e.ClientID, e.ClientName })
	if name == "" || len(list) != 1 {
		return entity{}, false
	}
	return list[0], true
}

type clientShape struct {
	Client struct {
		Entity entity `json:"clientEntity"`
		OS     struct {
			Type    string `json:"Type"`
			SubType string `json:"SubType"`
			Display struct {
				Processor string `json:"ProcessorType"`
				Name      string `json:"OSName"`
			} `json:"OsDisplayInfo"`
		} `json:"osInfo"`
		CVDPort    int      `json:"cvdPort"`
		TimeZone   zoneName `json:"TimeZone"`
		ResultsDir struct {
			Path string `json:"path"`
		} `json:"jobResulsDir"` // so spelled
		InstallDir string `json:"installDirectory"`
		Version    struct {
			Version string `json:"version"`
			Galaxy  struct {
				Release string `json:"ReleaseString"`
			} `json:"GalaxyRelease"`
		} `json:"versionInfo"`
	} `json:"client"`
	Props struct {
		Activity struct {
			Recovery   bool `json:"EnableDataRecovery"`
			Management bool `json:"EnableDataManagement"`
			Index      bool `json:"EnableOnlineContentIndex"`
		} `json:"activityControl"`
		Client struct {
			Options []activity `json:"activityControlOptions"`
		} `json:"clientActivityControl"`
		Snap bool `json:"EnableSnapBackups"`
	} `json:"clientProps"`
	Groups []entity `json:"clientGroups"`
}

// activity says whether a kind of work is switched on.
type activity struct {
	Type    int  `json:"activityType"`
	Enabled bool `json:"enableActivityType"`
}

// The activities: 1 backup, 2 restore, 16 data aging.
func activities() []activity { return []activity{{1, true}, {2, true}, {16, true}} }

// clientReply tells about a client. Most of it means nothing here, and is fatal
// to clients when it is missing. The SDK decides by the word Unix how it writes
// time zones.
func clientReply(e entity) any {
	var s clientShape
	s.Client.Entity = e
	s.Client.OS.Type, s.Client.OS.SubType = "Unix", "Linux"
	s.Client.OS.Display.Processor, s.Client.OS.Display.Name = "64-bit", "Linux"
	s.Client.CVDPort = cvdPort
	s.Client.TimeZone.Name = timeZoneName
	s.Client.Version.Version, s.Client.Version.Galaxy.Release = clientVersion, releaseString
	s.Props.Activity.Recovery, s.Props.Activity.Management = true, true
	s.Props.Client.Options = activities()
	s.Groups = []entity{}
	return map[string][]clientShape{"clientProperties": {s}}
}

// unknownID is what GetId answers for what does not exist.
const unknownID = -32000

// getID turns names into ids, as deep as names are given.
func (h *handler) getID(ctx context.Context, c call) (any, error) {
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	v, err := h.view(ctx, c.actor)
	if err != nil {
		return nil, err
	}
	e, ok, err := v.lookUp(ctx, c, f)
	if err != nil {
		return nil, err
	}
	if !ok {
		return map[string]any{"clientId": unknownID}, nil
	}
	return e, nil
}

// lookUp returns the one entity that the filter's names lead to.
func (v *view) lookUp(ctx context.Context, c call, f filter) (entity, bool, error) {
	e, ok := v.clientNamed(f.names[levelClient])
	if !ok {
		return entity{}, false, nil
	}
	agent := c.query.get("agent", "appName")
	if agent == "" && !f.given(levelInstance) && !f.given(levelBackupset) && !f.given(levelSubclient) {
		return e, true, nil
	}
	sites := v.instances(f)
	switch {
	case len(sites) == 0:
		return entity{}, false, nil
	case !f.given(levelInstance) && !f.given(levelBackupset) && !f.given(levelSubclient):
		return v.agent(holdfast.HostID(e.ClientID)), true, nil
	case len(sites) > 1: // the names lead to several
		return entity{}, false, nil
	}
	sets := f.sets()
	switch {
	case !f.given(levelBackupset) && !f.given(levelSubclient):
		return v.instance(sites[0].ID), true, nil
	case len(sets) == 0:
		return entity{}, false, nil
	case !f.given(levelSubclient):
		return v.backupset(sites[0].ID, sets[0]), true, nil
	}
	jobs, err := v.jobs(ctx, []holdfast.SiteID{sites[0].ID}, f.names[levelSubclient])
	if err != nil {
		return entity{}, false, err
	}
	for _, j := range fits(f, levelSubclient, jobs, func(j holdfast.Job) (int64, string) { return int64(j.ID), j.Name }) {
		for _, k := range sets {
			if setOf(j) == k {
				return v.subclient(j), true, nil
			}
		}
	}
	return entity{}, false, nil
}
