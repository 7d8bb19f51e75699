package storetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// addSchedule stores an active schedule of the job whose next run is at the
// minute; no run for a negative one.
func (f *fixture) addSchedule(t testing.TB, j holdfast.Job, minute int) holdfast.Schedule {
	t.Helper()
	s := holdfast.Schedule{
		Account: j.Account, Job: j.ID, Expression: "0 2 * * *", TimeZone: "UTC", RunType: holdfast.RunFull, Active: true, Created: start(), Changed: start(),
	}
	if minute >= 0 {
		s.NextRun = at(minute)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.InsertSchedule(ctx, &s) })
	return s
}

func testSchedules(t *testing.T, f *fixture) {
	second := f.addJob(t, f.site, "second")
	idle := f.addJob(t, f.site, "idle")
	late := f.addSchedule(t, f.job, 20)
	early := f.addSchedule(t, f.job, 10)
	same10 := f.addSchedule(t, second, 10)
	tomorrow := f.addSchedule(t, second, 24*60)
	never := f.addSchedule(t, idle, -1)
	etl := f.addETL(t, f.site, "etl", nil) // its schedules are none of backups
	other := f.addSchedule(t, etl, -1)
	type list = []holdfast.Schedule
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "schedules of a job", list{late, early})(r.Schedules(ctx, f.account, f.job.ID))
		same(t, "schedules of a job of any account", list{same10, tomorrow})(r.Schedules(ctx, 0, second.ID))
		same(t, "schedules of an ETL", list{other})(r.Schedules(ctx, f.account, etl.ID))
		same(t, "schedules of no job", list(nil))(r.Schedules(ctx, f.account, 5))
		same(t, "schedules of a site", list{late, early, same10, tomorrow, never})(r.SiteSchedules(ctx, f.account, []holdfast.SiteID{f.site.ID}, store.Page{}))
		same(t, "schedules of every site", list{late, early, same10, tomorrow, never})(r.SiteSchedules(ctx, f.account, nil, store.Page{}))
		same(t, "schedules of every site, a page", list{early, same10})(r.SiteSchedules(ctx, f.account, nil, store.Page{Offset: 1, Limit: 2}))
		same(t, "schedules of a site, a page", list{never})(r.SiteSchedules(ctx, f.account, []holdfast.SiteID{f.site.ID, 5}, store.Page{Offset: 4, Limit: 2}))
		same(t, "schedules of a site that is none", list(nil))(r.SiteSchedules(ctx, f.account, []holdfast.SiteID{5}, store.Page{}))
		same(t, "schedules of a site of any account", list{late, early, same10, tomorrow, never})(r.SiteSchedules(ctx, 0, []holdfast.SiteID{f.site.ID}, store.Page{}))
		same(t, "schedules of another account's site", list(nil))(r.SiteSchedules(ctx, 5, []holdfast.SiteID{f.site.ID}, store.Page{}))
		same(t, "nothing due", list(nil))(r.DueSchedules(ctx, at(10).Add(-time.Microsecond), 10))
		same(t, "due to the microsecond, the lowest id first", list{early, same10})(r.DueSchedules(ctx, at(10), 10))
		same(t, "the longest due first", list{early, same10, late})(r.DueSchedules(ctx, at(30), 3))
		same(t, "some of those due", list{early, same10})(r.DueSchedules(ctx, at(30), 2))
		same(t, "all that are ever due", list{early, same10, late, tomorrow})(r.DueSchedules(ctx, at(48*60), 0))
		same(t, "next runs", map[holdfast.JobID]time.Time{f.job.ID: at(10), second.ID: at(10)})(
			r.NextRuns(ctx, f.account, []holdfast.JobID{f.job.ID, second.ID, idle.ID, 5}))
		same(t, "next runs in any account", map[holdfast.JobID]time.Time{f.job.ID: at(10)})(r.NextRuns(ctx, 0, []holdfast.JobID{f.job.ID}))
		same(t, "next runs of nothing", map[holdfast.JobID]time.Time{})(r.NextRuns(ctx, f.account, nil))
		return nil
	})

	// One that fires is due again later, one that is switched off is not, and one
	// that is deleted is gone.
	fired, off := early, late
	fired.NextRun = at(10 + 24*60)
	off.Active, off.NextRun, off.Changed = false, time.Time{}, at(1)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.MoveSchedule(ctx, early, fired) },
			func() error { return tx.MoveSchedule(ctx, late, off) },
			func() error { return tx.DeleteSchedule(ctx, f.account, same10.ID) },
		)
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "due after that", list{tomorrow, fired})(r.DueSchedules(ctx, at(48*60), 0))
		same(t, "schedules after that", list{off, fired})(r.Schedules(ctx, f.account, f.job.ID))
		same(t, "next runs after that", map[holdfast.JobID]time.Time{f.job.ID: fired.NextRun, second.ID: tomorrow.NextRun})(
			r.NextRuns(ctx, f.account, []holdfast.JobID{f.job.ID, second.ID, idle.ID}))
		code[holdfast.Schedule](t, "deleted schedule", holdfast.CodeNotFound)(r.Schedule(ctx, f.account, same10.ID))
		return nil
	})
	f.refused(t, "end of a deleted schedule", holdfast.CodeNotFound, func(ctx context.Context, tx store.Tx) error {
		return tx.DeleteSchedule(ctx, f.account, same10.ID)
	})
	begun := never
	begun.NextRun = at(1)
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MoveSchedule(ctx, never, begun) })
	if again := f.addSchedule(t, f.job, 1); again.ID <= never.ID {
		t.Errorf("got schedule id %d after %d, want one that was never given out", again.ID, never.ID)
	}
}

// testMoveSchedule has moves that come too late for what they saw.
func testMoveSchedule(t *testing.T, f *fixture) {
	seen := f.addSchedule(t, f.job, 10)
	fired := seen
	fired.NextRun = at(20)
	move := func(prev, next holdfast.Schedule) func(context.Context, store.Tx) error {
		return func(ctx context.Context, tx store.Tx) error { return tx.MoveSchedule(ctx, prev, next) }
	}
	f.update(t, move(seen, fired))
	f.refused(t, "a second shot", holdfast.CodeConflict, move(seen, fired))
	changed := fired
	changed.Expression, changed.TimeZone, changed.RunType, changed.Changed = "5 4 * * 0", "America/New_York", holdfast.RunDelta, at(1)
	f.update(t, move(fired, changed))
	next := fired
	next.NextRun = at(30)
	f.refused(t, "a shot at what a person has changed", holdfast.CodeConflict, move(fired, next))
	stopped := changed
	stopped.Active, stopped.NextRun, stopped.Changed = false, time.Time{}, time.Time{}
	f.update(t, move(changed, stopped))
	f.refused(t, "a shot at what was stopped", holdfast.CodeConflict, move(changed, changed))
	f.update(t, move(stopped, changed)) // from no time to a time
	for what, other := range map[string]func(*holdfast.Schedule){
		"id":      func(s *holdfast.Schedule) { s.ID++ },
		"account": func(s *holdfast.Schedule) { s.Account++ },
		"job":     func(s *holdfast.Schedule) { s.Job++ },
	} {
		next := changed
		other(&next)
		f.refused(t, "a move to another "+what, holdfast.CodeInternal, move(changed, next))
	}
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "schedule after the moves", changed)(r.Schedule(ctx, f.account, changed.ID))
		return nil
	})
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.DeleteSchedule(ctx, f.account, changed.ID) })
	f.refused(t, "a shot at what is gone", holdfast.CodeNotFound, move(changed, changed))
}

// testScheduleRace has several schedulers see the same schedule due, and counts
// what they make of it.
func testScheduleRace(t *testing.T, f *fixture) {
	const rounds, schedulers = 10, 6
	s := f.addSchedule(t, f.job, 0)
	for round := range rounds {
		next := s
		next.NextRun = s.NextRun.Add(time.Hour)
		var wg sync.WaitGroup
		for n := range schedulers {
			wg.Go(func() {
				err := f.Update(t.Context(), func(tx store.Tx) error {
					if err := tx.MoveSchedule(t.Context(), s, next); err != nil {
						return err
					}
					e := f.execution(f.job)
					e.Schedule, e.Actor = s.ID, "scheduler"
					return tx.InsertExecution(t.Context(), &e)
				})
				if err != nil && holdfast.ErrorCode(err) != holdfast.CodeConflict {
					t.Errorf("scheduler %d: %v", n, err)
				}
			})
		}
		wg.Wait()
		f.view(t, func(ctx context.Context, r store.Reader) error {
			same(t, "schedule", next)(r.Schedule(ctx, f.account, s.ID))
			_, n, err := r.Executions(ctx, f.account, store.ExecutionFilter{Job: f.job.ID})
			if n != round+1 {
				t.Errorf("got %d executions after %d runs were due, want one each", n, round+1)
			}
			return err
		})
		s = next
	}
}

// testSchedulesOfDeletedJob deletes a job that has schedules: its row and theirs
// stay until somebody removes them.
func testSchedulesOfDeletedJob(t *testing.T, f *fixture) {
	first, second := f.addSchedule(t, f.job, 10), f.addSchedule(t, f.job, -1)
	gone := f.job
	gone.Deleted = at(1)
	ended := first
	ended.Active, ended.NextRun, ended.Changed = false, time.Time{}, at(1)
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.UpdateJob(ctx, gone) },
			func() error { return tx.MoveSchedule(ctx, first, ended) },
			func() error { return tx.DeleteSchedule(ctx, f.account, second.ID) },
		)
	})
	f.view(t, func(ctx context.Context, r store.Reader) error {
		same(t, "job", gone)(r.Job(ctx, f.account, f.job.ID))
		same(t, "schedules", []holdfast.Schedule{ended})(r.Schedules(ctx, f.account, f.job.ID))
		same(t, "due", []holdfast.Schedule(nil))(r.DueSchedules(ctx, at(48*60), 0))
		same(t, "next runs", map[holdfast.JobID]time.Time{})(r.NextRuns(ctx, f.account, []holdfast.JobID{f.job.ID}))
		return nil
	})
	f.update(t, func(ctx context.Context, tx store.Tx) error {
		return firstError(
			func() error { return tx.DeleteSchedule(ctx, f.account, ended.ID) },
			func() error { return tx.DeleteSite(ctx, f.account, f.site.ID) },
		)
	})
}
