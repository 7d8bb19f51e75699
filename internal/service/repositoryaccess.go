package service

import (
	"bytes"
	"context"
	"fmt"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// sealAccess seals an access; none stays nothing.
func (s *Service) sealAccess(a holdfast.ObjectAccess) ([]byte, error) {
	packed, err := a.Pack()
	if err != nil {
		return nil, err
	}
	return s.seal(packed)
}

// openAccessOf opens a repository's access. CodeInvalid when the repository is in a
// directory.
func (s *Service) openAccessOf(repo holdfast.Repository) (holdfast.ObjectAccess, error) {
	if len(repo.Access) == 0 {
		return holdfast.ObjectAccess{}, errNoAccess(repo.Location)
	}
	packed, err := s.cfg.Sealer.Open(repo.Access)
	if err != nil {
		return holdfast.ObjectAccess{}, fmt.Errorf("open the access of repository %d: %w", repo.ID, err)
	}
	return holdfast.UnpackObjectAccess(packed)
}

// RepositoryAccess returns how the repository's object store is reached, without the
// secret key and the session token: of the token it is only told that there is one.
// CodeInvalid for a repository in a directory.
func (s *Service) RepositoryAccess(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (holdfast.ObjectAccess, bool, error) {
	repo, err := s.repositoryFor(ctx, actor, opRepositoryAccess, id)
	if err != nil {
		return holdfast.ObjectAccess{}, false, err
	}
	a, err := s.openAccessOf(repo)
	shown, token := withoutSecrets(a)
	return shown, token, err
}

func withoutSecrets(a holdfast.ObjectAccess) (_ holdfast.ObjectAccess, token bool) {
	token = !a.SessionToken.IsZero()
	a.SecretKey, a.SessionToken = holdfast.Secret{}, holdfast.Secret{}
	return a, token
}

// SetRepositoryAccess changes how the repository's object store is reached, once the
// repository has been opened that way; executions that begin from then on use it. It
// returns what RepositoryAccess does.
func (s *Service) SetRepositoryAccess(
	ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID, change holdfast.ObjectAccessChange,
) (holdfast.ObjectAccess, bool, error) {
	fail := func(err error) (holdfast.ObjectAccess, bool, error) { return holdfast.ObjectAccess{}, false, err }
	repo, err := s.repositoryFor(ctx, actor, opSetRepositoryAccess, id)
	if err != nil {
		return fail(err)
	}
	old, err := s.openAccessOf(repo)
	if err != nil {
		return fail(err)
	}
	next, err := change.Apply(old)
	if err != nil {
		return fail(err)
	}
	sealed, err := s.sealAccess(next)
	if err != nil {
		return fail(err)
	}
	if err := s.checkAccess(ctx, repo, next); err != nil {
		return fail(err)
	}
	now := s.now()
	err = s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		row, err := findRepository(ctx, tx, actor, opSetRepositoryAccess, id)
		if err != nil {
			return err
		}
		if !bytes.Equal(row.Access, repo.Access) {
			return holdfast.Errorf(holdfast.CodeConflict, "the access of repository %q has been changed meanwhile", row.Name).WithHint("look at it, then try again")
		}
		row.Access = sealed
		if err := tx.UpdateRepository(ctx, row); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, repositoryWord(id), "repository.access_changed", facts{
			"name": row.Name, "access_key": next.AccessKey, "old_access_key": old.AccessKey, "secret_changed": !change.SecretKey.IsZero(),
		})
	})
	if err != nil {
		return fail(err)
	}
	s.cfg.Log.InfoContext(ctx, "access of a repository changed", "repository", id, "actor", actor.String())
	shown, token := withoutSecrets(next)
	return shown, token, nil
}

func (s *Service) checkAccess(ctx context.Context, repo holdfast.Repository, a holdfast.ObjectAccess) error {
	password, err := s.cfg.Sealer.Open(repo.Password)
	if err != nil {
		return fmt.Errorf("open the password of repository %d: %w", repo.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	return s.cfg.Repositories.Check(ctx, repo.Location, a, password, repo.FormatID)
}
