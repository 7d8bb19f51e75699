package sqlite

import (
	"context"

	"github.com/holdfast-backup/holdfast"
	"github.com/holdfast-backup/holdfast/internal/store"
)

const (
	setColumns  = "id, account, " + setChanging
	setChanging = "site, job, execution, parent, engine, run_type, started, stopped, bytes, added, damaged, protected, " +
		"system_identifier, version, timeline, start_lsn, stop_lsn, tablespaces, created"

	copyColumns  = "id, account, backup_set, repository, " + copyChanging
	copyChanging = "snapshot, state, execution, fence, origin, intended, verified"
)

func setFields(s *holdfast.BackupSet) []any {
	p := &s.Physical
	return []any{
		idOf(&s.ID), &s.Account, &s.Site, idOf(&s.Job), idOf(&s.Execution), idOf(&s.Parent), &s.Engine, &s.RunType,
		micros{&s.Started},
		micros{&s.Stopped},
		&s.Bytes, &s.Added, &s.Damaged, &s.Protected, bitsOf(&p.SystemIdentifier), &p.Version, &p.Timeline,
		bitsOf(&p.StartLSN), bitsOf(&p.StopLSN), listOf(&p.Tablespaces),
		micros{&s.Created},
	}
}

func copyFields(c *holdfast.Copy) []any {
	return []any{
		idOf(&c.ID), &c.Account, &c.Set, &c.Repository, &c.Snapshot, &c.State, idOf(&c.Execution), bitsOf(&c.Fence), &c.Origin,
		micros{&c.Intended},
		micros{&c.Verified},
	}
}

// Set returns one backup set, whatever its copies.
func (r reader) Set(ctx context.Context, a holdfast.AccountID, id holdfast.SetID) (holdfast.BackupSet, error) {
	return one(ctx, r.s, named("backup set", id), setFields, "SELECT "+setColumns+" FROM backup_sets WHERE id = ? AND "+mine, id, a, a)
}

// readableSets is the sets that have a copy which readers may see, and shownSets
// those that had one, too.
var (
	readableSets = counted{
		table: "backup_sets", present: "readable > 0", account: "backup_sets_readable", site: "backup_sets_readable_site",
		blocks: "set_blocks", counts: "readable = 1", size: 16384, direction: "DESC",
	}
	shownSets = counted{
		table: "backup_sets", present: "shown = 1", account: "backup_sets_shown", site: "backup_sets_shown_site",
		blocks: "set_blocks", counts: "n > 0", size: 16384, direction: "DESC",
	}
)

// Sets lists the sets that have a copy which readers may see, or had one, the
// newest first, and says how many there are without the page. Those of one job
// it counts; a retention keeps them few.
func (r reader) Sets(ctx context.Context, a holdfast.AccountID, f store.SetFilter) ([]holdfast.BackupSet, int, error) {
	list, ofJob := readableSets, "backup_sets INDEXED BY backup_sets_readable_job"
	if f.Gone {
		list, ofJob = shownSets, "backup_sets INDEXED BY backup_sets_shown_job"
	}
	if a != 0 && len(f.IDs) == 0 && f.Job == 0 {
		return pageOf(ctx, r.s, list, setFields, setColumns, a, f.Sites, where{}, f.Page)
	}
	var w where
	w.add(list.present)
	w.account(a)
	if err := in(&w, "id", f.IDs); err != nil {
		return nil, 0, err
	}
	if err := in(&w, "site", f.Sites); err != nil {
		return nil, 0, err
	}
	table := "backup_sets NOT INDEXED" // by id, or all of every account
	if f.Job != 0 {
		w.add("job = ?", f.Job)
		if len(f.IDs) == 0 {
			table = ofJob
		}
	}
	return listed(ctx, r.s, setFields, setColumns, table, "id DESC", w, f.Page)
}

// SetsOfJob lists the sets of a job that have a copy which readers may see, by
// id, each with all its copies.
func (r reader) SetsOfJob(ctx context.Context, a holdfast.AccountID, job holdfast.JobID) ([]store.SetCopies, error) {
	var w where
	if a != 0 {
		w.add("account = ?", a)
	}
	w.add("job = ?", job)
	w.add("readable > 0")
	sets, err := many(ctx, r.s, setFields, "SELECT "+setColumns+" FROM backup_sets"+w.String()+" ORDER BY id", w.args...)
	if err != nil || len(sets) == 0 {
		return nil, err
	}
	copies, err := many(ctx, r.s, copyFields,
		"SELECT "+copyColumns+" FROM copies WHERE backup_set IN (SELECT id FROM backup_sets"+w.String()+") ORDER BY backup_set, id", w.args...)
	if err != nil {
		return nil, err
	}
	out := make([]store.SetCopies, len(sets))
	for i, s := range sets {
		n := 0
		for n < len(copies) && copies[n].Set == s.ID {
			n++
		}
		out[i] = store.SetCopies{Set: s, Copies: copies[:n:n]}
		copies = copies[n:]
	}
	return out, nil
}

// Copies lists the copies of a set, by id.
func (r reader) Copies(ctx context.Context, a holdfast.AccountID, set holdfast.SetID) ([]holdfast.Copy, error) {
	return many(ctx, r.s, copyFields, "SELECT "+copyColumns+" FROM copies WHERE backup_set = ? AND "+mine+" ORDER BY id", set, a, a)
}

// CopiesOf returns the copies of each of the sets, by id.
func (r reader) CopiesOf(ctx context.Context, a holdfast.AccountID, sets []holdfast.SetID) (map[holdfast.SetID][]holdfast.Copy, error) {
	copies := make(map[holdfast.SetID][]holdfast.Copy, len(sets))
	if len(sets) == 0 {
		return copies, nil
	}
	ids, err := selected(sets)
	if err != nil {
		return nil, err
	}
	all, err := many(ctx, r.s, copyFields, "SELECT "+copyColumns+` FROM copies
		WHERE backup_set IN (SELECT value FROM json_each(?)) AND `+mine+" ORDER BY backup_set, id", ids, a, a)
	for _, c := range all {
		copies[c.Set] = append(copies[c.Set], c)
	}
	return copies, err
}

// CopiesInState lists copies of every account, by id, but those in the
// repositories that are left out.
func (r reader) CopiesInState(ctx context.Context, state holdfast.CopyState, limit int, without ...holdfast.RepositoryID) ([]holdfast.Copy, error) {
	n, _ := limits(store.Page{Limit: limit})
	out, err := selected(without)
	if err != nil {
		return nil, err
	}
	return many(ctx, r.s, copyFields, "SELECT "+copyColumns+` FROM copies
		WHERE state = ? AND repository NOT IN (SELECT value FROM json_each(?)) ORDER BY id`+limited, state, out, n)
}

// CopiesIn lists copies in the repository whose ids are greater, by id.
func (r reader) CopiesIn(ctx context.Context, repository holdfast.RepositoryID, after holdfast.CopyID, limit int) ([]holdfast.Copy, error) {
	n, _ := limits(store.Page{Limit: limit})
	return many(ctx, r.s, copyFields,
		"SELECT "+copyColumns+" FROM copies INDEXED BY copies_repository WHERE repository = ? AND id > ? ORDER BY id"+limited, repository, after, n)
}

// CopiesOfSnapshot lists the copies in the repository that are this snapshot, by id.
func (r reader) CopiesOfSnapshot(ctx context.Context, repository holdfast.RepositoryID, snapshot string) ([]holdfast.Copy, error) {
	return many(ctx, r.s, copyFields,
		"SELECT "+copyColumns+" FROM copies INDEXED BY copies_snapshot WHERE snapshot = ? AND repository = ? ORDER BY id", snapshot, repository)
}

// LiveRestores lists the restores that have not ended, by id.
func (r reader) LiveRestores(ctx context.Context, a holdfast.AccountID) ([]holdfast.Execution, error) {
	var w where
	if a != 0 {
		w.add("account = ?", a)
	}
	w.add("type = 'RESTORE'")
	w.add("state <> 'ENDED'")
	return many(ctx, r.s, executionFields,
		"SELECT "+executionColumns+" FROM executions INDEXED BY executions_restoring"+w.String()+" ORDER BY id", w.args...)
}

// CopyByFence returns the copy that the execution intended with the fence: the first,
// before those in other repositories that were imported.
func (r reader) CopyByFence(ctx context.Context, e holdfast.ExecutionID, f holdfast.Fence) (holdfast.Copy, error) {
	return one(ctx, r.s, named("copy of execution", e), copyFields,
		"SELECT "+copyColumns+" FROM copies WHERE execution = ? AND fence = ? ORDER BY id LIMIT 1", e, bitsOf(&f))
}

// ReserveSetID takes an id that is never given out again.
func (t tx) ReserveSetID(ctx context.Context) (holdfast.SetID, error) {
	return one(ctx, t.s, "sequence of backup sets", func(id *holdfast.SetID) []any { return []any{id} },
		"UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'backup_sets' RETURNING seq")
}

// RaiseSequences has no id given out that is not above these.
func (t tx) RaiseSequences(ctx context.Context, s store.Sequences) error {
	for table, n := range map[string]int64{
		"sites": int64(s.Site), "jobs": int64(s.Job), "executions": int64(s.Execution), "backup_sets": int64(s.Set),
	} {
		if _, err := t.s.exec(ctx, "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?", n, table); err != nil {
			return err
		}
	}
	return nil
}

// InsertSet makes a backup set.
func (t tx) InsertSet(ctx context.Context, s *holdfast.BackupSet) error {
	n, err := t.s.insert(ctx, "INSERT INTO backup_sets ("+setColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", setFields(s)...)
	if err != nil {
		return taken(err, "backup set %d", s.ID)
	}
	s.ID = holdfast.SetID(n)
	return nil
}

// UpdateSet writes everything but id and account.
func (t tx) UpdateSet(ctx context.Context, s holdfast.BackupSet) error {
	args := append(setFields(&s)[2:], s.ID, s.Account)
	n, err := t.s.exec(ctx, "UPDATE backup_sets SET ("+setChanging+") = (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) WHERE id = ? AND account = ?", args...)
	return changed(n, err, "backup set %d", s.ID)
}

// InsertCopy makes a copy.
func (t tx) InsertCopy(ctx context.Context, c *holdfast.Copy) error {
	n, err := t.s.insert(ctx, "INSERT INTO copies ("+copyColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?)", copyFields(c)...)
	if err != nil {
		return taken(err, "copy of execution %d with fence %d", c.Execution, c.Fence)
	}
	c.ID = holdfast.CopyID(n)
	return nil
}

// MoveCopy writes next over prev when the row still has prev's state.
func (t tx) MoveCopy(ctx context.Context, prev, next holdfast.Copy) error {
	if prev.ID != next.ID || prev.Account != next.Account || prev.Set != next.Set || prev.Repository != next.Repository {
		return holdfast.Errorf(holdfast.CodeInternal, "a move would make copy %d another", prev.ID)
	}
	args := append(copyFields(&next)[4:], prev.ID, prev.Account, prev.State)
	n, err := t.s.exec(ctx, "UPDATE copies SET ("+copyChanging+") = (?,?,?,?,?,?,?) WHERE id = ? AND account = ? AND state = ?", args...)
	if err != nil || n > 0 {
		return taken(err, "copy of execution %d with fence %d", next.Execution, next.Fence)
	}
	now, err := one(ctx, t.s, named("copy", prev.ID), copyFields,
		"SELECT "+copyColumns+" FROM copies WHERE id = ? AND account = ?", prev.ID, prev.Account)
	if err != nil {
		return err
	}
	return holdfast.Errorf(holdfast.CodeConflict, "copy %d is %s, and no longer %s", prev.ID, now.State, prev.State)
}
