package pgphysical_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/engine"
	"github.com/holdfast-backup/holdfast/internal/engine/enginetest"
	"github.com/holdfast-backup/holdfast/internal/engine/pgphysical"
	"github.com/holdfast-backup/holdfast/internal/testkit"
)

// hints asks the engine about every file that it adds, as a sink may.
type hints struct {
	*enginetest.DirSink
	t              *testing.T
	changed, pages map[string]int // by path
}

func (h hints) Add(ctx context.Context, f engine.File) error {
	if f.Changed != nil {
		c, err := f.Open()
		if err != nil {
			h.t.Error(err)
			return err
		}
		block := make([]byte, f.Size)
		if _, err := io.ReadFull(io.NewSectionReader(c, 0, f.Size), block); err != nil {
			h.t.Error(err)
		}
		h.changed[f.Path], h.pages[f.Path] = f.Changed(block)
		f.Open = func() (engine.Content, error) { return c, nil }
	}
	return h.DirSink.Add(ctx, f)
}

// TestPagesSayWhetherTheyHaveChanged: the sink of a backup with a base learns how many
// pages of a table have changed since, by what the server wrote on them.
func TestPagesSayWhetherTheyHaveChanged(t *testing.T) {
	t.Parallel()
	p := testkit.StartPostgres(t, testkit.PostgresOptions{Conf: map[string]string{"autovacuum": "off"}})
	p.Exec(t, "", "CREATE TABLE rows WITH (fillfactor = 50) AS SELECT i, md5(i::text) AS v FROM generate_series(1, 20000) i")
	p.Exec(t, "", "VACUUM (FREEZE) rows")
	place := "pgdata/" + p.Value(t, "", "SELECT pg_relation_filepath('rows')")
	take := func(base *engine.Base) (engine.Result, *enginetest.DirSource, hints) {
		h := hints{DirSink: enginetest.NewDirSink(t), t: t, changed: map[string]int{}, pages: map[string]int{}}
		req := backupOf(t, p)
		if base != nil {
			req.RunType, req.Base = holdfast.RunDelta, base
		}
		res, err := pgphysical.New(pgphysical.Options{}).Backup(t.Context(), req, h)
		if err != nil {
			t.Fatal(err)
		}
		return res, h.Source(), h
	}
	res, src, h := take(nil)
	if len(h.pages) != 0 {
		t.Errorf("without a base the engine knows changes of %d files", len(h.pages))
	}
	p.Exec(t, "", "UPDATE rows SET v = 'x' WHERE i IN (1, 9000)") // each stays on its page: there is room
	_, _, h = take(&engine.Base{Set: 1001, Source: src, Result: res})
	if pages := h.pages[place]; h.changed[place] != 2 || pages < 100 {
		t.Errorf("%d of %d pages have changed, want 2", h.changed[place], pages)
	}
	for path := range h.pages {
		if strings.HasSuffix(path, "_fsm") || strings.HasSuffix(path, "_vm") {
			t.Errorf("the engine says what has changed in %s", path)
		}
	}
}
