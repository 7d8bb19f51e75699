package sqlite

import (
	"context"
	"strings"
	"time"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	scheduleColumns  = "id, account, job, created, " + scheduleChanging
	scheduleChanging = "expression, time_zone, run_type, active, next_run, changed"
	scheduleKept     = 4 // how many columns stay
)

func scheduleFields(s *holdfast.Schedule) []any {
	return []any{
		idOf(&s.ID), &s.Account, &s.Job,
		micros{&s.Created},
		&s.Expression, &s.TimeZone, &s.RunType, &s.Active,
		micros{&s.NextRun},
		micros{&s.Changed},
	}
}

// Schedule returns one schedule.
func (r reader) Schedule(ctx context.Context, a holdfast.AccountID, id holdfast.ScheduleID) (holdfast.Schedule, error) {
	return one(ctx, r.s, named("schedule", id), scheduleFields, "SELECT "+scheduleColumns+" FROM schedules WHERE id = ? AND "+mine, id, a, a)
}

// Schedules lists the schedules of a job, by id.
func (r reader) Schedules(ctx context.Context, a holdfast.AccountID, job holdfast.JobID) ([]holdfast.Schedule, error) {
	return many(ctx, r.s, scheduleFields, "SELECT "+scheduleColumns+" FROM schedules WHERE job = ? AND "+mine+" ORDER BY id", job, a, a)
}

// SiteSchedules lists the schedules of the sites' backup jobs, by job and then by id: of
// some sites by their jobs, of all by the schedules themselves. Of one site, the
// index on jobs is in that order, so that a page reads no more than itself.
func (r reader) SiteSchedules(ctx context.Context, a holdfast.AccountID, sites []holdfast.SiteID, p store.Page) ([]holdfast.Schedule, error) {
	from, order := "schedules s INDEXED BY schedules_job CROSS JOIN jobs j ON j.id = s.job", "s.job, s.id"
	var w where
	switch {
	case len(sites) > 0:
		from, order = "jobs j INDEXED BY jobs_site CROSS JOIN schedules s INDEXED BY schedules_job ON s.job = j.id", "j.id, s.id"
	case a != 0:
		from = "schedules s INDEXED BY schedules_account CROSS JOIN jobs j ON j.id = s.job"
		w.add("s.account = ?", a)
	}
	w.add("j.deleted IS NULL")
	w.add("j.type = 'BACKUP'")
	if a != 0 {
		w.add("j.account = ?", a)
	}
	if err := in(&w, "j.site", sites); err != nil {
		return nil, err
	}
	limit, offset := limits(p)
	return many(ctx, r.s, scheduleFields, "SELECT s."+strings.ReplaceAll(scheduleColumns, ", ", ", s.")+" FROM "+from+w.String()+
		" ORDER BY "+order+paged, append(w.args, limit, offset)...)
}

// DueSchedules lists schedules of every account that are due, the longest due
// first.
func (r reader) DueSchedules(ctx context.Context, now time.Time, limit int) ([]holdfast.Schedule, error) {
	n, _ := limits(store.Page{Limit: limit})
	return many(ctx, r.s, scheduleFields,
		"SELECT "+scheduleColumns+" FROM schedules WHERE next_run IS NOT NULL AND next_run <= ? ORDER BY next_run, id"+limited, micros{&now}, n)
}

// nextRun is when a job runs next.
type nextRun struct {
	job holdfast.JobID
	at  time.Time
}

// NextRuns returns the earliest next run of each job that has one.
func (r reader) NextRuns(ctx context.Context, a holdfast.AccountID, jobs []holdfast.JobID) (map[holdfast.JobID]time.Time, error) {
	next := map[holdfast.JobID]time.Time{}
	if len(jobs) == 0 {
		return next, nil
	}
	ids, err := selected(jobs)
	if err != nil {
		return nil, err
	}
	rows, err := many(ctx, r.s, func(n *nextRun) []any { return []any{&n.job, micros{&n.at}} },
		"SELECT job, min(next_run) FROM schedules WHERE next_run IS NOT NULL AND job IN (SELECT value FROM json_each(?)) AND "+mine+" GROUP BY job",
		ids, a, a)
	for _, n := range rows {
		next[n.job] = n.at
	}
	return next, err
}

// InsertSchedule makes a schedule.
func (t tx) InsertSchedule(ctx context.Context, s *holdfast.Schedule) error {
	n, err := t.s.insert(ctx, "INSERT INTO schedules ("+scheduleColumns+") VALUES (?,?,?,?,?,?,?,?,?,?)", scheduleFields(s)...)
	if err != nil {
		return taken(err, "schedule %d", s.ID)
	}
	s.ID = holdfast.ScheduleID(n)
	return nil
}

// MoveSchedule writes next over prev when the row still has prev's next run and
// time of change.
func (t tx) MoveSchedule(ctx context.Context, prev, next holdfast.Schedule) error {
	if prev.ID != next.ID || prev.Account != next.Account || prev.Job != next.Job {
		return holdfast.Errorf(holdfast.CodeInternal, "a move would make schedule %d another", prev.ID)
	}
	args := append(scheduleFields(&next)[scheduleKept:], prev.ID, prev.Account, micros{&prev.NextRun}, micros{&prev.Changed})
	n, err := t.s.exec(ctx, "UPDATE schedules SET ("+scheduleChanging+") = (?,?,?,?,?,?) "+
		"WHERE id = ? AND account = ? AND next_run IS ? AND changed IS ?", args...)
	if err != nil || n > 0 {
		return err
	}
	if _, err := t.Schedule(ctx, prev.Account, prev.ID); err != nil {
		return err
	}
	return holdfast.Errorf(holdfast.CodeConflict, "schedule %d has fired or was changed meanwhile", prev.ID)
}

// DeleteSchedule deletes a schedule.
func (t tx) DeleteSchedule(ctx context.Context, a holdfast.AccountID, id holdfast.ScheduleID) error {
	n, err := t.s.exec(ctx, "DELETE FROM schedules WHERE id = ? AND account = ?", id, a)
	return changed(n, err, "schedule %d", id)
}
