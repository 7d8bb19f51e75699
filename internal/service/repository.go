package service

import (
	"context"
	"fmt"
	"slices"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// NewRepository asks for a repository.
type NewRepository struct {
	Name       string
	Location   string // as [holdfast.ParseLocation] reads it
	Access     holdfast.ObjectAccess
	MaxRunning int // executions at once; 0: no limit
}

// KitFacts is what a recovery kit is made of. The service does not keep the
// password: it is shown once.
type KitFacts struct {
	Location string
	FormatID string
	Password holdfast.Secret // of a key slot of its own
	Access   string          // how the location is reached; empty: it needs nothing
	CA       string          // certificates of its object store in PEM; empty: the system's
}

func repositoryWord(id holdfast.RepositoryID) string { return fmt.Sprintf("repository %d", id) }

// findRepository returns the repository when the actor may do op to it.
func findRepository(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.RepositoryID) (holdfast.Repository, error) {
	repo, err := r.Repository(ctx, actor.Principal.Account, id)
	if err != nil {
		return holdfast.Repository{}, found(err, repositoryWord(id))
	}
	t := target{what: repositoryWord(id)}
	if bound(actor) {
		users, err := repositoryUsers(ctx, r, actor)
		if err != nil {
			return holdfast.Repository{}, err
		}
		t.sites = users[id]
	}
	return repo, allow(actor, op, t)
}

// repositoryUsers says which of the credential's sites keep sets in which
// repository, by their own setting or by one of their jobs'.
func repositoryUsers(ctx context.Context, r store.Reader, actor holdfast.Actor) (map[holdfast.RepositoryID][]holdfast.SiteID, error) {
	sites, err := sitesInScope(ctx, r, actor)
	if err != nil {
		return nil, err
	}
	users := map[holdfast.RepositoryID][]holdfast.SiteID{}
	for _, site := range sites {
		users[site.Repository] = append(users[site.Repository], site.ID)
	}
	byJobs, err := r.RepositoryUsers(ctx, actor.Principal.Account)
	for id, sites := range byJobs {
		users[id] = append(users[id], slices.DeleteFunc(sites, func(site holdfast.SiteID) bool { return !actor.Credential.Covers(site) })...)
	}
	return users, err
}

// place reads where the new repository is to stand, and checks that it comes with the
// access that it needs.
func (in NewRepository) place() (holdfast.Location, error) {
	l, err := holdfast.ParseLocation(in.Location)
	switch {
	case err != nil:
		return l, err
	case l.InStore():
		return l, in.Access.Validate()
	case in.Access != holdfast.ObjectAccess{}:
		return l, errNoAccess(l.String())
	}
	return l, nil
}

// errNoAccess refuses an access key to a directory.
func errNoAccess(location string) error {
	return holdfast.Errorf(holdfast.CodeInvalid, "%s is a directory, and takes no access key", location).
		WithHint("a repository in an object store stands at s3:https://HOST/BUCKET/PREFIX")
}

// repositoryFree checks that neither name nor place is another repository's, and
// that the place is no site's.
func repositoryFree(ctx context.Context, r store.Reader, a holdfast.AccountID, name string, l holdfast.Location) error {
	_, err := r.RepositoryByName(ctx, a, name)
	if err := free(err, "repository", name); err != nil {
		return err
	}
	list, err := r.Repositories(ctx, 0) // of every account: they stand on one disk, or in one store
	if err != nil {
		return err
	}
	for _, other := range list {
		at, err := holdfast.ParseLocation(other.Location)
		switch {
		case err != nil:
			return fmt.Errorf("read the location of repository %d: %w", other.ID, err)
		case !at.Overlaps(l):
		case other.Account != a:
			return holdfast.Errorf(holdfast.CodeConflict, "no repository can stand at %s", l).WithHint("choose another place")
		case at == l:
			return holdfast.Errorf(holdfast.CodeConflict, "repository %q stands at %s already", other.Name, l).
				WithHint("use that one, or choose another place")
		default:
			return holdfast.Errorf(holdfast.CodeConflict, "%s and repository %q at %s lie inside each other", l, other.Name, other.Location).
				WithHint("choose another place")
		}
	}
	return outsideSites(ctx, r, a, l)
}

// CreateRepository makes a repository at a location that is empty or missing,
// with two keys: the service's own, and one for the recovery kit that is
// returned here and never again. Only the owner of the socket may make one in
// another account than the default one. CodeConflict for a name or a location
// that is taken or that holds anything, CodeInvalid for one inside or around a site's
// data directory and for an object store that overwrites what is there.
func (s *Service) CreateRepository(ctx context.Context, actor holdfast.Actor, in NewRepository) (holdfast.Repository, KitFacts, error) {
	fail := func(err error) (holdfast.Repository, KitFacts, error) { return holdfast.Repository{}, KitFacts{}, err }
	if err := allow(actor, opCreateRepository, account()); err != nil {
		return fail(err)
	}
	row, service, err := s.newRepository(ctx, actor, in, "ask the server's owner to create it with --account")
	if err != nil {
		return fail(err)
	}
	kit, err := s.cfg.Repositories.NewKitPassword()
	if err != nil {
		return fail(err)
	}
	row.FormatID, err = s.createFiles(ctx, row.Location, in.Access, service, kit)
	if err != nil {
		return fail(err)
	}
	repo, err := s.insertRepository(ctx, actor, row, in.Access.AccessKey)
	if err != nil {
		code := holdfast.ErrorCode(err)
		return fail(holdfast.Wrap(code, err, "the repository at %s was made, but not recorded: %s", row.Location, holdfast.ErrorMessage(err)).
			WithHint("an empty repository that nothing uses is there: remove the directory, or what is under the prefix, then try again"))
	}
	s.cfg.Log.InfoContext(ctx, "repository created", "repository", repo.ID, "actor", actor.String())
	l, err := holdfast.ParseLocation(repo.Location)
	if err != nil {
		return fail(err)
	}
	return repo, KitFacts{Location: repo.Location, FormatID: repo.FormatID, Password: kit, Access: in.Access.Guide(l), CA: in.Access.CA}, nil
}

// newRepository checks what is asked for, and returns the row without a format id, and the
// password that it holds. Nothing is made yet: a broken master key leaves nothing behind.
func (s *Service) newRepository(
	ctx context.Context, actor holdfast.Actor, in NewRepository, hint string,
) (row holdfast.Repository, service holdfast.Secret, err error) {
	if err := holdfast.ValidName("repository", in.Name); err != nil {
		return row, service, err
	}
	if in.MaxRunning < 0 {
		return row, service, holdfast.Errorf(holdfast.CodeInvalid, "the limit of running executions is negative").WithHint("use 0 for no limit")
	}
	l, err := in.place()
	if err != nil {
		return row, service, err
	}
	// In an object store, too: the server would call whatever address it is given.
	if err := onServer(actor, "a repository", hint); err != nil {
		return row, service, err
	}
	row = holdfast.Repository{Account: actor.Principal.Account, Name: in.Name, Location: l.String(), MaxRunning: in.MaxRunning}
	err = s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		return repositoryFree(ctx, r, row.Account, row.Name, l)
	})
	if err != nil {
		return row, service, err
	}
	if service, err = newSecret(""); err != nil {
		return row, service, err
	}
	if row.Password, err = s.seal(service); err != nil {
		return row, service, err
	}
	row.Access, err = s.sealAccess(in.Access)
	return row, service, err
}

func (s *Service) createFiles(ctx context.Context, location string, access holdfast.ObjectAccess, service, kit holdfast.Secret) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	return s.cfg.Repositories.Create(ctx, location, access, service, kit)
}

// insertRepository outlives the caller's patience: the files are there already.
func (s *Service) insertRepository(ctx context.Context, actor holdfast.Actor, row holdfast.Repository, accessKey string) (holdfast.Repository, error) {
	row.Created = s.now()
	var repo holdfast.Repository
	l, err := holdfast.ParseLocation(row.Location)
	if err != nil {
		return repo, err
	}
	err = s.update(context.WithoutCancel(ctx), actor, func(ctx context.Context, tx store.Tx) error {
		repo = row
		if err := repositoryFree(ctx, tx, repo.Account, repo.Name, l); err != nil {
			return err
		}
		if err := tx.InsertRepository(ctx, &repo); err != nil {
			return err
		}
		data := facts{"name": repo.Name, "location": repo.Location, "format_id": repo.FormatID}
		if accessKey != "" {
			data["access_key"] = accessKey
		}
		return record(ctx, tx, actor, repo.Created, repositoryWord(repo.ID), "repository.created", data)
	})
	return repo, err
}

// Repositories lists the repositories; a credential that is bound to sites sees
// those where their sets are kept.
func (s *Service) Repositories(ctx context.Context, actor holdfast.Actor) ([]holdfast.Repository, error) {
	if err := allow(actor, opRepositories, account()); err != nil {
		return nil, err
	}
	var list []holdfast.Repository
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		shared, err := repositoriesInScope(ctx, r, actor)
		list = slices.Clone(shared)
		return err
	})
	return list, err
}

// repositoriesInScope lists the repositories where sets of the credential's sites
// are kept. The list is shared: callers do not change it.
func repositoriesInScope(ctx context.Context, r store.Reader, actor holdfast.Actor) ([]holdfast.Repository, error) {
	list, err := r.Repositories(ctx, actor.Principal.Account)
	if err != nil || !bound(actor) {
		return list, err
	}
	users, err := repositoryUsers(ctx, r, actor)
	return those(list, func(repo holdfast.Repository) bool { return len(users[repo.ID]) > 0 }), err
}

// Repository returns a repository.
func (s *Service) Repository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) (holdfast.Repository, error) {
	return s.repositoryFor(ctx, actor, opRepository, id)
}

func (s *Service) repositoryFor(ctx context.Context, actor holdfast.Actor, op Operation, id holdfast.RepositoryID) (holdfast.Repository, error) {
	var repo holdfast.Repository
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		var err error
		repo, err = findRepository(ctx, r, actor, op, id)
		return err
	})
	if err != nil {
		return holdfast.Repository{}, err
	}
	return repo, nil
}

// DeleteRepository forgets a repository; its files stay. CodeConflict while a
// site, a job, a copy or an execution that has not ended names it.
func (s *Service) DeleteRepository(ctx context.Context, actor holdfast.Actor, id holdfast.RepositoryID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		repo, err := findRepository(ctx, tx, actor, opDeleteRepository, id)
		if err != nil {
			return err
		}
		users, err := tx.RepositoryUsers(ctx, actor.Principal.Account)
		if err != nil {
			return err
		}
		var jobs []holdfast.Job
		if sites := users[id]; len(sites) > 0 {
			if jobs, _, err = tx.Jobs(ctx, actor.Principal.Account, store.JobFilter{Sites: sites[:1]}); err != nil {
				return err
			}
		}
		if i := slices.IndexFunc(jobs, func(j holdfast.Job) bool { return j.Repository == id }); i >= 0 {
			return holdfast.Errorf(holdfast.CodeConflict, "repository %q is in use by job %d", repo.Name, jobs[i].ID).
				WithHint("give the job another repository first")
		}
		err = unneeded(ctx, tx, actor, repositoryWord(id), func(e holdfast.Execution) bool { return e.Repository == id })
		if err != nil {
			return err
		}
		if err := tx.DeleteRepository(ctx, actor.Principal.Account, id); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, repositoryWord(id), "repository.deleted",
			facts{"name": repo.Name, "location": repo.Location, "format_id": repo.FormatID})
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "repository deleted", "repository", id, "actor", actor.String())
	}
	return err
}
