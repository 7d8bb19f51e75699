package sqlite

import (
	"context"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast"
)

// maxShelves bounds for how many accounts lists are kept: some 300 KiB for an
// account of a thousand sites.
const maxShelves = 100

// directory remembers the hosts, sites and repositories of accounts as of one
// version. The version in the database rises with each change of one.
type directory struct {
	mu           sync.Mutex // guards the fields below
	version      int64
	hosts        map[holdfast.AccountID][]holdfast.Host
	sites        map[holdfast.AccountID][]holdfast.Site
	repositories map[holdfast.AccountID][]holdfast.Repository
}

func newDirectory() *directory {
	d := &directory{}
	d.forget(0)
	return d
}

func (d *directory) forget(version int64) {
	d.version = version
	d.hosts = map[holdfast.AccountID][]holdfast.Host{}
	d.sites = map[holdfast.AccountID][]holdfast.Site{}
	d.repositories = map[holdfast.AccountID][]holdfast.Repository{}
}

// remembered returns an account's list from the shelf, or reads it and keeps it
// there. Everybody gets the same list.
func remembered[T any](
	ctx context.Context, r reader, a holdfast.AccountID, shelf func(*directory) map[holdfast.AccountID][]T, read func(context.Context) ([]T, error),
) ([]T, error) {
	d, version := r.directory, r.s.directory
	if d == nil || version == 0 {
		return read(ctx)
	}
	d.mu.Lock()
	if d.version == version {
		if list, ok := shelf(d)[a]; ok {
			d.mu.Unlock()
			return slices.Clip(list), nil
		}
	}
	d.mu.Unlock()
	list, err := read(ctx)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if version > d.version || len(shelf(d)) >= maxShelves {
		d.forget(max(version, d.version))
	}
	if version == d.version { // else a newer snapshot came first
		shelf(d)[a] = list
	}
	return slices.Clip(list), nil
}
