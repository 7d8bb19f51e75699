package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
)

const (
	repositoryChanging = "name, location, format_id, password, access, max_running, created"
	repositoryColumns  = "id, account, " + repositoryChanging
)

func repositoryFields(r *holdfast.Repository) []any {
	return []any{idOf(&r.ID), &r.Account, &r.Name, &r.Location, &r.FormatID, &r.Password, &r.Access, &r.MaxRunning, micros{&r.Created}}
}

// Repository returns one repository.
func (r reader) Repository(ctx context.Context, a holdfast.AccountID, id holdfast.RepositoryID) (holdfast.Repository, error) {
	return one(ctx, r.s, named("repository", id), repositoryFields,
		"SELECT "+repositoryColumns+" FROM repositories WHERE id = ? AND "+mine, id, a, a)
}

// RepositoryByName returns one repository.
func (r reader) RepositoryByName(ctx context.Context, a holdfast.AccountID, name string) (holdfast.Repository, error) {
	var w where
	w.add("name = ?", name)
	w.account(a)
	return one(ctx, r.s, quoted("repository", name), repositoryFields, "SELECT "+repositoryColumns+" FROM repositories"+w.String()+" ORDER BY id LIMIT 1", w.args...)
}

// Repositories lists the account's repositories, by id.
func (r reader) Repositories(ctx context.Context, a holdfast.AccountID) ([]holdfast.Repository, error) {
	return remembered(ctx, r, a, func(d *directory) map[holdfast.AccountID][]holdfast.Repository { return d.repositories },
		func(ctx context.Context) ([]holdfast.Repository, error) {
			return many(ctx, r.s, repositoryFields, "SELECT "+repositoryColumns+" FROM repositories WHERE "+mine+" ORDER BY id", a, a)
		})
}

// InsertRepository makes a repository.
func (t tx) InsertRepository(ctx context.Context, r *holdfast.Repository) error {
	n, err := t.s.insert(ctx, "INSERT INTO repositories ("+repositoryColumns+") VALUES (?,?,?,?,?,?,?,?,?)", repositoryFields(r)...)
	if err != nil {
		return taken(err, "repository %q", r.Name)
	}
	r.ID = holdfast.RepositoryID(n)
	return nil
}

// UpdateRepository writes everything but id and account.
func (t tx) UpdateRepository(ctx context.Context, r holdfast.Repository) error {
	args := append(repositoryFields(&r)[2:], r.ID, r.Account)
	n, err := t.s.exec(ctx, "UPDATE repositories SET ("+repositoryChanging+") = (?,?,?,?,?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, taken(err, "repository %q", r.Name), "repository %d", r.ID)
}

// DeleteRepository removes a repository that nothing names any more.
func (t tx) DeleteRepository(ctx context.Context, a holdfast.AccountID, id holdfast.RepositoryID) error {
	if _, err := t.Repository(ctx, a, id); err != nil {
		return err
	}
	for _, c := range []struct{ words, noun, hint, count string }{
		{"is the default of", "site", "give its sites another repository first", "SELECT count(*) FROM sites WHERE repository = ?"},
		{"is used by", "job", "give its jobs another repository first", "SELECT count(*) FROM jobs WHERE repository = ? AND deleted IS NULL"},
		{"is named by", "backup set", "its copies are in this repository, or were", "SELECT count(*) FROM copies WHERE repository = ?"},
	} {
		n, err := t.s.number(ctx, c.count, id)
		if err != nil {
			return err
		}
		if n > 0 {
			return holdfast.Errorf(holdfast.CodeConflict, "repository %d %s %s", id, c.words, plural(n, c.noun)).WithHint("%s", c.hint)
		}
	}
	n, err := t.s.exec(ctx, "DELETE FROM repositories WHERE id = ? AND "+mine, id, a, a)
	return changed(n, err, "repository %d", id)
}
