package commvault

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/holdfast-backup/holdfast"
)

// association names what a task is about. A field counts only when it is given:
// see [number] and [text] for what means that it is not.
type association struct {
	ClientID      number `json:"clientId,omitzero"`
	ClientName    text   `json:"clientName,omitempty"`
	DisplayName   text   `json:"displayName,omitempty"`
	ApplicationID number `json:"applicationId,omitzero"`
	AppName       text   `json:"appName,omitempty"`
	InstanceID    number `json:"instanceId,omitzero"`
	InstanceName  text   `json:"instanceName,omitempty"`
	BackupsetID   number `json:"backupsetId,omitzero"`
	BackupsetName text   `json:"backupsetName,omitempty"`
	SubclientID   number `json:"subclientId,omitzero"`
	SubclientName text   `json:"subclientName,omitempty"`
}

// tree is the entities that the caller may see: nothing else exists.
type tree interface {
	hosts(ctx context.Context) ([]holdfast.Host, error)
	sites(ctx context.Context) ([]holdfast.Site, error)
	// job returns a job that is not deleted; CodeNotFound when there is none.
	job(ctx context.Context, id holdfast.JobID) (holdfast.Job, error)
	// jobs lists the BACKUP jobs of the sites, or of all when none is named, that
	// are not deleted: those whose name it is, without regard to letter case, or
	// without a name those that are active. It need not list more than
	// maxTaskJobs + 1.
	jobs(ctx context.Context, sites []holdfast.SiteID, name string) ([]holdfast.Job, error)
}

// resolve returns the subclients of all the associations together that can be
// backed up, each once, by id. None is no error; CodeInvalid for too many.
func resolve(ctx context.Context, t tree, list []*association) ([]holdfast.Job, error) {
	many := senseless("the associations name more than %d subclients", maxTaskJobs).WithHint("name fewer at once")
	if len(list) > maxTaskJobs {
		return nil, many
	}
	found := map[holdfast.JobID]holdfast.Job{}
	take := func(p place, jobs []holdfast.Job) {
		for _, j := range jobs {
			if p.eligible(j) {
				found[j.ID] = j
			}
		}
	}
	all := place{level: levelInstance} // instances of which every subclient is named
	for _, a := range list {
		p, err := locate(ctx, t, *a)
		switch {
		case err != nil:
			return nil, err
		case p.level == levelSubclient:
			take(p, p.jobs)
		case p.set != dumpSet:
			all.sites = append(all.sites, p.sites...)
		}
		if len(p.jobs) > maxTaskJobs {
			return nil, many
		}
	}
	if len(all.sites) > 0 {
		jobs, err := t.jobs(ctx, all.siteIDs(), "")
		if err != nil {
			return nil, err
		}
		if len(jobs) > maxTaskJobs {
			return nil, many
		}
		take(all, jobs)
	}
	if len(found) > maxTaskJobs {
		return nil, many
	}
	return slices.SortedFunc(maps.Values(found), func(a, b holdfast.Job) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// place is where an association leads; one that matches nothing leads to no
// site, and one that ends at a client may as well.
type place struct {
	level level
	hosts []holdfast.Host
	sites []holdfast.Site // at levelSubclient those of the jobs
	set   setKind         // empty: both
	jobs  []holdfast.Job  // at levelSubclient
}

// siteIDs returns the numbers of the sites, each once.
func (p place) siteIDs() []holdfast.SiteID {
	ids := make([]holdfast.SiteID, len(p.sites))
	for i, s := range p.sites {
		ids[i] = s.ID
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// holds reports whether the BACKUP job lies in the place.
func (p place) holds(j holdfast.Job) bool {
	return j.Type == holdfast.JobBackup && p.site(j) >= 0 && (p.set == "" || p.set == setOf(j))
}

// site returns the index of the job's site; -1: it is not here.
func (p place) site(j holdfast.Job) int {
	return slices.IndexFunc(p.sites, func(s holdfast.Site) bool { return s.ID == j.Site })
}

// eligible reports whether the job lies in the place and can be backed up: it is
// switched on, an engine saves what its backup set stands for, and what it saves
// has somewhere to go.
func (p place) eligible(j holdfast.Job) bool {
	if !p.holds(j) || !j.Active || !j.Deleted.IsZero() || setOf(j) != fsSet {
		return false
	}
	return j.Repository != 0 || p.sites[p.site(j)].Repository != 0
}

// locate finds where an association leads. Every given field has to fit: an id
// and a name that name different things match nothing.
func locate(ctx context.Context, t tree, a association) (place, error) {
	hosts, err := t.hosts(ctx)
	if err != nil {
		return place{}, err
	}
	sites, err := t.sites(ctx)
	if err != nil {
		return place{}, err
	}
	if a, err = a.clean(ctx, t, hosts, sites); err != nil {
		return place{}, err
	}
	p := place{level: a.level()}
	set, ok := a.set()
	if p.set = set; !ok || p.level == levelNone || !a.ours() {
		return p, nil
	}
	p.hosts = fitting(hosts, a.ClientID, a.ClientName, func(h holdfast.Host) (int64, string) { return int64(h.ID), h.Name })
	on := map[holdfast.HostID]bool{}
	for _, h := range p.hosts {
		on[h.ID] = true
	}
	p.sites = fitting(slices.DeleteFunc(slices.Clone(sites), func(s holdfast.Site) bool { return !on[s.Host] }), a.InstanceID, a.InstanceName, func(s holdfast.Site) (int64, string) { return int64(s.ID), s.Slug })
	if a.BackupsetID.given() {
		site, _ := backupset(a.BackupsetID.n)
		p.sites = slices.DeleteFunc(p.sites, func(s holdfast.Site) bool { return s.ID != site })
	}
	if p.level == levelSubclient && len(p.sites) > 0 {
		p.jobs, err = a.subclients(ctx, t, p)
		p.sites = slices.DeleteFunc(p.sites, func(s holdfast.Site) bool {
			return !slices.ContainsFunc(p.jobs, func(j holdfast.Job) bool { return j.Site == s.ID })
		})
	}
	return p, err
}

// clean drops the placeholder where no entity bears it, and takes the display
// name for the client's when that is all there is.
func (a association) clean(ctx context.Context, t tree, hosts []holdfast.Host, sites []holdfast.Site) (association, error) {
	if !slices.ContainsFunc(hosts, func(h holdfast.Host) bool { return sameName(h.Name, placeholder) }) {
		a.ClientName, a.DisplayName = a.ClientName.unlessPlaceholder(), a.DisplayName.unlessPlaceholder()
	}
	if !slices.ContainsFunc(sites, func(s holdfast.Site) bool { return sameName(s.Slug, placeholder) }) {
		a.InstanceName = a.InstanceName.unlessPlaceholder()
	}
	// These have fixed names.
	a.BackupsetName, a.AppName = a.BackupsetName.unlessPlaceholder(), a.AppName.unlessPlaceholder()
	if a.SubclientName == placeholder {
		jobs, err := t.jobs(ctx, nil, placeholder)
		if err != nil {
			return a, err
		}
		if len(jobs) == 0 {
			a.SubclientName = ""
		}
	}
	if a.ClientName == "" && !a.ClientID.given() {
		a.ClientName = a.DisplayName
	}
	return a, nil
}

// level is the deepest that is given. A backup set's name says nothing without
// a client or an instance, because every instance has the same two, and neither
// does a subclient's without anything above it.
func (a association) level() level {
	client := a.ClientID.given() || a.ClientName != ""
	instance := a.InstanceID.given() || a.InstanceName != ""
	above := client || instance || a.BackupsetID.given()
	switch {
	case a.SubclientID.given(), a.SubclientName != "" && above:
		return levelSubclient
	case a.SubclientName != "":
		return levelNone
	case a.BackupsetID.given(), a.BackupsetName != "" && above:
		return levelBackupset
	case a.BackupsetName != "":
		return levelNone
	case instance:
		return levelInstance
	case client:
		return levelClient
	}
	return levelNone
}

// ours reports whether the association is about the PostgreSQL agent, or does
// not say.
func (a association) ours() bool {
	return (!a.ApplicationID.given() || a.ApplicationID.n == applicationID) &&
		(a.AppName == "" || sameName(string(a.AppName), appName))
}

// set returns the backup set that the association names; empty: none. ok is
// false for one that no instance has.
func (a association) set() (kind setKind, ok bool) {
	if a.BackupsetName != "" {
		if kind = setNamed(string(a.BackupsetName)); kind == "" {
			return "", false
		}
	}
	if !a.BackupsetID.given() {
		return kind, true
	}
	_, byID := backupset(a.BackupsetID.n)
	return byID, kind == "" || kind == byID
}

// subclients returns the BACKUP jobs of the place that fit.
func (a association) subclients(ctx context.Context, t tree, p place) ([]holdfast.Job, error) {
	var all []holdfast.Job
	var err error
	if a.SubclientID.given() {
		var j holdfast.Job
		j, err = t.job(ctx, holdfast.JobID(a.SubclientID.n))
		if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
			return nil, nil
		}
		all = []holdfast.Job{j}
	} else {
		all, err = t.jobs(ctx, p.siteIDs(), string(a.SubclientName))
	}
	if err != nil {
		return nil, err
	}
	var jobs []holdfast.Job
	for _, s := range p.sites {
		here := slices.DeleteFunc(slices.Clone(all), func(j holdfast.Job) bool { return j.Site != s.ID || !p.holds(j) })
		jobs = append(jobs, fitting(here, a.SubclientID, a.SubclientName, func(j holdfast.Job) (int64, string) { return int64(j.ID), j.Name })...)
	}
	return jobs, nil
}

// fitting returns those of a list that have the id and the name, as far as they
// are given. Names are compared without case; when one is spelled exactly so,
// the others are not meant.
func fitting[T any](list []T, id number, name text, of func(T) (int64, string)) []T {
	var fit, exact []T
	for _, v := range list {
		n, s := of(v)
		if (id.given() && n != id.n) || (name != "" && !sameName(s, string(name))) {
			continue
		}
		fit = append(fit, v)
		if s == string(name) {
			exact = append(exact, v)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return fit
}
