package native

import (
	"context"
	"strconv"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/service"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// number reads an id; false when ref is a name.
func number(ref string) (int64, bool) {
	n, err := strconv.ParseInt(ref, 10, 64)
	return n, err == nil && n > 0
}

func notFound(what, ref string) error {
	return holdfast.Errorf(holdfast.CodeNotFound, "there is no %s %q", what, ref).WithHint("see holdfast %s list", what)
}

// A name may consist of digits: what no id matches is looked up as a name.

func (a *api) site(ctx context.Context, actor holdfast.Actor, ref string) (holdfast.Site, error) {
	if id, ok := number(ref); ok {
		s, err := a.Service.Site(ctx, actor, holdfast.SiteID(id))
		if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
			return s, err
		}
	}
	s, err := a.Service.SiteBySlug(ctx, actor, ref)
	if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
		return s, notFound("site", ref)
	}
	return s, err
}

func (a *api) sites(ctx context.Context, actor holdfast.Actor, refs []string) ([]holdfast.SiteID, error) {
	var ids []holdfast.SiteID
	for _, ref := range refs {
		s, err := a.site(ctx, actor, ref)
		if err != nil {
			return nil, err
		}
		ids = append(ids, s.ID)
	}
	return ids, nil
}

func (a *api) host(ctx context.Context, actor holdfast.Actor, ref string) (holdfast.Host, error) {
	hosts, err := a.Service.Hosts(ctx, actor)
	if err != nil {
		return holdfast.Host{}, err
	}
	return find("host", ref, hosts, func(h holdfast.Host) (int64, string) { return int64(h.ID), h.Name })
}

func (a *api) repository(ctx context.Context, actor holdfast.Actor, ref string) (holdfast.Repository, error) {
	repositories, err := a.Service.Repositories(ctx, actor)
	if err != nil {
		return holdfast.Repository{}, err
	}
	return find("repository", ref, repositories, func(r holdfast.Repository) (int64, string) { return int64(r.ID), r.Name })
}

func (a *api) worker(ctx context.Context, actor holdfast.Actor, ref string) (holdfast.Worker, error) {
	workers, err := a.Service.Workers(ctx, actor)
	if err != nil {
		return holdfast.Worker{}, err
	}
	return find("worker", ref, workers, func(w holdfast.Worker) (int64, string) { return int64(w.ID), w.Name })
}

// find looks for the id, then for the name.
func find[T any](what, ref string, all []T, key func(T) (int64, string)) (T, error) {
	if id, ok := number(ref); ok {
		for _, v := range all {
			if n, _ := key(v); n == id {
				return v, nil
			}
		}
	}
	for _, v := range all {
		if _, name := key(v); name == ref {
			return v, nil
		}
	}
	var none T
	return none, notFound(what, ref)
}

// job takes an id, site/name, or a name that only one job has.
func (a *api) job(ctx context.Context, actor holdfast.Actor, ref string) (holdfast.JobID, error) {
	if id, ok := number(ref); ok {
		v, err := a.Service.Job(ctx, actor, holdfast.JobID(id))
		if err == nil {
			return v.ID, nil
		}
		if holdfast.ErrorCode(err) != holdfast.CodeNotFound {
			return 0, err
		}
	}
	f := store.JobFilter{Name: ref}
	if site, name, ok := strings.Cut(ref, "/"); ok {
		s, err := a.site(ctx, actor, site)
		if err != nil {
			return 0, err
		}
		f = store.JobFilter{Name: name, Sites: []holdfast.SiteID{s.ID}}
	}
	found, _, err := a.Service.Jobs(ctx, actor, f)
	if err != nil {
		return 0, err
	}
	switch len(found) {
	case 0:
		return 0, notFound("job", ref)
	case 1:
		return found[0].ID, nil
	}
	return 0, holdfast.Errorf(holdfast.CodeInvalid, "%d jobs are named %q", len(found), ref).WithHint("name the job by its id, or as site/name")
}

// names finds the words for ids in answers. An id whose name the actor may not
// see stays without one.
type names struct{ service.Directory }

func (n names) slugOf(id holdfast.SiteID) string {
	s, _ := n.Site(id)
	return s.Slug
}

func (n names) hostOf(id holdfast.HostID) string {
	h, _ := n.Host(id)
	return h.Name
}

func (n names) repositoryOf(id holdfast.RepositoryID) string {
	r, _ := n.Repository(id)
	return r.Name
}

func (a *api) names(ctx context.Context, actor holdfast.Actor) (names, error) {
	d, err := a.Service.Directory(ctx, actor)
	return names{d}, visible(err)
}

// slugs names the sites that still exist.
func (n names) slugs(ids []holdfast.SiteID) []string {
	var list []string
	for _, id := range ids {
		if s, ok := n.Site(id); ok {
			list = append(list, s.Slug)
		}
	}
	return list
}

// visible forgives a list that the actor may not see.
func visible(err error) error {
	if holdfast.ErrorCode(err) == holdfast.CodeForbidden {
		return nil
	}
	return err
}
