package service

import (
	"context"
	"math"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

// Preview is what a schedule would do.
type Preview struct {
	Next      []time.Time
	Conflicts []Conflict // warnings; at most 100
}

// Conflict is a run of another schedule of the site in the same minute.
type Conflict struct {
	At       time.Time
	Job      holdfast.JobID
	JobName  string
	Schedule holdfast.ScheduleID
	RunType  holdfast.RunType
	Reason   string // for people: what becomes of the two
}

// newest is the id that stands for the schedule that the next one will be.
const newest = holdfast.ScheduleID(math.MaxInt64)

// PreviewSchedule returns the next n runs of a schedule that need not exist (0
// means 10, and 100 is the most), and what they would meet. A schedule with an id
// meets all but the one with this id. Errors are those of CreateSchedule.
func (s *Service) PreviewSchedule(ctx context.Context, actor holdfast.Actor, in holdfast.Schedule, n int) (Preview, error) {
	now := s.now()
	var p Preview
	err := s.view(ctx, actor, func(ctx context.Context, r store.Reader) error {
		j, err := schedulable(ctx, r, actor, opPreviewSchedule, in.Job)
		if err != nil {
			return err
		}
		if n, err = runCount(n); err != nil {
			return err
		}
		if in.ID != 0 {
			old, err := scheduleOf(ctx, r, j, in.ID)
			if err != nil {
				return err
			}
			in.Changed = old.Changed
		} else {
			in.Changed = now
		}
		sc := in
		sc.Active = true
		if sc.ID == 0 {
			sc.ID = newest
		}
		if err := planSchedule(&sc, j, now); err != nil {
			return err
		}
		rule, err := ruleOf(sc)
		if err != nil {
			return err
		}
		p = Preview{}
		for at := rule.Next(now); len(p.Next) < n && !at.IsZero(); at = rule.Next(at) {
			p.Next = append(p.Next, at)
		}
		p.Conflicts, err = s.conflicts(ctx, r, j, sc, p.Next)
		return err
	})
	if err != nil {
		return Preview{}, err
	}
	return p, nil
}

// conflicts lists what active schedules of the site do in the same minutes, in
// the order of the runs.
func (s *Service) conflicts(ctx context.Context, r store.Reader, j holdfast.Job, sc holdfast.Schedule, runs []time.Time) ([]Conflict, error) {
	jobs, _, err := r.Jobs(ctx, j.Account, store.JobFilter{Sites: []holdfast.SiteID{j.Site}, ActiveOnly: true})
	if err != nil || len(runs) == 0 {
		return nil, err
	}
	ids := make([]holdfast.JobID, len(jobs))
	for i := range jobs {
		ids[i] = jobs[i].ID
	}
	scheduled, err := r.NextRuns(ctx, j.Account, ids)
	if err != nil {
		return nil, err
	}
	at := make([][]Conflict, len(runs))
	for _, other := range jobs {
		if _, ok := scheduled[other.ID]; !ok {
			continue
		}
		all, err := r.Schedules(ctx, j.Account, other.ID)
		if err != nil {
			return nil, err
		}
		for _, o := range all {
			rule, err := ruleOf(o)
			if err != nil || !o.Active || o.ID == sc.ID {
				continue
			}
			for i, run := range runs {
				minute := run.Truncate(time.Minute)
				if next := rule.Next(minute.Add(-time.Nanosecond)); !next.IsZero() && next.Before(minute.Add(time.Minute)) {
					at[i] = append(at[i], Conflict{
						At: next, Job: other.ID, JobName: other.Name, Schedule: o.ID, RunType: o.RunType, Reason: s.meeting(j, sc, other, o),
					})
				}
			}
		}
	}
	var list []Conflict
	for _, c := range at {
		list = append(list, c...)
	}
	return list[:min(len(list), maxConflicts)], nil
}

// meeting says what becomes of a run and another one in the same minute: it has
// the rules decide.
func (s *Service) meeting(j holdfast.Job, sc holdfast.Schedule, other holdfast.Job, o holdfast.Schedule) string {
	now := s.now()
	firings := s.cfg.Schedules.Decide(now, []holdfast.DueRun{
		{Schedule: sc.ID, Job: j.ID, Priority: j.Priority, RunType: sc.RunType, At: now},
		{Schedule: o.ID, Job: other.ID, Priority: other.Priority, RunType: o.RunType, At: now},
	}, nil)
	switch {
	case firings[0].Skip == holdfast.SkipSame:
		return "it is the same job, and the other run goes first: this one is skipped"
	case firings[1].Skip == holdfast.SkipSame:
		return "it is the same job, and this run goes first: the other one is skipped"
	case firings[0].Skip == holdfast.SkipPriority:
		return "the other job has a higher priority: this run is skipped"
	case firings[1].Skip == holdfast.SkipPriority:
		return "this job has a higher priority: the other run is skipped"
	case j.Priority == other.Priority:
		return "both run at once"
	}
	return "both are queued, and the job with the higher priority is taken first"
}
