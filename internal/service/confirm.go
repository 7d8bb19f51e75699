package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// ConfirmSet takes an imported set for what it says that it is: retention counts it from
// then on, and backups may build on it. One that nobody has to confirm stays as it is.
// CodeConflict when it is gone from every repository.
func (s *Service) ConfirmSet(ctx context.Context, actor holdfast.Actor, id holdfast.SetID) (SetView, error) {
	now := s.now()
	var v SetView
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		var err error
		if v, err = findSet(ctx, tx, actor, opConfirmSet, id); err != nil {
			return err
		}
		if !readable(v.Copies) {
			return errGone(id)
		}
		for i, was := range v.Copies {
			if was.State != holdfast.CopyUnconfirmed {
				continue
			}
			next := was
			next.State = holdfast.CopyComplete
			if v.Damaged != "" {
				next.State = holdfast.CopyDamaged
			}
			if err := tx.MoveCopy(ctx, was, next); err != nil {
				return err
			}
			v.Copies[i] = next
			err := record(ctx, tx, actor, now, setSubject(id), "set.confirmed",
				facts{"site": v.Site, "job": v.Job, "repository": next.Repository, "snapshot": next.Snapshot, "state": next.State})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return SetView{}, err
	}
	return v, nil
}
