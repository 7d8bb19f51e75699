package sqlite

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/holdfast-backup/holdfast"
)

// etlColumns is a job's columns for a list of ETLs: what is long is left out.
const etlColumns = "id, account, " + jobHead + ", NULL, created, deleted, etl, NULL"

// etlShelf remembers the ETLs of accounts, each as of a version of its own: of what
// is known, only what has changed since is read. The version in the database rises
// with each change of an ETL, and stands in its row; when something else happens to
// them, the epoch rises and what is known is void.
type etlShelf struct {
	mu    sync.Mutex // guards the field below
	lists map[holdfast.AccountID]etlList
}

// etlList is the ETLs of an account, which nobody changes.
type etlList struct {
	epoch, version int64
	jobs           []holdfast.Job // by id
	size           int            // bytes, about
}

// maxShelf bounds the bytes that all lists take, about: some 50,000 ETLs with a few
// properties each.
const maxShelf = 64 << 20

func newETLShelf() *etlShelf { return &etlShelf{lists: map[holdfast.AccountID]etlList{}} }

// known returns what is known of an account's ETLs.
func (s *etlShelf) known(a holdfast.AccountID) etlList {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[a]
}

// learn keeps a list, unless a newer snapshot came first.
func (s *etlShelf) learn(a holdfast.AccountID, l etlList) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.lists[a]; old.epoch > l.epoch || old.epoch == l.epoch && old.version > l.version {
		return
	}
	delete(s.lists, a)
	size := l.size
	for _, other := range s.lists {
		size += other.size
	}
	if size > maxShelf {
		clear(s.lists)
	}
	if l.size <= maxShelf {
		s.lists[a] = l
	}
}

// ETLs lists the account's ETL jobs, by id, without their definitions and
// annotations.
func (r reader) ETLs(ctx context.Context, a holdfast.AccountID) ([]holdfast.Job, error) {
	if r.etls == nil || a == 0 {
		return r.readETLs(ctx, a)
	}
	l := r.etls.known(a)
	switch {
	case l.epoch != r.s.epoch || l.version > r.s.etls: // nothing, or not of this snapshot
		jobs, err := r.readETLs(ctx, a)
		if err != nil {
			return nil, err
		}
		l.jobs = jobs
	case l.version == r.s.etls:
		return slices.Clip(l.jobs), nil
	default:
		changed, err := many(ctx, r.s, jobFields, "SELECT "+etlColumns+
			" FROM jobs INDEXED BY jobs_etl_changed WHERE account = ? AND type = 'ETL' AND changed > ? ORDER BY id", a, l.version)
		if err != nil {
			return nil, err
		}
		l.jobs = merge(l.jobs, changed)
	}
	l.epoch, l.version, l.size = r.s.epoch, r.s.etls, sizeOf(l.jobs)
	r.etls.learn(a, l)
	return slices.Clip(l.jobs), nil
}

func (r reader) readETLs(ctx context.Context, a holdfast.AccountID) ([]holdfast.Job, error) {
	var w where
	w.account(a)
	return many(ctx, r.s, jobFields, "SELECT "+etlColumns+" FROM jobs WHERE id IN (SELECT id FROM jobs INDEXED BY jobs_account"+
		w.String()+" AND type = 'ETL' AND deleted IS NULL) ORDER BY id", w.args...)
}

// merge puts what has changed into a new list, and leaves out what was deleted. Both
// are by id.
func merge(old, changed []holdfast.Job) []holdfast.Job {
	out := make([]holdfast.Job, 0, len(old)+len(changed))
	for _, j := range changed {
		i, found := slices.BinarySearchFunc(old, j.ID, func(o holdfast.Job, id holdfast.JobID) int { return cmp.Compare(o.ID, id) })
		out = append(out, old[:i]...)
		if old = old[i:]; found {
			old = old[1:]
		}
		if j.Deleted.IsZero() {
			out = append(out, j)
		}
	}
	if out = append(out, old...); len(out) == 0 {
		return nil
	}
	return out
}

// sizeOf is about how many bytes a list takes.
func sizeOf(jobs []holdfast.Job) int {
	const job, property = 768, 64
	n := 0
	for _, j := range jobs {
		n += job + len(j.Name) + len(j.Description)
		for _, c := range j.ETL.Configurations {
			for name, value := range c.Properties {
				n += property + len(name) + len(value)
			}
		}
	}
	return n
}
