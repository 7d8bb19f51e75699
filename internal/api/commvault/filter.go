package commvault

import (
	"slices"
	"strconv"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// filter narrows a list of entities. A list obeys it exactly: the SDK's own
// filter is a test for substrings. Zero fields select all.
type filter struct {
	ids   map[level]*int64
	names map[level]string
	app   bool // false: the list is about another agent
}

// parameters are the spellings of the parameters of a level. Some clients name
// the whole path of a member.
func parameters(l level) (ids, names []string) {
	switch l {
	case levelClient:
		return []string{"clientId", "association/entity/clientId"}, []string{"clientName", "association/entity/clientName"}
	case levelInstance:
		return []string{"instanceId", "association/entity/instanceId"}, []string{"instanceName", "instance"}
	case levelBackupset:
		return []string{"backupsetId", "association/entity/backupsetId"}, []string{"backupsetName", "backupset"}
	case levelSubclient:
		return []string{"subclientId", "association/entity/subclientId"}, []string{"subclientName", "subclient"}
	case levelNone:
	}
	return nil, nil
}

// levels are those that a filter may name.
func levels() []level { return []level{levelClient, levelInstance, levelBackupset, levelSubclient} }

// readFilter reads the parameters, and the arguments of byName() in the path.
func readFilter(c call) (filter, error) {
	f := filter{ids: map[level]*int64{}, names: map[level]string{}, app: true}
	for _, l := range levels() {
		ids, names := parameters(l)
		n, ok, err := c.query.number(ids...)
		if err != nil {
			return filter{}, err
		}
		if ok {
			f.ids[l] = &n
		}
		if f.names[l] = query(c.path).get(names...); f.names[l] == "" {
			f.names[l] = c.query.get(names...)
		}
	}
	app, ok, err := c.query.number("applicationId", "apptypeId", "association/entity/applicationId")
	if err != nil {
		return filter{}, err
	}
	name := query(c.path).get("appName")
	if name == "" {
		name = c.query.get("appName", "agent")
	}
	f.app = (!ok || app == applicationID) && (name == "" || sameName(name, appName))
	return f, nil
}

// given reports whether the filter names something at the level.
func (f filter) given(l level) bool { return f.ids[l] != nil || f.names[l] != "" }

// any reports whether the filter names something at any level.
func (f filter) any() bool {
	return slices.ContainsFunc(levels(), f.given)
}

// fits returns those of a list that the filter selects at the level. Names are
// compared without case; when one is spelled exactly so, the others are not
// meant.
func fits[T any](f filter, l level, list []T, of func(T) (int64, string)) []T {
	id, name := f.ids[l], f.names[l]
	var fit, exact []T
	for _, v := range list {
		n, s := of(v)
		if (id != nil && n != *id) || (name != "" && !sameName(s, name)) {
			continue
		}
		fit = append(fit, v)
		if s == name {
			exact = append(exact, v)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return fit
}

// clients returns the hosts that the filter selects.
func (v *view) clients(f filter) []holdfast.Host {
	return fits(f, levelClient, v.hostList, func(h holdfast.Host) (int64, string) { return int64(h.ID), h.Name })
}

// instances returns the sites that the filter selects.
func (v *view) instances(f filter) []holdfast.Site {
	if !f.app {
		return nil
	}
	sites := v.siteList
	if f.given(levelClient) {
		on := map[holdfast.HostID]bool{}
		for _, host := range v.clients(f) {
			on[host.ID] = true
		}
		sites = slices.DeleteFunc(slices.Clone(sites), func(s holdfast.Site) bool { return !on[s.Host] })
	}
	sites = fits(f, levelInstance, sites, func(s holdfast.Site) (int64, string) { return int64(s.ID), s.Slug })
	if id := f.ids[levelBackupset]; id != nil {
		site, _ := backupset(*id)
		sites = slices.DeleteFunc(slices.Clone(sites), func(s holdfast.Site) bool { return s.ID != site })
	}
	return sites
}

// sets returns the kinds of backup set that the filter selects.
func (f filter) sets() []setKind {
	return slices.DeleteFunc([]setKind{fsSet, dumpSet}, func(k setKind) bool {
		if id := f.ids[levelBackupset]; id != nil {
			if _, kind := backupset(*id); kind != k {
				return true
			}
		}
		name := f.names[levelBackupset]
		return name != "" && !sameName(string(k), name)
	})
}

// maxPage bounds what a list that asks for a page may ask for.
const maxPage = 10_000

// readPage reads what part of a list is asked for, from the headers limit and
// offset or the parameters of that name; def is the limit of a list that asks for
// none, 0 for the whole.
func readPage(c call, def int) (store.Page, error) {
	p := store.Page{Limit: def}
	for name, to := range map[string]*int{"limit": &p.Limit, "offset": &p.Offset} {
		n, ok, err := c.query.number(name)
		if err != nil {
			return store.Page{}, err
		}
		if v := c.header.Get(name); !ok && v != "" {
			if n, err = strconv.ParseInt(v, 10, 64); err != nil {
				return store.Page{}, holdfast.Wrap(holdfast.CodeInvalid, err, "the header %s is not a number", name).WithHint("give a whole number")
			}
			ok = true
		}
		if ok && n > 0 {
			*to = int(min(n, holdfast.MaxID))
		}
	}
	if p.Limit != def {
		p.Limit = min(p.Limit, maxPage)
	}
	return p, nil
}

// part returns the page of a list that is whole.
func part[T any](list []T, p store.Page) []T {
	list = list[min(p.Offset, len(list)):]
	if p.Limit > 0 {
		list = list[:min(p.Limit, len(list))]
	}
	return list
}
