package commvault

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// The PostgreSQL agent. Source: docs/api/commvault.md, "Entities".
const (
	appName       = "PostgreSQL"
	applicationID = 125
)

// commCellID is the id of the CommCell, and of the client that is the CommServe:
// clients look that client up by it. It is never a host's, since ids start at
// [holdfast.FirstID].
const commCellID = 2

// The codes of _type_.
const (
	typeCommCell  = 1
	typeClient    = 3
	typeAgent     = 4
	typeInstance  = 5
	typeBackupset = 6
	typeSubclient = 7
	typeUser      = 13
)

// level is how deep an entity, or what names one, goes.
type level int

const (
	levelNone level = iota
	levelClient
	levelInstance
	levelBackupset
	levelSubclient
)

// entity names a thing of the tree CommCell → client → agent → instance → backup
// set → subclient: as deep as it goes, and everything above it.
type entity struct {
	ClientID      int64  `json:"clientId,omitempty"`
	ClientName    string `json:"clientName,omitempty"`
	HostName      string `json:"hostName,omitempty"`
	DisplayName   string `json:"displayName,omitempty"`
	ApplicationID int64  `json:"applicationId,omitempty"`
	AppName       string `json:"appName,omitempty"`
	InstanceID    int64  `json:"instanceId,omitempty"`
	InstanceName  string `json:"instanceName,omitempty"`
	BackupsetID   int64  `json:"backupsetId,omitempty"`
	BackupsetName string `json:"backupsetName,omitempty"`
	BackupsetGUID string `json:"backupsetGUID,omitempty"`
	SubclientID   int64  `json:"subclientId,omitempty"`
	SubclientName string `json:"subclientName,omitempty"`
	SubclientGUID string `json:"subclientGUID,omitempty"`
	Type          int    `json:"_type_,omitempty"`
}

// setKind tells an instance's two backup sets apart: it is the set's name.
type setKind string

// The backup sets that each instance has.
const (
	fsSet   setKind = "FSBasedBackupSet"   // physical
	dumpSet setKind = "DumpBasedBackupSet" // logical
)

// setNamed returns the backup set with the name, in any letter case; empty: none.
func setNamed(name string) setKind {
	for _, k := range []setKind{fsSet, dumpSet} {
		if strings.EqualFold(string(k), name) {
			return k
		}
	}
	return ""
}

// setOf returns the backup set that a job's subclient belongs to.
func setOf(j holdfast.Job) setKind {
	if j.Engine == holdfast.EnginePhysical {
		return fsSet
	}
	return dumpSet
}

// backupsetID is the id of an instance's backup set. It never changes.
func backupsetID(site holdfast.SiteID, k setKind) int64 {
	if k == dumpSet {
		return 2*int64(site) + 1
	}
	return 2 * int64(site)
}

// backupset is the inverse of backupsetID.
func backupset(id int64) (holdfast.SiteID, setKind) {
	if id%2 != 0 {
		return holdfast.SiteID(id / 2), dumpSet
	}
	return holdfast.SiteID(id / 2), fsSet
}

// sameName compares the names of entities: clients of the protocol lower-case
// them.
func sameName(a, b string) bool { return strings.EqualFold(a, b) }

// guid makes an id of an entity look as clients expect one to: a UUID of version
// 8, whose digits hold the entity's type and number.
func guid(kind int, id int64) string {
	return fmt.Sprintf("%08X-0000-8000-%04X-%012X", kind, 0x8000|id>>48, id&(1<<48-1))
}

// maxTaskJobs bounds the jobs of one task: what service.Submit takes.
const maxTaskJobs = 1000

// view is what the actor may see of the entities above subclients.
type view struct {
	h         *handler
	actor     holdfast.Actor
	commServe entity // the client that the CommServe itself is
	hostList  []holdfast.Host
	siteList  []holdfast.Site
	byHost    map[holdfast.HostID]*holdfast.Host
	bySite    map[holdfast.SiteID]*holdfast.Site
}

// view loads all that the actor may see.
func (h *handler) view(ctx context.Context, actor holdfast.Actor) (*view, error) {
	v, err := h.clientView(ctx, actor)
	if err != nil {
		return nil, err
	}
	sites, err := h.Service.Sites(ctx, actor)
	v.addSites(sites...)
	return v, err
}

// clientView loads the clients alone.
func (h *handler) clientView(ctx context.Context, actor holdfast.Actor) (*view, error) {
	hosts, err := h.Service.Hosts(ctx, actor)
	if err != nil {
		return nil, err
	}
	v := h.emptyView(actor)
	v.addHosts(hosts...)
	name := commServeName(h.Name, hosts)
	v.commServe = entity{ClientID: commCellID, ClientName: name, HostName: name, DisplayName: name, Type: typeClient}
	return v, nil
}

// viewFor loads what a filter can select: one instance, with its client, when it
// gives that instance's number or that of one of its backup sets.
func (h *handler) viewFor(ctx context.Context, actor holdfast.Actor, f filter) (*view, error) {
	if id := f.ids[levelBackupset]; id != nil {
		site, _ := backupset(*id)
		return h.siteView(ctx, actor, site)
	}
	if id := f.ids[levelInstance]; id != nil {
		return h.siteView(ctx, actor, holdfast.SiteID(*id))
	}
	return h.view(ctx, actor)
}

// siteView loads a site and its host, and these other hosts. What does not exist
// is not in it.
func (h *handler) siteView(ctx context.Context, actor holdfast.Actor, id holdfast.SiteID, others ...holdfast.HostID) (*view, error) {
	v := h.emptyView(actor)
	site, err := h.Service.Site(ctx, actor, id)
	switch {
	case err == nil:
		v.addSites(site)
	case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
		return nil, err
	}
	for _, id := range append([]holdfast.HostID{site.Host}, others...) {
		if _, ok := v.byHost[id]; ok || id == 0 {
			continue
		}
		host, err := h.Service.Host(ctx, actor, id)
		switch {
		case err == nil:
			v.addHosts(host)
		case holdfast.ErrorCode(err) != holdfast.CodeNotFound:
			return nil, err
		}
	}
	return v, nil
}

func (h *handler) emptyView(actor holdfast.Actor) *view {
	return &view{h: h, actor: actor}
}

func (v *view) addHosts(list ...holdfast.Host) {
	v.hostList = append(v.hostList, list...)
	v.byHost = make(map[holdfast.HostID]*holdfast.Host, len(v.hostList))
	for i := range v.hostList {
		v.byHost[v.hostList[i].ID] = &v.hostList[i]
	}
}

func (v *view) addSites(list ...holdfast.Site) {
	v.siteList = append(v.siteList, list...)
	v.bySite = make(map[holdfast.SiteID]*holdfast.Site, len(v.siteList))
	for i := range v.siteList {
		v.bySite[v.siteList[i].ID] = &v.siteList[i]
	}
}

// commServeName makes the name differ from every client's: a client that bears
// it would have to have the CommCell's id.
func commServeName(name string, hosts []holdfast.Host) string {
	for slices.ContainsFunc(hosts, func(host holdfast.Host) bool { return strings.EqualFold(host.Name, name) }) {
		name += "-commserve"
	}
	return name
}

func (v *view) hosts(context.Context) ([]holdfast.Host, error) { return v.hostList, nil }

func (v *view) sites(context.Context) ([]holdfast.Site, error) { return v.siteList, nil }

func (v *view) job(ctx context.Context, id holdfast.JobID) (holdfast.Job, error) {
	j, err := v.h.Service.Job(ctx, v.actor, id)
	return j.Job, err
}

// jobs lists the backup jobs of the sites: those whose name it is, or without a
// name those that are active; not many more than a task takes.
func (v *view) jobs(ctx context.Context, sites []holdfast.SiteID, name string) ([]holdfast.Job, error) {
	f := store.JobFilter{
		Sites: sites, Types: []holdfast.JobType{holdfast.JobBackup}, ActiveOnly: name == "", Name: name, AnyCase: true,
		Page: store.Page{Limit: maxTaskJobs + 1},
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }) {
		return v.jobsNamed(ctx, f)
	}
	list, _, err := v.h.Service.PlainJobs(ctx, v.actor, f)
	return list, err
}

// jobsNamed is jobs for a name with other letters than the store can fold.
func (v *view) jobsNamed(ctx context.Context, f store.JobFilter) ([]holdfast.Job, error) {
	name := f.Name
	f.Name = ""
	var found []holdfast.Job
	for {
		list, total, err := v.h.Service.PlainJobs(ctx, v.actor, f)
		if err != nil {
			return nil, err
		}
		for _, j := range list {
			if sameName(j.Name, name) {
				found = append(found, j)
			}
		}
		if f.Page.Offset += f.Page.Limit; f.Page.Offset >= total || len(list) == 0 || len(found) > maxTaskJobs {
			return found, nil
		}
	}
}

// client is the entity of a host; of one that is gone, its number is its name.
func (v *view) client(id holdfast.HostID) entity {
	e := entity{ClientID: int64(id), ClientName: fmt.Sprintf("host-%d", id), Type: typeClient}
	host, ok := v.byHost[id]
	if ok {
		e.ClientName, e.HostName = host.Name, host.Address
	}
	e.DisplayName = e.ClientName
	if e.HostName == "" {
		e.HostName = e.ClientName
	}
	return e
}

// instance is the entity of a site; of one that is gone, its number is its name.
func (v *view) instance(id holdfast.SiteID) entity {
	site, ok := v.bySite[id]
	if !ok {
		site = &holdfast.Site{Slug: fmt.Sprintf("site-%d", id)}
	}
	e := v.client(site.Host)
	e.HostName = ""
	e.ApplicationID, e.AppName = applicationID, appName
	e.InstanceID, e.InstanceName, e.Type = int64(id), site.Slug, typeInstance
	return e
}

// backupset is the entity of one of a site's backup sets.
func (v *view) backupset(id holdfast.SiteID, k setKind) entity {
	e := v.instance(id)
	e.BackupsetID, e.BackupsetName, e.Type = backupsetID(id, k), string(k), typeBackupset
	e.BackupsetGUID = guid(typeBackupset, e.BackupsetID)
	return e
}

// subclient is the entity of a BACKUP job.
func (v *view) subclient(j holdfast.Job) entity {
	e := v.backupset(j.Site, setOf(j))
	e.SubclientID, e.SubclientName, e.Type = int64(j.ID), j.Name, typeSubclient
	e.SubclientGUID = guid(typeSubclient, e.SubclientID)
	return e
}
