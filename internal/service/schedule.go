package service

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/cron"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// defaultZone is the time zone of a schedule that names none.
const defaultZone = "UTC"

func scheduleWord(id holdfast.ScheduleID) string { return fmt.Sprintf("schedule %d", id) }

// CreateSchedule makes a schedule of a backup job, or of a batch ETL, which has no
// run type. Left out, its time zone is UTC and its run type FULL. CodeInvalid for an expression or a zone that cannot be
// read, for one that never runs, and for a job of another type; CodeConflict when
// the job has [holdfast.MaxSchedules].
func (s *Service) CreateSchedule(ctx context.Context, actor holdfast.Actor, in holdfast.Schedule) (holdfast.Schedule, error) {
	now := s.now()
	var made holdfast.Schedule
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := schedulable(ctx, tx, actor, opCreateSchedule, in.Job)
		if err != nil {
			return err
		}
		all, err := tx.Schedules(ctx, j.Account, j.ID)
		if err != nil {
			return err
		}
		if len(all) >= holdfast.MaxSchedules {
			return holdfast.Errorf(holdfast.CodeConflict, "job %d has %d schedules already", j.ID, len(all)).
				WithHint("change one of them, or delete one first")
		}
		made = holdfast.Schedule{
			Account: j.Account, Job: j.ID, Expression: in.Expression, TimeZone: in.TimeZone, RunType: in.RunType, Active: in.Active,
			Created: now, Changed: now,
		}
		if err := planSchedule(&made, j, now); err != nil {
			return err
		}
		if err := tx.InsertSchedule(ctx, &made); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, scheduleWord(made.ID), "schedule.created", scheduleFacts(made, j))
	})
	if err != nil {
		return holdfast.Schedule{}, err
	}
	s.cfg.Log.InfoContext(ctx, "schedule created", "schedule", made.ID, "job", made.Job, "next_run", made.NextRun, "actor", actor.String())
	return made, nil
}

// UpdateSchedule changes a schedule by mutate, which gets the schedule as it is
// and may run more than once. Its expression, time zone, run type and whether it
// is active can change; CodeInvalid for anything else, and as in CreateSchedule.
// Its next run is found anew from now. An error of mutate's is returned as it is,
// and nothing changes.
func (s *Service) UpdateSchedule(
	ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID, mutate func(*holdfast.Schedule) error,
) (holdfast.Schedule, error) {
	now := s.now()
	var next holdfast.Schedule
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := schedulable(ctx, tx, actor, opUpdateSchedule, job)
		if err != nil {
			return err
		}
		prev, err := scheduleOf(ctx, tx, j, id)
		if err != nil {
			return err
		}
		next = prev
		if err := mutate(&next); err != nil {
			return err
		}
		if next.ID != prev.ID || next.Account != prev.Account || next.Job != prev.Job || !next.Created.Equal(prev.Created) {
			return holdfast.Errorf(holdfast.CodeInvalid, "only expression, time zone, run type and activity of schedule %d can change", id).
				WithHint("make another schedule")
		}
		next.Changed = now
		if err := planSchedule(&next, j, now); err != nil {
			return err
		}
		if err := tx.MoveSchedule(ctx, prev, next); err != nil {
			return err
		}
		return record(ctx, tx, actor, now, scheduleWord(id), "schedule.updated", scheduleFacts(next, j))
	})
	if err != nil {
		return holdfast.Schedule{}, err
	}
	s.cfg.Log.InfoContext(ctx, "schedule updated", "schedule", id, "job", job, "next_run", next.NextRun, "actor", actor.String())
	return next, nil
}

// DeleteSchedule deletes a schedule; what it made stays.
func (s *Service) DeleteSchedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID) error {
	now := s.now()
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		j, err := liveJob(ctx, tx, actor, opDeleteSchedule, job)
		if err != nil {
			return err
		}
		old, err := scheduleOf(ctx, tx, j, id)
		if err != nil {
			return err
		}
		return dropSchedule(ctx, tx, actor, j, old, now)
	})
	if err == nil {
		s.cfg.Log.InfoContext(ctx, "schedule deleted", "schedule", id, "job", job, "actor", actor.String())
	}
	return err
}

// Schedule returns a schedule of a job.
func (s *Service) Schedule(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, id holdfast.ScheduleID) (holdfast.Schedule, error) {
	var found holdfast.Schedule
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := liveJob(ctx, r, actor, opSchedule, job)
		if err != nil {
			return err
		}
		found, err = scheduleOf(ctx, r, j, id)
		return err
	})
	return found, err
}

// Schedules lists the schedules of a job, by id.
func (s *Service) Schedules(ctx context.Context, actor holdfast.Actor, job holdfast.JobID) ([]holdfast.Schedule, error) {
	var list []holdfast.Schedule
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := liveJob(ctx, r, actor, opSchedules, job)
		if err != nil {
			return err
		}
		list, err = r.Schedules(ctx, j.Account, j.ID)
		return err
	})
	return list, err
}

// schedulable is liveJob for a job that may have schedules.
func schedulable(ctx context.Context, r store.Reader, actor holdfast.Actor, op Operation, id holdfast.JobID) (holdfast.Job, error) {
	j, err := liveJob(ctx, r, actor, op, id)
	switch {
	case err != nil:
	case j.Type == holdfast.JobRestore:
		err = holdfast.Errorf(holdfast.CodeInvalid, "job %d is a %s job, which is run by hand", id, j.Type).
			WithHint("schedules are for BACKUP jobs")
	case j.ETL != nil && j.ETL.Service:
		err = holdfast.Errorf(holdfast.CodeInvalid, "job %d is a service, which is switched on by hand", id).
			WithHint("schedules are for ETLs that end by themselves")
	}
	return j, err
}

// scheduleOf returns a schedule when it is the job's.
func scheduleOf(ctx context.Context, r store.Reader, j holdfast.Job, id holdfast.ScheduleID) (holdfast.Schedule, error) {
	sc, err := r.Schedule(ctx, j.Account, id)
	if err == nil && sc.Job != j.ID {
		return holdfast.Schedule{}, notFound(scheduleWord(id))
	}
	return sc, found(err, scheduleWord(id))
}

// scheduleFacts is what events tell of a schedule.
func scheduleFacts(sc holdfast.Schedule, j holdfast.Job) facts {
	f := facts{
		"site": j.Site, "job": j.ID, "expression": sc.Expression, "time_zone": sc.TimeZone, "run_type": sc.RunType, "active": sc.Active,
	}
	if !sc.NextRun.IsZero() {
		f["next_run"] = sc.NextRun
	}
	return f
}

// planSchedule fills a schedule's defaults, checks it, and finds its next run
// after now.
func planSchedule(sc *holdfast.Schedule, j holdfast.Job, now time.Time) error {
	if sc.TimeZone == "" {
		sc.TimeZone = defaultZone
	}
	if sc.RunType == "" {
		sc.RunType = holdfast.RunFull
	}
	var err error
	if sc.RunType, err = holdfast.ParseRunType(string(sc.RunType)); err != nil {
		return err
	}
	if j.Type == holdfast.JobETL {
		sc.RunType = "" // whatever a client fills in
	}
	rule, err := ruleOf(*sc)
	if err != nil {
		return err
	}
	sc.Expression, sc.NextRun = rule.String(), rule.Next(now)
	if sc.NextRun.IsZero() && sc.Active {
		return holdfast.Errorf(holdfast.CodeInvalid, "a schedule of %q in %s does not run in the next years", sc.Expression, sc.TimeZone).
			WithHint("name a time that is still to come, or let the schedule rest")
	}
	if !sc.Active || !j.Active {
		sc.NextRun = time.Time{}
	}
	return nil
}

// ruleOf reads a schedule's expression. A rate counts from when a person last
// changed the schedule.
func ruleOf(sc holdfast.Schedule) (cron.Rule, error) {
	return cron.Parse(sc.Expression, sc.TimeZone, sc.Changed)
}

// replanSchedules finds the next runs of a job's schedules anew after the job was
// made active, and ends them after it was made inactive.
func replanSchedules(ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, now time.Time) error {
	all, err := tx.Schedules(ctx, j.Account, j.ID)
	if err != nil {
		return err
	}
	for _, prev := range all {
		next := prev
		next.NextRun = time.Time{}
		if j.Active && prev.Active {
			rule, err := ruleOf(prev)
			if err != nil {
				if err := stopSchedule(ctx, tx, actor, j, prev, err, now); err != nil {
					return err
				}
				continue
			}
			next.NextRun = rule.Next(now)
		}
		if err := tx.MoveSchedule(ctx, prev, next); err != nil {
			return err
		}
	}
	return nil
}

// stopSchedule makes a schedule inactive that cannot be read any more: another
// version of the program made it, or its time zone is gone.
func stopSchedule(ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, prev holdfast.Schedule, cause error, now time.Time) error {
	next := prev
	next.Active, next.NextRun = false, time.Time{}
	if err := tx.MoveSchedule(ctx, prev, next); err != nil {
		return err
	}
	f := scheduleFacts(next, j)
	f["error"], f["hint"] = holdfast.ErrorMessage(cause), holdfast.ErrorHint(cause)
	return record(ctx, tx, actor, now, scheduleWord(prev.ID), "schedule.stopped", f)
}

// dropSchedules deletes the schedules of a job that is deleted.
func dropSchedules(ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, now time.Time) error {
	all, err := tx.Schedules(ctx, j.Account, j.ID)
	if err != nil {
		return err
	}
	for _, sc := range all {
		if err := dropSchedule(ctx, tx, actor, j, sc, now); err != nil {
			return err
		}
	}
	return nil
}

func dropSchedule(ctx context.Context, tx store.Tx, actor holdfast.Actor, j holdfast.Job, sc holdfast.Schedule, now time.Time) error {
	if err := tx.DeleteSchedule(ctx, sc.Account, sc.ID); err != nil {
		return found(err, scheduleWord(sc.ID))
	}
	return record(ctx, tx, actor, now, scheduleWord(sc.ID), "schedule.deleted", facts{
		"site": j.Site, "job": j.ID, "expression": sc.Expression, "time_zone": sc.TimeZone, "run_type": sc.RunType,
	})
}

// NextRun is one run that schedules will make.
type NextRun struct {
	At       time.Time
	Schedule holdfast.ScheduleID
	RunType  holdfast.RunType
}

// Bounds of what is looked at in the future.
const (
	defaultRuns  = 10
	maxNextRuns  = 100
	maxConflicts = 100
)

// runCount checks how many runs are asked for; 0 means 10.
func runCount(n int) (int, error) {
	if n < 0 || n > maxNextRuns {
		return 0, holdfast.Errorf(holdfast.CodeInvalid, "%d runs cannot be shown", n).WithHint("ask for 1 to %d", maxNextRuns)
	}
	if n == 0 {
		n = defaultRuns
	}
	return n, nil
}

// NextRuns lists the next n runs that a job's schedules will make, the earliest
// first; 0 means 10, and 100 is the most.
func (s *Service) NextRuns(ctx context.Context, actor holdfast.Actor, job holdfast.JobID, n int) ([]NextRun, error) {
	var runs []NextRun
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := liveJob(ctx, r, actor, opNextRuns, job)
		if err != nil {
			return err
		}
		if n, err = runCount(n); err != nil {
			return err
		}
		all, err := r.Schedules(ctx, j.Account, j.ID)
		if err != nil {
			return err
		}
		runs = nil
		for _, sc := range all {
			rule, err := ruleOf(sc)
			if err != nil {
				continue // it is stopped, and its event says so, when it is due
			}
			at := sc.NextRun
			for k := 0; k < n && !at.IsZero(); k++ {
				runs = append(runs, NextRun{At: at, Schedule: sc.ID, RunType: sc.RunType})
				at = rule.Next(at)
			}
		}
		slices.SortStableFunc(runs, func(a, b NextRun) int { return a.At.Compare(b.At) })
		runs = runs[:min(n, len(runs))]
		return nil
	})
	return runs, err
}
