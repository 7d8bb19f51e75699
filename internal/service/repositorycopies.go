package service

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// MaxCopies is how many copies one call lists.
const MaxCopies = 1000

// RepositoryCopies lists the copies that are recorded in a repository, in every state,
// those that no reader sees, too: what is in the repository and not among them, nobody
// here has intended. They come by id, after the given one. It says which installation
// this is.
func (s *Service) RepositoryCopies(
	ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID, after holdfast.CopyID, limit int,
) (installation string, copies []holdfast.Copy, err error) {
	if limit < 1 || limit > MaxCopies {
		return "", nil, holdfast.Errorf(holdfast.CodeInvalid, "%d copies cannot be listed at once", limit).WithHint("use 1 to %d", MaxCopies)
	}
	err = s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		if _, err := findRepository(ctx, r, actor, opRepositoryCopies, id); err != nil {
			return err
		}
		if installation, err = r.Installation(ctx); err != nil {
			return err
		}
		copies, err = r.CopiesIn(ctx, id, after, limit)
		return err
	})
	if err != nil {
		return "", nil, err
	}
	return installation, copies, nil
}
