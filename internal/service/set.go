package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// SetView is a backup set with its copies, without those that no reader may see
// yet.
type SetView struct {
	holdfast.BackupSet
	Copies []holdfast.Copy // those that have expired or are deleted, too
}

func setWord(id holdfast.SetID) string { return fmt.Sprintf("backup set %d", id) }

// findSet returns the set when the actor may do op to it. A set whose only
// copies are unfinished does not exist.
func findSet(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.SetID) (SetView, error) {
	set, err := r.Set(ctx, actor.Principal.Account, id)
	if err != nil {
		return SetView{}, found(err, setWord(id))
	}
	copies, err := r.Copies(ctx, set.Account, set.ID)
	if err != nil {
		return SetView{}, err
	}
	v := viewSet(set, copies)
	if len(v.Copies) == 0 {
		return SetView{}, notFound(setWord(id))
	}
	return v, allow(actor, op, target{what: setWord(id), sites: []holdfast.SiteID{set.Site}})
}

// readable reports whether readers may see one of the copies.
func readable(copies []holdfast.Copy) bool {
	return slices.ContainsFunc(copies, holdfast.Copy.Readable)
}

// errGone is for a set that is in no repository any more.
func errGone(id holdfast.SetID) error {
	return holdfast.Errorf(holdfast.CodeConflict, "backup set %d is in no repository any more", id).
		WithHint("choose a set that has not been deleted")
}

func viewSet(set holdfast.BackupSet, copies []holdfast.Copy) SetView {
	copies = slices.DeleteFunc(copies, func(c holdfast.Copy) bool {
		return c.State == holdfast.CopyWriting || c.State == holdfast.CopyOrphaned
	})
	return SetView{BackupSet: set, Copies: copies}
}

// Sets lists the backup sets of the sites that the credential covers, the newest
// first, and says how many there are without the page.
func (s *Service) Sets(ctx context.Context, actor holdfast.Actor, f store.SetFilter) ([]SetView, int, error) {
	if err := allow(actor, opSets, account()); err != nil {
		return nil, 0, err
	}
	if err := checkPage(f.Page); err != nil {
		return nil, 0, err
	}
	var ok bool
	if f.Sites, ok = inScope(actor, f.Sites); !ok {
		return nil, 0, nil
	}
	var views []SetView
	var total int
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		sets, n, err := r.Sets(ctx, actor.Principal.Account, f)
		if err != nil {
			return err
		}
		total = n
		ids := make([]holdfast.SetID, len(sets))
		for i, set := range sets {
			ids[i] = set.ID
		}
		copies, err := r.CopiesOf(ctx, actor.Principal.Account, ids)
		if err != nil {
			return err
		}
		views = make([]SetView, len(sets))
		for i, set := range sets {
			views[i] = viewSet(set, copies[set.ID])
		}
		return nil
	})
	return views, total, err
}

// Set returns a backup set, also one whose copies have been deleted.
func (s *Service) Set(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) (SetView, error) {
	var v SetView
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		v, err = findSet(ctx, r, actor, opSet, id)
		return err
	})
	if err != nil {
		return SetView{}, err
	}
	return v, nil
}
