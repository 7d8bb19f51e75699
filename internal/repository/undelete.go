package repository

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/holdfast-backup/holdfast/internal/objstore"
)

// undeleteLanes is how many objects are brought back at once.
const undeleteLanes = 16

// UndeleteOptions say what Undelete brings back.
type UndeleteOptions struct {
	Since  time.Time // by the store's clock
	DryRun bool      // look only
	// Progress is called for each object when it is back, from one goroutine at a time; nil: nobody
	// wants to know.
	Progress func(objstore.Deleted)
}

// UndeleteResult is what Undelete found.
type UndeleteResult struct {
	Objects []objstore.Deleted // that are back, or would be, in the order in which they come back
	Gone    []objstore.Deleted // of which the store has kept nothing
}

// Undelete brings back what was deleted of a repository since a time, its locks apart.
// It needs no key: the keys may be among it. What others name comes back before them,
// so that a repository in which only some of it is back is no worse than before, and
// the same call goes on.
//
// Source: the names are those of docs/format/repository.md.
func Undelete(ctx context.Context, v objstore.Versions, o UndeleteOptions) (UndeleteResult, error) {
	r := UndeleteResult{Objects: []objstore.Deleted{}, Gone: []objstore.Deleted{}}
	found, err := v.Deleted(ctx, "", o.Since)
	if err != nil {
		return r, fmt.Errorf("list what was deleted: %w", err)
	}
	slices.SortFunc(found, func(a, b objstore.Deleted) int {
		return cmp.Or(cmp.Compare(undeleteRank(a.Name), undeleteRank(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	var back []objstore.Deleted
	for _, d := range found {
		switch {
		case undeleteRank(d.Name) < 0: // nobody's, or a lock
		case d.Gone:
			r.Gone = append(r.Gone, d)
		default:
			back = append(back, d)
		}
	}
	if o.DryRun {
		r.Objects = append(r.Objects, back...)
		return r, nil
	}
	for len(back) > 0 { // a rank at a time
		rank := undeleteRank(back[0].Name)
		n := slices.IndexFunc(back, func(d objstore.Deleted) bool { return undeleteRank(d.Name) != rank })
		if n < 0 {
			n = len(back)
		}
		done, err := undelete(ctx, v, back[:n], o.Progress)
		r.Objects = append(r.Objects, done...)
		if err != nil {
			return r, err
		}
		back = back[n:]
	}
	return r, nil
}

// undelete brings objects back, and returns those that are.
func undelete(ctx context.Context, v objstore.Versions, objects []objstore.Deleted, progress func(objstore.Deleted)) ([]objstore.Deleted, error) {
	var g errgroup.Group
	g.SetLimit(undeleteLanes)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make(chan objstore.Deleted, undeleteLanes)
	finished := make(chan error)
	go func() {
		for _, d := range objects {
			g.Go(func() error {
				ctx, stop := withTimeout(ctx, dataTimeout)
				defer stop()
				if err := v.Undelete(ctx, d); err != nil {
					err = fmt.Errorf("bring back %s: %w", d.Name, err)
					cancel(err)
					return err
				}
				results <- d
				return nil
			})
		}
		err := g.Wait()
		close(results)
		finished <- err
	}()
	var done []objstore.Deleted
	for d := range results {
		done = append(done, d)
		if progress != nil {
			progress(d)
		}
	}
	return done, <-finished
}

// undeleteRank orders the names by what needs them: packs come before the index that
// names them, and that before snapshots. It is negative for what stays deleted.
func undeleteRank(name string) int {
	if name == configName {
		return 0
	}
	dir, rest, ok := strings.Cut(name, "/")
	if !ok || rest == "" {
		return -1
	}
	return slices.Index([]string{"", "keys", "data", "index", "holdfast", "snapshots"}, dir)
}
