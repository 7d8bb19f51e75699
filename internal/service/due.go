package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/cron"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Bounds of one look at what is due.
const (
	dueAtOnce = 200             // schedules
	dueAtMost = 100 * dueAtOnce // schedules, when some that are due fail
	dueAhead  = time.Second     // how far a look sees
	maxMissed = 10000           // missed runs of a schedule that are counted; more are called so many
	allMissed = 20000           // missed runs of a site that are counted in its transaction, which keeps others waiting
	minMissed = 100             // missed runs of a schedule that are counted, however many there are
)

// schedulerName is who makes scheduled executions.
const schedulerName = "scheduler"

// schedulerActor is the scheduler in an account.
func schedulerActor(a holdfast.AccountID) holdfast.Actor {
	return holdfast.Actor{
		Principal:  holdfast.Principal{Account: a, Kind: holdfast.PrincipalService, Name: schedulerName},
		Credential: holdfast.Credential{Account: a, Role: holdfast.RoleOperator},
	}
}

// RunDue runs the schedules that are due, at most 200, and returns when to look
// again: no later than in a second. Of several control planes each may call it at
// any time. What fails stays due, because a schedule moves on only in the
// transaction that made its execution, or the event that says why there is none;
// others that are due run all the same.
func (s *Service) RunDue(ctx context.Context) (again time.Time, err error) {
	now := s.now()
	again = now.Add(dueAhead)
	done := map[holdfast.ScheduleID]bool{}
	var errs []error
	for limit := dueAtOnce; ; limit *= 2 { // what has failed is the longest due: look behind it
		list, err := s.dueSchedules(ctx, again, limit)
		if err != nil {
			return again, errors.Join(append(errs, err)...)
		}
		for _, sc := range list {
			switch {
			case done[sc.ID]:
			case sc.NextRun.After(now):
				return sc.NextRun, errors.Join(errs...)
			default:
				ids, err := s.runSite(ctx, sc, now)
				for _, id := range ids {
					done[id] = true
				}
				if err != nil {
					done[sc.ID] = true
					errs = append(errs, err)
					if code := holdfast.ErrorCode(err); code == holdfast.CodeUnavailable || code == holdfast.CodeExhausted {
						return again, errors.Join(errs...) // the store's own trouble is everybody's
					}
				}
			}
		}
		switch {
		case len(list) < limit:
			return again, errors.Join(errs...)
		case len(errs) == 0:
			return now, nil
		case limit >= dueAtMost || ctx.Err() != nil:
			return again, errors.Join(errs...)
		}
	}
}

// dueSchedules reads what is due.
func (s *Service) dueSchedules(ctx context.Context, until time.Time, limit int) (list []holdfast.Schedule, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	err = s.cfg.Store.View(ctx, func(r store.Reader) (err error) {
		list, err = r.DueSchedules(ctx, until, limit)
		return err
	})
	return list, err
}

// dueSchedule is a schedule that is due, with what is known of it.
type dueSchedule struct {
	holdfast.Schedule
	job       holdfast.Job
	next      holdfast.Schedule // as it stands afterwards
	due       holdfast.DueRun
	count     int // how many missed runs are counted at most
	missed    int // runs before due.At that were not made
	execution holdfast.Execution
	refusal   error // why the job cannot run
}

// runSite runs what is due on the site of a due schedule, all of it in one
// transaction, so that the priorities of its jobs are seen together. It returns
// the schedules that are no longer due, or with an error those that failed
// together.
func (s *Service) runSite(ctx context.Context, first holdfast.Schedule, now time.Time) ([]holdfast.ScheduleID, error) {
	actor := schedulerActor(first.Account)
	var done []holdfast.ScheduleID
	var ran []holdfast.Execution
	err := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error {
		done, ran = nil, nil
		j, err := tx.Job(ctx, first.Account, first.Job)
		if err != nil {
			return err
		}
		if !j.Deleted.IsZero() || !j.Active {
			done = append(done, first.ID)
			return rest(ctx, tx, first)
		}
		group, err := dueOfSite(ctx, tx, j, now)
		if err != nil {
			return err
		}
		for _, d := range group {
			done = append(done, d.ID)
		}
		var runs []dueSchedule
		for _, d := range group {
			rule, err := ruleOf(d.Schedule)
			if err != nil {
				if err := stopSchedule(ctx, tx, actor, d.job, d.Schedule, err, now); err != nil {
					return err
				}
				continue
			}
			d.count = max(min(allMissed/len(group), maxMissed), minMissed)
			if err := s.prepare(ctx, tx, actor, &d, rule, now); err != nil {
				return err
			}
			runs = append(runs, d)
		}
		ran, err = s.fire(ctx, tx, actor, j.Site, runs, now)
		return err
	})
	if err != nil {
		return done, s.forget(ctx, first, err)
	}
	s.ringFor(ctx, actor.String(), ran)
	return done, nil
}

// forget passes over a schedule that another scheduler ran, or that somebody
// changed or deleted. What is due yet is seen by the next look.
func (s *Service) forget(ctx context.Context, sc holdfast.Schedule, err error) error {
	if code := holdfast.ErrorCode(err); code != holdfast.CodeConflict && code != holdfast.CodeNotFound {
		return err
	}
	s.cfg.Log.DebugContext(ctx, "a schedule was moved meanwhile", "schedule", sc.ID, "error", err)
	return nil
}

// rest takes the next run from a schedule whose job has none.
func rest(ctx context.Context, tx store.Tx, prev holdfast.Schedule) error {
	next := prev
	next.NextRun = time.Time{}
	return tx.MoveSchedule(ctx, prev, next)
}

// dueOfSite lists what is due on the site of a job, by job and id.
func dueOfSite(ctx context.Context, r store.Reader, of holdfast.Job, now time.Time) ([]dueSchedule, error) {
	jobs, _, err := r.Jobs(ctx, of.Account, store.JobFilter{Sites: []holdfast.SiteID{of.Site}, ActiveOnly: true})
	if err != nil {
		return nil, err
	}
	ids := make([]holdfast.JobID, len(jobs))
	for i, j := range jobs {
		ids[i] = j.ID
	}
	next, err := r.NextRuns(ctx, of.Account, ids)
	if err != nil {
		return nil, err
	}
	var group []dueSchedule
	for _, j := range jobs {
		if at, ok := next[j.ID]; !ok || at.After(now) {
			continue
		}
		all, err := r.Schedules(ctx, j.Account, j.ID)
		if err != nil {
			return nil, err
		}
		for _, sc := range all {
			if !sc.NextRun.IsZero() && !sc.NextRun.After(now) {
				group = append(group, dueSchedule{Schedule: sc, job: j})
			}
		}
	}
	return group, nil
}

// prepare says when the schedule is due, and makes the execution that it would
// start.
func (s *Service) prepare(ctx context.Context, r store.Reader, actor holdfast.Actor, d *dueSchedule, rule cron.Rule, now time.Time) error {
	at, missed := s.newest(d.Schedule, rule, now, d.count)
	d.missed = missed
	d.next = d.Schedule
	d.next.NextRun = rule.Next(now)
	var err error
	d.execution, err = s.newExecution(ctx, r, actor, opExecute, d.job, Run{Job: d.job.ID, RunType: d.RunType, Due: at}, now)
	switch holdfast.ErrorCode(err) {
	case holdfast.CodeInternal, holdfast.CodeUnavailable, holdfast.CodeExhausted:
		return err // of the store: tried again
	case holdfast.CodeInvalid, holdfast.CodeUnauthenticated, holdfast.CodeForbidden, holdfast.CodeNotFound, holdfast.CodeConflict:
		d.refusal = err
	}
	d.execution.Schedule = d.ID
	d.due = holdfast.DueRun{
		Schedule: d.ID, Job: d.job.ID, Priority: d.job.Priority, RunType: d.RunType, At: at, Refused: d.refusal != nil,
	}
	return nil
}

// newest returns the newest time of a due schedule that is not in the future, and
// how many times before it made no run: up to count.
func (s *Service) newest(sc holdfast.Schedule, rule cron.Rule, now time.Time, count int) (at time.Time, missed int) {
	at = sc.NextRun
	for next := rule.Next(at); !next.IsZero() && !next.After(now); next = rule.Next(next) {
		if missed++; missed == count {
			break // what is newer is looked for below
		}
		at = next
	}
	if missed < count {
		return at, missed
	}
	for next := rule.Next(now.Add(-s.cfg.Schedules.Patience())); !next.IsZero() && !next.After(now); next = rule.Next(next) {
		at = next
	}
	return at, missed
}

// fire moves schedules of a site on, and inserts executions or events.
func (s *Service) fire(
	ctx context.Context, tx store.Tx, actor holdfast.Actor, site holdfast.SiteID, runs []dueSchedule, now time.Time,
) ([]holdfast.Execution, error) {
	live, _, err := tx.Executions(ctx, actor.Principal.Account, store.ExecutionFilter{
		Sites:  []holdfast.SiteID{site},
		States: []holdfast.State{holdfast.StateQueued, holdfast.StateRunning, holdfast.StateSuspended},
	})
	if err != nil {
		return nil, err
	}
	due := make([]holdfast.DueRun, len(runs))
	for i, d := range runs {
		due[i] = d.due
	}
	var ran []holdfast.Execution
	for i, f := range s.cfg.Schedules.Decide(now, due, live) {
		d := runs[i]
		if err := tx.MoveSchedule(ctx, d.Schedule, d.next); err != nil {
			return nil, err
		}
		if f.Skip != holdfast.SkipNone {
			if err := recordSkip(ctx, tx, actor, d, f, now); err != nil {
				return nil, err
			}
			s.cfg.Log.InfoContext(ctx, "scheduled run skipped", "schedule", d.ID, "job", d.Job, "site", site, "reason", f.Skip, "due", d.due.At)
			continue
		}
		m, err := insertSubmission(ctx, tx, actor, Submit{}, []holdfast.Execution{d.execution}, now)
		if err != nil {
			return nil, err
		}
		ran = append(ran, m.executions...)
		if err := recordLate(ctx, tx, actor, d, m.executions[0], now); err != nil {
			return nil, err
		}
	}
	return ran, nil
}

// recordSkip writes the event of a run that was not made. missed counts it, too,
// and those before it that nobody looked at.
func recordSkip(ctx context.Context, tx store.Tx, actor holdfast.Actor, d dueSchedule, f holdfast.Firing, now time.Time) error {
	data := facts{
		"site": d.job.Site, "job": d.Job, "schedule": d.ID, "run_type": d.RunType, "due": d.due.At, "reason": f.Skip, "missed": d.missed + 1,
	}
	if f.Execution != 0 {
		data["for_execution"] = f.Execution
	}
	if f.Schedule != 0 {
		data["for_schedule"] = f.Schedule
	}
	if f.Skip == holdfast.SkipRefused {
		data["error"], data["hint"] = holdfast.ErrorMessage(d.refusal), holdfast.ErrorHint(d.refusal)
	}
	return record(ctx, tx, actor, now, scheduleWord(d.ID), "schedule.skipped", data)
}

// lateFrom is when a run is called late: a busy server takes seconds.
const lateFrom = time.Minute

// recordLate writes the event of a run that came late.
func recordLate(ctx context.Context, tx store.Tx, actor holdfast.Actor, d dueSchedule, e holdfast.Execution, now time.Time) error {
	late := now.Sub(d.due.At)
	if late < lateFrom && d.missed == 0 {
		return nil
	}
	return record(ctx, tx, actor, now, scheduleWord(d.ID), "schedule.late", facts{
		"site": d.job.Site, "job": d.Job, "schedule": d.ID, "run_type": d.RunType, "due": d.due.At, "execution": e.ID,
		"late_seconds": int64(late / time.Second), "missed": d.missed,
	})
}

// farAhead is by how much a next run may lie further ahead than the rule has it.
const farAhead = 24 * time.Hour

// repairAtOnce is how many jobs one transaction of a repair looks at.
const repairAtOnce = 200

// RepairSchedules finds next runs anew that were found while the clock was wrong:
// those that lie further ahead than a day and than two runs. Without it a
// schedule that ran while the clock was a year ahead would rest for a year. Next
// runs that are nearer stay, so that a clock that is set back by hours repeats
// nothing.
func (s *Service) RepairSchedules(ctx context.Context) error {
	vctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	var accounts []holdfast.Account
	err := s.cfg.Store.View(vctx, func(r store.Reader) error {
		var err error
		accounts, err = r.Accounts(vctx)
		return err
	})
	for _, a := range accounts {
		for offset := 0; err == nil; offset += repairAtOnce {
			var n int
			if n, err = s.repairPage(ctx, a.ID, store.Page{Offset: offset, Limit: repairAtOnce}); n < repairAtOnce {
				break
			}
		}
	}
	return err
}

// repairPage looks at a page of an account's jobs, and returns how many there
// were.
func (s *Service) repairPage(ctx context.Context, a holdfast.AccountID, p store.Page) (int, error) {
	now := s.now()
	actor := schedulerActor(a)
	var far []holdfast.Schedule
	var n int
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		jobs, _, err := r.Jobs(ctx, a, store.JobFilter{ActiveOnly: true, Page: p})
		if err != nil {
			return err
		}
		n = len(jobs)
		ids := make([]holdfast.JobID, n)
		for i, j := range jobs {
			ids[i] = j.ID
		}
		scheduled, err := r.NextRuns(ctx, a, ids)
		if err != nil {
			return err
		}
		far = nil
		for job := range scheduled {
			all, err := r.Schedules(ctx, a, job)
			if err != nil {
				return err
			}
			for _, sc := range all {
				if _, ok := nearer(sc, now); ok {
					far = append(far, sc)
				}
			}
		}
		return nil
	})
	slices.SortFunc(far, func(a, b holdfast.Schedule) int { return int(a.ID - b.ID) })
	for _, prev := range far {
		next := prev
		next.NextRun, _ = nearer(prev, now)
		moveErr := s.update(ctx, actor, func(ctx context.Context, tx store.Tx) error { return tx.MoveSchedule(ctx, prev, next) })
		if moveErr != nil {
			err = errors.Join(err, s.forget(ctx, prev, moveErr))
			continue
		}
		s.cfg.Log.InfoContext(ctx, "next run found anew: the clock has been far ahead", "schedule", prev.ID, "job", prev.Job,
			"was", prev.NextRun, "next_run", next.NextRun)
	}
	return n, err
}

// nearer returns when a schedule runs next by its rule when it is to run much
// later.
func nearer(sc holdfast.Schedule, now time.Time) (time.Time, bool) {
	if sc.NextRun.IsZero() {
		return time.Time{}, false
	}
	rule, err := ruleOf(sc)
	if err != nil {
		return time.Time{}, false // it is stopped when it is due
	}
	first := rule.Next(now)
	if first.IsZero() || sc.NextRun.Sub(first) <= farAhead {
		return time.Time{}, false
	}
	second := rule.Next(first)
	return first, !second.IsZero() && sc.NextRun.After(second)
}
