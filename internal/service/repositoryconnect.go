package service

import (
	"bytes"
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// ConnectRepository asks for a repository that exists to be used here.
type ConnectRepository struct {
	NewRepository
	Password holdfast.Secret // that opens it: a recovery kit's
	FormatID string          // that it must have; empty: any
}

// ConnectRepository takes a repository that exists, and gives it a key of the service's
// own. Nothing else in it changes, and none of its sets are known until they are imported.
// One that is here already, by this name and at this place, gets a new key: the service's
// password opens it no longer when the metadata was put back to before it changed.
// CodeForbidden when the password opens nothing, CodeInvalid when another repository is
// there, otherwise as [Service.CreateRepository].
func (s *Service) ConnectRepository(ctx context.Context, actor holdfast.Actor, in ConnectRepository) (holdfast.Repository, error) {
	fail := func(err error) (holdfast.Repository, error) { return holdfast.Repository{}, err }
	if err := allow(actor, opConnectRepository, account()); err != nil {
		return fail(err)
	}
	if in.Password.IsZero() {
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "the repository's password is missing").WithHint("the recovery kit holds one"))
	}
	const hint = "ask the server's owner to connect it with --account"
	known, err := s.sameRepository(ctx, actor, in.NewRepository)
	if err != nil {
		return fail(err)
	}
	if known.ID != 0 {
		if err := onServer(actor, "a repository", hint); err != nil {
			return fail(err)
		}
		return s.connectAgain(ctx, actor, known, in)
	}
	row, service, err := s.newRepository(ctx, actor, in.NewRepository, hint)
	if err != nil {
		return fail(err)
	}
	limited, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	row.FormatID, err = s.cfg.Repositories.Connect(limited, row.Location, in.Access, in.Password, service, in.FormatID)
	if err != nil {
		return fail(err)
	}
	repo, err := s.insertRepository(ctx, actor, row, in.Access.AccessKey)
	if err != nil {
		code := holdfast.ErrorCode(err)
		return fail(holdfast.Wrap(code, err, "the repository at %s has a new key, but was not recorded: %s", row.Location, holdfast.ErrorMessage(err)).
			WithHint("connect it again; the key that nobody knows the password of does no harm"))
	}
	s.cfg.Log.InfoContext(ctx, "repository connected", "repository", repo.ID, "actor", actor.String())
	return repo, nil
}

// sameRepository returns the repository that is known by this name, and stands at this
// place; the zero value when there is none.
func (s *Service) sameRepository(ctx context.Context, actor holdfast.Actor, in NewRepository) (holdfast.Repository, error) {
	l, err := in.place()
	if err != nil {
		return holdfast.Repository{}, err
	}
	var repo holdfast.Repository
	err = s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		repo, err = r.RepositoryByName(ctx, actor.Principal.Account, in.Name)
		return err
	})
	switch {
	case holdfast.ErrorCode(err) == holdfast.CodeNotFound, err == nil && repo.Location != l.String():
		return holdfast.Repository{}, nil
	case err != nil:
		return holdfast.Repository{}, err
	}
	return repo, nil
}

// connectAgain gives the service a new key of a repository that it knows.
func (s *Service) connectAgain(ctx context.Context, actor holdfast.Actor, repo holdfast.Repository, in ConnectRepository) (holdfast.Repository, error) {
	fail := func(err error) (holdfast.Repository, error) { return holdfast.Repository{}, err }
	if in.FormatID != "" && in.FormatID != repo.FormatID {
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "repository %q is another one: its id is %s, not %s", repo.Name, repo.FormatID, in.FormatID).
			WithHint("connect this one by another name"))
	}
	service, err := newSecret("")
	if err != nil {
		return fail(err)
	}
	sealed, err := s.seal(service)
	if err != nil {
		return fail(err)
	}
	access, err := s.sealAccess(in.Access)
	if err != nil {
		return fail(err)
	}
	limited, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if _, err := s.cfg.Repositories.Connect(limited, repo.Location, in.Access, in.Password, service, repo.FormatID); err != nil {
		return fail(err)
	}
	var row holdfast.Repository
	err = s.update(context.WithoutCancel(ctx), actor, func(ctx context.Context, tx store.Tx) (err error) {
		if row, err = findRepository(ctx, tx, actor, opConnectRepository, repo.ID); err != nil {
			return err
		}
		if !bytes.Equal(row.Password, repo.Password) || !bytes.Equal(row.Access, repo.Access) {
			return holdfast.Errorf(holdfast.CodeConflict, "it has been changed meanwhile")
		}
		row.Password, row.Access = sealed, access
		if err := tx.UpdateRepository(ctx, row); err != nil {
			return err
		}
		data := facts{"name": row.Name}
		if in.Access.AccessKey != "" {
			data["access_key"] = in.Access.AccessKey
		}
		return record(ctx, tx, actor, s.now(), repositoryWord(row.ID), "repository.password_changed", data)
	})
	if err != nil {
		return fail(errUnrecordedKey(err, repo.Name))
	}
	s.cfg.Log.InfoContext(ctx, "repository connected again", "repository", row.ID, "actor", actor.String())
	return row, nil
}

// errUnrecordedKey says that a repository has a key whose password nobody has kept.
func errUnrecordedKey(err error, name string) error {
	return holdfast.Wrap(holdfast.ErrorCode(err), err, "repository %q has a new key, but its password was not recorded: %s", name, holdfast.ErrorMessage(err)).
		WithHint("try again; the key that nobody knows the password of does no harm: holdfast repository key remove --force takes it away")
}
