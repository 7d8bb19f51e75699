package sqlite_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// seed makes two sites with a backup job each and a restore job at the first,
// and n executions over them: most of the first job, and every fortieth alive.
// They end in nearly the order in which they began, but some much later, and
// sometimes the clock was wrong.
func seed(t testing.TB, s *sqlite.Store, n int) {
	t.Helper()
	err := s.Update(t.Context(), func(tx store.Tx) error {
		ctx := t.Context()
		h := holdfast.Host{Account: holdfast.FirstID, Name: "db1"}
		if err := tx.InsertHost(ctx, &h); err != nil {
			return err
		}
		for _, slug := range []string{"berlin", "munich"} {
			site := holdfast.Site{Account: holdfast.FirstID, Host: h.ID, Slug: slug, Pool: holdfast.DefaultPool}
			if err := tx.InsertSite(ctx, &site); err != nil {
				return err
			}
			if err := tx.InsertJob(ctx, &holdfast.Job{Account: holdfast.FirstID, Site: site.ID, Type: holdfast.JobBackup, Name: slug}); err != nil {
				return err
			}
		}
		if err := tx.InsertJob(ctx, &holdfast.Job{Account: holdfast.FirstID, Site: holdfast.FirstID, Type: holdfast.JobRestore, Name: "restore"}); err != nil {
			return err
		}
		return sqlite.Exec(ctx, tx, `
			INSERT INTO executions (account, site, job, job_name, type, engine, name, submitted, state, wanted, outcome, reason, fence, attempts,
				retries, hand_backs, detail, run_asked, run_type, run_type_reason, priority, pool, host, repository, due, abort_after, request, beat, progress, stored_size,
				ended)
			WITH RECURSIVE i (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM i WHERE i < ?1 - 1)
			SELECT 1001, CASE WHEN i % 10 = 3 THEN 1002 ELSE 1001 END, CASE i % 10 WHEN 3 THEN 1002 WHEN 7 THEN 1003 ELSE 1001 END, 'nightly',
				CASE i % 10 WHEN 7 THEN 'RESTORE' ELSE 'BACKUP' END, 'pgphysical', '', i, CASE WHEN i % 40 = 0 THEN 'QUEUED' ELSE 'ENDED' END, 0,
				CASE WHEN i % 40 = 0 THEN '' ELSE 'SUCCEEDED' END, '', 1, 0, 0, 0, 'everything was well', 'FULL', 'FULL', '', 5, 'default', 1001, 0, i, 0, '', 0,
				'{"phase":"done","done_bytes":1000000,"total_bytes":1000000,"done_files":10,"total_files":10,"added_bytes":1000}', 1000000,
				CASE WHEN i % 40 <> 0 THEN i + i * 7919 % 1500 + CASE WHEN i % 3001 = 17 THEN 20000 ELSE 0 END - CASE WHEN i / 1024 % 11 = 5 THEN 4000 ELSE 0 END END
			FROM i WHERE i < ?1`, n)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// seeded is an execution as seed makes it.
type seeded struct {
	id    holdfast.ExecutionID
	site  holdfast.SiteID
	job   holdfast.JobID
	kind  holdfast.JobType
	state holdfast.State
	ended int64 // microseconds
}

func seededRows(n int) []seeded {
	var all []seeded
	for i := range n {
		e := seeded{id: holdfast.ExecutionID(holdfast.FirstID + i), site: 1001, job: 1001, kind: holdfast.JobBackup, state: holdfast.StateEnded}
		switch i % 10 {
		case 3:
			e.site, e.job = 1002, 1002
		case 7:
			e.job, e.kind = 1003, holdfast.JobRestore
		}
		e.ended = int64(i + i*7919%1500)
		if i%3001 == 17 {
			e.ended += 20000
		}
		if i/1024%11 == 5 {
			e.ended -= 4000
		}
		if i%40 == 0 {
			e.state = holdfast.StateQueued
		}
		all = append(all, e)
	}
	slices.Reverse(all)
	return all
}

func listFilters() map[string]store.ExecutionFilter {
	return map[string]store.ExecutionFilter{
		"all":            {},
		"job":            {Job: 1001},
		"jobs":           {Jobs: []holdfast.JobID{1001, 1002, 1003}},
		"site":           {Sites: []holdfast.SiteID{1001}},
		"sites":          {Sites: []holdfast.SiteID{1001, 1002}},
		"type":           {Types: []holdfast.JobType{holdfast.JobBackup}},
		"site and type":  {Sites: []holdfast.SiteID{1001}, Types: []holdfast.JobType{holdfast.JobBackup}},
		"ended":          {States: []holdfast.State{holdfast.StateEnded}},
		"ended of job":   {Job: 1001, States: []holdfast.State{holdfast.StateEnded, holdfast.StateRunning}},
		"all but queued": {States: []holdfast.State{holdfast.StateEnded, holdfast.StateRunning, holdfast.StatePlanned, holdfast.StateSuspended}},
		"queued":         {States: []holdfast.State{holdfast.StateQueued}},
	}
}

func chosen(f store.ExecutionFilter, e seeded) bool {
	return (f.Job == 0 || f.Job == e.job) && (len(f.Jobs) == 0 || slices.Contains(f.Jobs, e.job)) &&
		(len(f.Sites) == 0 || slices.Contains(f.Sites, e.site)) && (len(f.Types) == 0 || slices.Contains(f.Types, e.kind)) &&
		(len(f.States) == 0 || slices.Contains(f.States, e.state)) &&
		(f.EndedSince.IsZero() || e.state != holdfast.StateEnded || e.ended >= f.EndedSince.UnixMicro())
}

// checkPages compares pages all over long lists with what they should be.
func checkPages(t *testing.T, s *sqlite.Store, all []seeded, rng *rand.Rand) {
	t.Helper()
	for name, f := range listFilters() {
		if rng.IntN(2) == 0 {
			f.EndedSince = time.UnixMicro(int64(rng.IntN(60000) - 5000))
			name += fmt.Sprint(" ended since ", f.EndedSince.UnixMicro())
		}
		var want []holdfast.ExecutionID
		for _, e := range all {
			if chosen(f, e) {
				want = append(want, e.id)
			}
		}
		offsets := []int{0, 1, len(want) / 2, max(len(want)-1, 0), len(want)}
		for range 5 {
			offsets = append(offsets, rng.IntN(len(want)+1))
		}
		for _, offset := range offsets {
			f.Page = store.Page{Offset: offset, Limit: 1 + rng.IntN(20)}
			err := s.View(t.Context(), func(r store.Reader) error {
				rows, n, err := r.Executions(t.Context(), holdfast.AccountID(rng.IntN(2)*holdfast.FirstID), f)
				var got []holdfast.ExecutionID
				for _, e := range rows {
					got = append(got, e.ID)
				}
				if w := want[min(offset, len(want)):min(offset+f.Page.Limit, len(want))]; n != len(want) || !slices.Equal(got, w) {
					t.Errorf("%s, page %+v: got %d of %d from %v, want %d of %d from %v", name, f.Page, len(got), n, first(got), len(w), len(want), first(w))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}

func first(ids []holdfast.ExecutionID) holdfast.ExecutionID {
	if len(ids) == 0 {
		return 0
	}
	return ids[0]
}

func TestPagesOfALongHistory(t *testing.T) {
	t.Parallel()
	const n = 30000 // enough for the middle to be far from both ends
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	seed(t, s, n)
	rng := rand.New(rand.NewPCG(1, 2))
	all := seededRows(n)
	for range 3 {
		checkPages(t, s, all, rng)
	}
	if sqlite.AnchorsOf(s) == 0 {
		t.Error("no position is known by heart: the pages were not far enough apart")
	}
	checkPages(t, s, all, rng)

	// History that goes takes the known positions with it.
	err := s.Update(t.Context(), func(tx store.Tx) error {
		return sqlite.Exec(t.Context(), tx, "DELETE FROM executions WHERE id < 6001 AND state = 'ENDED'")
	})
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(e seeded) bool { return e.id < 6001 && e.state == holdfast.StateEnded })
	checkPages(t, s, all, rng)
	checkDerived(t, s)
}

// plan returns SQLite's plan for a query.
func plan(t *testing.T, c *sql.Conn, text string) (lines []string) {
	t.Helper()
	n := strings.Count(text, "?")
	for strings.Contains(text, "?1") && !strings.Contains(text, fmt.Sprintf("?%d", n)) { // numbered
		n--
	}
	rows, err := c.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+text, make([]any, n)...)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id, parent, unused int
		var line string
		if err := rows.Scan(&id, &parent, &unused, &line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// TestListOfManySites has more sites than a page merges, with few executions,
// which are gathered, and with many.
func TestListOfManySites(t *testing.T) {
	t.Parallel()
	const seeds, left = 1000, 5 // sites that are left out
	for _, n := range []int{1500, 12_000} {
		s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
		seed(t, s, seeds)
		crowd(t, s, n)
		var sites []holdfast.SiteID
		var jobs []holdfast.JobID
		for i := left; i < crowdSites; i++ {
			sites, jobs = append(sites, holdfast.SiteID(1003+i)), append(jobs, holdfast.JobID(1004+i))
		}
		rng := rand.New(rand.NewPCG(3, uint64(n)))
		for range 30 {
			var f store.ExecutionFilter
			if rng.IntN(2) == 0 {
				f.Sites = sites
			} else {
				f.Jobs = jobs
			}
			since := -1
			if rng.IntN(2) == 0 {
				since = rng.IntN(n)
				f.EndedSince = time.UnixMicro(int64(since))
			}
			var want []holdfast.ExecutionID
			for i := n - 1; i >= 0; i-- {
				if i%crowdSites >= left && i >= since {
					want = append(want, holdfast.ExecutionID(holdfast.FirstID+seeds+i))
				}
			}
			f.Page = store.Page{Offset: rng.IntN(len(want) + 1), Limit: 1 + rng.IntN(20)}
			err := s.View(t.Context(), func(r store.Reader) error {
				rows, total, err := r.Executions(t.Context(), holdfast.FirstID, f)
				if w := want[f.Page.Offset:min(f.Page.Offset+f.Page.Limit, len(want))]; total != len(want) || !slices.Equal(executionIDs(rows), w) {
					t.Errorf("%d since %d, page %+v: got %v of %d, want %v of %d", n, since, f.Page, executionIDs(rows), total, w, len(want))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
}
