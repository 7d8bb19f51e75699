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
	jobChanging = jobHead + ", annotations, created, deleted, etl, definition"
	jobHead     = "site, type, engine, name, description, active, priority, repository, retention_unit, retention_count, " +
		"auto_abort_active, auto_abort_after, restore"
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
		spec{&j.ETL},
		definition{&j.ETL},
	}
}

// Job returns one job, also a deleted one.
func (r reader) Job(ctx context.Context, a holdfast.AccountID, id holdfast.JobID) (holdfast.Job, error) {
	return one(ctx, r.s, named("job", id), jobFields, "SELECT "+jobColumns+" FROM jobs WHERE id = ? AND "+mine, id, a, a)
}

// liveJobs is the jobs that are not deleted.
var liveJobs = counted{
	table: "jobs", present: "deleted IS NULL", account: "jobs_account", site: "jobs_site",
	blocks: "job_blocks", counts: "n > 0", size: 8192, direction: "ASC",
}

// Jobs lists the jobs that are not deleted, by id, and says how many there are
// without the page.
func (r reader) Jobs(ctx context.Context, a holdfast.AccountID, f store.JobFilter) ([]holdfast.Job, int, error) {
	var w where
	if err := in(&w, "type", f.Types); err != nil {
		return nil, 0, err
	}
	if f.Engine != "" {
		w.add("engine = ?", f.Engine)
	}
	if f.ActiveOnly {
		w.add("active = 1")
	}
	if a != 0 && f.Name == "" {
		return pageOf(ctx, r.s, liveJobs, jobFields, jobColumns, a, f.Sites, w, f.Page)
	}
	w.add("deleted IS NULL")
	w.account(a)
	if err := in(&w, "site", f.Sites); err != nil {
		return nil, 0, err
	}
	table := "jobs NOT INDEXED" // every job of every account
	if f.Name != "" {
		table = "jobs INDEXED BY jobs_called"
		w.add("lower(name) = lower(?)", f.Name) // which know ASCII
		if !f.AnyCase {
			w.add("name = ?", f.Name)
		}
	}
	return listed(ctx, r.s, jobFields, jobColumns, table, "id", w, f.Page)
}

// RepositoryUsers lists which repositories jobs name that are not deleted, with
// the sites of these jobs.
func (r reader) RepositoryUsers(ctx context.Context, a holdfast.AccountID) (map[holdfast.RepositoryID][]holdfast.SiteID, error) {
	type use struct {
		repository holdfast.RepositoryID
		site       holdfast.SiteID
	}
	// From pair to pair, however many jobs have the same: each step is one or two
	// looks into the index.
	uses, err := many(ctx, r.s, func(u *use) []any { return []any{&u.repository, &u.site} }, `
		WITH RECURSIVE uses (repository, site) AS (
			SELECT -1, -1
			UNION ALL
			SELECT j.repository, j.site FROM uses u JOIN jobs j ON j.id = coalesce (
				(SELECT id FROM jobs INDEXED BY jobs_repository WHERE deleted IS NULL AND account = ?1 AND repository = u.repository AND site > u.site
					ORDER BY site LIMIT 1),
				(SELECT id FROM jobs INDEXED BY jobs_repository WHERE deleted IS NULL AND account = ?1 AND repository > u.repository
					ORDER BY repository, site LIMIT 1))
		)
		SELECT repository, site FROM uses WHERE repository > 0`, a)
	users := map[holdfast.RepositoryID][]holdfast.SiteID{}
	for _, u := range uses {
		users[u.repository] = append(users[u.repository], u.site)
	}
	return users, err
}

// InsertJob makes a job.
func (t tx) InsertJob(ctx context.Context, j *holdfast.Job) error {
	n, err := t.s.insert(ctx, "INSERT INTO jobs ("+jobColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", jobFields(j)...)
	if err != nil {
		return taken(err, "job %q at this site", j.Name)
	}
	j.ID = holdfast.JobID(n)
	return nil
}

// UpdateJob writes everything but id and account.
func (t tx) UpdateJob(ctx context.Context, j holdfast.Job) error {
	args := append(jobFields(&j)[2:], j.ID, j.Account)
	n, err := t.s.exec(ctx, "UPDATE jobs SET ("+jobChanging+") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ? AND account = ?", args...)
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

func (w *where) addAll(other where) {
	w.conditions = append(w.conditions, other.conditions...)
	w.args = append(w.args, other.args...)
}

// account adds that a row is the account's; zero is every account, and lets an
// index serve that begins with the account.
func (w *where) account(a holdfast.AccountID) {
	if a == 0 {
		w.add(everyAccount)
		return
	}
	w.add("account = ?", a)
}

// in adds that a column holds one of the values, when there are any. The text
// does not depend on how many there are beyond one.
func in[T any](w *where, column string, values []T) error {
	switch len(values) {
	case 0:
		return nil
	case 1:
		w.add(column+" = ?", values[0])
		return nil
	}
	return inList(w, column, values)
}

// inList is in without a comparison with a parameter. Where a partial index names
// the column, SQLite would look at the parameter's value, and prepare the
// statement again whenever that changes.
func inList[T any](w *where, column string, values []T) error {
	if len(values) == 0 {
		return nil
	}
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

// limits is a page for paged.
func limits(p store.Page) (limit, offset int) {
	if p.Limit <= 0 {
		return -1, max(p.Offset, 0)
	}
	return p.Limit, max(p.Offset, 0)
}

// listed reads a page of a table that is small enough to be counted.
func listed[T any](ctx context.Context, s *session, fields func(*T) []any, columns, table, order string, w where, p store.Page) ([]T, int, error) {
	if p == (store.Page{}) { // the rows themselves say how many there are
		rows, err := many(ctx, s, fields, "SELECT "+columns+" FROM "+table+w.String()+" ORDER BY "+order, w.args...)
		return rows, len(rows), err
	}
	total, err := s.number(ctx, "SELECT count(*) FROM "+table+w.String(), w.args...)
	if err != nil || total == 0 {
		return nil, 0, err
	}
	limit, offset := limits(p)
	rows, err := many(ctx, s, fields, "SELECT "+columns+" FROM "+table+w.String()+" ORDER BY "+order+paged,
		append(slices.Clip(w.args), limit, offset)...)
	return rows, int(total), err
}
