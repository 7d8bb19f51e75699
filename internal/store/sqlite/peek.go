package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"

	"github.com/holdfast-backup/holdfast"
)

// PeekRepository reads one repository from the database at path, which the server
// may have open, and changes nothing. CodeNotFound when there is no such
// repository, CodeConflict when the database has the schema of another version.
func PeekRepository(ctx context.Context, path string, a holdfast.AccountID, id holdfast.RepositoryID) (r holdfast.Repository, err error) {
	db, err := openPool(path, looking, defaultBusyTimeout, 1)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	files, err := fs.Glob(embedded().files, "*.sql")
	if err != nil {
		return r, err
	}
	var have int
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+versionTable+" WHERE is_applied").Scan(&have); err != nil {
		return r, classify(err)
	}
	if have != len(files) {
		return r, holdfast.Errorf(holdfast.CodeConflict, "the metadata database has schema %d, and this program knows %d", have, len(files)).
			WithHint("use the program of the version that the server runs")
	}
	err = db.QueryRowContext(ctx, "SELECT "+repositoryColumns+" FROM repositories WHERE id = ? AND "+mine, id, a, a).Scan(repositoryFields(&r)...)
	if errors.Is(err, sql.ErrNoRows) {
		return r, holdfast.Errorf(holdfast.CodeNotFound, "there is no repository %d", id)
	}
	if err != nil {
		return r, classify(err)
	}
	return r, nil
}
