package commvault

import (
	"context"
	"net/http"

	"github.com/holdfast-backup/holdfast"
)

func (h *handler) backupsetRoutes(add, _ adder) {
	add(http.MethodGet, "Backupset", h.backupsets)
	add(http.MethodGet, "Backupset/{id}", h.backupset)
	add(http.MethodPost, "Backupset", notCreated("a backup set", "holdfast site add"))
	add(http.MethodPost, "Backupset/{id}", notChanged("a backup set", "holdfast site update"))
	add(http.MethodDelete, "Backupset/{id}", notChanged("a backup set", "holdfast site remove"))
}

type backupsetShape struct {
	Entity entity `json:"backupSetEntity"`
	Common struct {
		Default     bool   `json:"isDefaultBackupSet"`
		OnDemand    bool   `json:"onDemandBackupset"`
		Description string `json:"userDescription"`
	} `json:"commonBackupSet"`
	Plan struct{} `json:"planEntity"`
}

// backupsetOf shows one of an instance's two backup sets. The first one is the
// default.
func (v *view) backupsetOf(site holdfast.SiteID, k setKind) backupsetShape {
	var s backupsetShape
	s.Entity = v.backupset(site, k)
	s.Common.Default = k == fsSet
	return s
}

func (h *handler) backupsets(ctx context.Context, c call) (any, error) {
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
	list := []backupsetShape{}
	for _, site := range v.instances(f) {
		for _, k := range f.sets() {
			list = append(list, v.backupsetOf(site.ID, k))
		}
	}
	return map[string][]backupsetShape{"backupsetProperties": part(list, page)}, nil
}

func (h *handler) backupset(ctx context.Context, c call) (any, error) {
	id, err := c.id("backup set")
	if err != nil {
		return nil, err
	}
	site, k := backupset(id)
	v, err := h.siteView(ctx, c.actor, site)
	if err != nil {
		return nil, err
	}
	if _, ok := v.bySite[site]; !ok {
		return nil, unknown("backup set", id)
	}
	return map[string][]backupsetShape{"backupsetProperties": {v.backupsetOf(site, k)}}, nil
}
