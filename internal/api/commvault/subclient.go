package commvault

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

func (h *handler) subclientRoutes(add, _ adder) {
	add(http.MethodGet, "Subclient", h.subclients)
	add(http.MethodGet, "Subclient/byName()", h.subclientByName)
	add(http.MethodGet, "Subclient/{id}", h.subclient)
	add(http.MethodPost, "Subclient", notCreated("a subclient", "holdfast job create"))
	add(http.MethodPost, "Subclient/{id}", notChanged("a subclient", "holdfast job update"))
	add(http.MethodDelete, "Subclient/{id}", notChanged("a subclient", "holdfast job delete"))
}

// defaultSubclient is the name of the job that an instance's backup set has for
// everything; without one it is the first job.
const defaultSubclient = "default"

type subclientShape struct {
	Entity     entity           `json:"subClientEntity"`
	Common     subclientCommon  `json:"commonProperties"`
	Content    []entity         `json:"content,omitzero"` // everything: empty
	PostgreSQL *subclientPostgr `json:"postgreSQLSubclientProp,omitempty"`
	Proxy      *struct{}        `json:"proxyClient,omitempty"`
	Plan       *struct{}        `json:"planEntity,omitempty"`
}

type subclientCommon struct {
	Default bool `json:"isDefaultSubclient"`
	*subclientFacts
}

type subclientFacts struct {
	Enabled     bool          `json:"enableBackup"`
	Description string        `json:"description"`
	Last        int64         `json:"lastBackupTime"` // seconds since 1970; 0: none
	Next        int64         `json:"nextBackupTime"` // likewise
	Storage     storageDevice `json:"storageDevice"`
	Snap        snapCopy      `json:"snapCopyInfo"`
}

type storageDevice struct {
	Policy policyName `json:"dataBackupStoragePolicy"`
}

type snapCopy struct {
	Enabled bool `json:"isSnapBackupEnabled"`
}

type subclientPostgr struct {
	Streams int  `json:"numberOfBackupStreams"`
	Collect bool `json:"collectObjectListDuringBackup"`
	Block   bool `json:"isUseBlockLevelBackup"`
}

// unpagedSubclients is how many subclients a list of the whole CommCell shows
// that asks for no page. Source: docs/api/commvault.md, "Lists".
const unpagedSubclients = 100

// subclients lists subclients. Those of one client or below are listed whole
// unless a page is asked for.
func (h *handler) subclients(ctx context.Context, c call) (any, error) {
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	limit := 0
	if !f.any() {
		limit = unpagedSubclients
	}
	page, err := readPage(c, limit)
	if err != nil {
		return nil, err
	}
	v, err := h.viewFor(ctx, c.actor, f)
	if err != nil {
		return nil, err
	}
	list, err := v.list(ctx, f, page)
	if err != nil {
		return nil, err
	}
	first, err := v.defaults(ctx, list, page == store.Page{} && !f.given(levelSubclient))
	if err != nil {
		return nil, err
	}
	shapes := make([]subclientShape, 0, len(list))
	for _, j := range list {
		s := subclientShape{Entity: v.subclient(j)}
		s.Common.Default = first[j.Site] == j.ID
		shapes = append(shapes, s)
	}
	return map[string][]subclientShape{"subClientProperties": shapes}, nil
}

// list returns the subclients that a filter selects.
func (v *view) list(ctx context.Context, f filter, page store.Page) ([]holdfast.Job, error) {
	if !slices.Contains(f.sets(), fsSet) {
		return nil, nil // no logical engine exists whose jobs the other set could hold
	}
	var sites []holdfast.SiteID
	for _, site := range v.instances(f) {
		sites = append(sites, site.ID)
	}
	if len(sites) == 0 {
		return nil, nil
	}
	if id := f.ids[levelSubclient]; id != nil {
		j, err := v.job(ctx, holdfast.JobID(*id))
		switch {
		case holdfast.ErrorCode(err) == holdfast.CodeNotFound:
			return nil, nil
		case err != nil:
			return nil, err
		case j.Type != holdfast.JobBackup || !slices.Contains(sites, j.Site):
			return nil, nil
		}
		return part(named(f, []holdfast.Job{j}), page), nil
	}
	if f.names[levelSubclient] != "" {
		jobs, err := v.jobs(ctx, sites, f.names[levelSubclient])
		return part(named(f, jobs), page), err
	}
	if !f.any() {
		sites = nil // all that the actor may see
	}
	jobs, _, err := v.h.Service.PlainJobs(ctx, v.actor, store.JobFilter{Sites: sites, Types: []holdfast.JobType{holdfast.JobBackup}, Page: page})
	return jobs, err
}

func named(f filter, jobs []holdfast.Job) []holdfast.Job {
	return fits(f, levelSubclient, jobs, func(j holdfast.Job) (int64, string) { return int64(j.ID), j.Name })
}

// defaults returns the default subclient of each site that a job of the list is
// of. whole is true when the list holds all jobs of these sites, by id. In a part
// of a list over several sites only the name counts: to look for the first job of
// each would take longer than the list.
func (v *view) defaults(ctx context.Context, list []holdfast.Job, whole bool) (map[holdfast.SiteID]holdfast.JobID, error) {
	found := map[holdfast.SiteID]holdfast.JobID{}
	var sites []holdfast.SiteID
	for _, j := range list {
		if _, seen := found[j.Site]; !seen {
			sites = append(sites, j.Site)
			found[j.Site] = 0
			if whole {
				found[j.Site] = j.ID
			}
		}
	}
	if len(sites) == 0 {
		return found, nil
	}
	f := store.JobFilter{Sites: sites, Types: []holdfast.JobType{holdfast.JobBackup}, Name: defaultSubclient}
	called, _, err := v.h.Service.PlainJobs(ctx, v.actor, f)
	if err == nil && len(called) == 0 && !whole && len(sites) == 1 {
		f.Name, f.Page.Limit = "", 1
		called, _, err = v.h.Service.PlainJobs(ctx, v.actor, f)
	}
	for _, j := range called {
		found[j.Site] = j.ID
	}
	return found, err
}

func (h *handler) subclient(ctx context.Context, c call) (any, error) {
	id, err := c.id("subclient")
	if err != nil {
		return nil, err
	}
	return h.showSubclient(ctx, c.actor, holdfast.JobID(id))
}

// subclientByName finds a subclient by clientName, appName, backupsetName and
// subclientName, and instanceName where a client has several.
func (h *handler) subclientByName(ctx context.Context, c call) (any, error) {
	f, err := readFilter(c)
	if err != nil {
		return nil, err
	}
	v, err := h.viewFor(ctx, c.actor, f)
	if err != nil {
		return nil, err
	}
	list, err := v.list(ctx, f, store.Page{})
	if err != nil {
		return nil, err
	}
	if len(list) != 1 || !f.given(levelSubclient) {
		return nil, holdfast.Errorf(holdfast.CodeNotFound, "no single subclient has these names").
			WithHint("give clientName, instanceName, backupsetName and subclientName")
	}
	return h.showSubclient(ctx, c.actor, list[0].ID)
}

func (h *handler) showSubclient(ctx context.Context, actor holdfast.Actor, id holdfast.JobID) (any, error) {
	j, err := h.Service.Job(ctx, actor, id)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound || err == nil && j.Type != holdfast.JobBackup {
		return nil, unknown("subclient", int64(id))
	}
	if err != nil {
		return nil, err
	}
	v, err := h.siteView(ctx, actor, j.Site)
	if err != nil {
		return nil, err
	}
	repository := j.Repository
	if site, ok := v.bySite[j.Site]; ok && repository == 0 {
		repository = site.Repository
	}
	policy, err := h.policy(ctx, actor, repository)
	if err != nil {
		return nil, err
	}
	last, err := v.lastBackup(ctx, j.ID)
	if err != nil {
		return nil, err
	}
	first, err := v.defaults(ctx, []holdfast.Job{j.Job}, false)
	if err != nil {
		return nil, err
	}
	s := subclientShape{
		Entity: v.subclient(j.Job), Content: []entity{}, PostgreSQL: &subclientPostgr{Streams: 1, Block: true},
		Proxy: &struct{}{}, Plan: &struct{}{},
		Common: subclientCommon{first[j.Site] == j.ID, &subclientFacts{
			Enabled: j.Active, Description: j.Description, Last: seconds(last), Next: seconds(j.NextRun), Storage: storageDevice{policy},
		}},
	}
	return map[string][]subclientShape{"subClientProperties": {s}}, nil
}

// lastBackup is when the newest set of the job was complete; zero: never, or it
// has been dropped.
func (v *view) lastBackup(ctx context.Context, id holdfast.JobID) (time.Time, error) {
	sets, _, err := v.h.Service.Sets(ctx, v.actor, store.SetFilter{Job: id, Page: store.Page{Limit: 1}})
	if err != nil || len(sets) == 0 {
		return time.Time{}, err
	}
	return sets[0].Created, nil
}
