package main

import (
	"context"
	"log/slog"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/objstore/place"
	"github.com/holdfast-backup/holdfast/internal/repository"
)

// repositories makes and opens repositories. It implements service.Repositories.
type repositories struct{ log *slog.Logger }

// NewKitPassword implements service.Repositories.
func (repositories) NewKitPassword() (holdfast.Secret, error) { return repository.NewKitPassword() }

// Create makes an empty repository with two key slots. When it fails, a
// directory that it made is gone again.
func (r repositories) Create(ctx context.Context, location string, access holdfast.ObjectAccess, svc, kit holdfast.Secret) (_ string, err error) {
	b, undo, err := place.Create(ctx, location, access, r.log)
	if err != nil {
		return "", err
	}
	repo, err := repository.Create(ctx, b, svc, kit)
	if err != nil {
		undo()
		return "", err
	}
	return repo.ID(), nil
}

// Connect opens a repository and adds the service's key.
func (r repositories) Connect(ctx context.Context, location string, access holdfast.ObjectAccess, password, svc holdfast.Secret, want string) (string, error) {
	b, err := place.Open(location, access, r.log)
	if err != nil {
		return "", err
	}
	repo, err := repository.Open(ctx, b, password)
	if err != nil {
		return "", err
	}
	if want != "" && repo.ID() != want {
		return "", holdfast.Errorf(holdfast.CodeInvalid, "another repository stands at %s: its id is %s, not %s", location, repo.ID(), want).
			WithHint("name the right place with --location")
	}
	if _, err := repo.AddKey(ctx, svc, repository.UseService); err != nil {
		return "", err
	}
	return repo.ID(), nil
}

// Check opens a repository.
func (r repositories) Check(ctx context.Context, location string, access holdfast.ObjectAccess, svc holdfast.Secret, formatID string) error {
	_, err := r.open(ctx, location, access, svc, formatID)
	return err
}

// Rekey gives the service's key another password.
func (r repositories) Rekey(
	ctx context.Context, location string, access holdfast.ObjectAccess, svc, next holdfast.Secret, formatID string, record func(context.Context) error,
) error {
	repo, err := r.open(ctx, location, access, svc, formatID)
	if err != nil {
		return err
	}
	_, err = repo.ChangeServicePassword(ctx, next, record)
	return err
}

func (r repositories) open(
	ctx context.Context, location string, access holdfast.ObjectAccess, svc holdfast.Secret, formatID string,
) (*repository.Repository, error) {
	b, err := place.Open(location, access, r.log)
	if err != nil {
		return nil, err
	}
	repo, err := repository.Open(ctx, b, svc)
	if err != nil {
		return nil, err
	}
	if repo.ID() != formatID {
		return nil, holdfast.Errorf(holdfast.CodeInvalid, "another repository stands at %s", location).WithHint("bring back the objects of the one that belongs there")
	}
	return repo, nil
}
