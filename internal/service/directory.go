package service

import (
	"cmp"
	"context"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Directory is the hosts, sites and repositories that an actor may see: what
// most answers name beside what they are about. It never changes.
type Directory struct {
	hosts        []holdfast.Host // each by id
	sites        []holdfast.Site
	repositories []holdfast.Repository
}

// Host returns a host; false when the actor may not see it.
func (d Directory) Host(id holdfast.HostID) (holdfast.Host, bool) {
	return byID(d.hosts, id, func(h holdfast.Host) holdfast.HostID { return h.ID })
}

// Site returns a site; false when the actor may not see it.
func (d Directory) Site(id holdfast.SiteID) (holdfast.Site, bool) {
	return byID(d.sites, id, func(s holdfast.Site) holdfast.SiteID { return s.ID })
}

// Repository returns a repository; false when the actor may not see it.
func (d Directory) Repository(id holdfast.RepositoryID) (holdfast.Repository, bool) {
	return byID(d.repositories, id, func(r holdfast.Repository) holdfast.RepositoryID { return r.ID })
}

func byID[T any, I ~int64](list []T, id I, key func(T) I) (T, bool) {
	i, ok := slices.BinarySearchFunc(list, id, func(v T, id I) int { return cmp.Compare(key(v), id) })
	if !ok {
		var none T
		return none, false
	}
	return list[i], true
}

// Directory returns what the actor may see of the account's hosts, sites and
// repositories.
func (s *Service) Directory(ctx context.Context, actor holdfast.Actor) (Directory, error) {
	if err := allow(actor, opDirectory, account()); err != nil {
		return Directory{}, err
	}
	var d Directory
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		if d.hosts, err = hostsInScope(ctx, r, actor); err != nil {
			return err
		}
		if d.sites, err = sitesInScope(ctx, r, actor); err != nil {
			return err
		}
		d.repositories, err = repositoriesInScope(ctx, r, actor)
		return err
	})
	return d, err
}

// those returns a new list of what is to be kept.
func those[T any](list []T, keep func(T) bool) []T {
	var out []T
	for _, v := range list {
		if keep(v) {
			out = append(out, v)
		}
	}
	return out
}
