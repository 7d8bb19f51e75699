package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

// ConnectRepository asks for a repository that exists to be used here.
type ConnectRepository struct {
	NewRepository
	Password holdfast.Secret // that opens it: a recovery kit's
	FormatID string          // that it must have; empty: any
}

// ConnectRepository takes a repository that exists, and gives it a key of the service's
// own. Nothing else in it changes, and none of its sets are known until they are imported.
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
	row, service, err := s.newRepository(ctx, actor, in.NewRepository, "ask the server's owner to connect it with --account")
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
