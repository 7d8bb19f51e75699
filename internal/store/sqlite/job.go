package sqlite

import (
	"context"
	"slices"
	"strings"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	jobColumns  = "id, account, " + jobChanging
	jobChanging = "site, type, engine, name, description, active, priority, repository, retention_unit, retention_count, " +
		"auto_abort_active, auto_abort_after, restore, annotations, created, deleted"
)

func jobFields(j *holdfast.Job) []any {
	return []any{
		idOf(&j.ID), &j.Account, &j.Site, &j.Type, &j.Engine, &j.Name, &j.Description, &j.Active, &j.Priority, idOf(&j.Repository),
		&j.Retention.Unit, &j.Retention.Count, &j.AutoAbort.Active,
		span{&j.AutoAbort.After},
		optionalOf(&j.Restore),
		annotations{&j.Annotations},
		micros{&j.Created},
		micros{&j.Deleted},
	}
}

// Job returns one job, also a deleted one.
func (r reader) Job(ctx context.Context, a holdfast.AccountID, id holdfast.JobID) (holdfast.Job, error) {
	return one(ctx, r.s, named("job", id), jobFields, "SELECT "+jobColumns+" FROM jobs WHERE id = ? AND "+mine, id, a, a)
}

// Jobs lists the jobs that are not deleted, by id, and says how many there are
// without the page.
func (r reader) Jobs(ctx context.Context, a holdfast.AccountID, f store.JobFilter) ([]holdfast.Job, int, error) {
	var w where
	w.add("deleted IS NULL")
	if a != 0 {
		w.add("account = ?", a)
	}
	if len(f.Sites) > 0 {
		if err := in(&w, "site", f.Sites); err != nil {
			return nil, 0, err
		}
	}
	if len(f.Types) > 0 {
		if err := in(&w, "type", f.Types); err != nil {
			return nil, 0, err
		}
	}
	if f.Engine != "" {
		w.add("engine = ?", f.Engine)
	}
	if f.ActiveOnly {
		w.add("active")
	}
	switch {
	case f.Name != "" && f.AnyCase:
		w.add("lower(name) = lower(?)", f.Name) // which know ASCII
	case f.Name != "":
		w.add("name = ?", f.Name)
	}
	return listed(ctx, r.s, jobFields, jobColumns, "jobs", "id", w, f.Page)
}

// InsertJob makes a job.
func (t tx) InsertJob(ctx context.Context, j *holdfast.Job) error {
	n, err := t.s.insert(ctx, "INSERT INTO jobs ("+jobColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", jobFields(j)...)
	if err != nil {
		return taken(err, "job %q at this site", j.Name)
	}
	j.ID = holdfast.JobID(n)
	return nil
}

// UpdateJob writes everything but id and account.
func (t tx) UpdateJob(ctx context.Context, j holdfast.Job) error {
	args := append(jobFields(&j)[2:], j.ID, j.Account)
	n, err := t.s.exec(ctx, "UPDATE jobs SET ("+jobChanging+") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, taken(err, "job %q at this site", j.Name), "job %d", j.ID)
}

// where is the conditions of a list, all of which hold.
type where struct {
	conditions []string
	args       []any
}

func (w *where) add(condition string, args ...any) {
	w.conditions = append(w.conditions, condition)
	w.args = append(w.args, args...)
}

// in adds that a column holds one of the values. The text does not depend on how
// many there are.
func in[T any](w *where, column string, values []T) error {
	s, err := selected(values)
	if err != nil {
		return err
	}
	w.add(column+" IN (SELECT value FROM json_each(?))", s)
	return nil
}

func (w *where) String() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// limits is a page for LIMIT ? OFFSET ?.
func limits(p store.Page) (limit, offset int) {
	if p.Limit <= 0 {
		return -1, max(p.Offset, 0)
	}
	return p.Limit, max(p.Offset, 0)
}

// listed reads a page of a table that is small enough to be counted.
func listed[T any](ctx context.Context, s *session, fields func(*T) []any, columns, table, order string, w where, p store.Page) ([]T, int, error) {
	total, err := s.number(ctx, "SELECT count(*) FROM "+table+w.String(), w.args...)
	if err != nil || total == 0 {
		return nil, 0, err
	}
	limit, offset := limits(p)
	rows, err := many(ctx, s, fields, "SELECT "+columns+" FROM "+table+w.String()+" ORDER BY "+order+" LIMIT ? OFFSET ?",
		append(slices.Clip(w.args), limit, offset)...)
	return rows, int(total), err
}
