package pgphysical_test

import (
	"path/filepath"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// TestRestoreInPlaceMovesNoServerThatRunsFurtherDown names the directory in which
// another server's data directory lies as the one to be replaced.
func TestRestoreInPlaceMovesNoServerThatRunsFurtherDown(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 0)
	p.Stop(t, testkit.Fast)
	other := testkit.StartPostgres(t, testkit.PostgresOptions{})
	req := p.inPlace(t)
	req.Spec.Directory = filepath.Dir(other.DataDir)
	req.Roots = []string{filepath.Dir(req.Spec.Directory)}
	res, err := pgphysical.New(pgphysical.Options{}).Restore(t.Context(), req, p.src.Source())
	wantError(t, err, holdfast.CodeConflict, "works in", "stop the server")
	if len(res.Kept) != 0 || !exists(filepath.Join(other.DataDir, "PG_VERSION")) {
		t.Errorf("got %v moved aside, and the other server's data directory is there: %v", res.Kept, exists(other.DataDir))
	}
	other.Exec(t, "", "CREATE TABLE t AS SELECT 1 AS still_here")
	other.Stop(t, testkit.Fast)
	other.Start(t)
}
