package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// derived is, by table, what triggers must have made of the other tables.
func derived() map[string]string {
	return map[string]string{
		"execution_totals": `SELECT account, job, site, type, count(*), max(id) FROM executions GROUP BY 1, 2, 3, 4
			UNION ALL SELECT account, 0, site, type, count(*), 0 FROM executions GROUP BY 1, 2, 3, 4
			UNION ALL SELECT account, 0, 0, type, count(*), 0 FROM executions GROUP BY 1, 2, 3, 4`,
		"restores": `SELECT p.job, e.id, e.account, e.site, e.job, e.ended FROM executions e JOIN executions p ON p.id = e.parent WHERE e.type = 'RESTORE'`,
		"job_blocks": `SELECT account, site, id / 8192, type, engine, active, count(*) FROM jobs WHERE deleted IS NULL GROUP BY 1, 2, 3, 4, 5, 6
			UNION ALL SELECT account, 0, id / 8192, type, engine, active, count(*) FROM jobs WHERE deleted IS NULL GROUP BY 1, 2, 3, 4, 5, 6`,
		"set_blocks": `SELECT account, site, id / 16384, readable > 0, count(*) FROM backup_sets WHERE shown = 1 GROUP BY 1, 2, 3, 4
			UNION ALL SELECT account, 0, id / 16384, readable > 0, count(*) FROM backup_sets WHERE shown = 1 GROUP BY 1, 2, 3, 4`,
		"event_totals": `SELECT account, site, count(*) FROM events WHERE site IS NOT NULL AND account IS NOT NULL GROUP BY 1, 2`,
		"execution_ends": `SELECT block, first, last FROM execution_ends b
			WHERE NOT EXISTS (SELECT 1 FROM executions e WHERE e.id / 1024 = b.block AND (e.ended < b.first OR e.ended > b.last))
			AND (SELECT count(DISTINCT id / 1024) FROM executions WHERE ended IS NOT NULL) <= (SELECT count(*) FROM execution_ends)`,
	}
}

// checkDerived compares what triggers keep with what it is made of.
func checkDerived(t testing.TB, s *sqlite.Store) {
	t.Helper()
	for table, want := range derived() {
		present := table
		if table == "execution_totals" {
			present += " WHERE n > 0"
		}
		extra := number(t, s, fmt.Sprintf("SELECT count(*) FROM (SELECT * FROM %s EXCEPT SELECT * FROM (%s))", present, want))
		missing := number(t, s, fmt.Sprintf("SELECT count(*) FROM (SELECT * FROM (%s) EXCEPT SELECT * FROM %s)", want, table))
		if extra != 0 || missing != 0 {
			t.Errorf("%s: got %d rows that should not be there, and %d missing", table, extra, missing)
		}
	}
}

// TestCountsFollowTheirRows does at random what changes a list, and counts anew.
func TestCountsFollowTheirRows(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "holdfast.db"))
	var sites []holdfast.SiteID
	var repository holdfast.RepositoryID
	change(t, s, func(ctx context.Context, tx store.Tx) error {
		sites = nil
		h := holdfast.Host{Account: holdfast.FirstID, Name: "db1"}
		if err := tx.InsertHost(ctx, &h); err != nil {
			return err
		}
		r := holdfast.Repository{Account: holdfast.FirstID, Name: "main"}
		if err := tx.InsertRepository(ctx, &r); err != nil {
			return err
		}
		repository = r.ID
		for _, slug := range []string{"berlin", "oslo"} {
			site := holdfast.Site{Account: holdfast.FirstID, Host: h.ID, Slug: slug}
			if err := tx.InsertSite(ctx, &site); err != nil {
				return err
			}
			sites = append(sites, site.ID)
		}
		return nil
	})
	name := 0
	rapid.Check(t, func(rt *rapid.T) {
		var jobs []holdfast.Job
		var executions []holdfast.Execution
		var copies []holdfast.Copy
		at := func() time.Time { return time.UnixMicro(rapid.Int64Range(1, 1000).Draw(rt, "at")).UTC() }
		do := func(fn func(context.Context, store.Tx) error) {
			if err := s.Update(t.Context(), func(tx store.Tx) error { return fn(t.Context(), tx) }); err != nil {
				rt.Fatal(err)
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"make a job": func(rt *rapid.T) {
				name++
				j := holdfast.Job{
					Account: holdfast.FirstID, Site: rapid.SampledFrom(sites).Draw(rt, "site"), Name: fmt.Sprint(name), Active: rapid.Bool().Draw(rt, "active"),
					Type: rapid.SampledFrom([]holdfast.JobType{holdfast.JobBackup, holdfast.JobRestore}).Draw(rt, "type"),
				}
				do(func(ctx context.Context, tx store.Tx) error { j.ID = 0; return tx.InsertJob(ctx, &j) })
				jobs = append(jobs, j)
			},
			"change a job": func(rt *rapid.T) {
				if len(jobs) == 0 {
					return
				}
				j := &jobs[rapid.IntRange(0, len(jobs)-1).Draw(rt, "job")]
				j.Active = rapid.Bool().Draw(rt, "active")
				j.Deleted = time.Time{}
				if rapid.Bool().Draw(rt, "deleted") {
					j.Deleted = at()
				}
				do(func(ctx context.Context, tx store.Tx) error { return tx.UpdateJob(ctx, *j) })
			},
			"run a job": func(rt *rapid.T) {
				if len(jobs) == 0 {
					return
				}
				j := rapid.SampledFrom(jobs).Draw(rt, "job")
				e := holdfast.Execution{Account: j.Account, Site: j.Site, Job: j.ID, Type: j.Type, Status: holdfast.Status{State: holdfast.StateQueued}}
				if len(executions) > 0 && rapid.Bool().Draw(rt, "with a parent") {
					e.Parent = rapid.SampledFrom(executions).Draw(rt, "parent").ID
				}
				do(func(ctx context.Context, tx store.Tx) error { e.ID = 0; return tx.InsertExecution(ctx, &e) })
				executions = append(executions, e)
			},
			"move an execution": func(rt *rapid.T) {
				if len(executions) == 0 {
					return
				}
				e := &executions[rapid.IntRange(0, len(executions)-1).Draw(rt, "execution")]
				next := *e
				if e.State == holdfast.StateEnded {
					return
				}
				if p := rapid.SampledFrom(executions).Draw(rt, "parent"); p.ID < e.ID {
					next.Parent = p.ID
				}
				if rapid.Bool().Draw(rt, "ends") {
					var err error
					if next.Status, err = e.Next(holdfast.MoveKill); err != nil {
						rt.Fatal(err)
					}
					next.Ended = at()
				}
				do(func(ctx context.Context, tx store.Tx) error { return tx.MoveExecution(ctx, *e, next) })
				*e = next
			},
			"forget an execution": func(rt *rapid.T) {
				if len(executions) == 0 {
					return
				}
				i := rapid.IntRange(0, len(executions)-1).Draw(rt, "execution")
				do(func(ctx context.Context, tx store.Tx) error {
					return sqlite.Exec(ctx, tx, "DELETE FROM executions WHERE id = ?", executions[i].ID)
				})
				executions = append(executions[:i], executions[i+1:]...)
			},
			"store a set": func(rt *rapid.T) {
				set := holdfast.BackupSet{Account: holdfast.FirstID, Site: rapid.SampledFrom(sites).Draw(rt, "site")}
				c := holdfast.Copy{Account: holdfast.FirstID, Repository: repository, State: rapid.SampledFrom(copyStates()).Draw(rt, "state")}
				do(func(ctx context.Context, tx store.Tx) error {
					set.ID, c.ID = 0, 0
					if err := tx.InsertSet(ctx, &set); err != nil {
						return err
					}
					c.Set = set.ID
					return tx.InsertCopy(ctx, &c)
				})
				copies = append(copies, c)
			},
			"move a copy": func(rt *rapid.T) {
				if len(copies) == 0 {
					return
				}
				c := &copies[rapid.IntRange(0, len(copies)-1).Draw(rt, "copy")]
				next := *c
				next.State = rapid.SampledFrom(copyStates()).Draw(rt, "state")
				do(func(ctx context.Context, tx store.Tx) error { return tx.MoveCopy(ctx, *c, next) })
				*c = next
			},
		})
		checkDerived(t, s)
	})
}

func copyStates() []holdfast.CopyState {
	return []holdfast.CopyState{
		holdfast.CopyWriting, holdfast.CopyComplete, holdfast.CopyVerified, holdfast.CopyDamaged, holdfast.CopyUnconfirmed, holdfast.CopyExpired,
		holdfast.CopyDeleted, holdfast.CopyOrphaned,
	}
}

func change(t testing.TB, s *sqlite.Store, fn func(context.Context, store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}
