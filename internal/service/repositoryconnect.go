package service

import (
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
// CodeForbidden when the password opens nothing, CodeInvalid when another repository is
// there, otherwise as [Service.CreateRepository].
func (s *Service) ConnectRepository(ctx context.Context, actor holdfast.Actor, in ConnectRepository) (holdfast.Repository, error) {
	fail := func(err error) (holdfast.Repository, error) { return holdfast.Repository{}, err }
	if err := allow(actor, opConnectRepository, account()); err != nil {
		return fail(err)
	}
	if err := holdfast.ValidName("repository", in.Name); err != nil {
		return fail(err)
	}
	if in.MaxRunning < 0 {
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "the limit of running executions is negative").WithHint("use 0 for no limit"))
	}
	if in.Password.IsZero() {
		return fail(holdfast.Errorf(holdfast.CodeInvalid, "the repository's password is missing").WithHint("the recovery kit holds one"))
	}
	l, err := in.place()
	if err != nil {
		return fail(err)
	}
	if err := onServer(actor, "a repository", "ask the server's owner to connect it with --account"); err != nil {
		return fail(err)
	}
	err = s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		return repositoryFree(ctx, r, actor.Principal.Account, in.Name, l)
	})
	if err != nil {
		return fail(err)
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
	formatID, err := s.cfg.Repositories.Connect(limited, l.String(), in.Access, in.Password, service, in.FormatID)
	if err != nil {
		return fail(err)
	}
	repo, err := s.insertRepository(ctx, actor, holdfast.Repository{
		Account: actor.Principal.Account, Name: in.Name, Location: l.String(), FormatID: formatID, Password: sealed,
		Access: access, MaxRunning: in.MaxRunning,
	}, in.Access.AccessKey)
	if err != nil {
		code := holdfast.ErrorCode(err)
		return fail(holdfast.Wrap(code, err, "the repository at %s has a new key, but was not recorded: %s", l, holdfast.ErrorMessage(err)).
			WithHint("connect it again; the key that nobody knows the password of does no harm"))
	}
	s.cfg.Log.InfoContext(ctx, "repository connected", "repository", repo.ID, "actor", actor.String())
	return repo, nil
}
