package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// SetMaintenance marks a worker for maintenance, or not any more: only such a worker is
// told to delete anything in a repository. The worker inside serve is marked when it is
// made, and is for the owner of the server to change.
func (s *Service) SetMaintenance(ctx context.Context, actor holdfast.Actor, id holdfast.WorkerID, on bool) (holdfast.Worker, error) {
	if err := allow(actor, opSetMaintenance, account()); err != nil {
		return holdfast.Worker{}, err
	}
	now := s.now()
	var w holdfast.Worker
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) (err error) {
		w, err = tx.Worker(ctx, id)
		switch {
		case err != nil:
			return found(err, workerWord(id))
		case !w.Removed.IsZero(), w.Account != 0 && w.Account != actor.Principal.Account:
			return notFound(workerWord(id))
		case w.Account == 0 && !ofInstallation(actor):
			return holdfast.Errorf(holdfast.CodeForbidden, "the worker inside the server is for all accounts").
				WithHint("run holdfast on the server's machine as its owner, without --account")
		case w.Maintenance == on:
			return nil
		}
		w.Maintenance = on
		if err := tx.UpdateWorker(ctx, w); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, workerWord(id), "worker.maintenance", facts{"name": w.Name, "on": on})
	})
	if err != nil {
		return holdfast.Worker{}, err
	}
	return w, nil
}
