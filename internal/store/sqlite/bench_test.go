package sqlite_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
	"github.com/holdfast-backup/holdfast/internal/store/sqlite"
)

// BenchmarkUpdate submits an execution with its event, durable, from so many
// goroutines.
func BenchmarkUpdate(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "holdfast.db"))
			seed(b, s, 0)
			ctx := b.Context()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						err := s.Update(ctx, func(tx store.Tx) error {
							e := holdfast.Execution{
								Account: holdfast.FirstID, Site: holdfast.FirstID, Job: holdfast.FirstID, Type: holdfast.JobBackup,
								Status: holdfast.Status{State: holdfast.StateQueued}, Pool: holdfast.DefaultPool,
							}
							if err := tx.InsertExecution(ctx, &e); err != nil {
								return err
							}
							return tx.InsertEvent(ctx, &holdfast.Event{Account: holdfast.FirstID, Kind: "execution.queued"})
						})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
		})
	}
}

// BenchmarkMillion reads pages of a history of a million executions, and asks
// for work beside it.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	s := open(b, filepath.Join(b.TempDir(), "holdfast.db"))
	seed(b, s, n)
	for name, f := range listFilters() {
		for _, offset := range []int{0, 15_000, 300_000, 500_000, 790_000} {
			f.Page = store.Page{Offset: offset, Limit: 100}
			read := func() {
				err := s.View(b.Context(), func(r store.Reader) error {
					_, _, err := r.Executions(b.Context(), holdfast.FirstID, f)
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			read() // the first page far from both ends looks for the anchors, once
			b.Run(fmt.Sprintf("%s/offset=%d", name, offset), func(b *testing.B) {
				for b.Loop() {
					read()
				}
			})
		}
	}
	b.Run("last executions", func(b *testing.B) {
		for b.Loop() {
			err := s.View(b.Context(), func(r store.Reader) error {
				_, err := r.LastExecutions(b.Context(), holdfast.FirstID, []holdfast.JobID{1001, 1002, 1003})
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("next of 25000 queued", func(b *testing.B) { benchmarkAsk(b, s) })
	// All queued executions of seed are of one job: make it busy.
	err := s.Update(b.Context(), func(tx store.Tx) error {
		return sqlite.Exec(b.Context(), tx, "UPDATE executions SET state = 'RUNNING' WHERE id = (SELECT min(id) FROM executions WHERE state = 'QUEUED')")
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("none of 25000 queued, whose job is busy", func(b *testing.B) { benchmarkAsk(b, s) })
}

func benchmarkAsk(b *testing.B, s *sqlite.Store) {
	b.Helper()
	for b.Loop() {
		err := s.View(b.Context(), func(r store.Reader) error {
			_, err := r.NextQueued(b.Context(), store.Ask{Pool: holdfast.DefaultPool, Hosts: []holdfast.HostID{holdfast.FirstID}, Now: farFuture(), Batch: true})
			if holdfast.ErrorCode(err) == holdfast.CodeNotFound {
				return nil
			}
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func farFuture() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }

// BenchmarkETLs lists ten thousand ETLs, and reads how things stand with one, beside
// a million executions of theirs.
func BenchmarkETLs(b *testing.B) {
	const etls, n = 10_000, 1_000_000
	s := open(b, filepath.Join(b.TempDir(), "holdfast.db"))
	seed(b, s, 0)
	ctx := b.Context()
	err := s.Update(ctx, func(tx store.Tx) error {
		for i := range etls {
			err := tx.InsertJob(ctx, &holdfast.Job{
				Account: holdfast.FirstID, Site: holdfast.FirstID, Type: holdfast.JobETL, Name: fmt.Sprint("etl ", i), Active: true,
				ETL: &holdfast.ETLSpec{
					Definition: strings.Repeat("definition", 400), Sites: []holdfast.SiteID{holdfast.FirstID},
					Configurations: []holdfast.RunConfiguration{{ID: holdfast.RunConfigurationID(1001 + i), Name: "Default", Active: true, Properties: map[string]string{"a": "1", "b": "2"}}},
				},
			})
			if err != nil {
				return err
			}
		}
		return sqlite.Exec(ctx, tx, `
			INSERT INTO executions (account, site, job, job_name, type, engine, name, submitted, state, wanted, outcome, reason, fence, attempts,
				retries, hand_backs, detail, run_asked, run_type, run_type_reason, priority, pool, host, repository, due, abort_after, request, beat, progress, stored_size,
				started, ended, etl)
			WITH RECURSIVE i (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM i WHERE i < ?1 - 1)
			SELECT 1001, 1001, 1004 + i % ?2, 'etl', 'ETL', 'etl', '', i, 'ENDED', 0, 'SUCCEEDED', '', 1, 0, 0, 0, '', '', '', '', 5, 'default', 1001, 0, i, 0, '', 0,
				'{"phase":"done","done_bytes":1000000,"total_bytes":1000000,"done_files":10,"total_files":10,"added_bytes":1000}', 0, i, i, '{}'
			FROM i`, n, etls)
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, read := range map[string]func(store.Reader) error{
		"list": func(r store.Reader) error {
			list, err := r.ETLs(ctx, holdfast.FirstID)
			if len(list) != etls {
				return fmt.Errorf("got %d ETLs: %w", len(list), err)
			}
			return err
		},
		"status": func(r store.Reader) error {
			id := holdfast.JobID(1004 + time.Now().UnixNano()%etls)
			if _, err := r.Job(ctx, holdfast.FirstID, id); err != nil {
				return err
			}
			if _, err := r.LiveOfJob(ctx, id); err != nil {
				return err
			}
			h, err := r.ETLHistory(ctx, id)
			if err == nil && (h.Ended == nil || h.Finished == nil) {
				return fmt.Errorf("got no history of ETL %d", id)
			}
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := s.View(ctx, read); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
