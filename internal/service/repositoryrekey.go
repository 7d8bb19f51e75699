package service

import (
	"bytes"
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// RekeyRepository gives the service another password for the repository: a new key, and
// then the old one is taken away. No data is written anew, and other keys stay. Executions
// that run go on; those that begin from then on have the new password.
func (s *Service) RekeyRepository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) error {
	repo, err := s.repositoryFor(ctx, actor, opRekeyRepository, id)
	if err != nil {
		return err
	}
	var access holdfast.ObjectAccess
	if len(repo.Access) > 0 {
		if access, err = s.openAccessOf(repo); err != nil {
			return err
		}
	}
	old, err := s.cfg.Sealer.Open(repo.Password)
	if err != nil {
		return fmt.Errorf("open the password of repository %d: %w", repo.ID, err)
	}
	next, err := newSecret("")
	if err != nil {
		return err
	}
	sealed, err := s.seal(next)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	err = s.cfg.Repositories.Rekey(limited, repo.Location, access, old, next, repo.FormatID, func(ctx context.Context) error {
		if err := s.recordPassword(ctx, actor, repo, sealed); err != nil {
			return errUnrecordedKey(err, repo.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.cfg.Log.InfoContext(ctx, "password of a repository changed", "repository", id, "actor", actor.String())
	return nil
}

// recordPassword keeps the password that the repository has from now on.
func (s *Service) recordPassword(ctx context.Context, actor holdfast.Actor, repo holdfast.Repository, sealed []byte) error {
	return s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		row, err := findRepository(ctx, tx, actor, opRekeyRepository, repo.ID)
		if err != nil {
			return err
		}
		if !bytes.Equal(row.Password, repo.Password) {
			return holdfast.Errorf(holdfast.CodeConflict, "it has been changed meanwhile")
		}
		row.Password = sealed
		if err := tx.UpdateRepository(ctx, row); err != nil {
			return err
		}
		return record(ctx, tx, actor, s.now(), repositoryWord(repo.ID), "repository.password_changed", facts{"name": row.Name})
	})
}
